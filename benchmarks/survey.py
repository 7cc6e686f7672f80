"""Takes from a vocabulary what every model is asked about a face: the questions, how replies to them are read, and
whether all that was told can be true of one face."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from faceinsight.models.data.language import label_language
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.label import Bounds, Label
from faceinsight.runtime.rules import Rule, consistent_assignment
from faceinsight.runtime.vocabulary import Vocabulary

from .replies import middle, named_value, ranges, says_yes, within
from .views import (
    View,
    attributes_of,
    chosen_views,
    coarse_view,
    column_views,
    events,
    fine_values,
    not_told_apart,
    only,
)

Told = dict[str, str | bool | float | None]
"""Name of a question, a view or a number's groups -> what was told; None where it is not clear."""
Known = dict[str, str | bool | Bounds | None]
"""The same names -> what is known; of a number the bounds that it lies within. None where it is not known."""


@dataclass(frozen=True)
class Scale:
    """The values that a question is scored over.

    question: its text. values: in their order. coarse: value -> what data that tells fewer values apart calls it.
    ordered: the values are ranges, so that one can be next to another.
    """

    question: str
    values: tuple[str | bool, ...]
    coarse: Mapping[str, str]
    ordered: bool


@dataclass(frozen=True)
class Question:
    """One question about one label, and how a reply to it is read.

    name: under which it is scored. values: those of the label for which Yes is right; None: it is an open one, whose
    reply names the value. words, faint: see `named_value`.
    """

    name: str
    text: str
    label: Label
    values: tuple[str | bool, ...] | None
    words: Mapping[str, str]
    faint: Mapping[str, str]

    def known(self, vocabulary: Vocabulary, labels: Mapping[str, object]) -> Known:
        """Says what labels answer, those of a data set or of a face: what they state themselves, not what follows from
        the rules. Raises InputError for a value that the label does not have."""
        if self.label.kind == "number":
            bounds = self._known_bounds(vocabulary, labels)
            group = {name: within([bounds], groups) if bounds else None for name, groups in self._groups().items()}
            return {self.name: bounds} | group
        if self.label.kind == "flag":
            given = labels.get(self.label.name)
            value = None if given is None else bool(given)
        else:
            value = vocabulary.value_of(self.label, labels)
        if self._names_value:
            return {self.name: value}
        if isinstance(own := labels.get(self.name), bool):  # a data set may know just this of a label
            return {self.name: own}
        return {self.name: only(name in self.values for name in fine_values(self.label, value))}

    def told(self, reply: str) -> Told:
        """Reads what a reply says."""
        if self.label.kind == "number":
            found = ranges(reply, self.label.bounds, self.label.unit, self.label.step)
            named = None if found else named_value(reply, self.label, self.words, self.faint)
            group = {name: within(found, groups) if found else named for name, groups in self._groups().items()}
            return {self.name: middle(found)} | group
        if self.values is not None:
            verdict = says_yes(reply)
            if verdict is not None and self._names_value:
                verdict = verdict == (True in self.values)
            return {self.name: verdict}
        groups = {value.name: value.bounds for value in self.label.values if value.bounds}
        if groups:
            ends = [end for bounds in groups.values() for end in bounds]
            unit = self.label.source.rpartition("_")[2].lower()
            if found := ranges(reply, (min(ends), max(ends)), unit):
                return {self.name: within(found, groups)}
        return {self.name: named_value(reply, self.label, self.words, self.faint)}

    def scale(self) -> tuple[str, Scale] | None:
        """Returns the name and the values that it is scored over; None for a number without groups."""
        if self.label.kind == "number":
            if self.label.groups is None:
                return None
            return self.label.groups.name, Scale(self.text, tuple(dict(self.label.groups.values)), {}, True)
        if self.label.kind == "flag" or self.values is not None:
            return self.name, Scale(self.text, (True, False), {}, False)
        coarse = {value.name: value.coarse for value in self.label.values if value.coarse}
        ordered = all(value.bounds for value in self.label.values)
        return self.name, Scale(self.text, self.label.value_names, coarse, ordered)

    def allows(self, value: str | bool, told: str | bool) -> bool:
        """Tells whether a flag or a choice may have a value when this was told of it."""
        return value in fine_values(self.label, told) if self._names_value else (value in self.values) == told

    @property
    def _names_value(self) -> bool:
        """Whether the label's value is told: by an open question, and by one of a flag's own name. By others it is
        whether Yes is right."""
        return self.values is None or (self.label.kind == "flag" and self.name == self.label.name)

    def _known_bounds(self, vocabulary: Vocabulary, labels: Mapping[str, object]) -> Bounds | None:
        given = labels.get(self.label.name)
        if isinstance(given, (int, float)):
            return given, math.nextafter(given, math.inf)
        return vocabulary.bounds_of(self.label, labels)

    def _groups(self) -> dict[str, dict[str, Bounds]]:
        """Returns {name of a number's groups: the groups}; empty for a number without them."""
        return {self.label.groups.name: dict(self.label.groups.values)} if self.label.groups else {}


class Survey:
    """The questions of a vocabulary that at least one of some faces can be scored on, and the views of their labels.

    scales: name of a question, a view or a number's groups -> its values. numbers: the labels that are numbers.
    events: name -> view of a flag or of one value of a choice, which has a probability. untold: the labels and views
    that no face can be scored on.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        faces: Iterable[Mapping[str, object]],
        task: str | None = None,
        values: Mapping[str, Sequence[Sequence[str]]] = MappingProxyType({}),
    ):
        """faces: their labels, as a data set gives them. task: asks about the labels of one task only ("attributes").
        values: choice -> sets of its values that are scored against the others; an empty set is each on its own.

        The questions that one attribute answers come first, then those on several and on none, then open ones. Raises
        InputError when no face has a label that is asked for, or a value that its label does not have.
        """
        self.vocabulary = vocabulary
        if task is not None and task not in vocabulary.tasks:
            raise InputError(f"the model has no label of the task {task!r}; it has {', '.join(vocabulary.tasks)}")
        labels = vocabulary.labels if task is None else vocabulary.of_task(task)
        faces = list(faces)
        every = [question for label in labels for question in questions_about(label)]
        self._together: dict[str, dict[str, str]] = {}
        views = self._find_views(every, faces, values)
        self.views = {v.name: v for v in views if any(self.outcome(v, face) is not None for face in faces)}
        self.questions = sorted((q for q in every if self._can_score(q, faces)), key=_place)
        if not self.questions:
            names = ", ".join(question.name for question in every)
            raise InputError(f"none of the {len(faces)} faces has a label that is asked for: {names}")
        self.scales = dict(filter(None, (question.scale() for question in self.questions)))
        texts = {question.label.name: question.text for question in self.questions if question.values is None}
        for name, view in self.views.items():
            self.scales[name] = Scale(texts[view.label.name], tuple(dict.fromkeys(view.counts.values())), {}, False)
        self.numbers = [question.label for question in self.questions if question.label.kind == "number"]
        self.events = {event.name: event for event in self._find_events()}
        asked = {question.label.name for question in self.questions}
        names = [label.name for label in labels if label.name not in asked]
        self.untold = [*names, *(view.name for view in views if view.name not in self.views)]

    def known(self, labels: Mapping[str, object]) -> Known:
        """Says what labels, of a data set or of a face, answer to all questions."""
        return {k: v for question in self.questions for k, v in question.known(self.vocabulary, labels).items()}

    def wanted(self, labels: Mapping[str, object]) -> Known:
        """Says what a person's labels answer to all questions and count as in all views. A value by which the set means
        several is their coarse one."""
        known = self.known(labels)
        meant = {name: values[known[name]] for name, values in self._together.items() if known.get(name) in values}
        return known | meant | {name: self.outcome(view, labels) for name, view in self.views.items()}

    def outcome(self, view: View, labels: Mapping[str, object]) -> str | bool | None:
        """Says what a person's labels count as in a view; a column of its name comes first."""
        own = labels.get(view.name)
        if isinstance(own, bool) or view.label.kind == "flag":
            return own
        value = self.vocabulary.value_of(view.label, labels)
        return view.of(self._together.get(view.label.name, {}).get(value, value))

    def told(self, replies: Mapping[str, str]) -> Told:
        """Reads the replies to all questions, and what they count as in all views. replies: question's name -> text."""
        return self._viewed({k: v for q in self.questions for k, v in q.told(replies[q.name]).items()})

    def stated(self, labels: Mapping[str, object]) -> Told:
        """Says what a model's labels of a face tell: what `told` reads in replies that say the same."""
        return self._viewed(self.known(labels) | {label.name: labels[label.name] for label in self.numbers})

    def agreeing(self, told: Told, labels: Mapping[str, object]) -> int:
        """Counts the questions to which was told what the labels answer."""
        known = self.known(labels)
        return sum(_agree(told[question.name], known[question.name]) for question in self.questions)

    def contradictory(self, told: Told) -> bool:
        """Tells whether no face could have all that was told. Each reply leaves some of its label's values; the rules
        decide between labels. What is not clear contradicts nothing."""
        rules, known = list(self.vocabulary.rules), dict.fromkeys(self.vocabulary.attribute_names, 0.5)
        for label in {question.label.name: question.label for question in self.questions}.values():
            said = [(q, told[q.name]) for q in self.questions if q.label is label and told.get(q.name) is not None]
            if not said or label.kind == "number":
                continue
            values = attributes_of(label)
            left = [value for value in values if all(q.allows(value, answer) for q, answer in said)]
            held = [values[value].name for value in left if values[value]]
            if not left:
                return True
            known |= {attribute.name: 0.0 for attribute in label.attributes if attribute.name not in held}
            if len(held) == len(left) > 0:  # one of these holds
                rules.append(Rule("exactly_one", tuple(held)))
        try:
            nearest = consistent_assignment(known, tuple(rules))
        except ValueError:  # nothing obeys all of it
            return True
        return any(p == 0.0 and nearest[name] for name, p in known.items())

    def _viewed(self, told: Told) -> Told:
        return told | {name: view.of(told[view.label.name]) for name, view in self.views.items()}

    def _find_views(self, every: Sequence[Question], faces: Sequence[Mapping], values: Mapping) -> list[View]:
        """Returns the views that are asked for, those of columns for one value of a choice, and those that take values
        of one coarse value as the same, where the set tells them apart."""
        choices = {q.name: q.label for q in every if q.label.kind == "choice" and q.values is None}
        columns = {name for face in faces for name, value in face.items() if isinstance(value, bool)}
        columns -= {question.name for question in every} | set(self.vocabulary.names)
        if foreign := [name for name in values if name in self.vocabulary and name not in choices]:
            raise InputError(f"values of {', '.join(foreign)} are not scored on their own; of {', '.join(choices)} are")
        views = []
        for name, label in choices.items():
            found = {self.vocabulary.value_of(label, face) for face in faces}
            together = self._together[name] = not_told_apart(label, found)
            views += [view for chosen in values.get(name, ()) for view in chosen_views(label, chosen, together)]
            views += [view for view in column_views(label) if view.name in columns]
            coarse = coarse_view(label)
            if len({coarse.of(value) for value in found}) < len(found):
                views.append(coarse)
        return views

    def _can_score(self, question: Question, faces: Iterable[Mapping[str, object]]) -> bool:
        viewed = any(view.label.name == question.name for view in self.views.values())
        return viewed or any(question.known(self.vocabulary, face)[question.name] is not None for face in faces)

    def _find_events(self) -> Iterator[View]:
        for label in {question.label.name: question.label for question in self.questions}.values():
            questions = [q for q in self.questions if q.label is label and q.values is not None]
            names = {frozenset(question.values): question.name for question in questions}
            yield from events(label, names, self._together.get(label.name, {}))


def questions_about(label: Label) -> list[Question]:
    """Returns all questions about a label, as its language data has them."""
    language = label_language(label)
    return [
        Question(name, asked.question, label, asked.values, language.replies, language.faint_replies)
        for name, asked in language.asked.items()
    ]


def _place(question: Question) -> tuple:
    """Sorts what one attribute answers first, then what several do, what none does, and the open questions."""
    if question.values is None:
        return True, False, 0
    told_by = [attribute for value, attribute in attributes_of(question.label).items() if value in question.values]
    count = len(list(filter(None, told_by)))
    return False, count != 1, -count


def _agree(told, known) -> bool:
    if isinstance(known, tuple):
        return told is not None and known[0] <= told < known[1]
    return told is not None and told == known
