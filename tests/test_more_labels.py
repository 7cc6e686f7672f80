"""Labels that not every model predicts, Expression and Race: from a set that has them to the words of an answer."""

from __future__ import annotations

import dataclasses
import json
import random

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceinsight.benchmarks.accuracy import Tally, evaluate
from faceinsight.benchmarks.replies import asked_about, contradictory, said
from faceinsight.build_engines.build import build_bundle
from faceinsight.models.config import AttributeConfig, FaceInsightConfig
from faceinsight.models.data.answers import state
from faceinsight.models.data.dataset import RecordFaces
from faceinsight.models.data.questions import KINDS, exchange
from faceinsight.models.data.readers import Record, Records, Skipped
from faceinsight.models.data.synthetic import generate, sample_labels
from faceinsight.models.data.tokenizer import train_tokenizer
from faceinsight.models.presets import preset
from faceinsight.models.training.recipe import Recipe, train
from faceinsight.runtime.bundle import read_bundle, sealed
from faceinsight.runtime.errors import BundleError, InputError
from faceinsight.runtime.generate import READING_TOKENS
from faceinsight.runtime.labels import (
    GROUPS,
    MORE,
    NAMES,
    all_names,
    assignment_from_labels,
    labels_from_assignment,
    mentioned,
)
from faceinsight.runtime.pipeline import FaceInsight
from faceinsight.runtime.prompt import FACT_NAMES, Prompter, fact_value, verdict
from faceinsight.runtime.rules import check_rules, consistent_assignment, rules_for

pytestmark = pytest.mark.slow

BOTH = tuple(MORE)
SMILES = {"happy"}
SMILES_NOT = {"neutral", "sad", "fear", "disgust", "anger"}


def faces(also=BOTH, count=300):
    draw = np.random.default_rng(0)
    return [sample_labels(draw, also) for _ in range(count)]


def test_labels_and_assignments_are_each_others_inverse():
    for labels in faces():
        assert labels_from_assignment(assignment_from_labels(labels)) == labels
    # a model without them says nothing of them
    assert not set(labels_from_assignment(consistent_assignment(dict.fromkeys(NAMES, 0.5)))) & set(MORE)


@pytest.mark.parametrize("also", [(), ("Race",), ("Expression",), BOTH])
def test_their_rules_are_sound(also):
    assert not check_rules(rules_for(all_names(also)))
    assert len(rules_for(all_names(also))) == len(rules_for(NAMES)) + len(also) + 2 * ("Expression" in also)


@given(st.lists(st.floats(0, 1), min_size=len(all_names()), max_size=len(all_names())))
def test_a_smile_and_an_expression_never_contradict_each_other(probabilities):
    known = dict(zip(all_names(), probabilities, strict=True))
    labels = labels_from_assignment(consistent_assignment(known, rules_for(all_names())))
    assert labels["Smiling"] or labels["Expression"] not in SMILES
    assert not labels["Smiling"] or labels["Expression"] not in SMILES_NOT
    assert labels["Race"] in GROUPS["Race"]


def test_made_up_labels_obey_the_rules_and_take_every_value():
    made = faces(count=2000)
    for labels in made:
        assignment = assignment_from_labels(labels)
        assert all(rule.holds(assignment) for rule in rules_for(all_names())), labels
    for label in MORE:
        assert {labels[label] for labels in made} == set(GROUPS[label])


@pytest.mark.parametrize("also", [("Race",), BOTH])
def test_an_answer_follows_from_the_labels(also):
    rng, seen = random.Random(1), set()
    for labels in faces(also, 4000):
        item = exchange(labels, rng)
        decided = verdict(item.reading, labels)
        if item.answer.startswith(("Yes", "No,")):
            assert decided is item.answer.startswith("Yes"), item
        else:
            assert decided is None, item
        for label in set(item.labels) & set(also):
            seen.add((label, labels[label]))
            if item.reading != "describe":
                assert state(labels, label) in item.answer[0].lower() + item.answer[1:]
                smile = {"Smiling": "smiling", "Teeth_Visible": "teeth"}
                others = {name for name, word in smile.items() if word in item.answer}
                assert set(mentioned(item.answer)) == {n for n in GROUPS[label].values()} | others
    assert seen == {(label, value) for label in also for value in GROUPS[label]}


def test_what_a_model_can_tell_it_does_not_refuse():
    (off_topic,) = (maker for maker in KINDS if "off_topic" in maker.__name__)
    rng = random.Random(0)

    def refused(also):
        return " ".join(off_topic(labels, rng)[0].lower() for labels in faces(also, 3000))

    for word, label in (("angry", "Expression"), ("mood", "Expression"), ("ethnicity", "Race"), ("asian", "Race")):
        assert word in refused(()) and word not in refused((label,)), word


def test_a_reading_fits_the_room_for_it():
    template = preset("nano").prompt
    tokenizer = train_tokenizer(template, 1536, BOTH, count=800)
    prompter = Prompter(tokenizer, template, 1536)
    for label, values in GROUPS.items():
        assert len(prompter.encode(" ".join([FACT_NAMES[label], *map(fact_value, values)]))) < READING_TOKENS
    labels = faces(count=1)[0]
    assert f"race {fact_value(labels['Race'])}" in prompter.decode(prompter.prefix(labels, 0))


def test_a_model_without_the_label_gives_no_verdict_on_it():
    assert verdict("expression anger", faces((), 1)[0]) is None
    assert verdict("race east-asian southeast-asian", {"Race": "southeast asian"}) is True


def test_a_coarse_race_is_scored_but_teaches_nothing(tmp_path):
    records = Records("UTKFace", (Record("a", tmp_path / "a.jpg", {"Race": "asian", "Gender": "male"}),), Skipped())
    assert RecordFaces(records).targets[0][NAMES.index("Male")] == 1
    with pytest.raises(InputError, match=r"Race 'asian' is coarser .* such as FairFace"):
        RecordFaces(records, all_names(("Race",)))
    tally = Tally(["Race"])
    tally.add({"Race": "asian"}, {"Race": "east asian"})
    tally.add({"Race": "other"}, {"Race": "indian"})
    tally.add({"Race": "latino"}, {"Race": "latino"})
    assert tally.labels()["Race"]["accuracy"] == 2 / 3


def with_also(*also):
    nano = preset("nano")
    return dataclasses.replace(nano, attributes=dataclasses.replace(nano.attributes, also=also))


def test_a_label_that_the_data_lacks_is_an_error(emotions, tmp_path):
    (tmp_path / "recipe.toml").write_text("[stage.refiner]\nsteps = 1\nbatch = 2\n")
    recipe = Recipe.load(tmp_path / "recipe.toml")
    with pytest.raises(InputError, match="rendered faces have no Race; give --data"):
        train(recipe, with_also("Race"), "synthetic", tmp_path / "run", 1)
    table = (emotions / "labels.csv").read_text()
    (tmp_path / "images").symlink_to(emotions / "images")
    (tmp_path / "labels.csv").write_text(table.replace("Race", "Origin"))
    with pytest.raises(InputError, match=r"no face of .* has the label Race; leave it out"):
        train(recipe, with_also("Race"), tmp_path, tmp_path / "run", 1)


def test_a_question_has_one_reading():
    rng, readings = random.Random(3), {}
    for labels in faces(count=12000):
        item = exchange(labels, rng)
        readings.setdefault(item.question.lower().strip(" ?."), set()).add(item.reading)
    twice = {question: found for question, found in readings.items() if len(found) > 1}
    assert not [found for found in twice.values() if any("expression" in reading for reading in found)], twice


@pytest.mark.parametrize(
    ("name", "reply", "value"),
    [
        ("Expression", "She looks surprised.", "surprise"), ("Expression", "The person is not happy, but sad.", "sad"),
        ("Expression", "Happy or neutral", None), ("Expression", "Unhappy", "sad"), ("Expression", "", None),
        ("Race", "She looks Southeast Asian.", "southeast asian"), ("Race", "East Asian", "east asian"),
        ("Race", "He looks Middle Eastern.", "middle eastern"), ("Race", "A Black or African American man", "black"),
        ("Race", "Asian", "asian"), ("Expression", "A big smile", "happy"), ("Expression", "a sad smile", "sad"),
    ],
)  # fmt: skip
def test_replies_are_read(name, reply, value):
    assert said(name, reply) == value


def test_every_answer_of_ours_is_read():
    for labels in faces():
        for label in MORE:
            assert said(label, state(labels, label)) == labels[label]


def test_they_are_asked_where_somebody_knows_them():
    assert not set(asked_about([{"Gender": "male"}])) & set(MORE)
    assert "Race" in asked_about([{}, {"Race": "white"}]) and "Race" not in asked_about([{"Race": "white"}], ())


def test_told_expressions_can_contradict():
    told = {name: None for name in asked_about([{label: "x" for label in MORE}])}
    assert contradictory(told | {"Expression": "sad", "Smiling": True})
    assert not contradictory(told | {"Expression": "surprise", "Smiling": True, "Race": "white"})


def test_an_unknown_label_is_refused(tmp_path):
    with pytest.raises(ValueError, match="names Mood; known: Expression, Race"):
        AttributeConfig(also=("Mood",))
    written = json.loads(FaceInsightConfig().to_json())
    written["attributes"]["also"] = ["Mood"]
    with pytest.raises(InputError, match="Mood"):
        FaceInsightConfig.from_json(json.dumps(written))


@pytest.fixture(scope="module")
def emotions(tmp_path_factory):
    """A data folder of our own form with an Expression column: 20 rendered faces."""
    folder = tmp_path_factory.mktemp("emotions")
    (folder / "images").mkdir()
    rows = ["file,split,Gender,Smiling,Expression,Race"]
    for seed in range(20):
        sample = generate(seed)
        cv2.imwrite(str(folder / "images" / f"{seed}.png"), sample.image[..., ::-1])
        mood = "happy" if sample.labels["Smiling"] else "anger"
        split = "val" if seed % 4 == 0 else "train"
        race = list(GROUPS["Race"])[seed % 7] if split == "train" else ""
        rows.append(f"{seed}.png,{split},{sample.labels['Gender']},{int(sample.labels['Smiling'])},{mood},{race}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder


@pytest.fixture(scope="module")
def bundle(emotions, tmp_path_factory):
    """Of a tiny model that was trained on it for a few steps."""
    out = tmp_path_factory.mktemp("run")
    stages = {
        "language": "steps = 2\nbatch = 2\ntokens = 200", "vision": "steps = 3\nbatch = 4\nlogic = 1.0",
        "alignment": "steps = 3\nbatch = 4\nfaces = 8\nlogic = 1.0",
        "instruct": "steps = 2\nbatch = 2\nfaces = 8\ntokens = 260",
    }  # fmt: skip
    (out / "recipe.toml").write_text("".join(f"[stage.{name}]\n{text}\n" for name, text in stages.items()))
    config = with_also(*reversed(BOTH))
    model = train(Recipe.load(out / "recipe.toml"), config, emotions, out / "run", 1)
    build_bundle(model, out / "bundle", precision="fp32")
    return out / "bundle"


def test_a_trained_model_predicts_them(bundle, emotions):
    model = FaceInsight.load(bundle, threads=1)
    assert model.bundle.manifest["attributes"] == list(all_names())
    face = model.perceive(generate(0).image, box=(69, 91, 155, 177))
    assert tuple(face.labels)[-2:] == BOTH and set(face.attributes) == set(all_names())
    assert model.ask(face, "Is he angry?", max_tokens=8).tokens > 0
    # its language model has learnt nothing, so the answers are none, but the faces are asked and counted
    found = evaluate(model, emotions)
    assert found["labels"]["Expression"]["faces"] == 5 and "Race" not in found["labels"]


def test_a_manifest_with_a_part_of_a_group_is_refused(bundle, tmp_path):
    for path in bundle.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["attributes"].remove("Race_Latino")
    (tmp_path / "manifest.json").write_text(json.dumps(sealed(manifest)))
    with pytest.raises(BundleError, match="attribute"):
        read_bundle(tmp_path)
