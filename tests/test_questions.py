"""Question/answer pairs: every answer follows from the labels, whatever the phrasing."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceinsight.models.data.answers import (
    IDENTITY,
    OFF_TOPIC,
    answer_what,
    answer_yes_no,
    describe,
    named_values,
    state,
)
from faceinsight.models.data.questions import exchange, exchanges
from faceinsight.models.data.synthetic import sample_labels
from faceinsight.models.data.vocabulary import MORE_SPECS, SPECS, TOPICS, WRITTEN
from faceinsight.runtime.labels import FLAGS, GROUPS, LABELS, MORE, NAMES, labels_from_assignment, mentioned
from faceinsight.runtime.prompt import FACT_NAMES, verdict
from faceinsight.runtime.rules import consistent_assignment

ODDS = st.floats(0.01, 0.99)


@st.composite
def faces(draw) -> dict:
    """Labels that satisfy every rule."""
    return labels_from_assignment(consistent_assignment({name: draw(ODDS) for name in NAMES}))


FACE = {
    "Gender": "male", "Age": "35-49", "Hair_Color": "gray", "Eyeglasses": True, "Smiling": True, "Teeth_Visible": False,
    "Mustache": True, "Beard": False, "Bald": False, "Receding_Hairline": True, "Long_Hair": False,
    "Wearing_Hat": False, "Wearing_Necktie": True,
}  # fmt: skip


def facts(text: str) -> dict:
    """What a text claims, read back by patterns independent of the module under test."""
    text = text.lower()
    claims: dict = {}

    def claim(label, value):
        assert claims.setdefault(label, value) == value, (label, text)

    if match := re.search(r"\b(?:this is a|^a) (man|woman)\b", text):
        claim("Gender", {"man": "male", "woman": "female"}[match[1]])
    if match := re.search(r"\b(he|she|his|her)\b", text):
        claim("Gender", "male" if match[1] in ("he", "his") else "female")
    for words, value in (("under 35", "0-34"), ("between 35", "35-49"), ("between 50", "50-64"), ("65 years", "65+")):
        if words in text:
            claim("Age", value)
    if match := re.search(r"\b(black|brown|blond|red|gray|white)\b", text):
        claim("Hair_Color", match[1])
    if match := re.search(r"\b(long|short)\b", text):
        claim("Long_Hair", match[1] == "long")
    if "smiling" in text or "expression is neutral" in text:
        claim("Smiling", not ("not smiling" in text or "neutral" in text))
    if "teeth" in text or "mouth closed" in text:
        claim("Teeth_Visible", not ("not visible" in text or "mouth closed" in text))
    if "bald" in text:
        claim("Bald", "not bald" not in text)
    if "hairline" in text:
        claim("Receding_Hairline", "not receding" not in text)
    for sentence in re.split(r"[.;]", text):
        for label, word in (("Mustache", "mustache"), ("Beard", "beard"), ("Eyeglasses", "eyeglasses"),
                            ("Wearing_Hat", "hat"), ("Wearing_Necktie", "necktie")):  # fmt: skip
            if match := re.search(rf"\b{word}\b", sentence):
                before = sentence[: match.start()]
                claim(label, not re.search(r"\b(not|no)\b", before))
        if "no facial hair" in sentence:
            claim("Mustache", False)
            claim("Beard", False)
    return claims


def agrees(answer: str, labels: dict) -> bool:
    text = re.sub(r"^(Yes|No), ", "", answer)
    return all(labels[label] == value for label, value in facts(text).items())


@given(faces())
@settings(max_examples=150, deadline=None)
def test_no_answer_contradicts_the_labels(labels):
    for label, values in SPECS.items():
        for value in values:
            yes, no = answer_yes_no(labels, label, value), answer_yes_no(labels, label, value, absent=True)
            assert {yes[:3], no[:3]} == {"Yes", "No,"}
            assert yes.split(", ", 1)[1] == no.split(", ", 1)[1]
            assert agrees(yes, labels), (yes, labels)
    for topic in TOPICS:
        assert agrees(answer_what(labels, topic), labels), (topic, answer_what(labels, topic), labels)
    text = describe(labels)
    assert agrees(text, labels), (text, labels)
    assert len(text.split()) <= 55
    assert 3 <= text.count(".") <= 4


PARTS = {
    phrase for values in SPECS.values() for concept in values.values() for phrases in concept.values()
    for phrase in phrases if "=" in phrase
}  # fmt: skip
"""The tables' own notation for a part of the face and its state, "hair=black"."""


@given(faces(), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_exchanges_agree_with_the_labels(labels, seed):
    for item in exchanges(labels, random.Random(seed), 20):
        assert item.answer.isascii()
        assert len(item.question.split()) <= 50
        assert not re.search(r"[{}<>|]", item.question), item.question
        assert not any(item.question.count(phrase) for phrase in PARTS), item.question
        assert set(item.labels) <= set(LABELS)
        if item.labels:
            assert agrees(item.answer, labels), item
        else:
            assert item.answer in (IDENTITY, OFF_TOPIC)


@pytest.mark.parametrize("flag", FLAGS)
def test_the_verdict_follows_the_asked_flag_and_no_other(flag):
    labels = FACE | {"Mustache": False, "Receding_Hairline": False}
    flipped = labels | {flag: not labels[flag]}
    asked = 0
    for seed in range(1500):
        one, other = exchange(labels, random.Random(seed)), exchange(flipped, random.Random(seed))
        assert one.question == other.question
        if one.answer[:3] in ("Yes", "No,"):
            same = flag not in one.labels
            assert (one.answer[:3] == other.answer[:3]) == same, (one, other)
            asked += not same
    assert asked > 30


@pytest.mark.parametrize(
    ("label", "value", "absent", "labels", "answer"),
    [
        ("Eyeglasses", None, False, {}, "Yes, he is wearing eyeglasses."),
        ("Eyeglasses", None, False, {"Gender": "female", "Eyeglasses": False}, "No, she is not wearing eyeglasses."),
        ("Beard", True, True, {}, "Yes, he does not have a beard."),
        ("Beard", True, True, {"Beard": True}, "No, he has a beard."),
        ("Hair_Color", "gray or white", False, {"Hair_Color": "white"}, "Yes, his hair is white."),
        ("Hair_Color", "gray", False, {"Hair_Color": "white"}, "No, his hair is white."),
        ("Gender", "female", False, {}, "No, this is a man."),
        ("Age", "35-64", False, {}, "Yes, he looks between 35 and 49 years old."),
        ("Age", "65+", False, {}, "No, he looks between 35 and 49 years old."),
        ("Facial_Hair", False, False, {"Mustache": False}, "Yes, he has no facial hair."),
    ],
)
def test_canonical_yes_no(label, value, absent, labels, answer):
    assert answer_yes_no(FACE | labels, label, value, absent) == answer


@pytest.mark.parametrize(
    ("topic", "labels", "answer"),
    [
        ("hair color", {"Bald": True}, "He is bald on top; the remaining hair is gray."),
        ("facial hair", {"Beard": True}, "He has a mustache and a beard."),
        ("facial hair", {}, "He has a mustache but no beard."),
        ("expression", {}, "He is smiling with his mouth closed."),
        ("expression", {"Smiling": False}, "His expression is neutral."),
        ("wearing", {}, "He is wearing eyeglasses and a necktie."),
        ("wearing", {"Eyeglasses": False, "Wearing_Necktie": False}, "No hat, eyeglasses or necktie is visible."),
    ],
)
def test_canonical_what(topic, labels, answer):
    assert answer_what(FACE | labels, topic) == answer


def test_kinds_are_in_proportion_and_every_label_has_many_surface_forms():
    items = exchanges(FACE, random.Random(7), 20_000)
    yes_no = [item for item in items if item.answer.startswith(("Yes,", "No,"))]
    assert abs(len(yes_no) / len(items) - 0.62) < 0.02
    counts = Counter(item.answer for item in items)
    assert abs(counts[IDENTITY] / len(items) - 0.05) < 0.01
    assert abs(counts[OFF_TOPIC] / len(items) - 0.12) < 0.01
    forms = defaultdict(set)
    for item in yes_no:
        for label in item.labels:
            forms[label].add(item.question.lower().rstrip(" ?."))
    assert set(forms) == set(LABELS)
    assert min(len(found) for found in forms.values()) >= 300
    refused = {item.question for item in items if item.answer == OFF_TOPIC}
    assert len(refused) >= 1000


def test_one_question_has_one_reading():
    readings = defaultdict(set)
    for item in exchanges(FACE, random.Random(3), 40_000):
        readings[item.question.lower().rstrip(" ?.")].add(item.reading)
    assert not [(question, found) for question, found in readings.items() if len(found) > 1]


def test_a_written_question_says_one_thing_only():
    places = defaultdict(set)
    for label, table in WRITTEN["yes_no"].items():
        assert label in SPECS and table
        for value, questions in table.items():
            assert label in GROUPS or value in (True, False)
            assert label not in GROUPS or value == "either" or set(named_values(value)) <= set(GROUPS[label])
            for question in questions:
                places[question.lower().rstrip(" ?.")].add((label, value))
    assert not [(question, found) for question, found in places.items() if len(found) > 1]


def test_refusals_are_exact():
    assert IDENTITY == "I describe faces; I do not identify people."
    assert OFF_TOPIC == "That is not something I can tell from a face; ask me about its attributes."


def test_deterministic_by_seed():
    first, second = (exchanges(FACE, random.Random(11), 300) for _ in range(2))
    assert first == second
    assert first != exchanges(FACE, random.Random(12), 300)


@pytest.mark.parametrize("label", LABELS)
def test_an_answer_speaks_of_its_label_only(label):
    draw = np.random.default_rng(3)
    own = {name for name in GROUPS[label].values() if name} if label in GROUPS else {label}
    for _ in range(30):
        found = set(mentioned(state(sample_labels(draw), label)))
        # "she" is how one speaks, not what is said
        assert found and found <= own, (label, found)


def test_every_value_has_a_concept():
    for label, values in GROUPS.items():
        assert set(values) <= set((SPECS | MORE_SPECS)[label])
    assert set(LABELS) < set(SPECS) and set(MORE) == set(MORE_SPECS)


def test_a_reading_decides_the_verdict():
    """What the runtime decides from a reading is what the answer to it says."""
    draw, rng = np.random.default_rng(2), random.Random(2)
    kinds = Counter()
    for _ in range(100):
        labels = sample_labels(draw)
        for item in exchanges(labels, rng, 20):
            kinds[item.reading.split()[0]] += 1
            said = {"Yes": True, "No": False}.get(item.answer.split(",")[0])
            assert verdict(item.reading, labels) is said, item
    assert set(kinds) == {*(FACT_NAMES[label] for label in LABELS), "facial", "what", "describe", "who", "other"}


@pytest.mark.parametrize("reading", ["", "beard", "beard blond", "age 65+ old", "yes", "what age", "tail no"])
def test_a_garbled_reading_decides_nothing(reading):
    assert verdict(reading, FACE) is None
