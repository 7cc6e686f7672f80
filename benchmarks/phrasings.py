"""Questions that were written apart from training, and how often their answers agree with the labels."""

from __future__ import annotations

import collections
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from faceinsight.models.data.answers import state
from faceinsight.runtime.pipeline import Face, FaceInsight
from faceinsight.runtime.progress import ProgressBar
from faceinsight.runtime.vocabulary import Vocabulary


@dataclass(frozen=True)
class YesNo:
    """A question about `label` whose right answer is Yes exactly when the label has one of `values`."""

    text: str
    label: str
    values: tuple[str | bool, ...]

    def holds(self, face: Face) -> bool:
        """Whether Yes is right about a face."""
        return face.labels[self.label] in self.values


@dataclass(frozen=True)
class Phrasings:
    """Questions written by hand.

    yes_no: set -> its questions; "everyday": as people ask, "roundabout": stories, consequences, slang. what: label ->
    open questions that its value answers. identity, off_topic: questions that have to be turned down.
    """

    yes_no: dict[str, tuple[YesNo, ...]]
    what: dict[str, list[str]]
    identity: list[str]
    off_topic: list[str]

    def all(self) -> list[str]:
        """All questions, each as text."""
        yes_no = [question.text for questions in self.yes_no.values() for question in questions]
        return [*yes_no, *(text for texts in self.what.values() for text in texts), *self.identity, *self.off_topic]


def held_out(vocabulary: Vocabulary | None = None) -> Phrasings:
    """Reads the questions of held_out.json, which were written apart from all that training draws from; nothing is
    tuned on them.

    vocabulary: leaves out what is about other labels or values than its own; None leaves out nothing.
    """
    tables = json.loads(Path(__file__).with_name("held_out.json").read_text(encoding="utf-8"))
    flags = {"yes": True, "no": False}
    yes_no = {
        name: tuple(
            YesNo(text, label, tuple(flags.get(value, value) for value in values.split(" or ")))
            for label, table in questions.items()
            for values, texts in table.items()
            for text in texts
        )
        for name, questions in tables["yes_no"].items()
    }
    what = tables["what"]
    if vocabulary is not None:
        known = _values(vocabulary)
        yes_no = {
            name: tuple(q for q in questions if known.get(q.label, frozenset()).issuperset(q.values))
            for name, questions in yes_no.items()
        }
        what = {label: texts for label, texts in what.items() if label in known}
    return Phrasings(yes_no, what, tables["identity"], tables["off_topic"])


def _values(vocabulary: Vocabulary) -> dict[str, frozenset[str | bool]]:
    """The values that each label of a vocabulary, and the groups of each number, may have."""
    groups = {label.groups.name: frozenset(dict(label.groups.values)) for label in vocabulary if label.groups}
    return {label.name: frozenset(label.value_names) for label in vocabulary} | groups


def yes_or_no(text: str) -> bool | None:
    """Reads the Yes or No that an answer begins with; None for any other beginning."""
    found = re.match(r"(yes|no)\b", text.strip(), re.IGNORECASE)
    return None if found is None else found.group(1).lower() == "yes"


def agreement(model: FaceInsight, faces: Sequence[Face], questions: Sequence[YesNo]) -> dict:
    """Asks every question about every face.

    Returns {"asked": n, "agree": share of answers whose Yes or No agrees with the face's labels, "exact": share that
    also go on with the label's own sentence, which is what a model is trained to say, "misread": {question: times}}.
    """
    sources = {label.groups.name: label.name for label in model.vocabulary if label.groups}
    misread: collections.Counter[str] = collections.Counter()
    exact = 0
    with ProgressBar("phrasings", len(faces)) as advance:
        for face in faces:
            for question in questions:
                text = model.ask(face, question.text).text
                holds = question.holds(face)
                misread[question.text] += yes_or_no(text) != holds
                sentence = state(face.labels, sources.get(question.label, question.label), model.vocabulary)
                exact += text == f"{'Yes' if holds else 'No'}, {sentence}."
            advance({})
    asked = len(faces) * len(questions)
    return {
        "asked": asked,
        "agree": 1 - misread.total() / max(1, asked),
        "exact": exact / max(1, asked),
        "misread": {text: times for text, times in misread.most_common() if times},
    }
