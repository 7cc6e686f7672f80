"""Logical rules over attributes, and the most probable assignment that satisfies all of them.

Answers are decided on that assignment, so two answers about one face cannot contradict each other. In training the same
rules are the paper's logical constraint L_c (models/logic.py).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

KINDS = ("exactly_one", "implies", "excludes")
"""The kinds of rules, see `Rule`."""
MAX_GROUP = 16
"""The most attributes that rules may connect with each other, because all 2^n assignments of such a group are tried."""


@dataclass(frozen=True)
class Rule:
    """A rule over attributes."""

    kind: str
    """One of KINDS. "exactly_one": one of the names holds. "implies": if the first name holds, all others hold.
    "excludes": if the first name holds, none of the others holds."""
    names: tuple[str, ...]
    """Names of two or more attributes."""

    def holds(self, assignment: Mapping[str, bool | np.ndarray]) -> np.ndarray:
        """Tells whether assignments satisfy the rule.

        assignment: attribute -> bool, or an array of bool with one value for each of many assignments. It has every
        name of the rule. Returns an array of bool of the same shape.
        """
        first, *others = (np.asarray(assignment[name], bool) for name in self.names)
        if self.kind == "exactly_one":
            return np.sum([first, *others], axis=0) == 1
        if self.kind == "implies":
            return ~first | np.all(others, axis=0)
        return ~first | ~np.any(others, axis=0)

    def __str__(self) -> str:
        return f"{self.kind}({', '.join(self.names)})"


def check_rules(rules: Sequence[Rule]) -> list[str]:
    """Returns what is wrong with a set of rules, a line for each fault; [] for a set without faults.

    Rules contradict each other if together they allow an attribute only one value, or none, whatever the image shows. A
    rule is redundant if it follows from others. A fault names only rules that are needed for it.
    """
    names = tuple(dict.fromkeys(name for rule in rules for name in rule.names))
    faults = []
    for group in _groups(names, rules):
        own = [rule for rule in rules if rule.names[0] in group]
        if len(group) > MAX_GROUP:
            faults.append(f"{len(group)} attributes are tied together, {group[0]} to {group[-1]}; {MAX_GROUP} can be")
        elif fixed := _fixed(group, own):
            fewest = _fewest(own, lambda some, group=group, name=fixed[0]: name in _fixed(group, some))
            faults.append(f"{_listed(fewest)} contradict each other: {fixed[0]} could have one value only")
        elif redundant := _redundant(group, own):
            faults.append(redundant)
    return faults


def _redundant(group: tuple[str, ...], rules: Sequence[Rule]) -> str:
    """Returns the fault of the first rule that follows from the others; "" if there is none."""
    for rule in rules:
        others = [other for other in rules if other is not rule]
        if _follows(rule, others, group):
            fewest = _fewest(others, lambda some, rule=rule: _follows(rule, some, group))
            return f"{rule} is redundant: it follows from {_listed(fewest)}"
    return ""


def _listed(rules: Sequence[Rule]) -> str:
    return " and ".join(map(str, rules))


def _fixed(group: tuple[str, ...], rules: Sequence[Rule]) -> list[str]:
    """Returns the attributes that have the same value in all allowed assignments."""
    allowed = _allowed(group, rules)
    return [name for name, column in zip(group, allowed.T, strict=True) if column.all() or not column.any()]


def _follows(rule: Rule, others: Sequence[Rule], group: tuple[str, ...]) -> bool:
    return bool(np.all(rule.holds(dict(zip(group, _allowed(group, others).T, strict=True)))))


def _fewest(rules: Sequence[Rule], enough: Callable[[Sequence[Rule]], bool]) -> list[Rule]:
    """Returns a part of the rules that is still enough and of which no rule can be left out."""
    kept = list(rules)
    for rule in rules:
        without = [other for other in kept if other is not rule]
        if enough(without):
            kept = without
    return kept


def consistent_assignment(probabilities: Mapping[str, float], rules: Sequence[Rule]) -> dict[str, bool]:
    """Finds the most probable assignment that satisfies every rule.

    The result is exact: attributes that rules connect form a small group, of which all allowed assignments are
    compared. probabilities: attribute -> p in [0, 1]. They count as independent, so an assignment is as probable as the
    product of p or 1 - p. Returns attribute -> bool, in the order given. Raises ValueError if no assignment satisfies
    the rules.
    """
    log_odds = {name: _log_odds(p) for name, p in probabilities.items()}
    assignment: dict[str, bool] = {}
    for group, candidates in _satisfying(tuple(probabilities), tuple(rules)):
        if not len(candidates):
            raise ValueError(f"the rules over {group} contradict each other: no assignment satisfies them")
        best = candidates[np.argmax(candidates @ [log_odds[name] for name in group])]
        assignment |= zip(group, best.tolist(), strict=True)
    return {name: assignment[name] for name in probabilities}


def implied(known: Mapping[str, bool | None], rules: Sequence[Rule]) -> dict[str, bool]:
    """Returns the values of unknown attributes that follow by the rules from known ones.

    known: attribute -> bool, or None if it is not known. Returns attribute -> bool for those that follow. Known
    attributes that break a rule stay as they are.
    """
    values, found = dict(known), {}
    while True:
        new = {name: value for rule in rules for name, value in _forced(rule, values).items()}
        if not new:
            return found
        values |= new
        found |= new


def _forced(rule: Rule, values: Mapping[str, bool | None]) -> dict[str, bool]:
    """Returns the values of unknown attributes that follow from one rule."""
    open_names = [name for name in rule.names if values[name] is None]
    if not open_names or len(open_names) == len(rule.names):
        return {}
    first, *others = rule.names
    if rule.kind == "exactly_one":
        if any(values[name] for name in rule.names):
            return dict.fromkeys(open_names, False)
        return {open_names[0]: True} if len(open_names) == 1 else {}
    wanted = rule.kind == "implies"
    if values[first]:
        return {name: wanted for name in others if values[name] is None}
    broken = any(values[name] is not None and values[name] != wanted for name in others)
    return {first: False} if values[first] is None and broken else {}


def _log_odds(p: float) -> float:
    p = min(max(float(p), 1e-7), 1 - 1e-7)
    return math.log(p) - math.log1p(-p)


def _groups(names: tuple[str, ...], rules: Sequence[Rule]) -> list[tuple[str, ...]]:
    """Returns the groups of attributes that rules connect, in the order of `names`."""
    group_of = {name: {name} for name in names}
    for rule in rules:
        merged = set().union(*(group_of[name] for name in rule.names))
        for name in merged:
            group_of[name] = merged
    seen: set[str] = set()
    groups = []
    for name in names:
        if name not in seen:
            seen |= group_of[name]
            groups.append(tuple(n for n in names if n in group_of[name]))
    return groups


@functools.lru_cache(maxsize=32)
def _satisfying(names: tuple[str, ...], rules: tuple[Rule, ...]) -> list[tuple[tuple[str, ...], np.ndarray]]:
    """Returns every group of `names` with the assignments that `rules` allow it, [k, len(group)] bool."""
    return [
        (group, _allowed(group, [rule for rule in rules if rule.names[0] in group])) for group in _groups(names, rules)
    ]


def _allowed(group: tuple[str, ...], rules: Sequence[Rule]) -> np.ndarray:
    """Returns all assignments of a group that satisfy the rules, [k, len(group)] bool."""
    every = np.array(list(itertools.product((False, True), repeat=len(group))))
    columns = dict(zip(group, every.T, strict=True))
    return every[np.all([np.ones(len(every), bool), *(rule.holds(columns) for rule in rules)], axis=0)]
