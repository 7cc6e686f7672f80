"""Reader of our own folder format: images/, masks/ (optional) and labels.csv."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from faceinsight.runtime.errors import InputError
from faceinsight.runtime.image import load_image
from faceinsight.runtime.parse_map import IGNORE, PARSE_CLASSES
from faceinsight.runtime.vocabulary import Vocabulary

from .cells import read_cells
from .targets import targets

SPLITS = ("train", "val", "test")
LANDMARKS = ("right_eye", "left_eye", "nose", "right_mouth", "left_mouth")
"""Columns of labels.csv, each with _x and _y. The right eye is the subject's right one."""


@dataclass(frozen=True, eq=False)
class Portraits:
    """Labelled faces in memory.

    images: [n] of HxWx3 uint8 RGB, the face centred as `runtime.image` crops it. masks: [n] of HxW uint8 parse maps,
    255 where not known. targets: see models/data/targets.py. skipped: file -> why it was left out. landmarks: [n, 5,
    2] in pixels, see LANDMARKS, NaN where not known.
    """

    images: list[np.ndarray]
    masks: list[np.ndarray]
    targets: np.ndarray
    files: list[str]
    skipped: dict[str, str]
    landmarks: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    @property
    def masked(self) -> bool:
        """Whether there are parse maps."""
        return any((mask != IGNORE).any() for mask in self.masks[:100])

    def face(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image (HxWx3 uint8 RGB), parse map (HxW uint8) and its row of the targets."""
        return self.images[index], self.masks[index], self.targets[index]


def read_portraits(directory: str | Path, split: str, vocabulary: Vocabulary) -> Portraits:
    """Reads one split ("train" or "val"). Unreadable images and masks that do not fit are skipped and reported.

    vocabulary: of the labels whose targets are wanted. Raises InputError when labels.csv is missing or
    damaged, or nothing of the split is left.
    """
    directory = Path(directory)
    images, masks, labels, files, skipped, landmarks = [], [], [], [], {}, []
    for row, known in read_rows(directory, split, vocabulary):
        try:
            image = load_image(directory / "images" / row["file"])
            mask = read_mask(directory / "masks" / Path(row["file"]).with_suffix(".png"), image.shape[:2])
        except InputError as error:
            skipped[row["file"]] = str(error)
            continue
        images.append(image)
        masks.append(mask)
        labels.append(known)
        files.append(row["file"])
        landmarks.append(_landmarks(row))
    if not images:
        raise InputError(f"{directory} has no readable image in split {split!r}; skipped: {len(skipped)}")
    return Portraits(images, masks, targets(labels, vocabulary), files, skipped, np.stack(landmarks))


def _landmarks(row: dict[str, str]) -> np.ndarray:
    """[5, 2] of a row, NaN where it does not tell. Raises InputError for a cell that is no number."""
    try:
        found = [float(row.get(f"{name}_{axis}") or "nan") for name in LANDMARKS for axis in "xy"]
    except ValueError as error:
        raise InputError(f"row of {row['file']}: landmarks are numbers of pixels") from error
    return np.array(found).reshape(len(LANDMARKS), 2)


def read_rows(
    directory: str | Path, split: str, vocabulary: Vocabulary, limit: int | None = None
) -> list[tuple[dict[str, str], dict]]:
    """The rows of one split of labels.csv, each with what it tells of the vocabulary's labels (see `read_cells`).

    A column may be missing: then the label is not known. Raises InputError naming the row, the cell and what it may
    hold.
    """
    table = Path(directory) / "labels.csv"
    if not table.is_file():
        raise InputError(f"{directory} is not a data folder: labels.csv is missing (see models/data/portraits.py)")
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = {"file", "split"} - set(reader.fieldnames or ())
            if missing:
                raise InputError(f"{table} has no column {' and '.join(sorted(missing))}")
            every = list(reader)
            rows = [row for row in every if row["split"] == split][:limit]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table} is not a CSV file in UTF-8: {error}") from error
    for number, row in enumerate(every, 2):
        if not row["file"]:
            raise InputError(f"{table}, line {number}: the row names no file")
        if row["split"] not in SPLITS:
            raise InputError(f"{table}, line {number}: split is {row['split']!r}; use {', '.join(SPLITS)}")
    if not rows:
        raise InputError(f"{table} has no row in split {split!r}")
    found = []
    for row in rows:
        try:
            found.append((row, read_cells(row, vocabulary)))
        except InputError as error:
            raise InputError(f"{table}, row of {row['file']}: {error}") from error
    return found


def read_mask(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """The parse map of an image of `shape`, all unknown if there is no file. Raises InputError when it does not fit."""
    if not path.is_file():
        return np.full(shape, IGNORE, np.uint8)
    mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if mask is None or mask.dtype != np.uint8 or mask.shape != shape:
        found = "unreadable" if mask is None else f"{mask.dtype} {mask.shape}"
        raise InputError(f"{path} is {found}; a parse map is grey, uint8, {shape} like its image")
    if ((mask >= len(PARSE_CLASSES)) & (mask != IGNORE)).any():
        raise InputError(f"{path} holds class {mask[mask != IGNORE].max()}; known are 0..{len(PARSE_CLASSES) - 1}, 255")
    return mask
