"""Reader of our own folder format: images/, masks/ (optional) and labels.csv."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from faceinsight.runtime.errors import InputError
from faceinsight.runtime.image import load_image
from faceinsight.runtime.labels import FLAGS, GROUPS, IGNORE, NAMES, assignment_from_labels


@dataclass(frozen=True)
class Portraits:
    """Labelled faces in memory.

    images: [n] of HxWx3 uint8 RGB, the face centred as `runtime.image` crops it. masks: [n] of HxW uint8 parse maps,
    255 where not known. targets: [n, L] float32, 1, 0 or NaN where the label is not known.
    labels: [n] of {label: value}, None where not known. skipped: file -> why it was left out.
    """

    images: list[np.ndarray]
    masks: list[np.ndarray]
    targets: np.ndarray
    labels: list[dict]
    files: list[str]
    skipped: dict[str, str]


def read_portraits(directory: str | Path, split: str, limit: int | None = None) -> Portraits:
    """Reads one split ("train" or "val"). Unreadable images are skipped and reported in `skipped`.

    Raises InputError when labels.csv is missing or the split is empty.
    """
    directory = Path(directory)
    table = directory / "labels.csv"
    if not table.is_file():
        raise InputError(f"{directory} is not a data folder: labels.csv is missing (see models/data/portraits.py)")
    with table.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("split") == split][:limit]
    images, masks, labels, files, skipped = [], [], [], [], {}
    for row in rows:
        try:
            image = load_image(directory / "images" / row["file"])
        except InputError as error:
            skipped[row["file"]] = str(error)
            continue
        mask = cv2.imread(str(directory / "masks" / Path(row["file"]).with_suffix(".png")), cv2.IMREAD_UNCHANGED)
        images.append(image)
        masks.append(np.full(image.shape[:2], IGNORE, np.uint8) if mask is None else mask)
        labels.append(row_labels(row))
        files.append(row["file"])
    if not images:
        raise InputError(f"{directory} has no readable image in split {split!r}; skipped: {len(skipped)}")
    return Portraits(images, masks, targets(labels), labels, files, skipped)


def row_labels(row: dict[str, str]) -> dict[str, str | bool | None]:
    """One row of labels.csv as labels; a blank cell is None."""
    labels: dict[str, str | bool | None] = {label: row.get(label) or None for label in GROUPS}
    return labels | {flag: None if row.get(flag, "") == "" else row[flag] == "1" for flag in FLAGS}


def targets(labels: list[dict]) -> np.ndarray:
    """[n, L] float32 targets in the order of runtime.labels.NAMES; NaN where a label is None."""
    rows = [assignment_from_labels(item) for item in labels]
    return np.array([[np.nan if row[name] is None else row[name] for name in NAMES] for row in rows], np.float32)
