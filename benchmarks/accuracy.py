"""Accuracy through the whole runtime: from the image file to labels, and from them to the words of the answers."""

from __future__ import annotations

import collections
import sys
from pathlib import Path

from faceinsight.models.data.portraits import read_rows, row_labels
from faceinsight.runtime.errors import FaceInsightError
from faceinsight.runtime.labels import GROUPS
from faceinsight.runtime.pipeline import Face, FaceInsight
from faceinsight.runtime.progress import ProgressBar

from .phrasings import agreement, held_out, yes_or_no

QUESTIONS = {
    "Male": "Is this a man?",
    "Eyeglasses": "Is this person wearing eyeglasses?",
    "Smiling": "Is the person smiling?",
    "Teeth_Visible": "Are the teeth visible?",
    "Mustache": "Does the person have a mustache?",
    "Beard": "Does the person have a beard?",
    "Bald": "Is the person bald?",
    "Receding_Hairline": "Is the hairline receding?",
    "Long_Hair": "Is the hair long?",
    "Wearing_Hat": "Is the person wearing a hat?",
    "Wearing_Necktie": "Is the person wearing a necktie?",
    "Gray_Hair": "Is the hair gray or white?",
}
AGES = tuple(GROUPS["Age"])


def stated(labels: dict[str, str | bool | None], name: str) -> bool | None:
    """What labels say of a question's name; None where they do not know."""
    if name == "Male":
        return None if labels["Gender"] is None else labels["Gender"] == "male"
    if name == "Gray_Hair":
        return None if labels["Hair_Color"] is None else labels["Hair_Color"] in ("gray", "white")
    return labels[name]


def evaluate(
    model: FaceInsight, data: str | Path, split: str = "val", limit: int | None = None, phrasings: int = 0
) -> dict:
    """Labels against a person's labels, answers against the model's own. data: folder with labels.csv and images/.

    phrasings: also ask the held-out questions about this many of the faces, and see how often the verdict agrees with
    the model's own labels. A face that cannot be perceived counts as wrong everywhere and is asked nothing. Raises
    InputError for an unusable folder.
    """
    rows = read_rows(data, split, limit)
    counts: dict[str, collections.Counter] = {name: collections.Counter() for name in QUESTIONS}
    failed, agree, asked, steps = 0, 0, 0, collections.Counter()
    perceived: list[Face] = []
    with ProgressBar("evaluate", len(rows)) as advance:
        for row in rows:
            face, known = None, row_labels(row)
            try:
                face = model.perceive(Path(data) / "images" / row["file"])
            except FaceInsightError as error:
                failed += 1
                print(f"{row['file']}: {error}", file=sys.stderr)
            for name, question in QUESTIONS.items():
                wanted = stated(known, name)
                said = None if face is None else stated(face.labels, name)
                if wanted is not None:
                    counts[name][wanted, said] += 1
                if face is not None:
                    asked += 1
                    agree += yes_or_no(model.ask(face, question).text) == said
            if face is not None and len(perceived) < phrasings:
                perceived.append(face)
            if known["Age"] is not None:
                off = len(AGES) if face is None else abs(AGES.index(known["Age"]) - AGES.index(face.labels["Age"]))
                steps[off] += 1
            advance({})
    ages = max(1, sum(steps.values()))
    return {
        "faces": len(rows),
        "failed": failed,
        "labels": {name: _scores(found) for name, found in counts.items()},
        "age_exact": steps[0] / ages,
        "age_within_one_group": (steps[0] + steps[1]) / ages,
        "answers_asked": asked,
        "answers_agree": agree / max(1, asked),
        "phrasings": agreement(model, perceived, held_out().yes_no) if perceived else None,
    }


def _scores(found: collections.Counter) -> dict:
    total = sum(found.values())
    rates = []
    for wanted in (True, False):
        of = sum(n for (w, _), n in found.items() if w is wanted)
        if of:
            rates.append(found[wanted, wanted] / of)
    return {
        "faces": total,
        "accuracy": sum(found[w, w] for w in (True, False)) / max(1, total),
        "balanced_accuracy": sum(rates) / 2 if len(rates) == 2 else None,
    }
