"""Labels: a label is what a table of faces has in one column.

A label is a flag ("Eyeglasses": True), a choice of one value ("Hair_Color": "gray") or a number ("Age_Years": 42). The
attribute head of a model gives a probability for each flag and for each value of a choice. What such a probability
belongs to is called an attribute. For a number, the head gives one value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .errors import InputError
from .parse_map import PARSE_CLASSES

KINDS = ("flag", "choice", "number")
"""The kinds of labels."""
ODDS = ("equal", "natural", "colour")
"""The values of `Label.odds`."""
FACE = ("skin", "nose", "l_eye", "r_eye", "l_brow", "r_brow", "u_lip", "l_lip", "mouth")
"""The parse classes of the face itself. They are the regions of a label that names no regions."""

Bounds = tuple[float, float]
"""A range of numbers: the least number, and the first one that is too large."""


@dataclass(frozen=True)
class Attribute:
    """What the attribute head gives one probability for: a flag, or one value of a choice."""

    name: str
    """Its name; CelebA's name if CelebA has the attribute."""
    prompt: str
    """The text from which its text feature T^0 is computed, such as "a face with eyeglasses"."""


@dataclass(frozen=True)
class Value:
    """One value of a choice."""

    name: str
    """Its name in labels.csv."""
    attribute: Attribute | None = None
    """Its attribute; None for the value that the choice has if no attribute holds."""
    bounds: Bounds | None = None
    """The range of the number `Label.source` for which the choice has this value; None if it does not depend on it."""
    coarse: str = ""
    """The name that several values share in data sets which do not distinguish them."""
    also: tuple[str, ...] = ()
    """Other spellings in labels.csv."""


@dataclass(frozen=True)
class Groups:
    """The named groups of a number. They make a further label, whose value follows from the number."""

    name: str
    """The name of that label."""
    word: str
    """Its fact word, for readings."""
    values: tuple[tuple[str, Bounds], ...]
    """Pairs of a group's name and its bounds."""

    def of(self, number: float) -> str:
        """Returns the name of the group that contains a number, or of the nearest group if none does."""
        return min(self.values, key=lambda item: _distance(number, item[1]))[0]


@dataclass(frozen=True)
class Label:
    """One label of a vocabulary. Flags, choices and numbers each use the fields that are meant for them."""

    name: str
    """Its column in labels.csv."""
    kind: str
    """One of KINDS."""
    word: str
    """Its name in facts and readings, without spaces."""
    regions: tuple[str, ...] = FACE
    """The parse classes in which it is seen."""
    tasks: tuple[str, ...] = ("attributes",)
    """The paper's tasks that it belongs to: "attributes", "demographics", "expression"."""
    attribute: Attribute | None = None
    """Of a flag: its attribute."""
    values: tuple[Value, ...] = ()
    """Of a choice: its values."""
    source: str = ""
    """Of a choice: the name of a number in data sets, such as "Age_Years", from which its value follows."""
    odds: str = "equal"
    """Of a choice: how common its values are taken to be. "equal" is equally common, "natural" is as common as in the
    training data, "colour" is as common as in the colour photographs of the training data."""
    untold: tuple[str, ...] = ()
    """Of a choice: values that data sets may have and the label does not tell. Such a face's value is not known."""
    prompt: str = ""
    """Of a number: the text from which its text feature T^0 is computed."""
    unit: str = ""
    """Of a number: its unit, such as "years"."""
    bounds: Bounds = (0.0, 1.0)
    """Of a number: its range."""
    step: float = 1.0
    """Of a number: it is stated as a multiple of the step."""
    groups: Groups | None = None
    """Of a number: its named groups."""
    spread: float = 0.0
    """Of a number: how far the model errs. Training measures it, as the scale of a logistic distribution in the unit of
    the number. 0 if it is not known."""
    phrases: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Pairs of a grammatical category and phrases, for a label without written language data in models/data/language.
    """

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """The attributes of a flag or a choice, () for a number."""
        if self.kind == "choice":
            return tuple(value.attribute for value in self.values if value.attribute)
        return (self.attribute,) if self.attribute else ()

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of its outputs of the attribute head: those of its attributes, or its own name for a number."""
        return (self.name,) if self.kind == "number" else tuple(attribute.name for attribute in self.attributes)

    @property
    def value_names(self) -> tuple[str | bool, ...]:
        """The values that a flag or a choice may have, () for a number."""
        return (True, False) if self.kind == "flag" else tuple(value.name for value in self.values)

    def value(self, name: str) -> Value:
        """Returns the value of a choice with the given name."""
        return next(value for value in self.values if value.name == name)

    def stated(self, number: float) -> float | int:
        """Rounds a number as answers state it: to the nearest multiple of its step that lies within its bounds."""
        least, most = self.steps
        rounded = min(max(round(number / self.step), least), most) * self.step
        return int(rounded) if float(self.step).is_integer() else round(rounded, 6)

    @property
    def steps(self) -> tuple[int, int]:
        """The least and the greatest number of steps whose multiple lies within a number's bounds."""
        # round: 1.1 / 0.1 is a little more than 11
        low, high = (math.ceil(round(bound / self.step, 6)) for bound in self.bounds)
        return low, high - 1

    def probability(self, number: float, bounds: Bounds) -> float:
        """Returns the probability that the true number lies within the bounds if the model gives `number`.

        It is 0 or 1 if the spread is not known.
        """
        low, high = bounds
        if not self.spread:
            return float(low <= number < high)
        return _logistic((high - number) / self.spread) - _logistic((low - number) / self.spread)

    @classmethod
    def from_json(cls, name: str, data: Mapping) -> Label:
        """Reads a label from its entry in a vocabulary. Raises InputError that names all that is missing or wrong."""
        return _LabelReader(name, data).label()

    def to_json(self) -> dict:
        """Returns the entry from which `from_json` makes the same label. Fields with their default are left out."""
        data: dict = {"kind": self.kind, "word": self.word}
        if self.kind == "choice":
            data["values"] = {value.name: _value_json(value) for value in self.values}
        else:
            data["prompt"] = self.prompt or self.attribute.prompt
        if self.kind == "number":
            data |= {"unit": self.unit, "range": list(self.bounds), "step": self.step}
            if self.groups:
                values = {group: list(bounds) for group, bounds in self.groups.values}
                data["groups"] = {"name": self.groups.name, "word": self.groups.word, "values": values}
        plain = {"regions": FACE, "tasks": ("attributes",), "source": "", "odds": "equal", "untold": (), "spread": 0.0}
        for key, default in plain.items():
            if (value := getattr(self, key)) != default:
                data[key] = list(value) if isinstance(value, tuple) else value
        if self.phrases:
            data["phrases"] = {category: list(items) for category, items in self.phrases}
        return data


def fact_value(value: str | bool | float) -> str:
    """Returns a label's value as one word for facts and readings."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value.replace(" ", "-") if isinstance(value, str) else f"{value:g}"


def _distance(number: float, bounds: Bounds) -> float:
    """Returns how far a number lies outside of the bounds. The upper bound itself is outside."""
    low, high = bounds
    return low - number if number < low else max(0.0, math.nextafter(number, math.inf) - high)


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def _value_json(value: Value) -> dict:
    data: dict = {}
    if value.attribute:
        data |= {"attribute": value.attribute.name, "prompt": value.attribute.prompt}
    if value.bounds:
        data["range"] = list(value.bounds)
    if value.coarse:
        data["coarse"] = value.coarse
    if value.also:
        data["also"] = list(value.also)
    return data


_KEYS = {
    "flag": ("prompt",),
    "choice": ("values", "source", "odds", "untold"),
    "number": ("prompt", "unit", "range", "step", "groups", "spread"),
}
"""Kind -> keys that only its entries may have."""


class _LabelReader:
    """Reads the entry of one label and collects everything that is wrong with it."""

    def __init__(self, name: str, data: Mapping):
        self.name, self.data, self.faults = name, data, []
        if not isinstance(data, Mapping):
            raise InputError(f"label {name} is {data!r}; it has to be a table with a kind")

    def label(self) -> Label:
        kind = self.data.get("kind", "no kind")
        if kind not in KINDS:
            raise InputError(f"label {self.name} has {kind!r} as its kind; use {', '.join(KINDS)}")
        known = ("kind", "word", "regions", "tasks", "phrases", *_KEYS[kind])
        unknown = [key for key in self.data if key not in known]
        self.check(not unknown, f"has unknown keys {', '.join(unknown)}; known are {', '.join(known)}")
        self.check(re.fullmatch(r"\w+", self.name) is not None, "its name may only have letters, digits and _")
        word = self.text("word", self.name.lower().replace("_", "-"))
        regions = self.texts("regions", FACE)
        strange = [region for region in regions if region not in PARSE_CLASSES]
        self.check(not strange, f"has unknown regions {', '.join(strange)}; known are {', '.join(PARSE_CLASSES)}")
        tasks, phrases = self.texts("tasks", ("attributes",)), self.phrases()
        own = {"flag": self.flag, "choice": self.choice, "number": self.number}[kind]()
        if self.faults:
            raise InputError(f"label {self.name}: {'; '.join(self.faults)}")
        return Label(self.name, kind, word, regions, tasks, phrases=phrases, **own)

    def check(self, holds: bool, fault: str) -> None:
        if not holds:
            self.faults.append(fault)

    def text(self, key: str, default: str | None = None) -> str:
        value = self.data.get(key, default)
        if not isinstance(value, str) or not (value or default == ""):
            self.faults.append(f"lacks its {key}, a text" if value is None else f"{key} is {value!r}; it is a text")
            return ""
        return value

    def texts(self, key: str, default: Iterable[str]) -> tuple[str, ...]:
        value = self.data.get(key, tuple(default))
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
            self.faults.append(f"{key} is {value!r}; it is a list of texts")
            return ()
        return tuple(value)

    def phrases(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        table = self.data.get("phrases", {})
        if not isinstance(table, Mapping) or not all(isinstance(v, (list, tuple)) for v in table.values()):
            self.faults.append("phrases is a table: category -> list of phrases")
            return ()
        return tuple((category, tuple(items)) for category, items in table.items())

    def flag(self) -> dict:
        return {"attribute": Attribute(self.name, self.text("prompt"))}

    def choice(self) -> dict:
        table = self.data.get("values", {})
        if not isinstance(table, Mapping) or len(table) < 2:
            self.faults.append("lacks its values: at least two, each with a prompt")
            return {}
        values = tuple(self.value(name, {"prompt": v} if isinstance(v, str) else v) for name, v in table.items())
        without = [value.name for value in values if value.attribute is None]
        self.check(len(without) <= 1, f"its values {', '.join(without)} lack a prompt; one at most may do without")
        odds = self.text("odds", "equal")
        self.check(odds in ODDS, f"odds is {odds!r}; use {', '.join(ODDS)}")
        return {"values": values, "source": self.text("source", ""), "odds": odds, "untold": self.texts("untold", ())}

    def value(self, name: str, data: Mapping) -> Value:
        if not isinstance(data, Mapping) or set(data) - {"attribute", "prompt", "range", "coarse", "also"}:
            self.faults.append(f"its value {name} is {data!r}; it has a prompt, attribute, range, coarse, also")
            return Value(name)
        texts = [data[key] for key in ("attribute", "prompt", "coarse") if key in data]
        also = data.get("also", ())
        fits = isinstance(also, (list, tuple)) and all(isinstance(text, str) and text for text in (*texts, *also))
        self.check(fits, f"its value {name} is {data!r}; attribute, prompt, coarse are texts, also a list of texts")
        self.check("prompt" in data or "attribute" not in data, f"its value {name} has an attribute without a prompt")
        attribute = None
        if "prompt" in data:
            default = f"{self.name}_{name.title().replace(' ', '_')}"
            attribute = Attribute(data.get("attribute", default), data["prompt"])
        bounds = self.bounds(data["range"], f"the range of {name}") if "range" in data else None
        return Value(name, attribute, bounds, data.get("coarse", ""), tuple(also) if fits else ())

    def number(self) -> dict:
        bounds = self.bounds(self.data.get("range"), "its range")
        step, spread = self.data.get("step", 1), self.data.get("spread", 0.0)
        self.check(_is_number(step) and step > 0, f"step is {step!r}; it is a number above 0")
        self.check(_is_number(spread) and spread >= 0, f"spread is {spread!r}; it is a number, 0 or more")
        known = {"prompt": self.text("prompt"), "unit": self.text("unit"), "bounds": bounds}
        known |= {"step": step, "spread": spread, "groups": self.groups()}
        if not self.faults:
            least, most = Label(self.name, "number", "", **known).steps
            self.check(least <= most, f"no multiple of its step {step:g} lies in its range {list(bounds)}")
        return known

    def groups(self) -> Groups | None:
        data = self.data.get("groups")
        if data is None:
            return None
        try:
            values = tuple((name, self.bounds(value, f"the group {name}")) for name, value in data["values"].items())
            found = Groups(data["name"], data.get("word", data["name"].lower()), values)
        except (KeyError, TypeError, AttributeError):
            values, found = (), None
        self.check(bool(values), 'groups needs a name and values: {"under 18": [0, 18], ...}')
        return found

    def bounds(self, given: object, what: str) -> Bounds:
        fits = (
            isinstance(given, (list, tuple)) and len(given) == 2 and all(map(_is_number, given)) and given[0] < given[1]
        )
        self.check(
            fits, f"lacks {what}: [least, the first that is too large]" if given is None else f"{what} is {given!r}"
        )
        return (given[0], given[1]) if fits else (0.0, 1.0)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
