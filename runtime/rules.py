"""Logical rules over attributes, and the most probable assignment that satisfies all of them.

An answer is decided on the assignment found here, so two answers about one face cannot contradict each other. (The
paper's logical constraint L_c, the same rules as a loss in training, is not built yet.)
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .errors import BundleError

KINDS = ("exactly_one", "implies", "excludes")


@dataclass(frozen=True)
class Rule:
    """exactly_one: one of `names` holds. implies: names[0] -> all others. excludes: names[0] -> none of the others."""

    kind: str
    names: tuple[str, ...]

    def holds(self, assignment: Mapping[str, bool]) -> bool:
        """assignment: attribute name -> bool, with every name of this rule."""
        first, *others = (assignment[name] for name in self.names)
        if self.kind == "exactly_one":
            return first + sum(others) == 1
        if self.kind == "implies":
            return not first or all(others)
        return not first or not any(others)


RULES = (
    Rule("exactly_one", ("Age_0_34", "Age_35_49", "Age_50_64", "Age_65_Plus")),
    Rule("exactly_one", ("Black_Hair", "Brown_Hair", "Blond_Hair", "Red_Hair", "Gray_Hair", "White_Hair")),
    Rule("implies", ("Mustache", "Male")),
    Rule("implies", ("Beard", "Male")),
    Rule("excludes", ("Wearing_Hat", "Bald", "Receding_Hairline")),
)


def rules_from_json(items: Sequence[Mapping], names: Sequence[str]) -> tuple[Rule, ...]:
    """Reads [{"kind": ..., "names": [...]}]; raises BundleError on an unknown kind or attribute."""
    rules = []
    for item in items:
        rule = Rule(item["kind"], tuple(item["names"]))
        unknown = [name for name in rule.names if name not in names]
        if rule.kind not in KINDS or unknown or len(rule.names) < 2:
            raise BundleError(f"rule {item} is not usable: kinds are {KINDS}, unknown attributes: {unknown}")
        rules.append(rule)
    return tuple(rules)


def consistent_assignment(probabilities: Mapping[str, float], rules: Sequence[Rule] = RULES) -> dict[str, bool]:
    """The most probable assignment that satisfies every rule (exact).

    probabilities: attribute -> p in [0, 1], taken as independent; the score is the product of p or 1 - p.
    Returns attribute -> bool, in the order given. Attributes tied by rules are solved together, group by group:
    groups are small, so all satisfying assignments of one are enumerated. Raises ValueError if none exists.
    """
    log_odds = {name: _log_odds(p) for name, p in probabilities.items()}
    assignment: dict[str, bool] = {}
    for group, candidates in _satisfying(tuple(probabilities), tuple(rules)):
        if not len(candidates):
            raise ValueError(f"the rules over {group} contradict each other: no assignment satisfies them")
        best = candidates[np.argmax(candidates @ [log_odds[name] for name in group])]
        assignment |= zip(group, best.tolist(), strict=True)
    return {name: assignment[name] for name in probabilities}


def _log_odds(p: float) -> float:
    p = min(max(float(p), 1e-7), 1 - 1e-7)
    return math.log(p) - math.log1p(-p)


def _groups(names: tuple[str, ...], rules: Sequence[Rule]) -> list[tuple[str, ...]]:
    """Connected components of the attributes under the rules, in the order of `names`."""
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
    """Every group of `names` with all of its assignments that satisfy `rules`, [k, len(group)] bool."""
    found = []
    for group in _groups(names, rules):
        own = [rule for rule in rules if rule.names[0] in group]
        every = itertools.product((False, True), repeat=len(group))
        allowed = [v for v in every if all(rule.holds(dict(zip(group, v, strict=True))) for rule in own)]
        found.append((group, np.array(allowed, bool).reshape(-1, len(group))))
    return found
