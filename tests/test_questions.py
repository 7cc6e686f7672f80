"""Question/answer pairs: every answer follows from the labels, whatever the phrasing."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceinsight.models.data.answers import IDENTITY, OFF_TOPIC, answer, answer_what, describe, state
from faceinsight.models.data.language import label_language, topic_language
from faceinsight.models.data.questions import exchange, exchanges
from faceinsight.models.data.sampling import sample_labels
from faceinsight.models.data.tokenizer import train_tokenizer
from faceinsight.models.presets import preset
from faceinsight.models.vocabulary import load_vocabulary
from faceinsight.runtime.answering import READING_TOKENS
from faceinsight.runtime.prompt import Prompter
from faceinsight.runtime.reading import of_values, read
from faceinsight.runtime.vocabulary import Vocabulary

pytestmark = pytest.mark.slow

NANO = load_vocabulary("nano")
FLAGS = [label.name for label in NANO if label.kind == "flag"]
RACE = Vocabulary((load_vocabulary("demographics")["Race"],))
MORE = {
    "race": NANO.combined(RACE), "expression": NANO.combined(load_vocabulary("expression")),
    "both": NANO.combined(load_vocabulary("expression"), RACE),
}  # fmt: skip
ODDS = st.floats(0.01, 0.99)


@st.composite
def faces(draw) -> dict:
    """Labels that satisfy every rule."""
    return NANO.decide({name: draw(ODDS) for name in NANO.attribute_names}, {})


FACE = {
    "Gender": "male", "Age": "35-49", "Hair_Color": "gray", "Eyeglasses": True, "Smiling": True, "Teeth_Visible": False,
    "Mustache": True, "Beard": False, "Bald": False, "Receding_Hairline": True, "Long_Hair": False,
    "Wearing_Hat": False, "Wearing_Necktie": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def of_one_face():
    """Many exchanges about FACE."""
    return exchanges(FACE, random.Random(9), 25_000, NANO)


@pytest.fixture(scope="module")
def of_moods():
    """Many exchanges about faces whose expression and race are told too."""
    draw, rng = np.random.default_rng(3), random.Random(3)
    faces = (sample_labels(draw, MORE["both"]) for _ in range(500))
    return [item for labels in faces for item in exchanges(labels, rng, 20, MORE["both"])]


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


def agrees(text: str, labels: dict) -> bool:
    text = re.sub(r"^(Yes|No), ", "", text)
    return all(labels[label] == value for label, value in facts(text).items())


def readings() -> list[str]:
    """Every yes/no reading about one value, and the one that is its opposite."""
    found = []
    for label in NANO:
        for value in label.value_names:
            others = tuple(other for other in label.value_names if other != value)
            found += [of_values(label, (value,)), of_values(label, others)]
    return [*found, "facial yes", "facial no"]


@given(faces())
@settings(max_examples=100, deadline=None)
def test_no_answer_contradicts_the_labels(labels):
    for reading in readings():
        text = answer(reading, labels, NANO)
        assert text.startswith("Yes, " if read(reading, NANO).verdict(labels) else "No, ")
        assert agrees(text, labels), (text, labels)
    for topic in NANO.topics:
        assert agrees(answer_what(labels, topic.name, NANO), labels), (topic, labels)
    text = describe(labels, NANO)
    assert agrees(text, labels), (text, labels)
    assert len(text.split()) <= 55
    assert 3 <= text.count(".") <= 4


PARTS = {
    phrase
    for language in (*map(label_language, NANO), topic_language("facial hair"))
    for concept in language.phrases.values() for phrases in concept.values() for phrase in phrases if "=" in phrase
}  # fmt: skip
"""The tables' own notation for a part of the face and its state, "hair=black"."""


@given(faces(), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_exchanges_agree_with_the_labels(labels, seed):
    for item in exchanges(labels, random.Random(seed), 20, NANO):
        assert item.answer.isascii()
        assert len(item.question.split()) <= 50
        assert not re.search(r"[{}<>|]", item.question), item.question
        assert not any(item.question.count(phrase) for phrase in PARTS), item.question
        if read(item.reading, NANO).labels:
            assert agrees(item.answer, labels), item
        else:
            assert item.answer in (IDENTITY, OFF_TOPIC)


@pytest.mark.parametrize("flag", FLAGS)
def test_the_verdict_follows_the_asked_flag_and_no_other(flag):
    labels = FACE | {"Mustache": False, "Receding_Hairline": False}
    flipped = labels | {flag: not labels[flag]}
    asked = 0
    for seed in range(1500):
        one, other = (exchange(face, random.Random(seed), NANO) for face in (labels, flipped))
        assert one.question == other.question
        if one.answer[:3] in ("Yes", "No,"):
            same = flag not in read(one.reading, NANO).labels
            assert (one.answer[:3] == other.answer[:3]) == same, (one, other)
            asked += not same
    assert asked > 30


@pytest.mark.parametrize(
    ("reading", "labels", "said"),
    [
        ("eyeglasses yes", {}, "Yes, he is wearing eyeglasses."),
        ("eyeglasses yes", {"Gender": "female", "Eyeglasses": False}, "No, she is not wearing eyeglasses."),
        ("beard no", {}, "Yes, he does not have a beard."),
        ("beard no", {"Beard": True}, "No, he has a beard."),
        ("hair gray white", {"Hair_Color": "white"}, "Yes, his hair is white."),
        ("hair gray", {"Hair_Color": "white"}, "No, his hair is white."),
        ("gender female", {}, "No, this is a man."),
        ("age 35-49 50-64", {}, "Yes, he looks between 35 and 49 years old."),
        ("age 65+", {}, "No, he looks between 35 and 49 years old."),
        ("facial no", {"Mustache": False}, "Yes, he has no facial hair."),
        ("what hair color", {"Bald": True}, "He is bald on top; the remaining hair is gray."),
        ("what facial hair", {"Beard": True}, "He has a mustache and a beard."),
        ("what facial hair", {}, "He has a mustache but no beard."),
        ("what expression", {}, "He is smiling with his mouth closed."),
        ("what expression", {"Smiling": False}, "His expression is neutral."),
        ("what wearing", {}, "He is wearing eyeglasses and a necktie."),
        ("what wearing", {"Eyeglasses": False, "Wearing_Necktie": False}, "No hat, eyeglasses or necktie is visible."),
        ("what necktie", {}, "He is wearing a necktie."),
        ("describe", {}, "A man between 35 and 49 years old with short gray hair and a receding hairline. He is "
         "smiling with his mouth closed. He has a mustache but no beard. He is wearing eyeglasses and a necktie, but "
         "no hat."),
        ("who", {}, "I describe faces; I do not identify people."),
        ("other", {}, "That is not something I can tell from a face; ask me about its attributes."),
    ],
)  # fmt: skip
def test_canonical_answers(reading, labels, said):
    assert answer(reading, FACE | labels, NANO) == said


def test_kinds_are_in_proportion_and_every_label_has_many_surface_forms(of_one_face):
    items = of_one_face
    yes_no = [item for item in items if item.answer.startswith(("Yes,", "No,"))]
    assert abs(len(yes_no) / len(items) - 0.62) < 0.02
    counts = Counter(item.answer for item in items)
    assert abs(counts[IDENTITY] / len(items) - 0.05) < 0.01
    assert abs(counts[OFF_TOPIC] / len(items) - 0.12) < 0.01
    forms = defaultdict(set)
    for item in yes_no:
        for label in read(item.reading, NANO).labels:
            forms[label].add(item.question.lower().rstrip(" ?."))
    assert set(forms) == set(NANO.names)
    assert min(len(found) for found in forms.values()) >= 300
    refused = {item.question for item in items if item.answer == OFF_TOPIC}
    assert len(refused) >= 1000


def test_one_question_has_one_reading(of_one_face):
    found = defaultdict(set)
    for item in of_one_face:
        found[item.question.lower().rstrip(" ?.")].add(item.reading)
    assert not [(question, several) for question, several in found.items() if len(several) > 1]


def test_deterministic_by_seed():
    first, second = (exchanges(FACE, random.Random(11), 300, NANO) for _ in range(2))
    assert first == second
    assert first != exchanges(FACE, random.Random(12), 300, NANO)


@pytest.mark.parametrize("name", ["nano", "celeba", "demographics", "expression", "race", "both"])
def test_the_verdict_of_a_reading_is_that_of_the_answer(name):
    vocabulary = MORE[name] if name in MORE else load_vocabulary(name)
    draw, rng, kinds = np.random.default_rng(2), random.Random(2), Counter()
    for _ in range(80):
        labels = sample_labels(draw, vocabulary)
        for item in exchanges(labels, rng, 20, vocabulary):
            kinds[item.reading.split()[0]] += 1
            said = {"Yes": True, "No": False}.get(item.answer.split(",")[0])
            assert read(item.reading, vocabulary).verdict(labels) is said, item
            assert item.answer == answer(item.reading, labels, vocabulary)
    words = {label.word for label in vocabulary} | {topic.word for topic in vocabulary.topics if topic.word}
    assert set(kinds) == {*words, "what", "describe", "who", "other"}


@pytest.mark.parametrize("name", ["race", "expression", "both"])
def test_an_expression_and_a_race_are_told_where_the_vocabulary_has_them(name):
    draw, rng, seen = np.random.default_rng(0), random.Random(1), set()
    added = [label for label in MORE[name] if label.name in ("Expression", "Race")]
    for _ in range(400):
        labels = sample_labels(draw, MORE[name])
        for item, label in itertools.product(exchanges(labels, rng, 5, MORE[name]), added):
            if item.reading.split()[0] == label.word:
                seen.add((label.name, labels[label.name]))
                assert state(labels, label.name, MORE[name]) in item.answer
    assert seen == {(label.name, value) for label in added for value in label.value_names}


def test_a_question_about_an_expression_is_not_one_about_a_smile(of_moods):
    """Where moods are told apart, "is she happy" does not ask for a smile."""
    found = defaultdict(set)
    for item in of_moods:
        found[item.question.lower().strip(" ?.")].add(item.reading)
    twice = {question: several for question, several in found.items() if len(several) > 1}
    assert not [several for several in twice.values() if any("expression" in reading for reading in several)], twice


@pytest.mark.parametrize("word", ["angry", "mood", "ethnicity", "american"])
def test_what_a_model_can_tell_it_does_not_refuse(word, of_one_face, of_moods):
    def refused(items):
        """Questions about a person; a dog may well be asked for its mood."""
        questions = (item.question.lower() for item in items if item.reading == "other")
        return [text for text in questions if not re.search(r"\b(?:the|your|my|that) \w+(?:'s)? ", text)]

    assert any(word in text for text in refused(of_one_face))
    assert not any(word in text for text in refused(of_moods))


def test_what_only_other_vocabularies_tell_is_refused():
    expression = load_vocabulary("expression")
    draw, rng = np.random.default_rng(0), random.Random(0)
    items = exchanges(sample_labels(draw, expression), rng, 4000, expression)
    refused = " ".join(item.question.lower() for item in items if item.reading == "other")
    assert re.search(r"does (?:he|she) (?:have|wear)", refused) and "beard" in refused and "gray" in refused


def test_a_reading_fits_the_room_for_it():
    template, vocabulary = preset("nano").prompt, MORE["both"]
    tokenizer = train_tokenizer(template, 1536, vocabulary, count=800)
    prompter = Prompter(tokenizer, template, 1536, vocabulary)
    for label in vocabulary:
        assert len(prompter.encode(of_values(label, label.value_names))) < READING_TOKENS
    labels = sample_labels(np.random.default_rng(0), vocabulary)
    assert f"race {labels['Race'].replace(' ', '-')}" in prompter.decode(prompter.prefix(labels, 0))
