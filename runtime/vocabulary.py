"""A vocabulary: the labels that a model tells of a face, and the rules between them.

A vocabulary is a part of the model. Its JSON form is in the model's config.json and in the bundle's manifest.json.
models/vocabulary.py reads it from a TOML file of the same form.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .errors import InputError
from .label import Attribute, Bounds, Label, Value, fact_value
from .rules import KINDS as RULE_KINDS
from .rules import Rule, check_rules, consistent_assignment, implied

RESERVED = ("what", "describe", "who", "other")
"""Words that begin a reading and therefore cannot be the fact word of a label."""


@dataclass(frozen=True)
class Topic:
    """Several labels that one question may ask for."""

    name: str
    """Its name in the reading of an open question, such as "hair" in "what hair"."""
    labels: tuple[str, ...]
    """Names of the labels that the answer rests on."""
    word: str = ""
    """Its word in the reading of the question whether any of the labels holds, such as "facial" in "facial yes". ""
    if there is no such question; only a topic of flags can have a word."""


@dataclass(frozen=True)
class Vocabulary:
    """The labels and rules of a model. `vocabulary[name]` is the label of that name."""

    labels: tuple[Label, ...]
    """The labels in the order of the attribute head's outputs."""
    written_rules: tuple[Rule, ...] = ()
    """The rules that do not follow from the choices, see `rules`."""
    topics: tuple[Topic, ...] = ()

    def __post_init__(self) -> None:
        """Raises InputError that names every fault, such as a name that two labels have or rules that contradict."""
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
        """The attributes of all labels, in the order of the attribute head's outputs."""
        return tuple(attribute for label in self.labels for attribute in label.attributes)

    @functools.cached_property
    def attribute_names(self) -> tuple[str, ...]:
        """The names of `attributes`."""
        return tuple(attribute.name for attribute in self.attributes)

    @functools.cached_property
    def numbers(self) -> tuple[Label, ...]:
        """The labels that are numbers. Their outputs of the attribute head follow those of the attributes."""
        return tuple(label for label in self.labels if label.kind == "number")

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The keys of what `decide` returns, in its order: each label, followed by its groups if it has any."""
        return tuple(
            name
            for label in self.labels
            for name in ((label.name, label.groups.name) if label.groups else (label.name,))
        )

    @functools.cached_property
    def rules(self) -> tuple[Rule, ...]:
        """All rules: those that follow from the choices, and then the written ones.

        Exactly one attribute of a choice holds; at most one if the choice has a value without an attribute.
        """
        choices = (label for label in self.labels if label.kind == "choice")
        return (*(rule for label in choices for rule in _one_value(label)), *self.written_rules)

    @functools.cached_property
    def competing(self) -> frozenset[str]:
        """The names of the attributes that belong to a choice, so that at most one of its attributes holds."""
        choices = (label.outputs for label in self.labels if label.kind == "choice")
        return frozenset(name for names in choices if len(names) > 1 for name in names)

    @functools.cached_property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks that its labels belong to; the paper's are "attributes", "demographics", "expression"."""
        return tuple(dict.fromkeys(task for label in self.labels for task in label.tasks))

    def of_task(self, task: str) -> tuple[Label, ...]:
        """Returns the labels of a task."""
        return tuple(label for label in self.labels if task in label.tasks)

    def outputs(self, row: Sequence[float]) -> tuple[dict[str, float], dict[str, float]]:
        """Names the outputs of the attribute head for one face.

        row: [attributes + numbers] in [0, 1]; the output of a number is its position within its bounds. Returns
        {attribute: probability} and {number: value in its unit}.
        """
        count = len(self.attribute_names)
        attributes = {name: float(p) for name, p in zip(self.attribute_names, row[:count], strict=True)}
        numbers = {}
        for label, share in zip(self.numbers, row[count:], strict=True):
            low, high = label.bounds
            numbers[label.name] = low + float(share) * (high - low)
        return attributes, numbers

    def decide(self, attributes: Mapping[str, float], numbers: Mapping[str, float]) -> dict[str, str | bool | float]:
        """Returns the most probable labels that obey every rule, {name of `names`: value}.

        attributes, numbers: what `outputs` returns.
        """
        return self.labels_of(consistent_assignment(attributes, self.rules), numbers)

    def labels_of(self, assignment: Mapping[str, bool], numbers: Mapping[str, float]) -> dict[str, str | bool | float]:
        """Converts an assignment that obeys the rules, {attribute: bool}, and numbers to labels, {name: value}."""
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
        """Converts labels of a data set to an assignment, {attribute: bool}; None where the labels do not tell.

        labels: {name: value}; a label that is missing or None is not known. A coarse value tells only which values it
        is not. Attributes that follow from the others by the rules are filled in. Raises InputError for a value that
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
        """Returns the value that labels of a data set give a choice, or None if they give none.

        The value may be coarse, and it may follow from the number that is the choice's source. Raises InputError for a
        value that the label does not have.
        """
        given = labels.get(label.name)
        if given is None and (bounds := as_bounds(labels.get(label.source))):
            inside = (value.name for value in label.values if value.bounds and _within(bounds, value.bounds))
            return next(inside, None)
        if given is None or given in label.untold:
            return None
        for value in label.values:
            if given == value.name or given in value.also:
                return value.name
        if any(given == value.coarse for value in label.values):
            return str(given)
        raise InputError(f"{label.name} is {given!r}; use {', '.join(value.name for value in label.values)} or nothing")

    def bounds_of(self, label: Label, labels: Mapping[str, object]) -> Bounds | None:
        """Returns the bounds that labels of a data set give a number, or None if they give none.

        A data set may give a range or a group. If it gives a single number, the bounds are those of all numbers that
        are rounded to it.
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
        """Returns the labels in words, such as "hair brown": first choices, then numbers, then flags."""
        order = ("choice", "number", "flag")
        ranked = sorted(self.labels, key=lambda label: order.index(label.kind))
        return [f"{label.word} {fact_value(labels[label.name])}" for label in ranked if label.name in labels]

    def confidence(self, name: str, labels: Mapping, attributes: Mapping[str, float]) -> float | None:
        """Returns the probability, in [0, 1], of the value that a flag or choice has in `labels`; None for a number.

        name: of the label. attributes: {attribute: probability}.
        """
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
        """Returns a vocabulary with the labels, rules and topics of this one and the others.

        A label that several of them have is taken once. Raises InputError if they define it differently or if their
        rules contradict each other.
        """
        labels: dict[str, Label] = {}
        topics: dict[str, Topic] = {}
        for vocabulary in (self, *others):
            for label in vocabulary.labels:
                if labels.setdefault(label.name, label) != label:
                    raise InputError(
                        f"two vocabularies define the label {label.name} differently; leave one of them out"
                    )
            for topic in vocabulary.topics:
                before = topics.get(topic.name, topic)
                both = tuple(dict.fromkeys((*before.labels, *topic.labels)))
                topics[topic.name] = Topic(topic.name, both, before.word or topic.word)
        rules = dict.fromkeys(rule for vocabulary in (self, *others) for rule in vocabulary.written_rules)
        return Vocabulary(tuple(labels.values()), tuple(rules), tuple(topics.values()))

    @classmethod
    def from_json(cls, data: Mapping) -> Vocabulary:
        """Reads a vocabulary from parsed JSON or TOML. Raises InputError that names what is missing or wrong."""
        try:
            labels = tuple(Label.from_json(name, entry) for name, entry in data["labels"].items())
            if unknown := set(data) - {"labels", "rules", "topics"}:
                raise InputError(f"unknown keys {', '.join(sorted(unknown))}; known are labels, rules, topics")
            rules = tuple(Rule(_text(item["kind"]), _texts(item["names"])) for item in data.get("rules", ()))
            topics = tuple(
                Topic(name, _texts(item["labels"]), _text(item.get("word", "")))
                for name, item in data.get("topics", {}).items()
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"this is not a vocabulary: {error!r}; it has labels, and may have rules and topics"
            ) from error
        return cls(labels, rules, topics)

    def to_json(self) -> dict:
        """Returns the JSON form, from which `from_json` makes the same vocabulary."""
        data: dict = {"labels": {label.name: label.to_json() for label in self.labels}}
        if self.written_rules:
            data["rules"] = [{"kind": rule.kind, "names": list(rule.names)} for rule in self.written_rules]
        if self.topics:
            data["topics"] = {
                topic.name: {"labels": list(topic.labels)} | ({"word": topic.word} if topic.word else {})
                for topic in self.topics
            }
        return data


def _text(given: object) -> str:
    """Returns the text. Raises TypeError for anything else."""
    if not isinstance(given, str):
        raise TypeError(f"{given!r} is no text")
    return given


def _texts(given: object) -> tuple[str, ...]:
    """Returns a list of texts as a tuple. Raises TypeError for anything else."""
    if not isinstance(given, (list, tuple)):
        raise TypeError(f"{given!r} is no list")
    return tuple(map(_text, given))


def as_bounds(given: object) -> Bounds | None:
    """Converts what a data set gives for a number to bounds: a range (low, high), or one number n as (n, n).

    Returns None for None.
    """
    if given is None:
        return None
    return (float(given[0]), float(given[1])) if isinstance(given, tuple) else (float(given), float(given))


def _within(bounds: Bounds, wider: Bounds) -> bool:
    """Tells whether all numbers within the bounds lie within wider bounds. Bounds (n, n) contain only n."""
    low, high = bounds
    return wider[0] <= low and (high < wider[1] or low < high == wider[1])


def _one_value(label: Label) -> list[Rule]:
    """Returns the rules by which a choice has exactly one of its values."""
    names = label.outputs
    if len(names) == len(label.values):
        return [Rule("exactly_one", names)]
    return [Rule("excludes", names[index:]) for index in range(len(names) - 1)]


def _chosen(label: Label, assignment: Mapping[str, bool]) -> Value:
    """Returns the value that a choice has in an assignment."""
    held = [value for value in label.values if value.attribute and assignment[value.attribute.name]]
    return (held or [value for value in label.values if not value.attribute])[0]


def _choice_assignment(label: Label, given: str | None) -> dict[str, bool | None]:
    """Returns {attribute: bool} of a choice with the given value; None where a coarse value leaves it open."""
    found: dict[str, bool | None] = {}
    for value in label.values:
        if value.attribute:
            possible = given is not None and value.coarse == given
            found[value.attribute.name] = None if given is None or possible else value.name == given
    return found


def _faults(vocabulary: Vocabulary) -> list[str]:
    """Returns what is wrong with the labels, topics and rules together, a line for each fault."""
    faults = [] if vocabulary.labels else ["it has no label"]
    words = [label.word for label in vocabulary.labels]
    words += [label.groups.word for label in vocabulary.labels if label.groups]
    words += [topic.word for topic in vocabulary.topics if topic.word]
    faults += [f"the word {word!r} is taken, or has a space" for word in words if word in RESERVED or " " in word]
    outputs = [name for label in vocabulary.labels for name in label.outputs]
    for what, names in (("label", vocabulary.names), ("attribute", outputs), ("word", words)):
        twice = sorted({name for name in names if names.count(name) > 1})
        faults += [f"the {what} {name} is there twice" for name in twice]
    for topic in vocabulary.topics:
        unknown = [name for name in topic.labels if name not in vocabulary]
        faults += [f"the topic {topic.name!r} names unknown labels: {', '.join(unknown)}"] if unknown else []
        others = [name for name in topic.labels if name in vocabulary and vocabulary[name].kind != "flag"]
        if topic.word and others:
            faults.append(f"the topic {topic.name!r} has a word, but {', '.join(others)} cannot be yes or no")
    for rule in vocabulary.written_rules:
        unknown = [name for name in rule.names if name not in vocabulary.attribute_names]
        if rule.kind not in RULE_KINDS or unknown or len(rule.names) < 2:
            faults.append(f"{rule} is no rule: kinds are {', '.join(RULE_KINDS)}, unknown attributes {unknown}")
    return faults or check_rules(vocabulary.rules)
