"""Damaged, altered and foreign bundles are refused with one line that says what to do."""

from __future__ import annotations

import json
import shutil

import pytest

from faceinsight import FaceInsight
from faceinsight.runtime.bundle import FORMAT_VERSION, MANIFEST, NANO, STAGES, check_replaceable, read_bundle, sealed
from faceinsight.runtime.errors import BundleError, FaceInsightError, InputError


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(NANO, tmp_path / "bundle")
    return tmp_path / "bundle"


def edit(bundle, change) -> None:
    """Changes the manifest as a build with a bug would: sealed again."""
    manifest = json.loads((bundle / MANIFEST).read_text())
    change(manifest)
    (bundle / MANIFEST).write_text(json.dumps(sealed(manifest)))


def refused(bundle, message: str, error: type = BundleError) -> None:
    with pytest.raises(error, match=message) as caught:
        FaceInsight.load(bundle)
    assert "\n" not in str(caught.value)


def test_no_bundle_at_all(tmp_path):
    refused(tmp_path / "nowhere", "faceinsight build")
    refused(tmp_path, "manifest.json is missing")
    refused(tmp_path / ("x" * 5000), "manifest.json is missing")


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


def test_an_altered_manifest(copy):
    text = (copy / MANIFEST).read_text()
    for altered in (text.replace('"vocab_size": 15', '"vocab_size": 14'), text.replace('"sha256"', '"sha512"')):
        assert altered != text
        (copy / MANIFEST).write_text(altered)
        refused(copy, "manifest.json was altered or damaged.*rebuild")


def test_a_bundle_of_an_older_version_can_be_replaced(copy):
    def age(manifest):
        manifest.update(format_version=1)
        manifest["stages"].pop("refiner")

    edit(copy, age)
    (copy / "refiner.onnx").unlink()
    refused(copy, "rebuild")
    check_replaceable(copy)


@pytest.mark.parametrize("field", sorted(set(json.loads((NANO / MANIFEST).read_text())) - {"sha256"}))
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
