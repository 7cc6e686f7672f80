"""Accuracy through the whole runtime: from the image file to labels, and from them to the words of the answers."""

from __future__ import annotations

import collections
import math
import sys
from collections.abc import Hashable, Iterable
from pathlib import Path

import numpy as np

from faceinsight.models.data.canonical import COARSE_RACE, LABELS
from faceinsight.models.data.dataset import read_labelled
from faceinsight.models.data.readers import Record
from faceinsight.runtime.errors import FaceInsightError, InputError
from faceinsight.runtime.image import crop_matrix, warp
from faceinsight.runtime.labels import IGNORE, PARSE_CLASSES, more_labels
from faceinsight.runtime.pipeline import Face, FaceInsight
from faceinsight.runtime.progress import ProgressBar

from .phrasings import agreement, held_out
from .replies import AGES, ASKED, asked_about, contradictory, said, stated


def require_known(faces: list[Record], asked: Iterable[str]) -> None:
    """Raises InputError when no face has a label that is asked for."""
    if all(stated(face.labels, name) is None for face in faces for name in asked):
        raise InputError(f"none of the {len(faces)} faces has a label that is asked for: {', '.join(asked)}")


class Tally:
    """Counts what was told of every face against what a person says of it, for each question that is asked."""

    def __init__(self, names: Iterable[str]) -> None:
        """names: of ASKED."""
        self.pairs: dict[str, collections.Counter] = {name: collections.Counter() for name in names}

    def add(self, known: dict, told: dict | None) -> None:
        """known: a person's labels. told: name of ASKED -> value, None where unclear; None for a face that failed."""
        for name, pairs in self.pairs.items():
            if (wanted := stated(known, name)) is not None:
                value = told and told[name]
                if name == "Race" and wanted in COARSE_RACE.values():
                    value = COARSE_RACE.get(value, value)
                pairs[wanted, value] += 1

    def labels(self) -> dict[str, dict]:
        """Name of ASKED -> {"faces" whose label is known, "accuracy" (None without any), "balanced_accuracy" (None
        where only one value occurs) and its 95 % "interval", "confusion": {wanted: {told: faces}}}. What is unclear
        and what failed is told None, and counts as wrong."""
        return {name: _scores(pairs) for name, pairs in self.pairs.items()}

    def age_within(self, steps: int) -> float | None:
        """Share of the faces whose age group was told to within so many groups; None where none is known."""
        found = self.pairs["Age"]
        near = sum(
            faces
            for (wanted, told), faces in found.items()
            if told is not None and abs(AGES.index(wanted) - AGES.index(told)) <= steps
        )
        return share(near, found.total())


def share(count: int, of: int) -> float | None:
    return count / of if of else None


def _scores(pairs: collections.Counter[tuple[Hashable, Hashable]]) -> dict:
    confusion: dict[Hashable, dict] = {}
    for (wanted, told), faces in pairs.items():
        confusion.setdefault(wanted, {})[told] = faces
    rights = [(row.get(wanted, 0), sum(row.values())) for wanted, row in confusion.items()]
    balanced = sum(right / of for right, of in rights) / len(rights) if len(rights) > 1 else None
    return {
        "faces": pairs.total(),
        "accuracy": share(sum(row.get(wanted, 0) for wanted, row in confusion.items()), pairs.total()),
        "balanced_accuracy": balanced,
        "interval": None if balanced is None else interval(rights),
        "confusion": {str(wanted): {str(told): n for told, n in row.items()} for wanted, row in confusion.items()},
    }


def interval(rights: list[tuple[int, int]], z: float = 1.96) -> tuple[float, float]:
    """95 % confidence interval of the mean of several shares (right, of): Wilson's for each, their distances from the
    shares combined as of independent ones (MOVER). Too narrow for classes of a few faces."""
    below = above = mean = 0.0
    for right, of in rights:
        p = right / of
        middle = (p + z * z / (2 * of)) / (1 + z * z / of)
        half = z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of)) / (1 + z * z / of)
        below += (p - middle + half) ** 2
        above += (middle + half - p) ** 2
        mean += p / len(rights)
    return max(0.0, mean - math.sqrt(below) / len(rights)), min(1.0, mean + math.sqrt(above) / len(rights))


PARTS = {
    "background": ("background",), "skin": ("skin",), "nose": ("nose",), "eyes": ("l_eye", "r_eye"),
    "brows": ("l_brow", "r_brow"), "lips": ("u_lip", "l_lip"), "hair": ("hair",),
}  # fmt: skip
"""Part of the face -> parse classes that count as one."""


class PartsTally:
    """Intersection over union of parse maps with a data folder's, pooled over its faces."""

    def __init__(self) -> None:
        self.common, self.either = collections.Counter(), collections.Counter()

    def add(self, found: np.ndarray, wanted: np.ndarray) -> None:
        """Both HxW uint8; what is not known in `wanted` is left out."""
        known = wanted != IGNORE
        for part, classes in PARTS.items():
            indices = [PARSE_CLASSES.index(name) for name in classes]
            a, b = np.isin(found, indices) & known, np.isin(wanted, indices)
            self.common[part] += int((a & b).sum())
            self.either[part] += int((a | b).sum())

    def scores(self) -> dict[str, float] | None:
        """Part -> IoU, and their "mean"; None where no pixel was known."""
        scores = {part: self.common[part] / of for part, of in self.either.items() if of}
        return scores | {"mean": sum(scores.values()) / len(scores)} if scores else None


def evaluate(
    model: FaceInsight, data: str | Path, split: str = "val", limit: int | None = None, phrasings: int = 0
) -> dict:
    """Answers against a person's labels, and against the model's own. data: a folder in our own form or that of a
    public set (see `read_labelled`).

    phrasings: also ask the held-out questions about this many of the faces, and see how often the verdict agrees with
    the model's own labels. A face that cannot be perceived counts as wrong in all labels, is asked nothing and has
    no parse map.

    Returns {"faces", "failed", "labels": see `Tally.labels`, "parse_map": see `PartsTally`, "age_exact",
    "age_within_one_group", "answers_asked", "answers_agree": share of answers that say what the model's labels do,
    "contradictions": share of the faces whose answers contradict each other, "phrasings"}. Raises InputError for an
    unusable folder.
    """
    faces = read_labelled(data, split, limit)
    asked = asked_about((face.labels for face in faces), more_labels(model.bundle.manifest["attributes"]))
    require_known(faces, asked)
    tally, parts, agree, contradictions, failed = Tally(asked), PartsTally(), 0, 0, 0
    perceived: list[Face] = []
    with ProgressBar("evaluate", len(faces)) as advance:
        for labelled in faces:
            try:
                image = labelled.load()
                face = model.perceive(image, labelled.box(image.shape))
            except FaceInsightError as error:
                failed += 1
                print(f"{labelled.name}: {error}", file=sys.stderr)
                tally.add(labelled.labels, None)
            else:
                answers = {name: said(name, model.ask(face, question).text) for name, question in asked.items()}
                tally.add(labelled.labels, answers)
                agree += sum(answers[name] == stated(face.labels, name) for name in asked)
                size = len(face.parse_map)
                wanted = _parse_map(labelled, image.shape)
                parts.add(face.parse_map, warp(wanted, crop_matrix(face.box, size), size, nearest=True))
                contradictions += contradictory(answers)
                if len(perceived) < phrasings:
                    perceived.append(face)
            advance({})
    seen = len(faces) - failed
    return {
        "faces": len(faces),
        "failed": failed,
        "labels": tally.labels(),
        "parse_map": parts.scores(),
        "age_exact": tally.age_within(0),
        "age_within_one_group": tally.age_within(1),
        "answers_asked": seen * len(asked),
        "answers_agree": share(agree, seen * len(asked)),
        "contradictions": share(contradictions, seen),
        "phrasings": {name: agreement(model, perceived, some) for name, some in held_out().yes_no.items()}
        if perceived
        else None,
    }


def _parse_map(labelled: Record, shape: tuple[int, ...]) -> np.ndarray:
    """A record's parse map; one that cannot be read is reported and counts as none."""
    try:
        return labelled.parse_map(shape)
    except InputError as error:
        print(f"{labelled.name}: {error}", file=sys.stderr)
        return np.full(shape[:2], IGNORE, np.uint8)


def confusion_pictures(labels: dict[str, dict], folder: str | Path) -> list[Path]:
    """Draws each confusion matrix of `Tally.labels` to `folder/<name>.png`, rows are labels; needs matplotlib."""
    from matplotlib.figure import Figure

    folder = Path(folder)
    written = []
    for name, scores in labels.items():
        rows = sorted(scores["confusion"], key=_order(name))
        columns = sorted({told for row in scores["confusion"].values() for told in row}, key=_order(name))
        if not rows:
            continue
        figure = Figure(figsize=(1.6 + 0.8 * len(columns), 1.4 + 0.7 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        counts = [[scores["confusion"][row].get(column, 0) for column in columns] for row in rows]
        shares = [[n / sum(row) for n in row] for row in counts]
        axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
        for y, row in enumerate(counts):
            for x, n in enumerate(row):
                axes.text(x, y, str(n), ha="center", va="center", color="white" if shares[y][x] > 0.5 else "black")
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), rows)
        axes.set_xlabel("told")
        axes.set_ylabel("labelled")
        axes.set_title(ASKED[name].split(":")[0].split(" best")[0], fontsize=9)
        written.append(folder / f"{name}.png")
        figure.savefig(written[-1], dpi=150)
    return written


def _order(name: str):
    """Values in their own order, Yes before No; what was not told comes last."""
    values = (*(LABELS.get(name) or ()), "True", "False")
    return lambda value: values.index(value) if value in values else len(values)
