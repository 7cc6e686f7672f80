"""What data says of faces becomes targets: of attributes what follows, of numbers the bounds; wrong cells are named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from faceinsight.models.data.cells import read_cells
from faceinsight.models.data.sampling import VALUES, drawn_labels, draws, sample_labels, told
from faceinsight.models.data.targets import is_exact, known_labels, split_targets, targets, width
from faceinsight.models.training.instruct import complete_labels
from faceinsight.models.vocabulary import load_vocabulary, ready_made
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.label import fact_value
from faceinsight.runtime.vocabulary import Vocabulary

from . import made

NANO, DEMOGRAPHICS = load_vocabulary("nano"), load_vocabulary("demographics")
BOTH = st.sampled_from([load_vocabulary(name) for name in ready_made()]) | made.vocabularies()


def row_of(labels, vocabulary=DEMOGRAPHICS) -> dict:
    """One face's targets by name; of a number its bounds."""
    attributes, bounds = split_targets(targets([labels], vocabulary), vocabulary)
    named = dict(zip(vocabulary.attribute_names, attributes[0].tolist(), strict=True))
    return named | dict(zip((label.name for label in vocabulary.numbers), map(tuple, bounds[0].tolist()), strict=True))


def test_attributes_come_first_and_then_the_bounds_of_the_numbers():
    found = targets([{"Gender": "female", "Race": "asian", "Age_Years": 40}, {}], DEMOGRAPHICS)
    assert found.dtype == np.float32 and found.shape == (2, width(DEMOGRAPHICS)) == (2, 10)
    assert np.isnan(found[1]).all()
    row = row_of({"Gender": "female", "Race": "asian", "Age_Years": 40})
    assert row["Male"] == 0 and row["Race_White"] == 0 and np.isnan(row["Race_East_Asian"])
    assert row["Age_Years"] == (39.5, 40.5)
    assert row_of({"Age_Years": (30, 40)})["Age_Years"] == (30, 40)
    assert row_of({"Age": "65+"})["Age_Years"] == (65, 121)


def test_parts_of_tensors_are_those_of_arrays():
    found = targets([{"Gender": "male", "Age_Years": 3}] * 4, DEMOGRAPHICS)
    parts = zip(split_targets(found, DEMOGRAPHICS), split_targets(torch.from_numpy(found), DEMOGRAPHICS), strict=True)
    for array, tensor in parts:
        np.testing.assert_array_equal(array, tensor.numpy())


@pytest.mark.parametrize("labels", [{"Race": "martian"}, {"Gender": "m"}, {"Gender": True}])
def test_a_value_that_a_label_does_not_have_is_an_error(labels):
    with pytest.raises(InputError, match=f"{next(iter(labels))} is .*; use .* or nothing"):
        targets([{}, labels], DEMOGRAPHICS)


def test_it_is_known_which_labels_some_face_has():
    rows = targets([{"Age_Years": (0, 3)}, {"Race": "white"}], DEMOGRAPHICS)
    assert known_labels(rows, DEMOGRAPHICS) == {"Gender": False, "Age_Years": True, "Race": True}
    assert not any(known_labels(rows[:0], DEMOGRAPHICS).values())


def test_a_number_that_was_told_is_not_a_range():
    for step in (1, 5, 0.1, 0.01):
        data = {"kind": "number", "prompt": "w", "unit": "cm", "range": [0, 500], "step": step}
        vocabulary = Vocabulary.from_json({"labels": {"Width": data}})
        rows = targets([{"Width": 37 * step}, {"Width": (10 * step, 13 * step)}], vocabulary)
        exact = is_exact(split_targets(rows, vocabulary)[1][:, 0], vocabulary["Width"])
        assert exact.tolist() == [True, False]


@given(made.told(BOTH), st.data())
def test_what_is_known_of_a_face_stays_when_the_rest_is_filled_in(case, how):
    """The labels that a language model is taught of a face are those of the data, and obey the rules."""
    vocabulary, _, _, labels = case
    known = {name: value for name, value in labels.items() if how.draw(st.booleans())}
    predicted = np.array(made.outputs(how.draw, vocabulary))
    found = complete_labels(predicted, targets([known], vocabulary)[0], vocabulary)
    assert tuple(found) == vocabulary.names
    assert {name: found[name] for name in known} == pytest.approx(known) if known else True
    assignment = vocabulary.assignment_of(found)
    assert all(rule.holds(assignment) for rule in vocabulary.rules)


# Rows of labels.csv


@given(made.told(BOTH), st.data())
def test_a_row_says_what_was_written(case, how):
    vocabulary, _, _, labels = case
    row = {"file": "a.png", "of no label": "7"}
    for name, value in labels.items():
        if how.draw(st.booleans()):
            row[name] = str(int(value)) if isinstance(value, bool) else str(value)
        elif how.draw(st.booleans()):
            row[name] = ""
    found = read_cells(row, vocabulary)
    assert found == {name: labels[name] for name in labels if row.get(name)}


def test_ranges_groups_and_other_spellings_are_read():
    assert read_cells({"Age_Years": "30..40", "Race": "asian"}, DEMOGRAPHICS) == {
        "Age_Years": (30, 40), "Race": "asian",
    }  # fmt: skip
    assert read_cells({"Age": "35-49", "Age_Years": "-0"}, DEMOGRAPHICS) == {"Age": "35-49", "Age_Years": 0}
    # a choice that is a grouping of a number is read from the number, too
    assert read_cells({"Age_Years": "41.5"}, NANO) == {"Age_Years": 41.5}
    assert row_of(read_cells({"Age_Years": "41"}, NANO), NANO)["Age_35_49"] == 1
    assert read_cells({"Expression": "happiness"}, load_vocabulary("expression")) == {"Expression": "happy"}


@pytest.mark.parametrize(
    ("vocabulary", "row", "message"),
    [
        (NANO, {"Smiling": "yes"}, "Smiling is 'yes'; use 0, 1 or nothing"),
        (NANO, {"Smiling": " "}, "Smiling is ' '"),
        (NANO, {"Hair_Color": "green"}, "Hair_Color is 'green'; use black, brown, .* or nothing"),
        (NANO, {"Age_Years": "old"}, "Age_Years is 'old'; use a number, a range such as 30..40, or nothing"),
        (DEMOGRAPHICS, {"Age_Years": "old"}, "Age_Years is 'old'"),
        (DEMOGRAPHICS, {"Age_Years": "nan"}, "Age_Years is 'nan'"),
        (DEMOGRAPHICS, {"Age_Years": "40..30"}, "Age_Years is '40..30'"),
        (DEMOGRAPHICS, {"Age_Years": "40..40"}, "Age_Years is '40..40'"),
        (DEMOGRAPHICS, {"Age_Years": "1..2..3"}, "Age_Years is '1..2..3'"),
        (DEMOGRAPHICS, {"Age_Years": "340"}, "Age_Years is '340'; it lies between 0 and 121"),
        (DEMOGRAPHICS, {"Age_Years": "-1..5"}, "it lies between 0 and 121"),
        (DEMOGRAPHICS, {"Age": "30-40"}, r"Age is '30-40'; use 0-34, 35-49, 50-64, 65\+ or nothing"),
    ],
)
def test_a_cell_that_cannot_be_meant_is_an_error(vocabulary, row, message):
    with pytest.raises(InputError, match=message):
        read_cells(row, vocabulary)


# Labels of faces that are drawn or only spoken of


@given(BOTH, st.integers(0, 2**32 - 1))
def test_made_up_labels_are_complete_and_obey_the_rules(vocabulary, seed):
    labels = sample_labels(np.random.default_rng(seed), vocabulary)
    assert tuple(labels) == vocabulary.names
    assignment = vocabulary.assignment_of(labels)
    assert all(rule.holds(assignment) for rule in vocabulary.rules)
    assert all(label.stated(labels[label.name]) == labels[label.name] for label in vocabulary.numbers)
    drawn = told(drawn_labels(np.random.default_rng(seed)), vocabulary)
    assert {name: labels[name] for name in drawn} == drawn


def test_made_up_labels_take_every_value():
    vocabulary = load_vocabulary("demographics", "expression")
    rng = np.random.default_rng(0)
    made_up = [sample_labels(rng, vocabulary) for _ in range(1500)]
    for label in vocabulary:
        found = {labels[label.name] for labels in made_up}
        assert found == set(label.value_names) if label.kind != "number" else len(found) > 100


def test_drawn_labels_have_every_value_and_obey_the_rules():
    rng = np.random.default_rng(0)
    drawn = [drawn_labels(rng) for _ in range(2000)]
    assert all(tuple(labels) == tuple(drawn[0]) and set(labels) == set(VALUES) for labels in drawn)
    for labels in drawn[:300]:
        assignment = NANO.assignment_of(labels)
        assert None not in assignment.values() and all(rule.holds(assignment) for rule in NANO.rules)
    for name, values in VALUES.items():
        shares = {value: sum(labels[name] == value for labels in drawn) / len(drawn) for value in values}
        assert min(shares.values()) > 0.06 and sum(shares.values()) == pytest.approx(1), (name, shares)


def test_rendered_faces_tell_the_labels_that_mean_the_same():
    assert all(draws(label) for label in NANO)
    assert [label.name for label in DEMOGRAPHICS if draws(label)] == ["Gender", "Age_Years"]
    celeba = {label.name for label in load_vocabulary("celeba") if draws(label)}
    assert celeba == {
        "Bald",
        "Eyeglasses",
        "Mustache",
        "Receding_Hairline",
        "Smiling",
        "Wearing_Hat",
        "Wearing_Necktie",
    }
    own = Vocabulary.from_json({"labels": {
        "Hair_Color": {"kind": "choice", "values": {"dark": "dark hair", "fair": "fair hair"}},
        "Age": {"kind": "number", "prompt": "an age", "unit": "years", "range": [0, 100]},
        "ages": {"kind": "flag", "prompt": "a face that ages"},
    }})  # fmt: skip
    assert not any(draws(label) for label in own)
    drawn = drawn_labels(np.random.default_rng(0))
    assert told(drawn, own) == {} and told(drawn, NANO) == drawn
    assert set(told(drawn, DEMOGRAPHICS)) == {"Gender", "Age"}


def test_a_value_of_two_words_is_one_word_of_the_facts():
    assert fact_value("east asian") == "east-asian" and fact_value(True) == "yes" and fact_value(40.0) == "40"
