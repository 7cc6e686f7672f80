"""Labelled faces of a data folder together with all that their rows tell, beyond the labels of the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from faceinsight.models.data.dataset import read_labelled
from faceinsight.models.data.portraits import read_rows
from faceinsight.models.data.readers import Record
from faceinsight.models.vocabulary import load_vocabulary, ready_made
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.vocabulary import Vocabulary

from .survey import questions_about


@dataclass(frozen=True)
class LabelledFace:
    """One face of a data folder.

    labels: see `Record.labels`; a column that tells just one verdict on a choice, such as Gray_Hair, is there as a bool
    under its own name. columns: column -> cell of its row of labels.csv; its labels where a public set has no such
    table.
    """

    record: Record
    labels: Mapping[str, object]
    columns: Mapping[str, str]


def read_labelled_faces(
    directory: str | Path, split: str, vocabulary: Vocabulary, limit: int | None = None
) -> list[LabelledFace]:
    """Reads the faces of one split with all their columns; see `read_labelled` for the arguments and errors."""
    records = read_labelled(directory, split, vocabulary, limit)
    if not (Path(directory) / "labels.csv").is_file():
        return [LabelledFace(r, r.labels, {name: str(value) for name, value in r.labels.items()}) for r in records]
    rows = [row for row, _ in read_rows(directory, split, vocabulary, limit)]
    names = _verdicts(vocabulary)
    return [
        LabelledFace(record, dict(record.labels) | _told_apart(row, names), row)
        for record, row in zip(records, rows, strict=True)
    ]


def unknown_labels(faces: Iterable[LabelledFace], vocabulary: Vocabulary) -> list[str]:
    """Names the columns that are labels of a ready-made vocabulary, but not of this one."""
    ready = set().union(*(_columns(load_vocabulary(name)) for name in ready_made()))
    known = _columns(vocabulary)
    filled = dict.fromkeys(name for face in faces for name, cell in face.columns.items() if cell)
    return [name for name in filled if name in ready - known]


def _columns(vocabulary: Vocabulary) -> set[str]:
    """The columns of labels.csv that tell something of a vocabulary's labels."""
    sources = {label.source for label in vocabulary if label.source}
    return {*vocabulary.names, *sources, *_verdicts(vocabulary)}


def _verdicts(vocabulary: Vocabulary) -> set[str]:
    """The columns that tell of a choice whether one of its values holds, or one of several."""
    choices = [label for label in vocabulary if label.kind == "choice"]
    asked = {question.name for label in choices for question in questions_about(label) if question.values is not None}
    return (asked | {name for label in choices for name in label.outputs}) - set(vocabulary.names)


def _told_apart(row: Mapping[str, str], names: Iterable[str]) -> dict[str, bool]:
    cells = {name: row[name] for name in names if row.get(name)}
    for name, cell in cells.items():
        if cell not in ("0", "1"):
            raise InputError(f"row of {row['file']}: {name} is {cell!r}; use 0, 1 or nothing")
    return {name: cell == "1" for name, cell in cells.items()}
