"""The bundle that ships is the one that the committed weights give; bundles appear whole or not at all."""

import dataclasses
import json
import os

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from faceinsight import FaceInsight
from faceinsight.build_engines.build import build_bundle
from faceinsight.commands.app import app
from faceinsight.models.checkpoint import model_directory
from faceinsight.runtime.bundle import MANIFEST, NANO, read_bundle, write_bundle
from faceinsight.runtime.errors import BundleError, InputError
from faceinsight.runtime.manifest import STAGES, Candidate


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory):
    out = tmp_path_factory.mktemp("bundle") / "nano"
    build_bundle(None, out)
    return read_bundle(out)


@pytest.fixture
def shipped():
    return read_bundle(NANO)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    out = tmp_path_factory.mktemp("bundle") / "nano-fp32"
    build_bundle(None, out, precision="fp32")
    return out


@pytest.mark.slow
def test_building_again_gives_the_shipped_bundle(rebuilt):
    shipped = read_bundle(NANO)
    assert rebuilt.manifest.model_hash == shipped.manifest.model_hash
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


@pytest.mark.slow
def test_errors_in_the_manifest_are_small(rebuilt):
    stages = rebuilt.manifest.stages
    assert stages["parser"].error.value < 0.03
    assert stages["vision"].error.value < 0.12
    assert stages["fusion"].error.value < 0.02
    assert stages["language"].error.value < 0.02


@pytest.mark.slow
def test_fp32_bundle_equals_pytorch(full):
    for stage, entry in read_bundle(full).manifest.stages.items():
        assert entry.error.value < 2e-3, stage


@pytest.mark.slow
def test_int8_speaks_like_fp32(full, astronaut):
    """The same labels and words about the photograph, and probabilities close by."""
    small, large = FaceInsight.load(), FaceInsight.load(full)
    a, b = small.perceive(astronaut), large.perceive(astronaut)
    assert a.labels == b.labels
    assert np.abs(np.array(list(a.attributes.values())) - list(b.attributes.values())).mean() < 0.03
    for question in ("Is she smiling?", "What colour is her hair?", "Describe this face."):
        assert small.ask(a, question).text == large.ask(b, question).text


def test_a_failed_write_leaves_the_old_bundle(tmp_path, shipped):
    out, manifest = write_again(tmp_path, shipped)
    with pytest.raises(TypeError):
        write_bundle(out, dataclasses.replace(manifest, name="new"), {"parser.onnx": "not bytes"})
    assert read_bundle(out).manifest.name == "faceinsight"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_rename_that_fails_brings_the_old_bundle_back(tmp_path, shipped, monkeypatch):
    out, manifest = write_again(tmp_path, shipped)
    replace, calls = os.replace, []

    def second_fails(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", second_fails)
    with pytest.raises(BundleError, match="No space left"):
        write_bundle(out, dataclasses.replace(manifest, name="new"), files_of(shipped))
    assert read_bundle(out).manifest.name == "faceinsight"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_bundle_is_replaced_whole(tmp_path, shipped):
    out, manifest = write_again(tmp_path, shipped)
    write_bundle(out, dataclasses.replace(manifest, name="new"), files_of(shipped))
    assert read_bundle(out).manifest.name == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def files_of(bundle) -> dict[str, bytes]:
    return {entry.file: bundle.files[name] for name, entry in bundle.manifest.files.items()}


def write_again(folder, bundle):
    write_bundle(folder / "bundle", bundle.manifest, files_of(bundle))
    return folder / "bundle", bundle.manifest


@pytest.mark.parametrize(
    "found", [{"precious.txt": "keep me"}, {MANIFEST: '{"name": "my web app"}', "index.html": "keep me"}]
)
def test_out_must_not_be_someone_elses_folder(tmp_path, shipped, found):
    for name, text in found.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(BundleError, match="not a bundle"):
        write_bundle(tmp_path, shipped.manifest, {})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == found


def test_a_bundle_with_other_files_beside_it_is_not_replaced(tmp_path, shipped):
    out, manifest = write_again(tmp_path, shipped)
    (out / "notes.txt").write_text("keep me")
    with pytest.raises(BundleError, match=r"notes\.txt"):
        write_bundle(out, manifest, files_of(shipped))
    assert (out / "notes.txt").read_text() == "keep me"


def test_calibration_of_another_model_is_refused(tmp_path):
    scales = json.loads((model_directory(None) / "scales.json").read_text())
    scales["metadata"]["model_sha256"] = "0" * 64
    (tmp_path / "scales.json").write_text(json.dumps(scales))
    with pytest.raises(InputError, match="another model"):
        build_bundle(None, tmp_path / "out", calibration=tmp_path / "scales.json")
    assert not (tmp_path / "out").exists()


def test_a_missing_calibration_is_found_before_anything_is_exported(tmp_path, monkeypatch):
    monkeypatch.setattr("faceinsight.build_engines.build.export_stages", None)
    for given, message in ((tmp_path / "nowhere", "int8 needs calibration"), (tmp_path, "0 usable faces in 0 images")):
        with pytest.raises(InputError, match=message):
            build_bundle(None, tmp_path / "out", precision="auto", calibration=given)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_manifest_says_why_a_precision_was_taken(rebuilt, full):
    for name, stages in (("int8", rebuilt.manifest.stages), ("fp32", read_bundle(full).manifest.stages)):
        for entry in stages.values():
            assert entry.candidates == {name: Candidate(entry.error, entry.latency_ms)}
            assert entry.choice == "asked for"
        assert stages["language"].in_place is True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "toaster"], "unknown target 'toaster'; use cpu, cuda, tensorrt, tensorrt-rtx"),
        (["--precision", "fp8"], "target cpu is not built in fp8; use int8, fp32 or auto"),
        (["--language-weights", "int3"], "unknown weights 'int3' of the language model; use int8 or int4"),
        (["--max-faces", "2", "--no-cache"], "max_faces, cache: options of TensorRT engines; leave them out"),
    ],
)
def test_a_wrong_option_is_one_line(tmp_path, options, message):
    result = CliRunner().invoke(app, ["build", *options, "--out", str(tmp_path / "x")])
    assert isinstance(result.exception, InputError) and result.exception.exit_code == 2
    assert message in str(result.exception) and "\n" not in str(result.exception)
    assert not (tmp_path / "x").exists()
