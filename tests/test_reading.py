"""What a question asks: readings over any vocabulary decide the answer, and say what it rests on."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceinsight.models.vocabulary import load_vocabulary
from faceinsight.runtime.label import Label, fact_value
from faceinsight.runtime.reading import of_bounds, of_values, read
from faceinsight.runtime.vocabulary import Vocabulary

from .made import told, vocabularies

NANO, DEMOGRAPHICS = load_vocabulary("nano"), load_vocabulary("demographics")
FACE = {
    "Gender": "male", "Age": "50-64", "Eyeglasses": True, "Smiling": False, "Teeth_Visible": False, "Mustache": False,
    "Beard": True, "Bald": False, "Receding_Hairline": False, "Hair_Color": "gray", "Long_Hair": False,
    "Wearing_Hat": False, "Wearing_Necktie": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "rests_on", "verdict"),
    [
        ("beard yes", ["Beard"], True),
        ("beard no", ["Beard"], False),
        ("hair gray white", ["Hair_Color"], True),
        ("hair black", ["Hair_Color"], False),
        ("age 35-49 50-64", ["Age"], True),
        ("facial yes", ["Mustache", "Beard"], True),
        ("facial no", ["Mustache", "Beard"], False),
        ("what age", ["Age"], None),
        ("what hair", ["Hair_Color", "Long_Hair", "Bald"], None),
        ("what hair color", ["Hair_Color", "Bald"], None),
        ("what facial hair", ["Mustache", "Beard"], None),
        ("describe", [label.name for label in NANO], None),
        ("who", [], None),
        ("other", [], None),
        ("", [], None),
        ("what", [], None),
        ("what weather", [], None),
        ("what race", [], None),
        ("race white", [], None),
        ("hair", ["Hair_Color"], None),
        ("hair green", ["Hair_Color"], None),
        ("beard maybe", ["Beard"], None),
        ("facial maybe", [], None),
        ("describe beard", [], None),
    ],
)
def test_a_reading_says_what_the_answer_rests_on_and_whether_it_is_yes(text, rests_on, verdict):
    reading = read(text, NANO)
    assert list(reading.labels) == rests_on and reading.verdict(FACE) is verdict


@pytest.mark.parametrize(
    ("text", "years", "verdict"),
    [
        ("age <48", 47, True), ("age <48", 48, False), ("age >=48", 48, True), ("age 30..40", 39, True),
        ("age 30..40", 40, False), ("age <30 >=40", 40, True), ("age <30 >=40", 35, False), ("group 35-49", 35, True),
        ("group 35-49 50-64", 34, False), ("group 65+", 120, True), ("age", 40, None), ("what age", 40, None),
        ("what group", 40, None), ("group", 40, None), ("group 30-40", 40, None), ("age about 40", 40, None),
        ("age 40", 40, None), ("age 50..40", 45, None), ("age 40..40", 40, None), ("age nan..50", 45, None),
    ],
)  # fmt: skip
def test_a_number_is_compared_by_its_value(text, years, verdict):
    attributes = dict.fromkeys(DEMOGRAPHICS.attribute_names, 0.5)
    labels = DEMOGRAPHICS.decide(attributes, {"Age_Years": years})
    reading = read(text, DEMOGRAPHICS)
    assert reading.labels == ("Age_Years",) and reading.verdict(labels) is verdict


def test_labels_that_are_not_told_give_no_verdict():
    assert read("beard yes", NANO).verdict({}) is None
    assert read("facial yes", NANO).verdict({"Beard": True}) is None
    assert read("age <40", DEMOGRAPHICS).verdict({"Age": "0-34"}) is None


@given(told(st.sampled_from((NANO, DEMOGRAPHICS)) | vocabularies()), st.data())
def test_what_is_written_of_values_and_ranges_is_read_as_such(case, how):
    vocabulary, attributes, numbers, labels = case
    label = how.draw(st.sampled_from(vocabulary.labels))
    if label.kind == "number":
        low, high = label.bounds
        whole = st.integers(0, 4).map(lambda k: low + k * (high - low) / 4)
        cuts = sorted(how.draw(st.tuples(whole, whole)))
        ranges = [(-math.inf, cuts[0]), (cuts[1], math.inf)]
        if cuts[0] < cuts[1]:
            ranges.append((cuts[0], cuts[1]))
        chosen = how.draw(st.lists(st.sampled_from(ranges), min_size=1))
        reading = read(of_bounds(label, *chosen), vocabulary)
        wanted = any(low <= labels[label.name] < high for low, high in chosen)
    else:
        chosen = how.draw(st.lists(st.sampled_from(label.value_names), min_size=1))
        reading = read(of_values(label, tuple(chosen)), vocabulary)
        wanted = labels[label.name] in chosen
    assert reading.labels == (label.name,) and reading.verdict(labels) is wanted
    confidence = reading.confidence(vocabulary, labels, attributes, numbers)
    assert 0 <= confidence <= 1


@given(told(vocabularies()), st.data())
def test_a_question_about_groups_agrees_with_the_group_that_is_told(case, how):
    vocabulary, _, _, labels = case
    for label in vocabulary.numbers:
        if label.groups:
            chosen = how.draw(st.sampled_from([group for group, _ in label.groups.values]))
            reading = read(f"{label.groups.word} {fact_value(chosen)}", vocabulary)
            assert reading.verdict(labels) is (labels[label.groups.name] == chosen)


@given(vocabularies(), st.text("aeh lnowty<>=.0123456789-é\u3000\n", max_size=30))
def test_whatever_a_model_writes_is_read(vocabulary, text):
    labels = vocabulary.decide(*vocabulary.outputs([0.4] * (len(vocabulary.attributes) + len(vocabulary.numbers))))
    for words in (text, f"{vocabulary.labels[0].word} {text}", f"what {text}"):
        reading = read(words, vocabulary)
        assert set(reading.labels) <= {label.name for label in vocabulary}
        assert reading.verdict(labels) in (True, False, None)


def test_confidence_is_the_least_of_what_the_answer_rests_on():
    attributes = dict.fromkeys(NANO.attribute_names, 0.1) | {"Beard": 0.8, "Mustache": 0.3, "Gray_Hair": 0.6}
    assert read("beard yes", NANO).confidence(NANO, FACE, attributes, {}) == pytest.approx(0.8)
    assert read("facial no", NANO).confidence(NANO, FACE, attributes, {}) == pytest.approx(0.7)
    assert read("what hair color", NANO).confidence(NANO, FACE, attributes, {}) == pytest.approx(0.6)
    assert read("who", NANO).confidence(NANO, FACE, attributes, {}) is None


def test_confidence_in_a_comparison_falls_near_its_bound():
    data = DEMOGRAPHICS.to_json()
    data["labels"]["Age_Years"]["spread"] = 3.0
    vocabulary = Vocabulary.from_json(data)
    attributes = dict.fromkeys(vocabulary.attribute_names, 0.5)

    def confidence(text, years):
        labels = vocabulary.decide(attributes, {"Age_Years": years})
        return read(text, vocabulary).confidence(vocabulary, labels, attributes, {"Age_Years": years})

    for text in ("age <48", "age >=48"):
        found = [confidence(text, years) for years in (20, 40, 46, 48, 50, 56, 76)]
        assert min(found) == found[3] == pytest.approx(0.5) and found[0] > 0.999 and found[-1] > 0.999
        assert found[:4] == sorted(found[:4], reverse=True) and found[3:] == sorted(found[3:])
    # ranges that overlap are counted once
    assert confidence("age <48 <60 <70", 20) <= 1
    # a number that is only told has no probability
    assert confidence("what age", 40) is None


def test_the_scale_of_the_spread_is_the_logistic_distributions():
    label = Label.from_json("Width", {"kind": "number", "prompt": "w", "unit": "cm", "range": [0, 100], "spread": 2.0})
    wanted = 1 / (1 + math.exp(-1)) - 1 / (1 + math.exp(1))
    assert label.probability(50, (48, 52)) == pytest.approx(wanted)
    assert label.probability(50, (-math.inf, math.inf)) == 1
    assert label.probability(50, (1e6, math.inf)) == pytest.approx(0)
