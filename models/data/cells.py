"""One row of labels.csv as labels of a vocabulary."""

from __future__ import annotations

import math
from collections.abc import Mapping

from faceinsight.runtime.errors import InputError
from faceinsight.runtime.label import Bounds, Label
from faceinsight.runtime.vocabulary import Vocabulary


def read_cells(row: Mapping[str, str], vocabulary: Vocabulary) -> dict:
    """{label: value} of all that the row tells; a blank cell and a missing column tell nothing.

    A flag is 1 or 0; a choice is one of its values; a number is a number, or a range such as 30..40, to which 40 does
    not belong; a group of a number is one of its names. Raises InputError for any other cell.
    """
    known: dict = {}
    for label in vocabulary.labels:
        if text := row.get(label.name):
            known[label.name] = _value(label, text, vocabulary)
        if label.source and (text := row.get(label.source)):
            known[label.source] = _number(label.source, text)
        if label.groups and (text := row.get(label.groups.name)):
            known[label.groups.name] = _one_of(label.groups.name, text, [name for name, _ in label.groups.values])
    return known


def _value(label: Label, text: str, vocabulary: Vocabulary) -> object:
    if label.kind == "flag":
        return _one_of(label.name, text, ["0", "1"]) == "1"
    if label.kind == "number":
        return _number(label.name, text, label.bounds)
    return vocabulary.value_of(label, {label.name: text})


def _one_of(name: str, text: str, allowed: list[str]) -> str:
    if text not in allowed:
        raise InputError(f"{name} is {text!r}; use {', '.join(allowed)} or nothing")
    return text


def _number(name: str, text: str, within: Bounds = (-math.inf, math.inf)) -> float | tuple[float, float]:
    try:
        values = tuple(float(part) for part in text.split("..", 1))
    except ValueError:
        values = ()
    if not values or not all(map(math.isfinite, values)) or (len(values) == 2 and values[0] >= values[1]):
        raise InputError(f"{name} is {text!r}; use a number, a range such as 30..40, or nothing")
    low, high = within
    if not low <= values[0] <= values[-1] <= high:
        raise InputError(f"{name} is {text!r}; it lies between {low:g} and {high:g}")
    return values[0] if len(values) == 1 else values
