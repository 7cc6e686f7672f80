"""The sets of age, gender and race: UTKFace and FairFace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from faceinsight.models.data.portraits import SPLITS

from .records import Aligned, Reader, Record, Skipped, coded, found, hashed_split, inside, listing, read_csv

UTKFACE_GENDERS = {"0": "male", "1": "female"}
UTKFACE_RACES = {"0": "white", "1": "black", "2": "asian", "3": "indian", "4": "other"}

FAIRFACE_GENDERS = {"Male": "male", "Female": "female"}
FAIRFACE_RACES = {
    "White": "white", "Black": "black", "Latino_Hispanic": "latino", "East Asian": "east asian",
    "Southeast Asian": "southeast asian", "Indian": "indian", "Middle Eastern": "middle eastern",
}  # fmt: skip
OLDEST = 120
FAIRFACE_AGES = {
    "0-2": (0, 3), "3-9": (3, 10), "10-19": (10, 20), "20-29": (20, 30), "30-39": (30, 40), "40-49": (40, 50),
    "50-59": (50, 60), "60-69": (60, 70), "70+": (70, OLDEST + 1), "more than 70": (70, OLDEST + 1),
}  # fmt: skip
"""Written range -> least age, and the first that is too large."""

# Aligned and cropped to the face, forehead to chin, 200x200: about the whole image. The set's other part, photographs
# as they were found, is not square.
_UTKFACE = (Aligned(200, 200),)


def _chip(size: int, padding: float) -> Aligned:
    """dlib's face chip: in its mean face, one unit wide, the eyes are 0.529 apart around (0.490, 0.214)."""
    unit = size / (1 + 2 * padding)
    return Aligned.by_eyes(size, size, (0.490 + padding) * unit, (0.214 + padding) * unit, 0.529 * unit)


_FAIRFACE = (_chip(224, 0.25), _chip(448, 1.25))
"""The set comes with either padding."""


def _utkface(directory: Path, split: str, skipped: Skipped) -> Iterator[Record]:
    """The labels are in the names: [age]_[gender]_[race]_[timestamp].jpg, or .jpg.chip.jpg for aligned images."""
    for file in listing(directory):
        stem = file.partition(".")[0].strip()
        fields = stem.split("_")
        if not file.lower().endswith(".jpg"):
            skipped.add("not a .jpg file", file)
        elif len(fields) != 4 or not all(field.isascii() and field.isdigit() for field in fields):
            skipped.add("name is not [age]_[gender]_[race]_[timestamp].jpg", file)
        elif int(fields[0]) > OLDEST:
            skipped.add(f"age is not 0-{OLDEST}", file)
        elif fields[1] not in UTKFACE_GENDERS or fields[2] not in UTKFACE_RACES:
            skipped.add("gender is not 0-1 or race is not 0-4", file)
        elif hashed_split(stem) == split:
            labels = {"Gender": UTKFACE_GENDERS[fields[1]], "Race": UTKFACE_RACES[fields[2]]}
            yield Record(file, directory / file, labels | {"Age_Years": int(fields[0])}, aligned=_UTKFACE)


def _fairface(directory: Path, split: str, skipped: Skipped) -> Iterator[Record]:
    table = found(directory, f"fairface_label_{split}.csv")
    places = ("", "fairface-img-margin025-trainval", "fairface-img-margin125-trainval")
    images = found(directory, *(f"{place}/{split}".strip("/") for place in places)).parent
    for number, row in read_csv(table, ("file", "age", "gender", "race"), skipped):
        if not row["file"]:
            skipped.add("row names no file", f"row {number}")
            continue
        labels = {"Gender": coded(FAIRFACE_GENDERS, row["gender"], "gender", table)}
        labels["Race"] = coded(FAIRFACE_RACES, row["race"], "race", table)
        labels["Age_Years"] = coded(FAIRFACE_AGES, row["age"], "age", table)
        yield Record(row["file"], inside(images, row["file"], table), labels, aligned=_FAIRFACE)


UTKFACE = Reader("UTKFace", ("[0-9]*_[01]_[0-4]_[0-9]*.jpg",), SPLITS, _utkface)
FAIRFACE = Reader("FairFace", ("fairface_label_train.csv", "fairface_label_val.csv"), ("train", "val"), _fairface)
