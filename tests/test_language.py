"""The language data: files that say what they lack, and labels that nobody wrote anything for."""

from __future__ import annotations

import random
import re
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceinsight.models.data.answers import answer, describe, state
from faceinsight.models.data.language import label_language
from faceinsight.models.data.language.files import FOLDER
from faceinsight.models.data.language.speech import speech_of
from faceinsight.models.data.language.written import of_label, of_topic
from faceinsight.models.data.questions import exchanges
from faceinsight.models.data.sampling import sample_labels
from faceinsight.models.vocabulary import load_vocabulary, ready_made
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.label import Label
from faceinsight.runtime.reading import read
from faceinsight.runtime.vocabulary import Vocabulary

pytestmark = pytest.mark.slow

HELMET = {"kind": "flag", "prompt": "a person who wears a helmet"}
MOUTH = {"kind": "flag", "prompt": "an open mouth"}
EYES = {"kind": "flag", "prompt": "closed eyes", "phrases": {"part": ["eyes=closed", "eyes=shut"]}}
NOSE = {"kind": "flag", "prompt": "a big nose", "phrases": {"noun": ["a big nose", "a large nose"]}}
ASLEEP = {"kind": "flag", "prompt": "asleep", "phrases": {"adj": ["asleep"], "verb": ["have a nap"]}}
YAWN = {"kind": "flag", "prompt": "a yawn", "phrases": {"verb": ["yawn", "give a yawn"]}}
COLOR = {"kind": "choice", "values": {"blue": "blue eyes", "dark_brown": "brown eyes", "green": "green eyes"}}
LIGHT = {"kind": "choice", "values": {"dim": "dim light", "bright": "bright light"}, "phrases": {"adj": ["{value}"]}}
TILT = {"kind": "number", "prompt": "a tilted head", "unit": "degrees", "range": [-45, 45]}
SCORE = {"kind": "number", "prompt": "quality", "unit": "points", "range": [0, 1], "step": 0.1}
MADE = {
    "Wearing_Helmet": HELMET, "Mouth_Ajar": MOUTH, "Eyes_Closed": EYES, "Big_Nose": NOSE, "Asleep": ASLEEP,
    "Yawning": YAWN, "Eye_Color": COLOR, "Light": LIGHT, "Head_Tilt_Degrees": TILT, "Sharpness": SCORE,
}  # fmt: skip
"""Labels that the code has never heard of, of every kind, with and without phrases."""


def made(*names: str) -> Vocabulary:
    return Vocabulary.from_json({"labels": {name: MADE[name] for name in names}})


def label_file(tmp_path, name: str, *changes: tuple[str, str]):
    """A copy of a file of labels/ with texts replaced."""
    text = (FOLDER / "labels" / f"{name}.toml").read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    (tmp_path / f"{name}.toml").write_text(text, encoding="utf-8")
    return tmp_path / f"{name}.toml"


@pytest.mark.parametrize("name", ready_made())
def test_the_shipped_files_are_complete(name):
    vocabulary = load_vocabulary(name)
    speech = speech_of(vocabulary)
    for label in vocabulary:
        language = speech.labels[label.name]
        assert set(language.says) == (set(label.value_names) or {""})
        assert all(asked.question.endswith("?") for asked in language.asked.values())


def test_every_file_belongs_to_a_ready_made_vocabulary():
    names = {label.name for name in ready_made() for label in load_vocabulary(name)}
    topics = {topic.name.replace(" ", "_") for name in ready_made() for topic in load_vocabulary(name).topics}
    assert {path.stem for path in (FOLDER / "labels").glob("*.toml")} <= names
    assert {path.stem for path in (FOLDER / "topics").glob("*.toml")} <= topics


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("Beard", ('no = "{he} does not have a beard"\n', ""), r"Beard.toml: says nothing for no"),
        (
            "Beard",
            ("[phrases.yes]\nnoun", "[phrases.yes]\nnouns"),
            r"phrases.yes has unknown categories nouns; known are",
        ),
        ("Beard", ("hair on {p} chin", "hair on {her} chin"), r"phrases.yes.noun has unknown slots her; known are s,"),
        ("Beard", ("{he} has a beard", "{she} has a beard"), r"says has unknown slots she"),
        ("Beard", ("[asked.Beard]\nquestion", "[asked.Beard]\ntext"), r"asked.Beard lacks its question"),
        ("Beard", ("[asked.Beard]", "[ask.Beard]"), r"unknown keys ask; known are.*asked is missing"),
        ("Beard", ("[says]", "[says"), r"Beard.toml cannot be read"),
        ("Race", ('[phrases."east asian"]', '[phrases."far east"]'), r"phrases for east asian are missing"),
        ("Race", ("{he} looks {value}", "{he} looks fine"), r"says is .*; it lacks {value}"),
        (
            "Age_Years",
            ("[comparisons.above]", "[comparisons.beyond]"),
            r"unknown comparisons beyond.*above are missing",
        ),
        ("Age_Years", ('[phrases."<35"]', '[phrases."young"]'), r"young are no ranges; write <35"),
    ],
)
def test_a_file_says_what_it_lacks(tmp_path, name, change, message):
    vocabulary = load_vocabulary("demographics" if name in ("Race", "Age_Years") else "nano")
    with pytest.raises(InputError, match=message):
        of_label(label_file(tmp_path, name, change), vocabulary[name])


def test_a_label_whose_values_a_file_does_not_know_is_refused():
    mine = Label.from_json("Race", {"kind": "choice", "values": {"white": "a white person", "martian": "a Martian"}})
    with pytest.raises(InputError, match=r"Race.toml: phrases for martian are missing"):
        label_language(mine)


def test_a_topic_says_what_it_lacks(tmp_path):
    (tmp_path / "hats.toml").write_text('[open]\nclauses = ["what hat|does|{s}"]\n[[answers]]\nsay = "{hat}"\n')
    with pytest.raises(InputError, match=r"what hat\|does\|{s} are not wh\|auxiliary\|subject\|rest; nouns is missing"):
        of_topic(tmp_path / "hats.toml")


@pytest.mark.parametrize(
    ("phrases", "message"),
    [
        ({"garment": ["a helmet"]}, "label Wearing_Helmet: phrases has unknown categories garment; known are adj, be,"),
        ({"wear": ["a {thing}"]}, "unknown slots thing"),
        ({"part": ["closed eyes"]}, 'part is written "eyes=closed"'),
        ({"at": ["on the head"]}, "phrases need a category that gives a sentence"),
    ],
)
def test_wrong_phrases_of_a_label_are_named(phrases, message):
    with pytest.raises(InputError, match=message):
        label_language(Label.from_json("Wearing_Helmet", HELMET | {"phrases": phrases}))


def test_a_written_question_says_one_thing_only():
    places = defaultdict(set)
    for label in load_vocabulary("nano"):
        language = label_language(label)
        for value, questions in language.written.items():
            assert value == "either" or set(language.named(value)) <= set(label.value_names)
            for question in questions:
                places[question.lower().rstrip(" ?.")].add((label.name, value))
    assert not [(question, found) for question, found in places.items() if len(found) > 1]


@pytest.mark.parametrize(
    ("name", "value", "yes", "no", "asked"),
    [
        ("Wearing_Helmet", True, "they are wearing a helmet", "they are not wearing a helmet",
         "Is the person wearing a helmet?"),
        ("Mouth_Ajar", True, "mouth ajar", "not mouth ajar", "Is this true of the person: mouth ajar?"),
        ("Eyes_Closed", True, "their eyes are closed", "their eyes are not closed", "Are the person's eyes closed?"),
        ("Big_Nose", True, "they have a big nose", "they do not have a big nose", "Does the person have a big nose?"),
        ("Asleep", True, "they are asleep", "they are not asleep", "Is the person asleep?"),
        ("Yawning", True, "they yawn", "they do not yawn", "Does the person yawn?"),
        ("Eye_Color", "dark_brown", "their eye color is dark brown", None,
         "Which eye color fits this person best: blue, dark brown or green?"),
        ("Light", "dim", "they are dim", None, "Which light fits this person best: dim or bright?"),
        ("Head_Tilt_Degrees", -12, "their head tilt is about -12 degrees", None,
         "What is the person's head tilt, in degrees?"),
        ("Head_Tilt_Degrees", 1, "their head tilt is about 1 degree", None,
         "What is the person's head tilt, in degrees?"),
        ("Sharpness", 0.4, "their sharpness is about 0.4 points", None, "What is the person's sharpness, in points?"),
    ],
)  # fmt: skip
def test_a_label_that_nobody_wrote_for_is_told_in_a_sentence(name, value, yes, no, asked):
    vocabulary = made(name)
    assert state({name: value}, name, vocabulary) == yes
    assert no is None or state({name: False}, name, vocabulary) == no
    assert [item.question for item in label_language(vocabulary[name]).asked.values()] == [asked]


def test_verbs_agree_with_the_pronoun():
    vocabulary = load_vocabulary("demographics").combined(made("Yawning", "Wearing_Helmet", "Big_Nose"))
    labels = {"Gender": "female", "Yawning": True, "Wearing_Helmet": True, "Big_Nose": True}
    told = [state(labels, name, vocabulary) for name in labels]
    assert told == ["this is a woman", "she yawns", "she is wearing a helmet", "she has a big nose"]
    flag = load_vocabulary("celeba")
    assert state({"Male": True, "Eyeglasses": False}, "Eyeglasses", flag) == "he is not wearing eyeglasses"


@given(st.sets(st.sampled_from(sorted(MADE)), min_size=1, max_size=4), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_what_nobody_wrote_for_is_asked_and_answered(names, seed):
    vocabulary, rng = made(*sorted(names)), random.Random(seed)
    labels = sample_labels(np.random.default_rng(seed), vocabulary)
    for item in exchanges(labels, rng, 60, vocabulary):
        said = {"Yes": True, "No": False}.get(item.answer.split(",")[0])
        assert read(item.reading, vocabulary).verdict(labels) is said, item
        about_label = item.reading not in ("other", "who", "describe")
        text = item.question + item.answer if about_label else item.answer
        assert not re.search(r"[{}<>|=_]", text), item


def test_questions_of_made_labels_are_answered_by_their_values():
    vocabulary, rng, found = made(*MADE), random.Random(0), defaultdict(set)
    draw, words = np.random.default_rng(0), set()
    for _ in range(60):
        labels = sample_labels(draw, vocabulary)
        for item in exchanges(labels, rng, 40, vocabulary):
            said = {"Yes": True, "No": False}.get(item.answer.split(",")[0])
            assert read(item.reading, vocabulary).verdict(labels) is said, item
            found[item.question.lower().rstrip(" ?.")].add(item.reading)
            words.add(item.reading.split()[0])
    assert words == {*(label.word for label in vocabulary), "what", "describe", "who", "other"}
    assert not [(question, several) for question, several in found.items() if len(several) > 1]


def test_a_label_of_ones_own_keeps_its_words():
    """A helmet is a hat to nano; where a vocabulary tells helmets, it is not."""
    vocabulary = load_vocabulary("nano").combined(made("Wearing_Helmet"))
    labels = sample_labels(np.random.default_rng(0), vocabulary)
    asked = [
        item for item in exchanges(labels, random.Random(0), 8000, vocabulary) if "helmet" in item.question.lower()
    ]
    readings = {item.reading for item in asked}
    assert "wearing-helmet yes" in readings and not any(reading.startswith("hat") for reading in readings)


COMPARED = {
    r"(?:younger than|under|below|less than|not yet|aged under|under the age of) (\d+)": lambda v, n: v < n,
    r"(?:older than|over|above|more than|over the age of) (\d+)": lambda v, n: v > n,
    r"(?:at least|no younger than|not younger than) (\d+)": lambda v, n: v >= n,
    r"(\d+) or (?:older|over)": lambda v, n: v >= n,
    r"(?:at most|no older than|not older than) (\d+)": lambda v, n: v <= n,
    r"(\d+) or (?:younger|under)": lambda v, n: v <= n,
    r"(?:between|from) (\d+) (?:and|to) (\d+)": lambda v, n, m: n <= v <= m,
    r"in (?:his|her|their|my) (\d)0s": lambda v, n: v // 10 == n,
}
"""What is asked about an age -> whether it holds for an age."""


@pytest.fixture(scope="module")
def ages():
    """Questions about an age, and their readings."""
    vocabulary, rng, draw = load_vocabulary("demographics"), random.Random(4), np.random.default_rng(4)
    faces = (sample_labels(draw, vocabulary) for _ in range(300))
    items = [item for labels in faces for item in exchanges(labels, rng, 25, vocabulary)]
    return [(item.question.lower(), item.reading) for item in items if item.reading.startswith("age ")]


@pytest.mark.parametrize("pattern", COMPARED)
def test_a_comparison_holds_for_the_ages_that_it_says(ages, pattern):
    vocabulary, seen = load_vocabulary("demographics"), 0
    for question, reading in ages:
        match = re.search(rf"(?<!not )(?<!no ){pattern}\b", question)
        if match and not re.search(
            r"\bnot\b|n't|\b(?:fifty|turned|\d+ for|\d+ last)\b", question.replace(match[0], "")
        ):
            holds = [COMPARED[pattern](age, *map(int, match.groups())) for age in range(15, 91)]
            decided = read(reading, vocabulary)
            assert holds == [decided.verdict({"Age_Years": age}) for age in range(15, 91)], (question, reading)
            seen += 1
    assert seen > 20


def test_ages_are_answered_in_words():
    vocabulary = load_vocabulary("demographics")
    labels = {"Gender": "female", "Age_Years": 42, "Age": "35-49", "Race": "latino"}
    assert answer("age <48", labels, vocabulary) == "Yes, she looks about 42 years old."
    assert answer("age >=65", labels, vocabulary) == "No, she looks about 42 years old."
    assert answer("group 35-49", labels, vocabulary) == "Yes, she looks about 42 years old."
    assert answer("what age", labels, vocabulary) == "She looks about 42 years old."
    assert state(labels, "Age", vocabulary) == "she looks about 42 years old"
    assert describe(labels, vocabulary) == "A woman about 42 years old. She looks Latino."


@pytest.mark.parametrize(
    ("names", "labels", "text"),
    [
        (("Wearing_Helmet",), {"Wearing_Helmet": False}, "The face: they are not wearing a helmet."),
        (("Wearing_Helmet", "Eyes_Closed", "Eye_Color"), {"Wearing_Helmet": True, "Eyes_Closed": False,
          "Eye_Color": "blue"}, "The face: they are wearing a helmet. Their eye color is blue."),
        (("Big_Nose", "Asleep", "Head_Tilt_Degrees"), {"Big_Nose": True, "Asleep": True, "Head_Tilt_Degrees": 7},
         "The face: they have a big nose. They are asleep. Their head tilt is about 7 degrees."),
    ],
)  # fmt: skip
def test_a_description_says_what_the_vocabulary_has(names, labels, text):
    assert describe(labels, made(*names)) == text


def test_a_description_of_all_of_celeba_stays_short():
    vocabulary = load_vocabulary("celeba")
    held = ("Male", "Young", "No_Beard", "Wearing_Hat", "Big_Nose", "Black_Hair", "Smiling", "Oval_Face", "Attractive")
    labels = {name: name in held for name in vocabulary.names}
    assert describe(labels, vocabulary) == (
        "A young man. He has no beard. He is wearing a hat, but no eyeglasses, earrings, necklace or necktie. "
        "He is attractive and smiling. He has a big nose and an oval face. His hair is black."
    )


def test_an_expression_is_told_with_the_smile():
    vocabulary = load_vocabulary("expression")
    labels = {"Smiling": True, "Expression": "surprise"}
    assert answer("what expression", labels, vocabulary) == "They look surprised and are smiling."
    assert describe(labels, vocabulary) == "The face: they look surprised and are smiling."
    both = load_vocabulary("nano").combined(vocabulary)
    face = sample_labels(np.random.default_rng(0), both) | {"Gender": "male", "Expression": "happy", "Smiling": True}
    told = answer("what expression", face | {"Teeth_Visible": True}, both)
    assert told == "He looks happy and is smiling with his teeth visible."
