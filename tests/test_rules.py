"""Assignments always satisfy the rules, and none that does is more probable."""

from __future__ import annotations

import itertools
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceinsight.runtime.errors import BundleError
from faceinsight.runtime.labels import GROUPS, LABELS, NAMES, assignment_from_labels, labels_from_assignment
from faceinsight.runtime.rules import RULES, Rule, check_rules, consistent_assignment, rules_from_json

PROBABILITY = st.floats(0, 1)
FACES = st.fixed_dictionaries({name: PROBABILITY for name in NAMES})
SMALL = tuple("abcdef")


@st.composite
def rule_sets(draw) -> tuple[Rule, ...]:
    names = st.lists(st.sampled_from(SMALL), min_size=2, max_size=4, unique=True)
    kinds = st.sampled_from(("exactly_one", "implies", "excludes"))
    return tuple(Rule(draw(kinds), tuple(draw(names))) for _ in range(draw(st.integers(0, 4))))


@settings(deadline=None)
@given(FACES)
def test_an_assignment_satisfies_every_rule(probabilities):
    assignment = consistent_assignment(probabilities)
    assert list(assignment) == list(probabilities)
    assert all(rule.holds(assignment) for rule in RULES)


@settings(deadline=None)
@given(rule_sets(), st.fixed_dictionaries({name: PROBABILITY for name in SMALL}))
def test_no_satisfying_assignment_is_more_probable(rules, probabilities):
    def score(assignment):
        clipped = {name: min(max(p, 1e-7), 1 - 1e-7) for name, p in probabilities.items()}
        return sum(math.log(clipped[n] if value else 1 - clipped[n]) for n, value in assignment.items())

    every = (dict(zip(SMALL, values, strict=True)) for values in itertools.product((False, True), repeat=len(SMALL)))
    allowed = [assignment for assignment in every if all(rule.holds(assignment) for rule in rules)]
    if not allowed:
        with pytest.raises(ValueError, match="contradict"):
            consistent_assignment(probabilities, rules)
        return
    found = consistent_assignment(probabilities, rules)
    assert found in allowed
    assert score(found) >= max(map(score, allowed)) - 1e-9


def test_a_weak_beard_yields_to_a_sure_woman_and_a_sure_beard_makes_a_man():
    probabilities = dict.fromkeys(NAMES, 0.1) | {"Male": 0.1, "Beard": 0.7}
    assert not consistent_assignment(probabilities)["Beard"]
    probabilities |= {"Male": 0.4, "Beard": 0.99}
    assert consistent_assignment(probabilities)["Male"]


@settings(deadline=None)
@given(FACES)
def test_labels_and_assignments_are_inverse(probabilities):
    assignment = consistent_assignment(probabilities)
    labels = labels_from_assignment(assignment)
    assert tuple(labels) == LABELS
    assert assignment_from_labels(labels).items() >= assignment.items()
    assert all(labels[label] in values for label, values in GROUPS.items() if label in LABELS)


@pytest.mark.parametrize(
    "item",
    [
        {"kind": "maybe", "names": ["Male", "Beard"]},
        {"kind": "implies", "names": ["Beard"]},
        {"kind": "implies", "names": ["Beard", "Goatee"]},
    ],
)
def test_unusable_rules_are_refused(item):
    with pytest.raises(BundleError, match="not usable"):
        rules_from_json([item], NAMES)


def satisfying(rules) -> list[dict[str, bool]]:
    every = (dict(zip(SMALL, values, strict=True)) for values in itertools.product((False, True), repeat=len(SMALL)))
    return [assignment for assignment in every if all(rule.holds(assignment) for rule in rules)]


@settings(deadline=None)
@given(rule_sets())
def test_a_set_without_faults_leaves_every_attribute_free_and_needs_every_rule(rules):
    named = {name for rule in rules for name in rule.names}
    left = satisfying(rules)
    free = all({assignment[name] for assignment in left} == {True, False} for name in named)
    needed = all(len(satisfying([r for r in rules if r is not rule])) > len(left) for rule in rules)
    assert (check_rules(rules) == []) == (free and needed)


def test_the_shipped_rules_have_no_fault():
    assert check_rules(RULES) == []


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        (["implies a b", "excludes a b", "implies c d"], "implies(a, b) and excludes(a, b) contradict each other: a"),
        (
            ["implies a b", "implies b c", "implies a c"],
            "implies(a, c) is redundant: it follows from implies(a, b)",
        ),
        (["excludes a b", "excludes b a"], "excludes(a, b) is redundant: it follows from excludes(b, a)"),
    ],
)
def test_faults_name_the_rules_they_take(rules, named):
    items = [{"kind": rule.split()[0], "names": rule.split()[1:]} for rule in rules]
    with pytest.raises(BundleError, match=re.escape(named)):
        rules_from_json(items, SMALL)


def test_rules_that_tie_too_many_attributes_are_refused():
    names = [f"n{i}" for i in range(40)]
    chain = [{"kind": "implies", "names": list(pair)} for pair in itertools.pairwise(names)]
    with pytest.raises(BundleError, match="40 attributes are tied together"):
        rules_from_json(chain, names)
