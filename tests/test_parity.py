"""Parity compares what it says: the same runtime with PyTorch behind it, and words, labels and kinds counted right."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from faceinsight import FaceInsight
from faceinsight.benchmarks import parity
from faceinsight.build_engines.build import build_bundle
from faceinsight.commands.app import main
from faceinsight.models.checkpoint import model_directory
from faceinsight.models.data.dataset import read_labelled
from faceinsight.models.data.readers import Record
from faceinsight.models.data.synthetic import generate
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.models.vocabulary import load_vocabulary
from faceinsight.runtime.bundle import NANO, read_bundle

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network() -> FaceInsightModel:
    return FaceInsightModel.from_pretrained(model_directory(None))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    (folder / "images").mkdir()
    for seed in range(2):
        Image.fromarray(generate(seed).image).save(folder / "images" / f"{seed}.png")
    (folder / "labels.csv").write_text("file,split,Gender\n0.png,val,male\n1.png,val,female\n")
    return folder


def test_pytorch_behind_the_runtime_says_what_a_float_bundle_says(network, folder, tmp_path):
    """And its cache is right: questions one after the other, and the first one again."""
    build_bundle(None, tmp_path / "fp32", precision="fp32")
    exact = FaceInsight.load(tmp_path / "fp32")
    reference = parity.with_pytorch(read_bundle(NANO), network)
    image = read_labelled(folder, "val", exact.vocabulary)[0].load()
    one, other = exact.perceive(image), reference.perceive(image)
    assert one.labels == other.labels
    assert one.attributes == pytest.approx(other.attributes, abs=1e-3)
    for question in ("is he bald?", "what colour is the hair?", "describe this face", "is he bald?"):
        assert exact.ask(one, question).text == reference.ask(other, question).text


def test_questions_cover_every_kind_and_are_the_same_every_time():
    faces = [Record(str(i), None, {}) for i in range(5)]
    nano = load_vocabulary("nano")
    drawn = parity.draw(faces, 200, nano)
    assert drawn == parity.draw(faces, 200, nano) and drawn != parity.draw(faces, 200, nano, seed=1)
    kinds = {item.kind for item in drawn}
    assert "describe" in kinds and {"open Age", "open Hair_Color", "open Gender"} <= kinds
    assert {kind.removeprefix("yes/no ") for kind in kinds if kind.startswith("yes/no")} == set(nano.names)
    counts = [sum(item.kind == kind for item in drawn) for kind in kinds]
    assert max(counts) - min(counts) <= 1


def test_labels_without_written_phrasings_are_asked_about():
    asked = {
        item.kind: item.question
        for name in ("demographics", "celeba")
        for item in parity.draw([Record("0", None, {})], 100, load_vocabulary(name))
    }
    assert asked["yes/no Goatee"] and asked["open Age_Years"] and "yes/no Hair_Color" not in asked
    assert asked["yes/no Eyeglasses"] != "Is this person wearing eyeglasses?"  # those are written, and kept apart


def test_differences_are_counted_and_explained():
    face = Record("a.png", None, {})
    drawn = [parity.Drawn(face, kind, "q") for kind in ("yes/no Beard", "yes/no Bald", "open Age", "describe")]
    same = parity.Reply("Yes.", {"Age": "65+"}, {"Beard": 0.9})
    flipped = parity.Reply("No.", {"Age": "50-64"}, {"Beard": 0.4})
    worded = parity.Reply("Yes!", {"Age": "65+"}, {"Beard": 0.8})
    unseen = parity.Reply("Yes.", {"Age": "50-64"}, {"Beard": 0.9})  # another label, of which nobody asked
    found = parity.compare(drawn, [same, flipped, worded, unseen], [same] * 4)
    assert found["questions"] == 4 and found["identical"] == 2 and found["share"] == 0.5
    assert found["interval"][0] < 0.5 < found["interval"][1]
    assert found["by_kind"] == {"yes/no": [1, 2], "open": [0, 1], "describe": [1, 1]}
    assert found["flips"] == {"Age": 2}
    first, second = found["differences"]
    assert first["flipped"] == {"Age": ["50-64", "65+"]} and first["moved"] == pytest.approx(0.5)
    assert second["flipped"] == {} and second["texts"] == ["Yes!", "Yes."]


def test_the_command(folder, capsys):
    assert main(["parity", "--data", str(folder), "--questions", "17"]) == 0
    printed = capsys.readouterr().out
    found = json.loads(printed.splitlines()[-1])
    assert found["questions"] == 17 and 0 <= found["share"] <= 1
    assert f"{found['identical']} of 17 texts are identical" in printed


def test_a_bundle_of_another_model_is_one_line(folder, network, tmp_path, capsys):
    network.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text(network.config.to_json().replace("384", "383"))
    assert main(["parity", "--data", str(folder), "--model", str(tmp_path / "model")]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "--model" in message
