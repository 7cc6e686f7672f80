"""Logical rules over attributes, and the most probable assignment that satisfies all of them.

An answer is decided on the assignment found here, so two answers about one face cannot contradict each other. In
training the same rules are the paper's logical constraint L_c (models/logic.py).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .errors import BundleError
from .labels import MORE, NAMES

KINDS = ("exactly_one", "implies", "excludes")
MAX_GROUP = 16
"""Most attributes that rules may tie together: all 2^n assignments of such a group are looked at."""


@dataclass(frozen=True)
class Rule:
    """exactly_one: one of `names` holds. implies: names[0] -> all others. excludes: names[0] -> none of the others."""

    kind: str
    names: tuple[str, ...]

    def holds(self, assignment: Mapping[str, bool | np.ndarray]) -> np.ndarray:
        """assignment: attribute name -> bool, or bool array of many assignments, with every name of this rule.

        Returns bool of the same shape.
        """
        first, *others = (np.asarray(assignment[name], bool) for name in self.names)
        if self.kind == "exactly_one":
            return np.sum([first, *others], axis=0) == 1
        if self.kind == "implies":
            return ~first | np.all(others, axis=0)
        return ~first | ~np.any(others, axis=0)

    def __str__(self) -> str:
        return f"{self.kind}({', '.join(self.names)})"


_RULES = (
    Rule("exactly_one", ("Age_0_34", "Age_35_49", "Age_50_64", "Age_65_Plus")),
    Rule("exactly_one", ("Black_Hair", "Brown_Hair", "Blond_Hair", "Red_Hair", "Gray_Hair", "White_Hair")),
    Rule("implies", ("Mustache", "Male")),
    Rule("implies", ("Beard", "Male")),
    Rule("excludes", ("Wearing_Hat", "Bald", "Receding_Hairline")),
    *(Rule("exactly_one", tuple(attribute.name for attribute in group)) for group in MORE.values()),
    Rule("implies", ("Expression_Happy", "Smiling")),
    Rule(
        "excludes",
        ("Smiling", *(f"Expression_{value}" for value in ("Neutral", "Sad", "Fear", "Disgust", "Anger"))),
    ),
)


def rules_for(names: Sequence[str]) -> tuple[Rule, ...]:
    """The rules of a model with these attributes."""
    return tuple(rule for rule in _RULES if set(rule.names) <= set(names))


RULES = rules_for(NAMES)
"""Those of every model."""


def rules_from_json(items: Sequence[Mapping], names: Sequence[str]) -> tuple[Rule, ...]:
    """Reads [{"kind": ..., "names": [...]}]; raises BundleError on an unknown kind or attribute, and when the rules
    contradict each other or one of them follows from the others.
    """
    rules = []
    for item in items:
        rule = Rule(item["kind"], tuple(item["names"]))
        unknown = [name for name in rule.names if name not in names]
        if rule.kind not in KINDS or unknown or len(rule.names) < 2:
            raise BundleError(f"rule {item} is not usable: kinds are {KINDS}, unknown attributes: {unknown}")
        rules.append(rule)
    if faults := check_rules(rules):
        raise BundleError(f"the rules are not usable: {'; '.join(faults)}; mend them and rebuild the bundle")
    return tuple(rules)


def check_rules(rules: Sequence[Rule]) -> list[str]:
    """What is wrong with a set of rules, one line a fault; [] for a sound one.

    Contradictory: rules that together leave an attribute only one value whatever is seen, or none. Redundant: a rule
    that follows from the others. Each fault names the fewest rules that it takes.
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
    """The first rule that follows from the others; "" for none. Of two that say the same, each would."""
    for rule in rules:
        others = [other for other in rules if other is not rule]
        if _follows(rule, others, group):
            fewest = _fewest(others, lambda some, rule=rule: _follows(rule, some, group))
            return f"{rule} is redundant: it follows from {_listed(fewest)}"
    return ""


def _listed(rules: Sequence[Rule]) -> str:
    return " and ".join(map(str, rules))


def _fixed(group: tuple[str, ...], rules: Sequence[Rule]) -> list[str]:
    """Attributes that have the same value in all assignments."""
    allowed = _allowed(group, rules)
    return [name for name, column in zip(group, allowed.T, strict=True) if column.all() or not column.any()]


def _follows(rule: Rule, others: Sequence[Rule], group: tuple[str, ...]) -> bool:
    return bool(np.all(rule.holds(dict(zip(group, _allowed(group, others).T, strict=True)))))


def _fewest(rules: Sequence[Rule], enough: Callable[[Sequence[Rule]], bool]) -> list[Rule]:
    """A subset that is still enough and from which none can be left out."""
    kept = list(rules)
    for rule in rules:
        without = [other for other in kept if other is not rule]
        if enough(without):
            kept = without
    return kept


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
    return [
        (group, _allowed(group, [rule for rule in rules if rule.names[0] in group])) for group in _groups(names, rules)
    ]


def _allowed(group: tuple[str, ...], rules: Sequence[Rule]) -> np.ndarray:
    """All assignments of `group` that satisfy `rules`, [k, len(group)] bool."""
    every = np.array(list(itertools.product((False, True), repeat=len(group))))
    columns = dict(zip(group, every.T, strict=True))
    return every[np.all([np.ones(len(every), bool), *(rule.holds(columns) for rule in rules)], axis=0)]
