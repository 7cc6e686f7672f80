"""Coarser looks at a flag or a choice: one value or several against the others, and values that are taken as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from faceinsight.runtime.errors import InputError
from faceinsight.runtime.label import Attribute, Label

Found = str | bool | None


@dataclass(frozen=True)
class View:
    """What each value of a flag or a choice counts as.

    name: under which it is scored. counts: value of the label -> True or False, or the name of what it is taken as.
    """

    name: str
    label: Label
    counts: Mapping[str | bool, str | bool]

    def of(self, value: Found) -> Found:
        """What a value counts as; None for None, and where a coarse value stands for some that count differently."""
        return only(self.counts[fine] for fine in fine_values(self.label, value))

    def probability(self, attributes: Mapping[str, float]) -> float:
        """The probability that what counts as True holds. attributes: {attribute: probability}."""
        held = [attribute for value, attribute in attributes_of(self.label).items() if self.counts[value] is True]
        return min(1.0, sum(attributes[attribute.name] for attribute in held if attribute))


def against_others(name: str, label: Label, values: Iterable[str | bool]) -> View:
    """The view of some values, or coarse ones, of a label against its others."""
    inside = {fine for value in values for fine in fine_values(label, value)}
    return View(name, label, {value: value in inside for value in label.value_names})


def chosen_views(label: Label, values: Sequence[str], together: Mapping[str, str]) -> list[View]:
    """The view of several values of a choice against its others; without values, one view for each.

    together: see `not_told_apart`. Raises InputError for a value that the choice does not have.
    """
    if not values:
        return [view for value in label.value_names for view in chosen_views(label, [value], together)]
    for value in values:
        if not fine_values(label, value):
            names = ", ".join(label.value_names)
            raise InputError(f"{label.name} has no value {value!r}; the model tells {names}")
    meant = dict.fromkeys(together.get(value, value) for value in values)
    return [against_others(f"{label.name} {' or '.join(meant)}", label, meant)]


def column_views(label: Label) -> list[View]:
    """The views of the columns that a data set may have for just one value of a choice, such as Gray_Hair; it is met by
    all values that have the same coarse one."""
    return [
        against_others(value.attribute.name, label, [value.coarse or value.name])
        for value in label.values
        if value.attribute
    ]


def coarse_view(label: Label) -> View:
    """The view in which values of one coarse value are the same."""
    return View(f"{label.name} coarse", label, {value.name: value.coarse or value.name for value in label.values})


def events(label: Label, names: Mapping[frozenset, str], together: Mapping[str, str]) -> list[View]:
    """The views of a flag, or of every value of a choice, that attributes give a probability.

    names: values -> name of the question that Yes answers for just these. together: see `not_told_apart`.
    """
    parts: dict[str | bool, set] = {True: {True}} if label.kind == "flag" else {}
    for value in label.values:
        if value.attribute:
            parts.setdefault(together.get(value.name, value.name), set()).add(value.name)
    return [
        against_others(names.get(frozenset(values), f"{label.name} {part}"), label, values)
        for part, values in parts.items()
    ]


def not_told_apart(label: Label, found: Set[Found]) -> dict[str, str]:
    """Values of a choice -> the coarse value that a set means by the only one of them that it has.

    found: the values that the set has. A set whose white hair is called gray has no white.
    """
    meant = {}
    for coarse in filter(None, {value.coarse for value in label.values}):
        fine = fine_values(label, coarse)
        if len(fine) > 1 and len(found & {*fine, coarse}) == 1:
            meant |= dict.fromkeys(fine, coarse)
    return meant


def attributes_of(label: Label) -> dict[str | bool, Attribute | None]:
    """Returns value of a flag or a choice -> the attribute that holds with it, if any."""
    return {value.name: value.attribute for value in label.values} or {True: label.attribute, False: None}


def fine_values(label: Label, value: Found) -> list[str | bool]:
    """Returns the values of a label that a value stands for: itself, or all that have it as their coarse one."""
    if value in label.value_names:
        return [value]
    return [fine.name for fine in label.values if fine.coarse and fine.coarse == value]


def only(found: Iterable[str | bool]) -> Found:
    """The one value that occurs; None where several do, or none."""
    different = set(found)
    return different.pop() if len(different) == 1 else None
