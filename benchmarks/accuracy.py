"""Accuracy through the whole runtime: from the image file to labels, and from them to the words of the answers."""

from __future__ import annotations

import collections
import math
import statistics
import sys
from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faceinsight.models.data.readers import Record
from faceinsight.models.metrics import IntersectionOverUnion, Share, balanced_accuracy
from faceinsight.runtime.errors import FaceInsightError, InputError
from faceinsight.runtime.image import crop_matrix, warp
from faceinsight.runtime.parse_map import IGNORE
from faceinsight.runtime.pipeline import Face, FaceInsight
from faceinsight.runtime.progress import ProgressBar

from .breakdown import SKIN, by_column, by_luminance, skin_luminance
from .labelled import LabelledFace, read_labelled_faces, unknown_labels
from .phrasings import agreement, held_out
from .reliability import Reliability
from .survey import Scale, Survey, Told

Z = 1.96
"""Standard deviations on either side of a mean that hold 95 % of a normal distribution."""


class Tally:
    """Counts what was told of every face against what a person says of it, for each question of a survey."""

    def __init__(self, survey: Survey) -> None:
        self.survey = survey
        self._pairs: dict[str, collections.Counter] = {name: collections.Counter() for name in survey.scales}
        self._errors: dict[str, list[float]] = {label.name: [] for label in survey.numbers}
        self._unclear: collections.Counter[str] = collections.Counter()

    def add(self, labels: Mapping[str, object], told: Told | None) -> None:
        """Counts one face. labels: a person's. told: see `Survey.told`; None for a face that failed."""
        known = self.survey.wanted(labels)
        for name, scale in self.survey.scales.items():
            if (wanted := known[name]) is not None:
                value = told and told[name]
                if wanted not in scale.values:
                    value = scale.coarse.get(value, value)
                self._pairs[name][wanted, value] += 1
        for name, errors in self._errors.items():
            if (bounds := known[name]) is not None:
                number = told and told[name]
                if number is None:
                    self._unclear[name] += 1
                else:
                    errors.append(max(bounds[0] - number, number - bounds[1], 0.0))

    def labels(self) -> dict[str, dict]:
        """Scores every question that tells one of several values, and every view.

        Returns name -> {"question": its text, "values": in their order, "faces": whose label is known, "accuracy" and
        its 95 % "accuracy_interval", "balanced_accuracy" (None where only one value occurs) and its "interval",
        "within_one": share that was told to within one value, of those that have an order (None for others), and its
        "within_one_interval", "confusion": {known: {told: faces}}}. What is unclear and what failed is told None, and
        counts as wrong.
        """
        return {name: _scores(pairs, self.survey.scales[name]) for name, pairs in self._pairs.items()}

    def numbers(self) -> dict[str, dict]:
        """Scores every number by how far it was told from what is known; from a range, how far outside of it.

        Returns label -> {"mae": mean absolute error in its unit, its 95 % "interval" (both None without a face),
        "faces": of which a number was known and told, "unclear": of which it was known and not told, "unit"}.
        """
        return {
            label.name: _number_scores(self._errors[label.name], self._unclear[label.name], label.unit)
            for label in self.survey.numbers
        }


def share(count: int, of: int) -> float | None:
    """A share; None of nothing."""
    return count / of if of else None


def _scores(pairs: collections.Counter[tuple[Hashable, Hashable]], scale: Scale) -> dict:
    confusion: dict[Hashable, dict] = {}
    for (wanted, told), faces in pairs.items():
        confusion.setdefault(wanted, {})[told] = faces
    shares = [(row.get(wanted, 0), sum(row.values())) for wanted, row in confusion.items()]
    balanced, faces = balanced_accuracy(shares), pairs.total()
    right, near = sum(right for right, _ in shares), _near(pairs, scale.values) if scale.ordered else None
    return {
        "question": scale.question,
        "values": [str(value) for value in scale.values],
        "faces": faces,
        "accuracy": share(right, faces),
        "accuracy_interval": interval([(right, faces)]) if faces else None,
        "balanced_accuracy": balanced,
        "interval": None if balanced is None else interval(shares),
        "within_one": None if near is None else share(near, faces),
        "within_one_interval": interval([(near, faces)]) if near is not None and faces else None,
        "confusion": {str(wanted): {str(told): n for told, n in row.items()} for wanted, row in confusion.items()},
    }


def _near(pairs: collections.Counter, values: Sequence) -> int:
    """How many were told the known value or one next to it."""
    return sum(
        faces
        for (wanted, told), faces in pairs.items()
        if wanted in values and told in values and abs(values.index(wanted) - values.index(told)) <= 1
    )


def _number_scores(errors: Sequence[float], unclear: int, unit: str) -> dict:
    return {
        "mae": statistics.fmean(errors) if errors else None,
        "interval": mean_interval(errors) if errors else None,
        "faces": len(errors),
        "unclear": unclear,
        "unit": unit,
    }


def interval(shares: Sequence[Share]) -> tuple[float, float]:
    """The 95 % confidence interval of the mean of several shares: Wilson's for each, their distances from the shares
    combined as of independent ones (MOVER). It is too narrow for classes of a few faces."""
    below = above = mean = 0.0
    for right, of in shares:
        p = right / of
        middle = (p + Z * Z / (2 * of)) / (1 + Z * Z / of)
        half = Z * math.sqrt(p * (1 - p) / of + Z * Z / (4 * of * of)) / (1 + Z * Z / of)
        below += (p - middle + half) ** 2
        above += (middle + half - p) ** 2
        mean += p / len(shares)
    return max(0.0, mean - math.sqrt(below) / len(shares)), min(1.0, mean + math.sqrt(above) / len(shares))


def mean_interval(errors: Sequence[float]) -> tuple[float, float]:
    """The 95 % confidence interval of the mean of errors, none of them negative; it is too narrow for a few."""
    mean = statistics.fmean(errors)
    half = Z * statistics.stdev(errors) / math.sqrt(len(errors)) if len(errors) > 1 else 0.0
    return max(0.0, mean - half), mean + half


PARTS = {
    "background": ("background",), "skin": ("skin",), "nose": ("nose",), "eyes": ("l_eye", "r_eye"),
    "brows": ("l_brow", "r_brow"), "lips": ("u_lip", "l_lip"), "hair": ("hair",),
}  # fmt: skip
"""Part of the face -> parse classes that count as one."""


@dataclass
class Seen:
    """One labelled face, and what the model says of it; None is not told, of a face that failed all.

    labels: a person's. luminance: of its skin, see `skin_luminance`. agreeing: how many answers say what the model's
    labels do. contradictory: whether the answers contradict each other.
    """

    labels: Mapping[str, object]
    told: Told | None = None
    attributes: Mapping[str, float] | None = None
    luminance: float | None = None
    agreeing: int = 0
    contradictory: bool = False


def evaluate(
    model: FaceInsight,
    data: str | Path,
    split: str = "val",
    limit: int | None = None,
    phrasings: int = 0,
    task: str | None = None,
    by: Sequence[str] = (),
    values: Sequence[str] = (),
    ask: bool = True,
) -> dict:
    """Scores a model's answers against a person's labels, and against the model's own.

    data: a folder in our own form or that of a public set (see `read_labelled`). limit: most faces. phrasings: also
    asks the held-out questions about this many of the faces, spread evenly, and sees how often the verdict agrees with
    the model's own labels. task: asks about the labels of this task only. by: what groups of faces are scored by, too:
    columns (see `by_column`), "skin" (see `skin_luminance`). values: choices with values that are scored against their
    others, such as "Expression:sad,anger"; "Expression" is each on its own. ask: without it the model's labels are
    scored, and no question is asked. A face that cannot be perceived counts as wrong in all labels, is asked nothing
    and has no parse map.

    Returns what `_scores_of` does and {"parse_map": part -> IoU, and their "mean" (None where no pixel is known),
    "answers_asked", "answers_agree": share of answers that say what the model's labels do, "contradictions": share of
    the faces whose answers contradict each other (both None where nothing is asked), "phrasings": set -> see
    `agreement`, or None, "by": item of `by` -> group -> see `_scores_of`, "skin_luminance": at which "skin" divides,
    "not_scored": {"model": labels of the data that it does not have, "data": labels of the model that no face has}}.
    Raises InputError for an unusable folder, column or value, and where no face has a label that is asked for.
    """
    faces = read_labelled_faces(data, split, model.vocabulary, limit)
    chosen = _chosen(values)
    survey = Survey(model.vocabulary, [face.labels for face in faces], task, chosen)
    groups = {column: by_column(column, [face.columns for face in faces]) for column in by if column != SKIN}
    asked_again = {position * len(faces) // phrasings for position in range(phrasings)}
    seen, found, perceived = _look(model, faces, survey, ask, SKIN in by, asked_again)
    median, by_skin = by_luminance([face.luminance for face in seen])
    groups |= {SKIN: by_skin} if SKIN in by else {}
    told = sum(face.told is not None for face in seen) * ask
    missing = [name for name in chosen if name not in model.vocabulary]
    return _scores_of(seen, survey) | {
        "parse_map": found | {"mean": sum(found.values()) / len(found)} if found else None,
        "answers_asked": told * len(survey.questions),
        "answers_agree": share(sum(face.agreeing for face in seen), told * len(survey.questions)),
        "contradictions": share(sum(face.contradictory for face in seen), told),
        "phrasings": {
            name: agreement(model, perceived, questions)
            for name, questions in held_out(model.vocabulary).yes_no.items()
            if questions
        }
        if perceived
        else None,
        "by": {
            name: {
                group: _scores_of([seen[position] for position in positions], survey)
                for group, positions in groups[name].items()
            }
            for name in by
        },
        "skin_luminance": median,
        "not_scored": {
            "model": list(dict.fromkeys([*unknown_labels(faces, model.vocabulary), *missing])),
            "data": survey.untold,
        },
    }


def _look(
    model: FaceInsight, faces: Sequence[LabelledFace], survey: Survey, ask: bool, skin: bool, keep: Set[int]
) -> tuple[list[Seen], dict[str, float], list[Face]]:
    """Perceives every face. skin: measures it, see `skin_luminance`. keep: positions of the faces that are returned.

    Returns what is seen of each, the scores of the parse maps, and the faces to keep.
    """
    seen, parts, kept = [], IntersectionOverUnion(PARTS), []
    with ProgressBar("evaluate", len(faces)) as advance:
        for position, labelled in enumerate(faces):
            try:
                image = labelled.record.load()
                face = model.perceive(image, labelled.record.box(image.shape))
            except FaceInsightError as error:
                print(f"{labelled.record.name}: {error}", file=sys.stderr)
                seen.append(Seen(labelled.labels))
            else:
                seen.append(_told(model, face, labelled, survey, ask))
                seen[-1].luminance = skin_luminance(image, face) if skin else None
                size = len(face.parse_map)
                known = _parse_map(labelled.record, image.shape)
                parts.add(face.parse_map, warp(known, crop_matrix(face.box, size), size, nearest=True))
                if position in keep:
                    kept.append(face)
            advance({})
    return seen, parts.scores(), kept


def _chosen(values: Sequence[str]) -> dict[str, list[list[str]]]:
    """Reads "Expression:sad,anger" as {"Expression": [["sad", "anger"]]}."""
    chosen: dict[str, list[list[str]]] = {}
    for text in values:
        name, _, listed = text.partition(":")
        chosen.setdefault(name, []).append(listed.split(",") if listed else [])
    return chosen


def _told(model: FaceInsight, face: Face, labelled: LabelledFace, survey: Survey, ask: bool) -> Seen:
    if not ask:
        return Seen(labelled.labels, survey.stated(face.labels), face.attributes)
    told = survey.told({q.name: model.ask(face, q.text).text for q in survey.questions})
    agreeing, contradictory = survey.agreeing(told, face.labels), survey.contradictory(told)
    return Seen(labelled.labels, told, face.attributes, None, agreeing, contradictory)


def _scores_of(seen: Sequence[Seen], survey: Survey) -> dict:
    """Returns {"faces", "failed", "labels": see `Tally.labels`, "numbers": see `Tally.numbers`, "calibration": see
    `Reliability.scores`}."""
    tally, reliability = Tally(survey), Reliability(survey)
    for face in seen:
        tally.add(face.labels, face.told)
        if face.attributes is not None:
            reliability.add(face.labels, face.attributes)
    return {
        "faces": len(seen),
        "failed": sum(face.told is None for face in seen),
        "labels": tally.labels(),
        "numbers": tally.numbers(),
        "calibration": reliability.scores(),
    }


def _parse_map(labelled: Record, shape: tuple[int, ...]) -> np.ndarray:
    """Reads a record's parse map; one that cannot be read is reported and counts as none."""
    try:
        return labelled.parse_map(shape)
    except InputError as error:
        print(f"{labelled.name}: {error}", file=sys.stderr)
        return np.full(shape[:2], IGNORE, np.uint8)


def confusion_pictures(labels: dict[str, dict], folder: str | Path) -> list[Path]:
    """Draws each confusion matrix of `Tally.labels` to `folder/<name>.png`, a row for each known value; it needs
    matplotlib. Returns the files."""
    from matplotlib.figure import Figure

    folder = Path(folder)
    written = []
    for name, scores in labels.items():
        confusion = scores["confusion"]
        rows = _ordered(confusion, scores["values"])
        if not rows:
            continue
        columns = _ordered({told for row in confusion.values() for told in row}, scores["values"])
        figure = Figure(figsize=(1.6 + 0.8 * len(columns), 1.4 + 0.7 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        counts = [[confusion[row].get(column, 0) for column in columns] for row in rows]
        shares = [[n / sum(row) for n in row] for row in counts]
        axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
        for y, row in enumerate(counts):
            for x, n in enumerate(row):
                axes.text(x, y, str(n), ha="center", va="center", color="white" if shares[y][x] > 0.5 else "black")
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), rows)
        axes.set_xlabel("told")
        axes.set_ylabel("labelled")
        axes.set_title(scores["question"].split(":")[0].split(" best")[0], fontsize=9)
        written.append(folder / f"{name}.png")
        figure.savefig(written[-1], dpi=150)
    return written


def _ordered(found: Iterable[str], values: Sequence[str]) -> list[str]:
    """Values in their own order; others, and what was not told, come last."""
    return sorted(found, key=lambda value: (values.index(value) if value in values else len(values), value))
