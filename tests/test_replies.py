"""What a free reply says is read as a person would read it: Yes or No, a value, a number, a range."""

from __future__ import annotations

import numpy as np
import pytest

from faceinsight.benchmarks.replies import says_yes
from faceinsight.benchmarks.survey import questions_about
from faceinsight.models.data.answers import state
from faceinsight.models.data.sampling import sample_labels
from faceinsight.models.vocabulary import load_vocabulary
from faceinsight.runtime.vocabulary import Vocabulary

EVERYTHING = load_vocabulary("nano", "expression")
PEOPLE = load_vocabulary("demographics")
TEMPERATURE = {"kind": "number", "prompt": "a warm face", "unit": "degrees", "range": [-20, 45], "step": 0.5}
WARM = Vocabulary.from_json({"labels": {"Skin_Temperature": TEMPERATURE}})


def question(name, vocabulary=EVERYTHING):
    return next(q for label in vocabulary for q in questions_about(label) if q.name == name)


def told(name, reply, vocabulary=EVERYTHING):
    return question(name, vocabulary).told(reply)[name]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("Yes", True), ("yes.", True), ("No, he is not.", False), ("The answer is yes.", True), ("Answer: No", False),
        ("**Yes**", True), ('"No"', False), ("My answer is: no", False), ("The answer: **No**", False),
        ("", None), ("Perhaps", None), ("Yes or no?", None), ("yes/no", None), ("No idea.", None), ("Nobody", None),
        ("No one can tell.", None), ("The answer is not yes", None), ("Not really", None), ("Yesterday", None),
    ],
)  # fmt: skip
def test_yes_and_no_are_read(reply, said):
    assert says_yes(reply) is said


@pytest.mark.parametrize(
    ("reply", "group"),
    [
        ("Under 35", "0-34"), ("under thirty-five", "0-34"), ("34 or younger", "0-34"), ("early 30s", "0-34"),
        ("30 to 35", "0-34"), ("a young woman", "0-34"), ("35 to 49", "35-49"), ("35–49 years", "35-49"),
        ("thirty five to forty nine", "35-49"), ("between 40 and 50", "35-49"), ("in her late thirties", "35-49"),
        ("40's", "35-49"), ("45", "35-49"), ("50-60", "50-64"), ("in his fifties", "50-64"), ("about 55.", "50-64"),
        ("early to mid 50s", "50-64"), ("He is 58 years old, so 50 to 64.", "50-64"), ("90% sure: 50 to 64", "50-64"),
        ("50 to 64, not 65 and older", "50-64"), ("not under 35 but 50 to 64", "50-64"), ("sixty-five", "65+"),
        ("65 and older", "65+"), ("65+", "65+"), ("65 years or more", "65+"), ("over 65", "65+"), ("late 60s", "65+"),
        ("a 70-year-old man", "65+"), ("in his 60s, so 65 and older", "65+"), ("an elderly man", "65+"),
        ("", None), ("I cannot tell", None), ("30s", None), ("mid 60s", None), ("60-70", None), ("over 60", None),
        ("middle-aged", None), ("35 to 49 or 50 to 64", None), ("the fifties or sixties", None), ("90% sure", None),
        ("There are 2 people", None), ("taken in the 1950s", None), ("350", None), ("late 40s to early 50s", None),
        (question("Age").text, None),
    ],
)  # fmt: skip
def test_age_groups_are_read(reply, group):
    assert told("Age", reply) == group


@pytest.mark.parametrize(
    ("reply", "colour"),
    [
        ("gray", "gray"), ("Grey.", "gray"), ("silver", "gray"), ("salt-and-pepper", "gray"), ("blonde", "blond"),
        ("brunette", "brown"), ("dark brown hair", "brown"), ("He is a redhead", "red"), ("auburn", "red"),
        ("The hair color that fits best is brown.", "brown"), ("hair is mostly white", "white"),
        ("The man wears a black suit and has gray hair.", "gray"), ("a white man with brown hair", "brown"),
        ("In this black and white photo the hair is brown", "brown"), ("not brown but black", "black"),
        ("It isn't gray, it's white.", "white"), ("Hair color: red", "red"),
        ("", None), ("bald", None), ("tired", None), ("black or brown", None), ("gray or white hair", None),
        ("reddish brown", None), (question("Hair_Color").text, None),
    ],
)  # fmt: skip
def test_hair_colours_are_read(reply, colour):
    assert told("Hair_Color", reply) == colour


@pytest.mark.parametrize(
    ("name", "reply", "value"),
    [
        ("Expression", "She looks surprised.", "surprise"), ("Expression", "The person is not happy, but sad.", "sad"),
        ("Expression", "Happy or neutral", None), ("Expression", "Unhappy", "sad"), ("Expression", "", None),
        ("Expression", "A big smile", "happy"), ("Expression", "a sad smile", "sad"),
        ("Race", "She looks Southeast Asian.", "southeast asian"), ("Race", "East Asian", "east asian"),
        ("Race", "He looks Middle Eastern.", "middle eastern"), ("Race", "A Black or African American man", "black"),
        ("Race", "Asian", "asian"),
    ],
)  # fmt: skip
def test_other_choices_are_read(name, reply, value):
    assert told(name, reply, EVERYTHING if name in EVERYTHING else PEOPLE) == value


@pytest.mark.parametrize(
    ("reply", "number"),
    [
        ("about 42", 42), ("42", 42), ("She looks about 42 years old.", 42), ("a 7-year-old girl", 7), ("3 to 9", 6),
        ("in his forties", 45), ("35 to 49", 42), ("35–49 years", 42), ("mid 50s", 55.5), ("over 65", 66),
        ("under 35", 35), ("65 or older", 65), ("He is 58 years old, so 50 to 64.", 58), ("sixty-five", 65),
        ("not 30 but 40", 40), ("42.5", 42.5), ("", None), ("adult", None), ("90% sure", None), ("300", None),
        ("There are 2 people", None), ("20 or so, maybe 50", None), ("taken in 1950", None),
    ],
)  # fmt: skip
def test_numbers_are_read(reply, number):
    assert told("Age_Years", reply, PEOPLE) == number


@pytest.mark.parametrize(
    ("reply", "group"),
    [
        ("about 42", "35-49"), ("34", "0-34"), ("35", "35-49"), ("in her fifties", "50-64"), ("over 65", "65+"),
        ("in her thirties", None), ("no idea", None),
    ],
)  # fmt: skip
def test_a_number_is_read_as_one_of_its_groups(reply, group):
    assert question("Age_Years", PEOPLE).told(reply)["Age"] == group


@pytest.mark.parametrize(
    ("reply", "number"),
    [
        ("about 36.5 degrees", 36.5), ("-5 degrees", -5), ("between -10 and -4", -7), ("10-20", 15), ("120", None),
        ("below -3.5", -3.5), ("36.5 degrees, 80% sure", 36.5),
    ],
)  # fmt: skip
def test_any_number_is_read_in_its_own_range(reply, number):
    assert told("Skin_Temperature", reply, WARM) == number


@pytest.mark.parametrize("vocabulary", [EVERYTHING, PEOPLE])
def test_our_own_sentences_are_read_as_what_they_say(vocabulary):
    rng = np.random.default_rng(0)
    opened = [q for label in vocabulary for q in questions_about(label) if q.values is None]
    for labels in (sample_labels(rng, vocabulary) for _ in range(200)):
        for q in opened:
            found = q.told(state(labels, q.label.name, vocabulary))
            assert found == {name: labels[name] for name in found}
