"""What every reader gives: records of labelled faces, and an account of what was left out."""

from __future__ import annotations

import csv
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from faceinsight.models.data.portraits import read_mask
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.image import load_image
from faceinsight.runtime.parse_map import IGNORE

Box = tuple[float, float, float, float]

# In face heights (hairline to chin): how far apart the eyes are, how far below the hairline they lie, and how wide a
# face is. The first two are medians over the project's labelled portraits, most of them seen from the front.
_EYE_DISTANCE = 0.362
_EYE_DEPTH = 0.317
_WIDTH = 0.75


@dataclass(frozen=True)
class Aligned:
    """Where the face lies in images that a set has aligned. Approximate: a face is not the mean face.

    height, width: of the aligned images, in pixels. face: its box (hairline to chin), xyxy in shares of width and
    height; it may reach beyond the image.
    """

    height: int
    width: int
    face: Box = (0.0, 0.0, 1.0, 1.0)

    @classmethod
    def by_eyes(cls, height: int, width: int, x: float, y: float, distance: float) -> Aligned:
        """From the point between the eyes (x, y) and their distance, in pixels."""
        tall = distance / _EYE_DISTANCE
        top, half = y - _EYE_DEPTH * tall, _WIDTH * tall / 2
        return cls(height, width, ((x - half) / width, top / height, (x + half) / width, (top + tall) / height))


@dataclass
class Skipped:
    """What was left out, and why.

    counts: reason -> how many. names: reason -> the first 20 of them.
    """

    counts: Counter[str] = field(default_factory=Counter)
    names: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, name: str) -> None:
        self.counts[reason] += 1
        if self.counts[reason] <= 20:
            self.names.setdefault(reason, []).append(name)

    def __len__(self) -> int:
        return self.counts.total()

    def __str__(self) -> str:
        """One line: each reason with its count and first name."""
        reasons = [f"{reason} ({count}, {self.names[reason][0]})" for reason, count in self.counts.items()]
        return "; ".join(reasons) or "nothing"


@dataclass(frozen=True, eq=False, slots=True)
class Record:
    """One labelled face.

    name: unique in its set. image: a path, or HxW uint8 grey where the set is no image files. labels: label
    -> value, under the names of the ready-made vocabularies; a number is one, or a range (least, first that is too
    large); what is not known is absent. parts: (parse class, path of its mask), in
    ascending order of the class. aligned: how the set aligns its images, one for each variant;
    () where it does not. mask: path of a whole parse map in the parts' place.
    """

    name: str
    image: Path | np.ndarray
    labels: dict[str, object]
    parts: tuple[tuple[int, Path], ...] = ()
    aligned: tuple[Aligned, ...] = ()
    mask: Path | None = None

    def load(self) -> np.ndarray:
        """The image, HxWx3 uint8 RGB. Raises InputError when it cannot be read."""
        return load_image(self.image)

    def parse_map(self, shape: tuple[int, ...]) -> np.ndarray:
        """HxW uint8, CelebAMask-HQ's official order, for an image of `shape` (H, W, ...); 255 everywhere without parts
        and mask.

        Where parts overlap the later class wins, where none is it is background. Raises InputError when a part cannot
        be read, or a mask does not fit.
        """
        height, width = shape[:2]
        if self.mask is not None:
            return read_mask(self.mask, (height, width))
        if not self.parts:
            return np.full((height, width), IGNORE, np.uint8)
        parse_map = np.zeros((height, width), np.uint8)
        for index, path in self.parts:
            mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            if mask is None:
                raise InputError(f"{path} is not a readable mask; unpack the set again")
            if mask.shape != parse_map.shape:
                mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
            parse_map[mask != 0] = index
        return parse_map

    def box(self, shape: tuple[int, ...]) -> Box | None:
        """The face's approximate box (hairline to chin), xyxy in pixels of an image of `shape` (H, W, ...).

        None where the image is not one that the set has aligned: then a detector has to look. A resized copy counts
        as aligned if its aspect says which variant it is.
        """
        height, width = shape[:2]
        fits = [a for a in self.aligned if (a.height, a.width) == (height, width)]
        fits = fits or [a for a in self.aligned if abs(height / width * a.width / a.height - 1) < 0.02]
        if len(fits) != 1:
            return None
        x0, y0, x1, y1 = fits[0].face
        return x0 * width, y0 * height, x1 * width, y1 * height


@dataclass(frozen=True)
class Records:
    """One split of a set. source: the set's name. skipped: what reading it left out."""

    source: str
    records: tuple[Record, ...]
    skipped: Skipped

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)


@dataclass(frozen=True)
class Reader:
    """How one set is recognised and read.

    name: of the set. markers: glob patterns; a folder that holds a match of any of them is this set. splits: those
    that the set has. records: (directory, split, skipped) -> the split's records, images not yet looked for.
    """

    name: str
    markers: tuple[str, ...]
    splits: tuple[str, ...]
    records: Callable[[Path, str, Skipped], Iterable[Record]]

    def fits(self, directory: Path) -> bool:
        return any(next(directory.glob(marker), None) for marker in self.markers)

    def read(self, directory: Path, split: str) -> Records:
        """Raises InputError when the set has no such split, a file of it is missing or damaged, or no face is left."""
        if split not in self.splits:
            raise InputError(f"{self.name} has no split {split!r}; it has {', '.join(self.splits)}")
        skipped = Skipped()
        try:
            records = tuple(_there(self.records(directory, split, skipped), skipped))
        except OSError as error:
            raise InputError(f"cannot read {self.name} in {directory}: {error}") from error
        if not records:
            raise InputError(f"{self.name} in {directory} has no usable face in split {split!r}; left out: {skipped}")
        return Records(self.name, records, skipped)


def _there(records: Iterable[Record], skipped: Skipped) -> Iterator[Record]:
    """The records whose image exists and whose name is new. Each folder is listed once: 200,000 stats are slow."""
    seen: set[str] = set()
    listings: dict[str, set[str]] = {}
    for record in records:
        if isinstance(record.image, Path):
            folder, file = os.path.split(record.image)
            if folder not in listings:
                listings[folder] = set(listing(Path(folder)))
            if file not in listings[folder]:
                skipped.add("image is missing", record.name)
                continue
        if record.name in seen:
            skipped.add("named twice", record.name)
            continue
        seen.add(record.name)
        yield record


def listing(folder: Path) -> list[str]:
    """The names in a folder, sorted; none if there is no such folder."""
    return sorted(os.listdir(folder)) if folder.is_dir() else []


def found(directory: Path, *places: str) -> Path:
    """The first of the places, relative to the directory, that exists. Raises InputError when none does."""
    for place in places:
        if (directory / place).exists():
            return directory / place
    raise InputError(f"{directory} lacks {' or '.join(places)}; unpack the whole set there")


def inside(folder: Path, name: str, table: Path) -> Path:
    """The path of a file that a table names. Raises InputError for a name that could lead out of the folder."""
    parts = name.split("/")
    if ".." in parts or not parts[0] or ":" in parts[0] or "\\" in name or "\0" in name:
        raise InputError(f"{table} names the file {name!r}, which is not a plain path below {folder}")
    return folder / name


def coded(codes: dict, code: str, what: str, table: Path):
    """The value of a code. Raises InputError for one that the set does not have: then the table is another one."""
    if code not in codes:
        raise InputError(f"{table} holds the {what} {code!r}; known are {', '.join(map(str, codes))}")
    return codes[code]


def hashed_split(name: str) -> str:
    """The split of a face in a set that has none: eight in ten train, one val, one test, by the name alone."""
    return {8: "val", 9: "test"}.get(zlib.crc32(name.encode()) % 10, "train")


def read_lines(path: Path) -> list[str]:
    """The lines of a text file. Raises InputError when it is not text."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file in UTF-8: {error}") from error


def read_csv(path: Path, columns: tuple[str, ...], skipped: Skipped) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a table as (number from 1, column -> cell); a row of too few cells is skipped.

    Raises InputError when the file is not CSV or lacks one of the columns.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            header = [name.strip() for name in next(rows, [])]
            if missing := [name for name in columns if name not in header]:
                raise InputError(
                    f"{path} has no column {' and '.join(missing)}; its columns are {', '.join(header)[:200]}"
                )
            for number, row in enumerate(rows, 1):
                if row and len(row) < len(header):
                    skipped.add("row is cut short", f"row {number}")
                elif row:
                    yield number, {name: cell.strip() for name, cell in zip(header, row, strict=False)}
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a CSV file in UTF-8: {error}") from error
