"""The bundle that ships is the one that the committed weights give; bundles appear whole or not at all."""

import json

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from faceinsight import FaceInsight
from faceinsight.build_engines.build import build_bundle, model_directory
from faceinsight.cli import app
from faceinsight.runtime.bundle import MANIFEST, NANO, STAGES, read_bundle, write_bundle
from faceinsight.runtime.errors import BundleError, InputError


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory):
    out = tmp_path_factory.mktemp("bundle") / "nano"
    build_bundle(None, out)
    return read_bundle(out)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    out = tmp_path_factory.mktemp("bundle") / "nano-fp32"
    build_bundle(None, out, precision="fp32")
    return out


def test_building_again_gives_the_shipped_bundle(rebuilt):
    shipped = read_bundle(NANO)
    assert rebuilt.manifest["model_hash"] == shipped.manifest["model_hash"]
    for stage in STAGES:
        if rebuilt.files[stage] != shipped.files[stage]:
            # another CPU or exporter may round differently; then the graphs must still be the same to a rounding step
            assert_same_graph(onnx.load_from_string(rebuilt.files[stage]), onnx.load_from_string(shipped.files[stage]))


def assert_same_graph(a: onnx.ModelProto, b: onnx.ModelProto) -> None:
    """The same operators in the same order; float constants equal to 1e-5, integer ones to one step."""
    assert [node.op_type for node in a.graph.node] == [node.op_type for node in b.graph.node]
    for x, y in zip(a.graph.initializer, b.graph.initializer, strict=True):
        left, right = onnx.numpy_helper.to_array(x).astype(float), onnx.numpy_helper.to_array(y).astype(float)
        integer = x.data_type != onnx.TensorProto.FLOAT
        np.testing.assert_allclose(left, right, rtol=0 if integer else 1e-5, atol=1 if integer else 1e-6)


def test_errors_in_the_manifest_are_small(rebuilt):
    stages = rebuilt.manifest["stages"]
    assert stages["parser"]["error"]["value"] < 0.03
    assert stages["vision"]["error"]["value"] < 0.12
    assert stages["fusion"]["error"]["value"] < 0.02
    assert stages["language"]["error"]["value"] < 0.02


def test_fp32_bundle_equals_pytorch(full):
    for stage, entry in read_bundle(full).manifest["stages"].items():
        assert entry["error"]["value"] < 2e-3, stage


def test_int8_speaks_like_fp32(full, astronaut):
    """The same labels and words about the photograph, and probabilities close by."""
    small, large = FaceInsight.load(), FaceInsight.load(full)
    a, b = small.perceive(astronaut), large.perceive(astronaut)
    assert a.labels == b.labels
    assert np.abs(np.array(list(a.attributes.values())) - list(b.attributes.values())).mean() < 0.03
    for question in ("Is she smiling?", "What colour is her hair?", "Describe this face."):
        assert small.ask(a, question).text == large.ask(b, question).text


def test_a_failed_write_leaves_the_old_bundle(tmp_path, rebuilt):
    out = tmp_path / "bundle"
    files = {"a.bin": b"1"}
    write_bundle(out, {"format_version": 1}, files)
    with pytest.raises(TypeError):
        write_bundle(out, {"format_version": 2}, {"a.bin": "not bytes"})
    assert json.loads((out / MANIFEST).read_text())["format_version"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_out_must_not_be_someone_elses_folder(tmp_path):
    (tmp_path / "precious.txt").write_text("keep me")
    with pytest.raises(BundleError, match="not a bundle"):
        write_bundle(tmp_path, {}, {})
    assert (tmp_path / "precious.txt").read_text() == "keep me"


def test_calibration_of_another_model_is_refused(tmp_path):
    scales = json.loads((model_directory(None) / "scales.json").read_text())
    scales["metadata"]["model_sha256"] = "0" * 64
    (tmp_path / "scales.json").write_text(json.dumps(scales))
    with pytest.raises(InputError, match="another model"):
        build_bundle(None, tmp_path / "out", calibration=tmp_path / "scales.json")
    assert not (tmp_path / "out").exists()


def test_unknown_target_is_a_usage_error(tmp_path):
    result = CliRunner().invoke(app, ["build", "--target", "toaster", "--out", str(tmp_path / "x")])
    assert result.exit_code == 2
    assert not (tmp_path / "x").exists()
