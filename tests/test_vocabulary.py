"""A vocabulary is data: it survives JSON, names its faults, and its labels and attributes say the same."""

from __future__ import annotations

import copy
import itertools
import json
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from faceinsight.models.vocabulary import load_vocabulary, ready_made
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.label import FACE, Label
from faceinsight.runtime.rules import Rule, check_rules
from faceinsight.runtime.vocabulary import Vocabulary

from .made import is_multiple, told, vocabularies, vocabulary_data

NANO, CELEBA = load_vocabulary("nano"), load_vocabulary("celeba")
DEMOGRAPHICS, EXPRESSION = load_vocabulary("demographics"), load_vocabulary("expression")
READY_MADE = st.sampled_from((NANO, CELEBA, DEMOGRAPHICS, EXPRESSION))


def stored(vocabulary: Vocabulary) -> Vocabulary:
    """As a config or a manifest gives it back."""
    return Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json())))


@given(READY_MADE | vocabularies())
def test_it_survives_json(vocabulary):
    assert stored(vocabulary) == vocabulary


def test_what_stands_for_something_else_survives_json_too():
    data = {
        "kind": "choice", "word": "size", "regions": ["hat"], "tasks": ["attributes", "hats"], "source": "Inches",
        "odds": "natural", "phrases": {"adjective": ["big"]},
        "values": {"big": {"attribute": "Huge", "prompt": "a big hat", "range": [3, 9], "coarse": "any",
                           "also": ["large"]}, "small": {}},
    }  # fmt: skip
    label = Label.from_json("Hat_Size", data)
    assert label.to_json() == data
    assert label.attributes[0].name == "Huge" and label.value("big").bounds == (3, 9)


def test_the_ready_made_ones():
    assert ready_made() == ("celeba", "demographics", "expression", "nano", "nano2")
    assert len(CELEBA.labels) == len(CELEBA.attributes) == 40 and all(label.kind == "flag" for label in CELEBA)
    assert {label.name: label.kind for label in DEMOGRAPHICS} == {
        "Gender": "choice", "Age_Years": "number", "Race": "choice",
    }  # fmt: skip
    assert len(NANO.attributes) == 21 and not NANO.numbers
    assert len(EXPRESSION["Expression"].values) == 8
    for task in ("attributes", "demographics", "expression"):
        assert any(vocabulary.of_task(task) for vocabulary in (NANO, DEMOGRAPHICS, EXPRESSION))


@pytest.mark.parametrize("name", ready_made())
def test_the_rules_of_a_ready_made_one_have_no_fault(name):
    assert check_rules(load_vocabulary(name).rules) == []


# What is missing or wrong is named

FLAG = {"kind": "flag", "prompt": "a person who wears a helmet"}
NUMBER = {"kind": "number", "prompt": "how wide", "unit": "cm", "range": [0, 10]}
CHOICE = {"kind": "choice", "values": {"red": "a red hat", "blue": "a blue hat"}}


@pytest.mark.parametrize(
    ("label", "faults"),
    [
        ({}, ["'no kind' as its kind; use flag, choice, number"]),
        ({"kind": "yes/no"}, ["'yes/no' as its kind"]),
        ({"kind": "flag"}, ["lacks its prompt"]),
        (FLAG | {"prompt": ""}, ["prompt is ''"]),
        (FLAG | {"prompt": 3}, ["prompt is 3; it is a text"]),
        (FLAG | {"unit": "cm"}, ["unknown keys unit; known are kind, word, regions, tasks, phrases, prompt"]),
        (FLAG | {"regions": ["ear"]}, ["unknown regions ear; known are background, skin"]),
        (FLAG | {"regions": "hair"}, ["regions is 'hair'; it is a list of texts"]),
        (FLAG | {"phrases": ["a helmet"]}, ["phrases is a table"]),
        (FLAG | {"word": "a helmet"}, ["the word 'a helmet' is taken, or has a space"]),
        (FLAG | {"word": "what"}, ["the word 'what' is taken"]),
        ({"kind": "number"}, ["lacks its prompt", "lacks its unit", "lacks its range"]),
        (NUMBER | {"range": [10, 0]}, ["its range is [10, 0]"]),
        (NUMBER | {"range": [0, "ten"]}, ["its range is [0, 'ten']"]),
        (NUMBER | {"step": 0}, ["step is 0; it is a number above 0"]),
        (NUMBER | {"step": 20, "range": [1, 10]}, ["no multiple of its step 20 lies in its range [1, 10]"]),
        (NUMBER | {"spread": -1}, ["spread is -1"]),
        (NUMBER | {"groups": {"values": {"low": [0, 5]}}}, ["groups needs a name and values"]),
        (NUMBER | {"groups": {"name": "Width", "values": {}}}, ["groups needs a name and values"]),
        (NUMBER | {"groups": {"name": "Width", "values": {"low": 5}}}, ["the group low is 5"]),
        (NUMBER | {"groups": {"name": "Width", "word": "who", "values": {"low": [0, 5]}}}, ["the word 'who' is taken"]),
        ({"kind": "choice"}, ["lacks its values: at least two"]),
        ({"kind": "choice", "values": {"red": "a red hat"}}, ["lacks its values: at least two"]),
        ({"kind": "choice", "values": {"red": {}, "blue": {}}}, ["its values red, blue lack a prompt"]),
        (CHOICE | {"values": {"red": {"prompt": 3}, "blue": {}}}, ["its value red is {'prompt': 3}"]),
        (CHOICE | {"values": {"red": {"attribute": "Red"}, "blue": "b"}}, ["value red has an attribute without a"]),
        (CHOICE | {"values": {"red": {"prompt": "r", "also": "rot"}, "blue": "b"}}, ["also a list of texts"]),
        (CHOICE | {"values": {"red": {"promt": "r"}, "blue": "b"}}, ["it has a prompt, attribute, range, coarse"]),
        (CHOICE | {"odds": "even"}, ["odds is 'even'; use equal, natural, colour"]),
    ],
)  # fmt: skip
def test_a_label_that_is_not_complete_says_what_it_lacks(label, faults):
    with pytest.raises(InputError) as error:
        Vocabulary.from_json({"labels": {"Helmet": label}})
    assert "\n" not in str(error.value)
    for fault in faults:
        assert fault in str(error.value)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ({}, "this is not a vocabulary"),
        ({"labels": []}, "this is not a vocabulary"),
        ({"labels": {}}, "it has no label"),
        ({"labels": {"Helmet": 3}}, "label Helmet is 3; it has to be a table"),
        ({"labels": {"A helmet": FLAG}}, "its name may only have letters, digits and _"),
        ({"labels": {"Helmet": FLAG}, "rule": []}, "unknown keys rule"),
        ({"labels": {"Helmet": FLAG}, "rules": [{"kind": "implies"}]}, "this is not a vocabulary: KeyError('names')"),
        ({"labels": {"Helmet": FLAG, "Cap": FLAG | {"word": "helmet"}}}, "the word helmet is there twice"),
        (
            {"labels": {"Helmet_Red": FLAG, "Helmet": {"kind": "choice", "values": {"red": "r", "blue": "b"}}}},
            "the attribute Helmet_Red is there twice",
        ),
        (
            {"labels": {"Width": NUMBER, "Hat": {"kind": "choice", "values": {
                "a": {"attribute": "Width", "prompt": "a"}, "b": {}}}}},
            "the attribute Width is there twice",
        ),
        (
            {"labels": {"Low": FLAG, "Width": NUMBER | {"groups": {"name": "Low", "values": {"low": [0, 5]}}}}},
            "the label Low is there twice",
        ),
        ({"labels": {"Helmet": FLAG}, "topics": {"hats": {"labels": ["Cap"]}}}, "'hats' names unknown labels: Cap"),
        (
            {"labels": {"Width": NUMBER | {"groups": {"name": "Size", "values": {"low": [0, 5]}}}},
             "topics": {"hats": {"labels": ["Size"]}}},
            "'hats' names unknown labels: Size",
        ),
        (
            {"labels": {"Width": NUMBER}, "topics": {"hats": {"labels": ["Width"], "word": "hat"}}},
            "'hats' has a word, but Width cannot be yes or no",
        ),
        (
            {"labels": {"Helmet": FLAG}, "topics": {"hats": {"labels": ["Helmet"], "word": "helmet"}}},
            "the word helmet is there twice",
        ),
        ({"labels": {"Helmet": FLAG}, "rules": [{"kind": "implies", "names": ["Helmet", "Cap"]}]}, "['Cap']"),
        ({"labels": {"Helmet": FLAG}, "rules": [{"kind": "implies", "names": ["Helmet"]}]}, "is no rule"),
        (
            {"labels": {"Helmet": FLAG, "Cap": FLAG},
             "rules": [{"kind": kind, "names": ["Helmet", "Cap"]} for kind in ("implies", "excludes")]},
            "implies(Helmet, Cap) and excludes(Helmet, Cap) contradict each other: Helmet",
        ),
    ],
)  # fmt: skip
def test_a_vocabulary_that_is_not_usable_says_why(data, fault):
    with pytest.raises(InputError) as error:
        Vocabulary.from_json(data)
    assert fault in str(error.value) and "\n" not in str(error.value)


@given(vocabulary_data(), st.data())
def test_json_that_lost_a_part_or_changed_a_type_is_read_or_refused(data, how):
    """Never with another exception than ours."""
    place: dict | list = copy.deepcopy(data)
    whole, at = place, None
    while isinstance(place, (dict, list)) and place:
        at = how.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[at], (dict, list)) or how.draw(st.booleans()):
            break
        place = place[at]
    assume(at is not None and place)
    junk = how.draw(st.sampled_from(("remove", None, 3, "", "text", [], {}, True, [1, 2], {"a": 1})))
    if junk == "remove":
        del place[at]
    else:
        place[at] = junk
    try:
        found = Vocabulary.from_json(whole)
    except InputError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert stored(found) == found


def test_files_of_ones_own_are_combined_with_ready_made_ones(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text('[labels.Wearing_Helmet]\nkind = "flag"\nprompt = "a person who wears a helmet"\n')
    found = load_vocabulary("nano", "expression", own)
    assert found.names == (*NANO.names, "Expression", "Wearing_Helmet")
    assert found["Wearing_Helmet"].word == "wearing-helmet" and found["Wearing_Helmet"].regions == FACE
    (expression,) = (topic for topic in found.topics if topic.name == "expression")
    assert expression.labels == ("Smiling", "Teeth_Visible", "Expression")
    assert set(found.rules) == {*NANO.rules, *EXPRESSION.rules}
    assert found.combined(NANO) == found == load_vocabulary("nano", "expression", str(own), "nano")


def test_labels_that_contradict_each_other_are_not_combined(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text('[labels.Smiling]\nkind = "flag"\nprompt = "a grin"\n')
    with pytest.raises(InputError, match="two vocabularies define the label Smiling differently"):
        load_vocabulary("nano", own)
    with pytest.raises(InputError, match="the label Age is there twice"):
        load_vocabulary("nano", "demographics")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such vocabulary: .*own.toml; give a .toml file, or one of: celeba, demographics"),
        (b"[labels", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b'[labels.Helmet]\nkind = "flag"\n', "own.toml: label Helmet: lacks its prompt"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "own.toml").write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_vocabulary(tmp_path / "own.toml")
    with pytest.raises(InputError, match="no such vocabulary: nonesuch"):
        load_vocabulary("nonesuch")


# Labels, attributes and numbers


@given(told(READY_MADE | vocabularies()))
def test_labels_obey_the_rules_and_say_what_the_assignment_says(case):
    vocabulary, _, numbers, labels = case
    assert tuple(labels) == vocabulary.names
    assignment = vocabulary.assignment_of(labels)
    assert tuple(assignment) == vocabulary.attribute_names
    assert all(type(value) is bool for value in assignment.values())
    assert all(rule.holds(assignment) for rule in vocabulary.rules)
    assert vocabulary.labels_of(assignment, numbers) == labels


@given(told(READY_MADE | vocabularies()), st.data())
def test_what_follows_from_some_labels_is_true_of_the_whole_face(case, how):
    """Whatever a data set leaves out, targets are never wrong."""
    vocabulary, _, _, labels = case
    known = {name: value for name, value in labels.items() if how.draw(st.booleans())}
    coarse = {
        label.name: label.value(known[label.name]).coarse or known[label.name]
        for label in vocabulary
        if label.kind == "choice" and label.name in known
    }
    whole = vocabulary.assignment_of(labels)
    for name, value in vocabulary.assignment_of(known | coarse).items():
        assert value in (None, whole[name])


def test_a_coarse_value_tells_what_it_is_not():
    found = NANO.assignment_of({"Hair_Color": "gray or white"})
    assert {name: value for name, value in found.items() if name.endswith("_Hair") and name != "Long_Hair"} == {
        "Black_Hair": False, "Brown_Hair": False, "Blond_Hair": False, "Red_Hair": False, "Gray_Hair": None,
        "White_Hair": None,
    }  # fmt: skip
    assert all(value is None for name, value in found.items() if not name.endswith("_Hair") or name == "Long_Hair")
    asian = DEMOGRAPHICS.assignment_of({"Race": "asian"})
    assert asian["Race_White"] is False and asian["Race_East_Asian"] is asian["Race_Southeast_Asian"] is None


def test_values_that_a_label_does_not_tell_are_not_known():
    vocabulary = load_vocabulary("nano2")
    assert vocabulary.value_of(vocabulary["Expression"], {"Expression": "contempt"}) is None
    assert vocabulary.assignment_of({"Expression": "fear"})["Expression_Neutral"] is None
    assert vocabulary.assignment_of({"Expression": "sadness"})["Expression_Sadness"] is True
    with pytest.raises(InputError, match="Expression is 'boredom'"):
        vocabulary.assignment_of({"Expression": "boredom"})


def test_other_spellings_are_the_value():
    assert EXPRESSION.value_of(EXPRESSION["Expression"], {"Expression": "sadness"}) == "sad"
    with pytest.raises(InputError, match="Expression is 'gloomy'; use neutral, happy"):
        EXPRESSION.assignment_of({"Expression": "gloomy"})


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ({"Beard": True}, {"Male": True}),
        ({"Gender": "female"}, {"Mustache": False, "Beard": False}),
        ({"Bald": True}, {"Wearing_Hat": False}),
        ({"Wearing_Hat": True}, {"Bald": False, "Receding_Hairline": False}),
        ({"Age": "50-64"}, {"Age_0_34": False, "Age_65_Plus": False}),
        ({"Gender": "female", "Beard": True}, {"Male": False, "Beard": True, "Mustache": False}),
        ({"Smiling": False}, {"Teeth_Visible": None}),
    ],
)
def test_rules_fill_in_what_a_set_leaves_open(known, told):
    found = NANO.assignment_of(known)
    assert {name: found[name] for name in told} == told


@given(st.floats(0, 120) | st.integers(0, 120).map(float))
def test_an_age_in_years_is_in_the_group_that_its_bounds_say(years):
    wanted = "0-34" if years < 35 else "35-49" if years < 50 else "50-64" if years < 65 else "65+"
    assert NANO.value_of(NANO["Age"], {"Age_Years": years}) == wanted
    stated = DEMOGRAPHICS["Age_Years"].stated(years)
    assert DEMOGRAPHICS.decide(dict.fromkeys(DEMOGRAPHICS.attribute_names, 0.5), {"Age_Years": years})["Age"] == (
        NANO.value_of(NANO["Age"], {"Age_Years": stated})
    )


@given(st.integers(0, 120), st.integers(1, 121))
def test_a_range_of_years_is_in_a_group_that_holds_all_of_it(low, high):
    assume(low < high)
    groups = {NANO.value_of(NANO["Age"], {"Age_Years": year}) for year in range(low, high)}
    found = NANO.value_of(NANO["Age"], {"Age_Years": (low, high)})
    assert found == (groups.pop() if len(groups) == 1 else None)


def test_the_bounds_of_a_number_are_those_that_the_data_gives():
    age = DEMOGRAPHICS["Age_Years"]
    assert DEMOGRAPHICS.bounds_of(age, {"Age_Years": 40}) == (39.5, 40.5)
    assert DEMOGRAPHICS.bounds_of(age, {"Age_Years": (30, 40)}) == (30, 40)
    assert DEMOGRAPHICS.bounds_of(age, {"Age": "35-49"}) == (35, 50)
    assert DEMOGRAPHICS.bounds_of(age, {"Age_Years": 40, "Age": "0-34"}) == (39.5, 40.5)
    assert DEMOGRAPHICS.bounds_of(age, {"Age_Years": None, "Gender": "male"}) is None


@given(told(vocabularies()))
def test_a_number_is_stated_as_the_nearest_step_within_its_range(case):
    vocabulary, _, numbers, labels = case
    for label in vocabulary.numbers:
        low, high = label.bounds
        stated, number = labels[label.name], numbers[label.name]
        assert low - 1e-6 <= stated < high - 1e-6 and is_multiple(stated, label.step)
        # the last step below a bound may be further away
        assert abs(stated - number) <= label.step * (1.001 if number > high - label.step else 0.501)
        if label.groups:
            low, high = dict(label.groups.values)[labels[label.groups.name]]
            assert low - 1e-6 <= stated < high + 1e-6


@given(told(vocabularies()))
def test_probabilities_of_ranges_add_up(case):
    """Of a number whose spread is known, to one over all groups; they are sharp without a spread."""
    vocabulary, _, numbers, _ = case
    for label in vocabulary.numbers:
        wide = Label.from_json(label.name, label.to_json() | {"spread": 0.5 * label.step})
        cuts = [-math.inf, *(label.bounds[0] + k * (label.bounds[1] - label.bounds[0]) / 4 for k in range(5)), math.inf]
        ranges = list(itertools.pairwise(cuts))
        for of in (label, wide):
            shares = [of.probability(numbers[label.name], bounds) for bounds in ranges]
            assert sum(shares) == pytest.approx(1) and all(0 <= share <= 1 for share in shares)
        assert set(label.probability(numbers[label.name], bounds) for bounds in ranges) == {0, 1}


def test_a_face_in_words():
    labels = {"Gender": "male", "Race": "east asian", "Age_Years": 41, "Age": "35-49"}
    assert DEMOGRAPHICS.facts(labels) == ["gender male", "race east-asian", "age 41"]
    assert NANO.facts({"Beard": False, "Hair_Color": "gray"}) == ["hair gray", "beard no"]
    assert NANO.facts({}) == []


@given(told(READY_MADE | vocabularies()))
def test_confidence_is_that_of_the_value_that_was_decided(case):
    vocabulary, attributes, _, labels = case
    for label in vocabulary:
        found = vocabulary.confidence(label.name, labels, attributes)
        if label.kind == "flag":
            assert found == pytest.approx(attributes[label.name] if labels[label.name] else 1 - attributes[label.name])
        elif label.kind == "choice":
            chosen = label.value(labels[label.name]).attribute
            others = max(attributes[name] for name in label.outputs)
            assert found == pytest.approx(attributes[chosen.name] if chosen else 1 - others)
        else:
            assert found is None


def test_at_most_one_value_of_a_choice_holds_also_where_none_may():
    data = {"kind": "choice", "values": {"a": "a", "b": "b", "c": "c", "none": {}}}
    vocabulary = Vocabulary.from_json({"labels": {"Hat": data}})
    assert vocabulary.decide({"Hat_A": 0.7, "Hat_B": 0.9, "Hat_C": 0.2}, {}) == {"Hat": "b"}
    assert vocabulary.decide({"Hat_A": 0.4, "Hat_B": 0.3, "Hat_C": 0.2}, {}) == {"Hat": "none"}
    assert vocabulary.assignment_of({"Hat": "none"}) == {"Hat_A": False, "Hat_B": False, "Hat_C": False}
    assert vocabulary.competing == {"Hat_A", "Hat_B", "Hat_C"}
    assert all(isinstance(rule, Rule) and rule.kind == "excludes" for rule in vocabulary.rules)
