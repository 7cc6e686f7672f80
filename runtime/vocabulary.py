"""A vocabulary: the labels that a model tells of a face, and the rules between them. It is data of the model.

A label is what a person would write in a column of a table: a flag ("Eyeglasses": True), a choice of one value
("Hair_Color": "gray") or a number ("Age_Years": 42). An attribute is one probability that the attribute head gives: of a
flag, or of one value of a choice. A number has one output of its own.

The JSON form stands in a model's config.json and in a bundle's manifest.json; a TOML file of the same form is read by
models/vocabulary.py.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .errors import InputError
from .parse_map import PARSE_CLASSES
from .rules import KINDS as RULE_KINDS
from .rules import Rule, check_rules, consistent_assignment, implied

KINDS = ("flag", "choice", "number")
ODDS = ("equal", "natural", "colour")
FACE = ("skin", "nose", "l_eye", "r_eye", "l_brow", "r_brow", "u_lip", "l_lip", "mouth")
"""Parse classes of the face itself: the regions of a label that names none."""
RESERVED = ("what", "describe", "who", "other")
"""First words of readings that are no fact word."""

Bounds = tuple[float, float]
"""Least value, and the value that is just too large."""


@dataclass(frozen=True)
class Attribute:
    """One probability of the attribute head.

    name: CelebA's where CelebA has the attribute. prompt: the text from which its text feature T^0 is computed.
    """

    name: str
    prompt: str


@dataclass(frozen=True)
class Value:
    """One value of a choice.

    name: as in labels.csv. attribute: its output of the head; None for the value that holds when no other does.
    bounds: of the label `Label.source`, where this value is a range of it. coarse: what data sets that tell fewer values
    apart call it. also: other spellings in labels.csv.
    """

    name: str
    attribute: Attribute | None = None
    bounds: Bounds | None = None
    coarse: str = ""
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Groups:
    """Named groups of a number: a further label whose value follows from the number.

    name: of that label. word: its fact word, which questions may be read with. values: group -> its bounds.
    """

    name: str
    word: str
    values: tuple[tuple[str, Bounds], ...]

    def of(self, number: float) -> str:
        """The group of a number; the nearest one where no group holds it."""
        return min(self.values, key=lambda item: _distance(number, item[1]))[0]


@dataclass(frozen=True)
class Label:
    """One label of a vocabulary.

    name: the column in labels.csv. kind: "flag", "choice" or "number". word: its name in the fact line and in readings,
    without spaces. regions: parse classes that it is seen in. tasks: those of the paper that it belongs to.
    attribute: of a flag. values: of a choice. source: the number that a choice is a grouping of in data ("Age_Years").
    odds: how the values of a choice compete: "equal" odds, "natural" ones as in the training data, or those of its
    photographs in "colour".
    prompt, unit, bounds, step, groups: of a number; it is stated as a multiple of step. spread: scale in units of the
    logistic distribution of its error, found by training; 0 if not known.
    phrases: ways to speak of it, by grammatical category, for a label without written language data (see
    models/data/language).
    """

    name: str
    kind: str
    word: str
    regions: tuple[str, ...] = FACE
    tasks: tuple[str, ...] = ("attributes",)
    attribute: Attribute | None = None
    values: tuple[Value, ...] = ()
    source: str = ""
    odds: str = "equal"
    prompt: str = ""
    unit: str = ""
    bounds: Bounds = (0.0, 1.0)
    step: float = 1.0
    groups: Groups | None = None
    spread: float = 0.0
    phrases: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """Its probabilities of the head, () for a number."""
        if self.kind == "choice":
            return tuple(value.attribute for value in self.values if value.attribute)
        return (self.attribute,) if self.attribute else ()

    @property
    def value_names(self) -> tuple[str | bool, ...]:
        """What the label may be; () for a number."""
        return (True, False) if self.kind == "flag" else tuple(value.name for value in self.values)

    def value(self, name: str) -> Value:
        """The value of a choice, by its name."""
        return next(value for value in self.values if value.name == name)

    def stated(self, number: float) -> float | int:
        """A number as it is told: within its bounds, and a multiple of its step."""
        low, high = self.bounds
        rounded = round(min(max(number, low), high) / self.step) * self.step
        return int(rounded) if float(self.step).is_integer() else round(rounded, 6)

    def probability(self, number: float, bounds: Bounds) -> float:
        """How likely the true value lies within the bounds when the model tells `number`; 0 or 1 without a spread."""
        low, high = bounds
        if not self.spread:
            return float(low <= number < high)
        return _logistic((high - number) / self.spread) - _logistic((low - number) / self.spread)

    @classmethod
    def from_json(cls, name: str, data: Mapping) -> Label:
        """Raises InputError that names everything the entry lacks or has wrong."""
        return _LabelReader(name, data).label()

    def to_json(self) -> dict:
        """The inverse of `from_json`; what has its default is left out."""
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
        plain = {"regions": FACE, "tasks": ("attributes",), "source": "", "odds": "equal", "spread": 0.0}
        for key, default in plain.items():
            if (value := getattr(self, key)) != default:
                data[key] = list(value) if isinstance(value, tuple) else value
        if self.phrases:
            data["phrases"] = {category: list(items) for category, items in self.phrases}
        return data


@dataclass(frozen=True)
class Topic:
    """Several labels that a question may ask for at once ("what hair").

    name: in readings that ask what. labels: names of the labels that the answer rests on. word: in yes/no readings,
    where any of the labels may hold ("facial yes"); "" for none.
    """

    name: str
    labels: tuple[str, ...]
    word: str = ""


@dataclass(frozen=True)
class Vocabulary:
    """labels: in the order of the attribute head's outputs. written_rules: those beside the ones that follow from
    choices. topics: see `Topic`."""

    labels: tuple[Label, ...]
    written_rules: tuple[Rule, ...] = ()
    topics: tuple[Topic, ...] = ()

    def __post_init__(self) -> None:
        """Raises InputError that names every fault: names or words that are taken twice, rules that contradict."""
        faults = _faults(self)
        if faults:
            raise InputError(f"the vocabulary is not usable: {'; '.join(faults)}")

    @functools.cached_property
    def _by_name(self) -> dict[str, Label]:
        return {label.name: label for label in self.labels}

    def __getitem__(self, name: str) -> Label:
        return self._by_name[name]

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[Label]:
        return iter(self.labels)

    @functools.cached_property
    def attributes(self) -> tuple[Attribute, ...]:
        """The probabilities of the head, in the order of its outputs."""
        return tuple(attribute for label in self.labels for attribute in label.attributes)

    @functools.cached_property
    def attribute_names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(attribute.name for attribute in self.attributes)

    @functools.cached_property
    def numbers(self) -> tuple[Label, ...]:
        """The labels that are numbers. Their outputs follow those of the attributes."""
        return tuple(label for label in self.labels if label.kind == "number")

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all that `decide` gives, in its order: the labels, a number's groups behind it."""
        return tuple(
            name
            for label in self.labels
            for name in ((label.name, label.groups.name) if label.groups else (label.name,))
        )

    @functools.cached_property
    def rules(self) -> tuple[Rule, ...]:
        """All rules: of a choice whose values all have an attribute exactly one holds; then the written ones."""
        choices = (label for label in self.labels if label.kind == "choice")
        whole = (label.attributes for label in choices if len(label.attributes) == len(label.values))
        exactly_one = (Rule("exactly_one", tuple(attribute.name for attribute in some)) for some in whole)
        return (*exactly_one, *self.written_rules)

    @functools.cached_property
    def competing(self) -> frozenset[str]:
        """Names of the attributes of which exactly one holds in each choice."""
        return frozenset(name for rule in self.rules if rule.kind == "exactly_one" for name in rule.names)

    def of_task(self, task: str) -> tuple[Label, ...]:
        """The labels of one of the paper's tasks ("attributes", "demographics", "expression")."""
        return tuple(label for label in self.labels if task in label.tasks)

    def outputs(self, row: Sequence[float]) -> tuple[dict[str, float], dict[str, float]]:
        """The head's outputs for one face by name: probabilities of the attributes, and numbers in their units.

        row: [attributes + numbers] in [0, 1]; a number is given as its share of its range.
        """
        count = len(self.attribute_names)
        attributes = {name: float(p) for name, p in zip(self.attribute_names, row[:count], strict=True)}
        numbers = {}
        for label, share in zip(self.numbers, row[count:], strict=True):
            low, high = label.bounds
            numbers[label.name] = low + float(share) * (high - low)
        return attributes, numbers

    def decide(self, attributes: Mapping[str, float], numbers: Mapping[str, float]) -> dict[str, str | bool | float]:
        """The most probable labels that obey every rule, one for each of `names`; for the arguments see `outputs`."""
        return self.labels_of(consistent_assignment(attributes, self.rules), numbers)

    def labels_of(
        self, assignment: Mapping[str, bool], numbers: Mapping[str, float]
    ) -> dict[str, str | bool | float]:
        """An assignment {attribute: bool} that obeys the rules, and numbers, as labels."""
        labels: dict[str, str | bool | float] = {}
        for label in self.labels:
            if label.kind == "flag":
                labels[label.name] = bool(assignment[label.attribute.name])
            elif label.kind == "choice":
                labels[label.name] = _chosen(label, assignment).name
            else:
                labels[label.name] = label.stated(numbers[label.name])
                if label.groups:
                    labels[label.groups.name] = label.groups.of(labels[label.name])
        return labels

    def assignment_of(self, labels: Mapping[str, object]) -> dict[str, bool | None]:
        """Labels as {attribute: bool}, None where they do not tell.

        labels: as a data set gives them; an absent or None label is not known. A coarse value tells only what it is not.
        What the rules say of an attribute that the labels leave open is filled in. Raises InputError for a value that
        the label does not have.
        """
        known: dict[str, bool | None] = {}
        for label in self.labels:
            if label.kind == "flag":
                value = labels.get(label.name)
                known[label.attribute.name] = None if value is None else bool(value)
            elif label.kind == "choice":
                known |= _choice_assignment(label, self.value_of(label, labels))
        return known | implied(known, self.rules)

    def value_of(self, label: Label, labels: Mapping[str, object]) -> str | None:
        """What labels of a data set say of a choice: its value, a coarse value, or what follows from its source; None if
        nothing. Raises InputError for a value that the label does not have."""
        given = labels.get(label.name)
        if given is None and (bounds := as_bounds(labels.get(label.source))):
            inside = [v.name for v in label.values if v.bounds and v.bounds[0] <= bounds[0] and bounds[1] <= v.bounds[1]]
            return inside[0] if inside else None
        if given is None:
            return None
        for value in label.values:
            if given == value.name or given in value.also:
                return value.name
        if any(given == value.coarse for value in label.values):
            return str(given)
        raise InputError(f"{label.name} is {given!r}; use {', '.join(value.name for value in label.values)} or nothing")

    def bounds_of(self, label: Label, labels: Mapping[str, object]) -> Bounds | None:
        """What labels of a data set say of a number: the bounds that its value lies within; None if nothing.

        A plain number stands for all that is rounded to it.
        """
        given = labels.get(label.name)
        if given is not None:
            bounds = as_bounds(given)
            if isinstance(given, tuple):
                return bounds
            half = label.step / 2
            return bounds[0] - half, bounds[0] + half
        if label.groups and (group := labels.get(label.groups.name)) is not None:
            return dict(label.groups.values).get(group)
        return None

    def facts(self, labels: Mapping[str, str | bool | float]) -> list[str]:
        """The labels in words, "hair brown", "eyeglasses no": first choices, then numbers, then flags."""
        order = ("choice", "number", "flag")
        ranked = sorted(self.labels, key=lambda label: order.index(label.kind))
        return [f"{label.word} {fact_value(labels[label.name])}" for label in ranked if label.name in labels]

    def confidence(self, name: str, labels: Mapping, attributes: Mapping[str, float]) -> float | None:
        """Probability in [0, 1] of the value that a flag or choice has in `labels`; None for a number."""
        label = self._by_name[name]
        if label.kind == "number":
            return None
        if label.kind == "flag":
            p = attributes[label.attribute.name]
            return p if labels[name] else 1 - p
        chosen = label.value(labels[name])
        if chosen.attribute:
            return attributes[chosen.attribute.name]
        return 1 - max(attributes[attribute.name] for attribute in label.attributes)

    def combined(self, *others: Vocabulary) -> Vocabulary:
        """This one with the labels, rules and topics of others. A label that is the same in several is taken once.

        Raises InputError where they contradict each other.
        """
        labels: dict[str, Label] = {}
        topics: dict[str, Topic] = {}
        for vocabulary in (self, *others):
            for label in vocabulary.labels:
                if labels.setdefault(label.name, label) != label:
                    raise InputError(f"two vocabularies define the label {label.name} differently; leave one of them out")
            for topic in vocabulary.topics:
                before = topics.get(topic.name, topic)
                both = tuple(dict.fromkeys((*before.labels, *topic.labels)))
                topics[topic.name] = Topic(topic.name, both, before.word or topic.word)
        rules = dict.fromkeys(rule for vocabulary in (self, *others) for rule in vocabulary.written_rules)
        return Vocabulary(tuple(labels.values()), tuple(rules), tuple(topics.values()))

    @classmethod
    def from_json(cls, data: Mapping) -> Vocabulary:
        """Raises InputError that names what is missing or wrong."""
        try:
            labels = tuple(Label.from_json(name, entry) for name, entry in data["labels"].items())
            if unknown := set(data) - {"labels", "rules", "topics"}:
                raise InputError(f"unknown keys {', '.join(sorted(unknown))}; known are labels, rules, topics")
            rules = tuple(Rule(item["kind"], tuple(item["names"])) for item in data.get("rules", ()))
            topics = tuple(
                Topic(name, tuple(item["labels"]), item.get("word", "")) for name, item in data.get("topics", {}).items()
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"this is not a vocabulary: {error!r}; it has labels, and may have rules and topics") from error
        return cls(labels, rules, topics)

    def to_json(self) -> dict:
        """The inverse of `from_json`."""
        data: dict = {"labels": {label.name: label.to_json() for label in self.labels}}
        if self.written_rules:
            data["rules"] = [{"kind": rule.kind, "names": list(rule.names)} for rule in self.written_rules]
        if self.topics:
            data["topics"] = {
                topic.name: {"labels": list(topic.labels)} | ({"word": topic.word} if topic.word else {})
                for topic in self.topics
            }
        return data


def fact_value(value: str | bool | float) -> str:
    """A label's value as one word of the fact line."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value.replace(" ", "-") if isinstance(value, str) else f"{value:g}"


def as_bounds(given: object) -> Bounds | None:
    """A number of a data set, or a range of it (low, high), as bounds; None if nothing is given."""
    if given is None:
        return None
    return (float(given[0]), float(given[1])) if isinstance(given, tuple) else (float(given), float(given))


def _chosen(label: Label, assignment: Mapping[str, bool]) -> Value:
    held = [value for value in label.values if value.attribute and assignment[value.attribute.name]]
    return (held or [value for value in label.values if not value.attribute])[0]


def _choice_assignment(label: Label, given: str | None) -> dict[str, bool | None]:
    """What one value of a choice says of its attributes; a coarse value leaves open which of its values it is."""
    found: dict[str, bool | None] = {}
    for value in label.values:
        if value.attribute:
            possible = given is not None and value.coarse == given
            found[value.attribute.name] = None if given is None or possible else value.name == given
    return found


def _distance(number: float, bounds: Bounds) -> float:
    """How far a number lies outside of the bounds. The upper one does not belong to them."""
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


class _LabelReader:
    """Reads one entry of a vocabulary and collects what is wrong with it."""

    COMMON = ("kind", "word", "regions", "tasks", "phrases")
    KEYS = {
        "flag": ("prompt",),
        "choice": ("values", "source", "odds"),
        "number": ("prompt", "unit", "range", "step", "groups", "spread"),
    }

    def __init__(self, name: str, data: Mapping):
        self.name, self.data, self.faults = name, data, []
        if not isinstance(data, Mapping):
            raise InputError(f"label {name} is {data!r}; it has to be a table with a kind")

    def label(self) -> Label:
        kind = self.data.get("kind", "no kind")
        if kind not in KINDS:
            raise InputError(f"label {self.name} has {kind!r} as its kind; use {', '.join(KINDS)}")
        known = (*self.COMMON, *self.KEYS[kind])
        self.check(not (set(self.data) - set(known)), f"knows no {sorted(set(self.data) - set(known))}; keys are {known}")
        self.check(re.fullmatch(r"\w+", self.name) is not None, "its name may only have letters, digits and _")
        word = self.text("word", self.name.lower().replace("_", "-"))
        self.check(" " not in word and word not in RESERVED, f"its word {word!r} is taken, or has a space")
        regions = self.texts("regions", FACE)
        unknown = [region for region in regions if region not in PARSE_CLASSES]
        self.check(not unknown, f"has unknown regions {unknown}; known are {', '.join(PARSE_CLASSES)}")
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
        if isinstance(value, str) or not all(isinstance(item, str) for item in value):
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
        self.check(len(without) <= 1, f"its values {', '.join(without)} lack a prompt; at most one value may do without")
        odds = self.text("odds", "equal")
        self.check(odds in ODDS, f"odds is {odds!r}; use {', '.join(ODDS)}")
        return {"values": values, "source": self.text("source", ""), "odds": odds}

    def value(self, name: str, data: Mapping) -> Value:
        if not isinstance(data, Mapping) or set(data) - {"attribute", "prompt", "range", "coarse", "also"}:
            self.faults.append(f"its value {name} is {data!r}; it has a prompt, attribute, range, coarse, also")
            return Value(name)
        attribute = None
        if "prompt" in data:
            default = f"{self.name}_{name.title().replace(' ', '_')}"
            attribute = Attribute(data.get("attribute", default), data["prompt"])
        bounds = self.bounds(data["range"], f"the range of {name}") if "range" in data else None
        return Value(name, attribute, bounds, data.get("coarse", ""), tuple(data.get("also", ())))

    def number(self) -> dict:
        bounds = self.bounds(self.data.get("range"), "its range")
        step, spread = self.data.get("step", 1), self.data.get("spread", 0.0)
        self.check(_is_number(step) and step > 0, f"step is {step!r}; it is a number above 0")
        self.check(_is_number(spread) and spread >= 0, f"spread is {spread!r}; it is a number, 0 or more")
        known = {"prompt": self.text("prompt"), "unit": self.text("unit"), "bounds": bounds}
        return known | {"step": step, "spread": spread, "groups": self.groups()}

    def groups(self) -> Groups | None:
        data = self.data.get("groups")
        if data is None:
            return None
        try:
            values = tuple((name, self.bounds(value, f"the group {name}")) for name, value in data["values"].items())
            return Groups(data["name"], data.get("word", data["name"].lower()), values)
        except (KeyError, TypeError, AttributeError):
            self.faults.append('groups needs a name and values: {"under 18": [0, 18], ...}')
            return None

    def bounds(self, given: object, what: str) -> Bounds:
        fits = isinstance(given, (list, tuple)) and len(given) == 2 and all(map(_is_number, given)) and given[0] < given[1]
        self.check(fits, f"lacks {what}: [least, the first that is too large]" if given is None else f"{what} is {given!r}")
        return (given[0], given[1]) if fits else (0.0, 1.0)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _faults(vocabulary: Vocabulary) -> list[str]:
    """What is wrong with the labels together, one line a fault."""
    faults = [] if vocabulary.labels else ["it has no label"]
    words = [label.word for label in vocabulary.labels]
    words += [label.groups.word for label in vocabulary.labels if label.groups]
    words += [topic.word for topic in vocabulary.topics if topic.word]
    for what, names in (("label", vocabulary.names), ("attribute", vocabulary.attribute_names), ("word", words)):
        twice = sorted({name for name in names if names.count(name) > 1})
        faults += [f"the {what} {name} is there twice" for name in twice]
    for topic in vocabulary.topics:
        unknown = [name for name in topic.labels if name not in vocabulary.names]
        faults += [f"the topic {topic.name!r} names unknown labels: {', '.join(unknown)}"] if unknown else []
    for rule in vocabulary.written_rules:
        unknown = [name for name in rule.names if name not in vocabulary.attribute_names]
        if rule.kind not in RULE_KINDS or unknown or len(rule.names) < 2:
            faults.append(f"{rule} is no rule: kinds are {', '.join(RULE_KINDS)}, unknown attributes {unknown}")
    return faults or check_rules(vocabulary.rules)
