"""Damaged, altered and foreign bundles are refused with one line that says what to do."""

from __future__ import annotations

import json
import shutil

import pytest

from faceinsight import FaceInsight
from faceinsight.models.vocabulary import load_vocabulary
from faceinsight.runtime.bundle import MANIFEST, NANO, check_replaceable, read_bundle
from faceinsight.runtime.errors import BundleError, FaceInsightError, InputError
from faceinsight.runtime.manifest import FORMAT_VERSION, STAGES, sealed


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


@pytest.mark.parametrize("version", [3, 99])
def test_another_format_version_names_both(copy, version):
    edit(copy, lambda m: m.update(format_version=version))
    refused(copy, f"format version {version}.*reads version {FORMAT_VERSION}.*rebuild the bundle with this version's")


def test_a_bundle_from_before_vocabularies_gets_the_same_line(copy):
    """Format 3 had lists of attributes and rules, and other fields in many places."""

    def age(manifest):
        vocabulary = manifest.pop("vocabulary")
        manifest |= {"format_version": 3, "attributes": ["Male"], "rules": vocabulary["rules"]}
        manifest["stages"] = {name: {"file": entry["file"]} for name, entry in manifest["stages"].items()}

    edit(copy, age)
    refused(copy, f"format version 3, this runtime reads version {FORMAT_VERSION}; rebuild the bundle")
    check_replaceable(copy)


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
    """The name may be missing; without any other field the bundle is refused."""
    edit(copy, lambda m: m.pop(field))
    try:
        FaceInsight.load(copy)
    except BundleError as error:
        assert "rebuild" in str(error)
    else:
        assert field == "name"


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["language"].pop("context"),
        lambda m: m["language"].update(context="many"),
        lambda m: m.update(language=5),
        lambda m: m.update(sizes=[]),
        lambda m: m["sizes"].update(vision=0),
        lambda m: m["vocabulary"].pop("labels"),
        lambda m: m["vocabulary"]["labels"].pop("Smiling"),
        lambda m: m["vocabulary"]["labels"].update(Mood={"kind": "flag", "prompt": "in some mood"}),
        lambda m: m["vocabulary"]["labels"]["Beard"].pop("prompt"),
        lambda m: m["vocabulary"]["labels"]["Beard"].update(word="hat"),
        lambda m: m.update(vocabulary=[]),
        lambda m: m["prompt"].update(stop="<unheard of>"),
        lambda m: m["prompt"].update(prefix="no place for the face"),
        lambda m: m["prompt"].update(colour="blue"),
        lambda m: m.update(engine=None),
        lambda m: m["vocabulary"]["rules"].append({"kind": "excludes", "names": ["Beard", "Male"]}),
        lambda m: m["vocabulary"]["rules"].append({"kind": "implies", "names": ["Male", "Dragon"]}),
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
    refused(copy, "target is 'abacus'; known are cpu")
    edit(copy, lambda m: m.update(target="tensorrt"))
    refused(copy, "device is missing, which target tensorrt needs")
    edit(copy, lambda m: m.update(device={"gpu": None, "compute_capabilities": "any", "max_faces": 1}))
    refused(copy, "'tensorrt'.*device 'cpu'.*faceinsight build --target cpu")
    with pytest.raises(InputError, match=r"unknown device 'tpu'.*cpu"):
        FaceInsight.load(device="tpu")


def test_a_file_outside_of_the_bundle(copy):
    edit(copy, lambda m: m["stages"]["parser"].update(file="../elsewhere.onnx"))
    refused(copy, "outside of the bundle")


def test_a_vocabulary_that_is_wrong_is_named(copy):
    edit(copy, lambda m: m["vocabulary"]["rules"].append({"kind": "implies", "names": ["Male", "Dragon"]}))
    refused(copy, "unknown attributes .'Dragon'")
    edit(copy, lambda m: m["vocabulary"].update(load_vocabulary("celeba").to_json()))
    refused(copy, "does not tell the 40 attributes and numbers of the vocabulary")


def test_a_stage_that_is_no_graph(copy):
    """Right hash, wrong content: what a build with a bug could write."""
    import hashlib

    (copy / "vision.onnx").write_bytes(b"not a graph")
    digest = hashlib.sha256(b"not a graph").hexdigest()
    edit(copy, lambda m: m["stages"]["vision"].update(sha256=digest))
    refused(copy, "cannot load", FaceInsightError)


def test_the_manifest_says_what_is_in_the_bundle():
    manifest = read_bundle(NANO).manifest
    for stage in STAGES:
        entry = manifest.stages[stage]
        assert entry.bytes == (NANO / entry.file).stat().st_size and entry.precision and entry.error.measure
    assert manifest.target == "cpu" and len(manifest.model_hash) == 64
    assert manifest.vocabulary == load_vocabulary("nano")
    assert manifest.to_json() == json.loads((NANO / MANIFEST).read_text())
