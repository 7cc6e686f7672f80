"""A vocabulary: the labels that a model tells of a face, and the rules between them. It is data of the model.

Its JSON form stands in a model's config.json and in a bundle's manifest.json; a TOML file of the same form is read by
models/vocabulary.py.
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
"""First words of readings that are no fact word."""


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
        """All rules: those that follow from the choices, and then the written ones.

        Of a choice one attribute holds, or none where it has a value without an attribute.
        """
        choices = (label for label in self.labels if label.kind == "choice")
        return (*(rule for label in choices for rule in _one_value(label)), *self.written_rules)

    @functools.cached_property
    def competing(self) -> frozenset[str]:
        """Names of the attributes of which at most one holds in each choice."""
        choices = (label.outputs for label in self.labels if label.kind == "choice")
        return frozenset(name for names in choices if len(names) > 1 for name in names)

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

    def labels_of(self, assignment: Mapping[str, bool], numbers: Mapping[str, float]) -> dict[str, str | bool | float]:
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

        labels: as a data set gives them; an absent or None label is not known. A coarse value tells only what it is
        not. What the rules say of an attribute that the labels leave open is filled in. Raises InputError for a value
        that the label does not have.
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
        """What labels of a data set say of a choice: its value, a coarse value, or what follows from its source.

        None where they say nothing. Raises InputError for a value that the label does not have.
        """
        given = labels.get(label.name)
        if given is None and (bounds := as_bounds(labels.get(label.source))):
            inside = (value.name for value in label.values if value.bounds and _within(bounds, value.bounds))
            return next(inside, None)
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
        """Raises InputError that names what is missing or wrong."""
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


def _text(given: object) -> str:
    """Raises TypeError for what is no text."""
    if not isinstance(given, str):
        raise TypeError(f"{given!r} is no text")
    return given


def _texts(given: object) -> tuple[str, ...]:
    """Raises TypeError for what is no list of texts."""
    if not isinstance(given, (list, tuple)):
        raise TypeError(f"{given!r} is no list")
    return tuple(map(_text, given))


def as_bounds(given: object) -> Bounds | None:
    """A number of a data set, or a range of it (low, high), as bounds; None if nothing is given."""
    if given is None:
        return None
    return (float(given[0]), float(given[1])) if isinstance(given, tuple) else (float(given), float(given))


def _within(bounds: Bounds, wider: Bounds) -> bool:
    """Whether all numbers within the bounds lie within wider ones; bounds (n, n) hold just n."""
    low, high = bounds
    return wider[0] <= low and (high < wider[1] or low < high == wider[1])


def _one_value(label: Label) -> list[Rule]:
    """The rules that keep a choice to one of its values."""
    names = label.outputs
    if len(names) == len(label.values):
        return [Rule("exactly_one", names)]
    return [Rule("excludes", names[index:]) for index in range(len(names) - 1)]


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


def _faults(vocabulary: Vocabulary) -> list[str]:
    """What is wrong with the labels together, one line a fault."""
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
