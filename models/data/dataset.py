"""Labelled faces for training, in whatever form they lie on disk."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import numpy as np

from faceinsight.runtime.errors import InputError
from faceinsight.runtime.image import crop_matrix, warp
from faceinsight.runtime.parse_map import IGNORE
from faceinsight.runtime.pipeline import FaceInsight
from faceinsight.runtime.vocabulary import Vocabulary

from .augment import NOMINAL_SIDE
from .portraits import SPLITS, Portraits, read_portraits, read_rows
from .readers import Record, Records, find_reader
from .readers.records import hashed_split
from .targets import targets

SIDE = 224
"""Of the training images that faces of other sets are cut to, in pixels."""


class RecordFaces:
    """Faces of one of the sets that models/data/readers reads, with the interface of `Portraits`; an image is read when
    it is looked at.

    targets: see models/data/targets.py.
    """

    def __init__(self, records: Records, vocabulary: Vocabulary):
        """vocabulary: of the labels whose targets are wanted. Raises InputError when the set knows none of them."""
        self.records = records.records
        self.masked = any(record.parts for record in self.records)
        self.targets = targets([record.labels for record in self.records], vocabulary)
        if np.isnan(self.targets).all():
            known = ", ".join(vocabulary.names)
            raise InputError(f"{records.source} has none of the labels that the model knows: {known}")
        self.skipped = {reason: f"{count}, first {records.skipped.names[reason][0]}"
                        for reason, count in records.skipped.counts.items()}  # fmt: skip
        self._unreadable: set[int] = set()

    def __len__(self) -> int:
        return len(self.records)

    def face(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Training image, parse map and targets, see `Portraits.face`. In the place of a face that cannot be read or
        found, which is reported, stands the next one."""
        for step in range(len(self)):
            at = (index + step) % len(self)
            if at in self._unreadable:
                continue
            try:
                return *training_image(self.records[at]), self.targets[at]
            except InputError as error:
                self._unreadable.add(at)
                print(f"skipped {self.records[at].name}: {error}", file=sys.stderr)
        raise InputError("none of the images of this set can be read; look at the first lines above")


def training_image(record: Record) -> tuple[np.ndarray, np.ndarray]:
    """Cuts a face out of its image: SIDE x SIDE x 3 uint8 RGB, centred as `runtime.image` crops it, and its parse map.

    Raises InputError when the image cannot be read or has no face.
    """
    image = record.load()
    box = record.box(image.shape)
    if box is None:
        found = _nano().detect(image)
        if not found:
            raise InputError("no face was found in the image")
        box = found[0].box
    matrix = crop_matrix(box, NOMINAL_SIDE)
    matrix[:, 2] += (SIDE - NOMINAL_SIDE) / 2
    parse_map = record.parse_map(image.shape) if record.parts else None
    cut = np.full((SIDE, SIDE), IGNORE, np.uint8) if parse_map is None else warp(parse_map, matrix, SIDE, nearest=True)
    return warp(image, matrix, SIDE), cut


@functools.cache
def _nano() -> FaceInsight:
    return FaceInsight.load()


def read_faces(directory: str | Path, split: str, vocabulary: Vocabulary) -> Portraits | RecordFaces:
    """One split ("train", "val", "test") of a folder in our own form (labels.csv), or of any set of
    models/data/readers. In a set without a val split every tenth training face, by its name, is val.

    vocabulary: of the labels whose targets are wanted. Raises InputError for a folder that is none of them, or damaged.
    """
    if (Path(directory) / "labels.csv").is_file():
        return read_portraits(directory, split, vocabulary)
    return RecordFaces(_read_records(Path(directory), split), vocabulary)


def read_labelled(directory: str | Path, split: str, vocabulary: Vocabulary, limit: int | None = None) -> list[Record]:
    """The faces of one split as `read_faces` knows them, with all their labels; no image is read.

    vocabulary: of the labels that are wanted of a folder in our own form. limit: the most; of a public set they are
    spread evenly over it. Raises InputError as `read_faces` does.
    """
    directory = Path(directory)
    if not (directory / "labels.csv").is_file():
        found = _read_records(directory, split)
        if found.skipped:
            print(f"left out: {found.skipped}", file=sys.stderr)
        count = min(len(found), limit or len(found))
        chosen = [found.records[position * len(found) // count] for position in range(count)]
        return chosen
    records = []
    for row, known in read_rows(directory, split, vocabulary, limit):
        mask = (directory / "masks" / row["file"]).with_suffix(".png")
        records.append(Record(row["file"], directory / "images" / row["file"], known, mask=mask))
    return records


def _read_records(directory: Path, split: str) -> Records:
    if split not in SPLITS:
        raise InputError(f"unknown split {split!r}; use {', '.join(SPLITS)}")
    reader = find_reader(directory)
    if "val" in reader.splits or split == "test":
        return reader.read(directory, split)
    whole = reader.read(directory, "train")
    chosen = tuple(r for r in whole if (hashed_split(r.name) == "val") == (split == "val"))
    if not chosen:
        raise InputError(f"{directory} has too few faces to set some apart for validation: {len(whole)}")
    return Records(whole.source, chosen, whole.skipped)
