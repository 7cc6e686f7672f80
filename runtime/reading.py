"""Readings: a reading says what a question asks. The language model writes it before its answer; users do not see it.

A reading is one line in the fact words of the vocabulary:

    beard yes                  Is it so? It is a flag and the value for which the answer is Yes.
    hair gray white            Is it one of these? It is a choice and the values for which the answer is Yes.
    age <48    age 30..40      Is it within a range? It is a number and the ranges for which the answer is Yes, such as
                               <48, >=48, or 30..40 (40 is not included).
    facial no                  Is there none of these? It is the word of a topic, and "no" if none of its labels holds.
    what age   what hair       Which one is it? It is a label or a topic.
    describe                   What does the whole face look like?
    who                        Who is it?
    other                      The question is not about the labels.

The verdict and the evidence of an answer follow from the reading, not from the words of the answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .label import Bounds, Label, fact_value
from .vocabulary import Vocabulary


@dataclass(frozen=True)
class Reading:
    """What a question asks."""

    labels: tuple[str, ...] = ()
    """Names of the labels that the answer rests on."""
    holds: Callable[[Mapping], bool] | None = None
    """A function that takes the labels of a face and tells whether the answer is Yes. None if the question is not a
    yes/no question."""
    label: Label | None = None
    """The number that the question compares; None if it does not compare a number."""
    bounds: tuple[Bounds, ...] = ()
    """The ranges that the number is compared with."""

    def verdict(self, labels: Mapping) -> bool | None:
        """Tells whether the answer is Yes for a face with these labels.

        Returns None if the question is not a yes/no question or a label that it rests on is missing.
        """
        if self.holds is None or any(name not in labels for name in self.labels):
            return None
        return self.holds(labels)

    def confidence(
        self, vocabulary: Vocabulary, labels: Mapping, attributes: Mapping, numbers: Mapping
    ) -> float | None:
        """Returns the least probability, in [0, 1], of the values that the answer rests on.

        labels: the face's consistent labels, of which the answer speaks. attributes, numbers: see `Vocabulary.outputs`.
        Returns None if the answer rests on nothing that has a probability.
        """
        if self.label is not None:
            inside = sum(self.label.probability(numbers[self.label.name], bounds) for bounds in self.bounds)
            inside = min(inside, 1.0)  # ranges may overlap
            return inside if self.verdict(labels) else 1 - inside
        found = (vocabulary.confidence(name, labels, attributes) for name in self.labels)
        return min((p for p in found if p is not None), default=None)


def read(text: str, vocabulary: Vocabulary) -> Reading:
    """Interprets the line that the language model wrote.

    A line that is not a reading in this vocabulary gives a reading that rests on no labels.
    """
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
    """Writes the reading of the question whether a flag or a choice has one of the values."""
    return " ".join([label.word, *(fact_value(value) for value in label.value_names if value in values)])


def of_bounds(label: Label, *bounds: Bounds) -> str:
    """Writes the reading of the question whether a number lies within any of the bounds, which may be infinite."""
    return " ".join([label.word, *map(_range_text, bounds)])


def _asked(name: str, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Returns the names of the labels of an open question. name: of a topic, or the fact word of a label."""
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
    """Reads a range such as "<48", ">=48" or "30..40". Raises ValueError for any other text."""
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
