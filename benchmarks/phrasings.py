"""Questions that training never saw, and how often their answers agree with the labels."""

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


@dataclass(frozen=True)
class YesNo:
    """A question about `label` whose right answer is Yes exactly when the label has one of `values`."""

    text: str
    label: str
    values: tuple[str | bool, ...]

    def holds(self, face: Face) -> bool:
        return face.labels[self.label] in self.values


@dataclass(frozen=True)
class Phrasings:
    """yes_no: set -> its questions; "everyday": as people ask, "roundabout": stories, consequences, slang. what: label
    -> open questions that its value answers. identity, off_topic: to be turned down."""

    yes_no: dict[str, tuple[YesNo, ...]]
    what: dict[str, list[str]]
    identity: list[str]
    off_topic: list[str]

    def all(self) -> list[str]:
        yes_no = [question.text for questions in self.yes_no.values() for question in questions]
        return [*yes_no, *(text for texts in self.what.values() for text in texts), *self.identity, *self.off_topic]


def held_out() -> Phrasings:
    """The questions of held_out.json: written by hand, apart from all that training draws from, never tuned on."""
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
    return Phrasings(yes_no, tables["what"], tables["identity"], tables["off_topic"])


def yes_or_no(text: str) -> bool | None:
    """The Yes or No that an answer begins with; None for any other beginning."""
    found = re.match(r"(yes|no)\b", text.strip(), re.IGNORECASE)
    return None if found is None else found.group(1).lower() == "yes"


def agreement(model: FaceInsight, faces: Sequence[Face], questions: Sequence[YesNo]) -> dict:
    """Asks every question about every face.

    Returns {"asked": n, "agree": share of answers whose Yes or No agrees with the face's labels, "exact": share that
    also go on with the label's own sentence, which is what nano is trained to say, "misread": {question: times}}.
    """
    misread: collections.Counter[str] = collections.Counter()
    exact = 0
    with ProgressBar("phrasings", len(faces)) as advance:
        for face in faces:
            for question in questions:
                text = model.ask(face, question.text).text
                holds = question.holds(face)
                misread[question.text] += yes_or_no(text) != holds
                exact += text == f"{'Yes' if holds else 'No'}, {state(face.labels, question.label)}."
            advance({})
    asked = len(faces) * len(questions)
    return {
        "asked": asked,
        "agree": 1 - misread.total() / max(1, asked),
        "exact": exact / max(1, asked),
        "misread": {text: times for text, times in misread.most_common() if times},
    }
