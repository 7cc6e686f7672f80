"""Assignments always satisfy the rules, and none that does is more probable; what rules say of the unknown is true."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceinsight.models.vocabulary import load_vocabulary
from faceinsight.runtime.rules import Rule, check_rules, consistent_assignment, implied

NANO = load_vocabulary("nano")
PROBABILITY = st.floats(0, 1)
SMALL = tuple("abcdef")


@st.composite
def rule_sets(draw) -> tuple[Rule, ...]:
    names = st.lists(st.sampled_from(SMALL), min_size=2, max_size=4, unique=True)
    kinds = st.sampled_from(("exactly_one", "implies", "excludes"))
    return tuple(Rule(draw(kinds), tuple(draw(names))) for _ in range(draw(st.integers(0, 4))))


@given(rule_sets(), st.fixed_dictionaries({name: PROBABILITY for name in SMALL}))
def test_no_satisfying_assignment_is_more_probable(rules, probabilities):
    def score(assignment):
        clipped = {name: min(max(p, 1e-7), 1 - 1e-7) for name, p in probabilities.items()}
        return sum(math.log(clipped[n] if value else 1 - clipped[n]) for n, value in assignment.items())

    allowed = satisfying(rules)
    if not allowed:
        with pytest.raises(ValueError, match="contradict"):
            consistent_assignment(probabilities, rules)
        return
    found = consistent_assignment(probabilities, rules)
    assert found in allowed
    assert score(found) >= max(map(score, allowed)) - 1e-9


def test_a_weak_beard_yields_to_a_sure_woman_and_a_sure_beard_makes_a_man():
    probabilities = dict.fromkeys(NANO.attribute_names, 0.1) | {"Male": 0.1, "Beard": 0.7}
    assert not consistent_assignment(probabilities, NANO.rules)["Beard"]
    probabilities |= {"Male": 0.4, "Beard": 0.99}
    assert consistent_assignment(probabilities, NANO.rules)["Male"]


def written(rules: str) -> tuple[Rule, ...]:
    """ "implies a b, excludes b c" as rules."""
    items = (rule.split() for rule in rules.split(", "))
    return tuple(Rule(kind, tuple(names)) for kind, *names in items)


def satisfying(rules) -> list[dict[str, bool]]:
    every = (dict(zip(SMALL, values, strict=True)) for values in itertools.product((False, True), repeat=len(SMALL)))
    return [assignment for assignment in every if all(rule.holds(assignment) for rule in rules)]


@given(rule_sets())
def test_a_set_without_faults_leaves_every_attribute_free_and_needs_every_rule(rules):
    named = {name for rule in rules for name in rule.names}
    left = satisfying(rules)
    free = all({assignment[name] for assignment in left} == {True, False} for name in named)
    needed = all(len(satisfying([r for r in rules if r is not rule])) > len(left) for rule in rules)
    assert (check_rules(rules) == []) == (free and needed)


@given(rule_sets(), st.fixed_dictionaries({name: st.sampled_from((True, False, None)) for name in SMALL}))
def test_what_rules_say_of_the_unknown_is_true_of_all_that_may_be(rules, known):
    """Where what is known breaks no rule. One rule after the other is looked at, so not all that follows is found."""
    possible = [
        assignment
        for assignment in satisfying(rules)
        if all(value is None or assignment[name] == value for name, value in known.items())
    ]
    found = implied(known, rules)
    assert all(known[name] is None for name in found)
    if possible:
        assert all(assignment[name] == value for assignment in possible for name, value in found.items())


@pytest.mark.parametrize(
    ("rules", "known", "found"),
    [
        ("exactly_one a b c", {"a": True}, {"b": False, "c": False}),
        ("exactly_one a b c", {"a": False, "b": False}, {"c": True}),
        ("exactly_one a b c", {"a": False}, {}),
        ("implies a b c", {"a": True}, {"b": True, "c": True}),
        ("implies a b c", {"b": False}, {"a": False}),
        ("implies a b c", {"b": True}, {}),
        ("excludes a b c", {"a": True}, {"b": False, "c": False}),
        ("excludes a b c", {"c": True}, {"a": False}),
        ("excludes a b c", {"a": False}, {}),
        ("implies a b, implies b c, excludes c d", {"a": True}, {"b": True, "c": True, "d": False}),
    ],
)
def test_each_kind_of_rule_fills_in_what_follows(rules, known, found):
    assert implied(dict.fromkeys(SMALL) | known, written(rules)) == found


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        ("implies a b, excludes a b, implies c d", "implies(a, b) and excludes(a, b) contradict each other: a"),
        ("implies a b, implies b c, implies a c", "implies(a, c) is redundant: it follows from implies(a, b)"),
        ("excludes a b, excludes b a", "excludes(a, b) is redundant: it follows from excludes(b, a)"),
    ],
)
def test_faults_name_the_rules_they_take(rules, named):
    assert any(named in fault for fault in check_rules(written(rules)))


def test_rules_that_tie_too_many_attributes_are_a_fault():
    names = [f"n{i}" for i in range(40)]
    chain = [Rule("implies", pair) for pair in itertools.pairwise(names)]
    assert "40 attributes are tied together" in check_rules(chain)[0]
