"""What a question asks, as the language model writes it down before its answer, unseen.

A reading is one line over the vocabulary's fact words:

    beard yes                  a flag, and the values for which Yes is right
    hair gray white            a choice, likewise
    age <48    age 30..40      a number, and the ranges for which Yes is right: <48, >=48, or 30..40 (40 not included)
    facial no                  a topic with a word: none of its labels holds
    what age   what hair       an open question about a label or a topic
    describe                   the whole face
    who        other           who someone is; anything that is not about the labels

The verdict and the evidence of an answer follow from it, not from the answer's words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .label import Bounds, Label, fact_value
from .vocabulary import Vocabulary


@dataclass(frozen=True)
class Reading:
    """labels: names of the labels that the answer rests on. holds: labels of a face -> whether Yes is right; None where
    the question is not a yes/no one. label, bounds: of a comparison of a number, the number and its ranges."""

    labels: tuple[str, ...] = ()
    holds: Callable[[Mapping], bool] | None = None
    label: Label | None = None
    bounds: tuple[Bounds, ...] = ()

    def verdict(self, labels: Mapping) -> bool | None:
        """Whether Yes answers the question about a face with these labels; None: it is not a yes/no question, or the
        labels do not tell."""
        if self.holds is None or any(name not in labels for name in self.labels):
            return None
        return self.holds(labels)

    def confidence(
        self, vocabulary: Vocabulary, labels: Mapping, attributes: Mapping, numbers: Mapping
    ) -> float | None:
        """Least probability in [0, 1] of what the answer rests on; None where it rests on nothing that has one."""
        if self.label is not None:
            inside = sum(self.label.probability(numbers[self.label.name], bounds) for bounds in self.bounds)
            inside = min(inside, 1.0)  # ranges may overlap
            return inside if self.verdict(labels) else 1 - inside
        found = (vocabulary.confidence(name, labels, attributes) for name in self.labels)
        return min((p for p in found if p is not None), default=None)


def read(text: str, vocabulary: Vocabulary) -> Reading:
    """Reads one line; what is no reading over this vocabulary rests on nothing."""
    first, *rest = text.split() or ("",)
    if text.strip() == "describe":
        return Reading(tuple(label.name for label in vocabulary.labels))
    if first == "what":
        return Reading(_asked(" ".join(rest), vocabulary))
    for label in vocabulary.labels:
        if label.groups and label.groups.word == first:
            return _of_groups(label, rest)
        if label.word == first:
            return _of_number(label, rest) if label.kind == "number" else _of_values(label, rest)
    for topic in vocabulary.topics:
        if topic.word == first and rest and set(rest) <= {"yes", "no"}:
            return _of_any(topic.labels, rest)
    return Reading()


def of_values(label: Label, values: tuple[str | bool, ...]) -> str:
    """The reading of a question about a flag or a choice for which Yes is right when it has one of the values."""
    return " ".join([label.word, *(fact_value(value) for value in label.value_names if value in values)])


def of_bounds(label: Label, *bounds: Bounds) -> str:
    """The reading of a question about a number for which Yes is right when it lies within any of the bounds; an
    infinite bound is none."""
    return " ".join([label.word, *map(_range_text, bounds)])


def _asked(name: str, vocabulary: Vocabulary) -> tuple[str, ...]:
    for topic in vocabulary.topics:
        if topic.name == name:
            return topic.labels
    words = {label.word: label.name for label in vocabulary.labels}
    words |= {label.groups.word: label.name for label in vocabulary.labels if label.groups}
    return (words[name],) if name in words else ()


def _of_any(names: tuple[str, ...], values: list[str]) -> Reading:
    return Reading(names, lambda labels: fact_value(any(labels[name] for name in names)) in values)


def _of_values(label: Label, values: list[str]) -> Reading:
    known = set(map(fact_value, label.value_names))
    holds = (lambda labels: fact_value(labels[label.name]) in values) if values and known.issuperset(values) else None
    return Reading((label.name,), holds)


def _of_groups(label: Label, values: list[str]) -> Reading:
    known = {fact_value(group): bounds for group, bounds in label.groups.values}
    if not values or not known.keys() >= set(values):
        return Reading((label.name,))

    def holds(labels: Mapping) -> bool:
        return fact_value(label.groups.of(labels[label.name])) in values

    return Reading((label.name,), holds, label, tuple(bounds for value, bounds in known.items() if value in values))


def _of_number(label: Label, ranges: list[str]) -> Reading:
    try:
        return _within(label, tuple(map(_range, ranges))) if ranges else Reading((label.name,))
    except ValueError:
        return Reading((label.name,))


def _within(label: Label, ranges: tuple[Bounds, ...]) -> Reading:
    def holds(labels: Mapping) -> bool:
        return any(low <= labels[label.name] < high for low, high in ranges)

    return Reading((label.name,), holds, label, ranges)


def _range(text: str) -> Bounds:
    """Raises ValueError for a text that is no range."""
    if text.startswith("<"):
        low, high = "-inf", text[1:]
    elif text.startswith(">="):
        low, high = text[2:], "inf"
    else:
        low, _, high = text.partition("..")
    bounds = float(low), float(high)
    if not bounds[0] < bounds[1]:
        raise ValueError(f"{text} is no range")
    return bounds


def _range_text(bounds: Bounds) -> str:
    low, high = bounds
    if low == -math.inf:
        return f"<{high:g}"
    return f">={low:g}" if high == math.inf else f"{low:g}..{high:g}"
