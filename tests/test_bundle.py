"""Damaged, altered and foreign bundles are refused with one line that says what to do."""

from __future__ import annotations

import json
import shutil

import pytest

from faceinsight import FaceInsight
from faceinsight.runtime.bundle import FORMAT_VERSION, MANIFEST, NANO, STAGES, read_bundle
from faceinsight.runtime.errors import BundleError, FaceInsightError, InputError


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(NANO, tmp_path / "bundle")
    return tmp_path / "bundle"


def edit(bundle, change) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text())
    change(manifest)
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def refused(bundle, message: str, error: type = BundleError) -> None:
    with pytest.raises(error, match=message) as caught:
        FaceInsight.load(bundle)
    assert "\n" not in str(caught.value)


def test_no_bundle_at_all(tmp_path):
    refused(tmp_path / "nowhere", "faceinsight build")
    refused(tmp_path, "manifest.json is missing")


@pytest.mark.parametrize("name", [*(f"{stage}.onnx" for stage in STAGES), "tokenizer.json"])
def test_a_missing_or_altered_file(copy, name):
    content = bytearray((copy / name).read_bytes())
    (copy / name).unlink()
    refused(copy, f"{name} is missing.*rebuild")
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    refused(copy, f"{name} was altered or damaged.*rebuild")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format_version": null}', "\x00"])
def test_a_damaged_manifest(copy, text):
    (copy / MANIFEST).write_text(text)
    refused(copy, "rebuild")


def test_another_format_version_names_both(copy):
    edit(copy, lambda m: m.update(format_version=99))
    refused(copy, f"version 99.*version {FORMAT_VERSION}.*rebuild")


@pytest.mark.parametrize("field", sorted(json.loads((NANO / MANIFEST).read_text())) if NANO.is_dir() else [])
def test_a_missing_field(copy, field):
    """Fields that tell where a bundle comes from may be missing; without the others it is refused."""
    edit(copy, lambda m: m.pop(field))
    try:
        FaceInsight.load(copy)
    except BundleError as error:
        assert "rebuild" in str(error)
    else:
        assert field in ("name", "model_hash", "built_with", "device")


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["language"].pop("context"),
        lambda m: m["language"].update(context="many"),
        lambda m: m.update(language=5),
        lambda m: m.update(sizes=[]),
        lambda m: m["sizes"].update(vision=0),
        lambda m: m["attributes"].pop(),
        lambda m: m["attributes"].__setitem__(0, m["attributes"][1]),
        lambda m: m["prompt"].update(stop="<unheard of>"),
        lambda m: m["prompt"].update(prefix="no place for the face"),
        lambda m: m["prompt"].update(colour="blue"),
        lambda m: m.update(engine=None),
        lambda m: m["rules"].append({"kind": "excludes", "names": ["Age_0_34", "Age_0_34"]}) or m["rules"].extend(
            {"kind": "excludes", "names": [n, n]} for n in ("Age_35_49", "Age_50_64", "Age_65_Plus")
        ),
    ],
)  # fmt: skip
def test_a_damaged_field_is_found_when_the_bundle_is_read(copy, change):
    edit(copy, change)
    refused(copy, "rebuild")


def test_a_bundle_of_another_engine(copy):
    edit(copy, lambda m: m.update(engine={"kind": "tensorrt", "version": "10.3"}))
    refused(copy, "tensorrt.*device 'cpu'.*faceinsight build --target cpu")


def test_unknown_target_and_foreign_device(copy):
    edit(copy, lambda m: m.update(target="abacus"))
    refused(copy, "unknown target 'abacus'.*cpu")
    edit(copy, lambda m: m.update(target="tensorrt"))
    refused(copy, "'tensorrt'.*device 'cpu'.*faceinsight build --target cpu")
    with pytest.raises(InputError, match=r"unknown device 'tpu'.*cpu"):
        FaceInsight.load(device="tpu")


def test_a_file_outside_of_the_bundle(copy):
    edit(copy, lambda m: m["stages"]["parser"].update(file="../elsewhere.onnx"))
    refused(copy, "outside of the bundle")


def test_unknown_attributes_and_rules(copy):
    edit(copy, lambda m: m["attributes"].__setitem__(0, "Dragon"))
    refused(copy, "Dragon")
    edit(copy, lambda m: m["attributes"].__setitem__(0, "Male"))
    edit(copy, lambda m: m["rules"].append({"kind": "implies", "names": ["Male", "Dragon"]}))
    refused(copy, "Dragon")


def test_a_stage_that_is_no_graph(copy):
    """Right hash, wrong content: what a build with a bug could write."""
    import hashlib

    (copy / "vision.onnx").write_bytes(b"not a graph")
    digest = hashlib.sha256(b"not a graph").hexdigest()
    edit(copy, lambda m: m["stages"]["vision"].update(sha256=digest))
    refused(copy, "cannot load", FaceInsightError)


def test_manifest_documents_the_bundle():
    manifest = read_bundle(NANO).manifest
    for stage in STAGES:
        entry = manifest["stages"][stage]
        assert entry["bytes"] == (NANO / entry["file"]).stat().st_size
        assert set(entry) >= {"sha256", "precision", "inputs", "outputs", "error", "latency_ms"}
    assert manifest["target"] == "cpu" and len(manifest["model_hash"]) == 64
