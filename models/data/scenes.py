"""Whole pictures for a face detector: photographs with a marked face, photographs without any, and compositions."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from faceinsight.runtime.errors import InputError
from faceinsight.runtime.image import CROP_SHIFT, load_image, warp

from .augment import OVAL, photographic
from .portraits import Portraits

BOXES, PICTURES = "boxes.csv", "pictures.csv"
"""The tables by which folders of whole photographs are known: with a marked face, and without any."""
MOST_FACES = 10
"""The most faces of a composition."""
_ASPECT = 0.75
"""Width of a face in its heights."""
_SWAPPED = [1, 0, 2, 4, 3]
"""Order of the landmarks in a mirror image: eyes, nose, corners of the mouth."""


@dataclass(frozen=True)
class Picture:
    """image: HxWx3 uint8 RGB. box: of its face, xyxy in pixels from hairline to chin, or None. landmarks: [5, 2] in
    pixels, right and left eye, nose, right and left corner of the mouth; NaN where not known."""

    image: np.ndarray
    box: tuple[float, float, float, float] | None = None
    landmarks: np.ndarray | None = None


@dataclass(frozen=True)
class Scene:
    """image: [S, S, 3] uint8. boxes: [n, 4] xyxy in pixels. landmarks: [n, 5, 2], NaN where not known. ignored: [n],
    faces that may be found or not, such as one of which less than half is seen."""

    image: np.ndarray
    boxes: np.ndarray
    landmarks: np.ndarray
    ignored: np.ndarray


def face_picture(image: np.ndarray, landmarks: np.ndarray) -> Picture:
    """A training image, whose face is where all of them have it. landmarks: [5, 2]."""
    unit = image.shape[0] / 224
    x, y, half = 112 * unit, (112 + CROP_SHIFT * OVAL) * unit, OVAL * unit / 2
    return Picture(image, (x - half * _ASPECT, y - half, x + half * _ASPECT, y + half), landmarks)


def face_pictures(faces) -> list[Picture]:
    """All of some labelled faces that lie in memory, see `Portraits`; others are left out."""
    sets = getattr(faces, "sets", (faces,))
    known = (zip(part.images, part.landmarks, strict=True) for part in sets if isinstance(part, Portraits))
    return [face_picture(image, landmarks) for part in known for image, landmarks in part]


def read_frames(directory: str | Path, split: str) -> list[Picture]:
    """One split of a folder of photographs with their main face's box: images/ and boxes.csv (file, split, x0, y0, x1,
    y1 in pixels). Raises InputError for a folder without them, a damaged row, or an empty split."""
    rows = _rows(Path(directory) / BOXES, split, ("x0", "y0", "x1", "y1"))
    unknown = np.full((5, 2), np.nan)
    pictures = []
    for number, row in rows:
        try:
            box = tuple(float(row[name]) for name in ("x0", "y0", "x1", "y1"))
        except ValueError as error:
            raise InputError(f"boxes.csv, line {number}: a box is four numbers, x0, y0, x1, y1 in pixels") from error
        pictures.append(Picture(load_image(Path(directory) / "images" / row["file"]), box, unknown))
    return pictures


def read_negatives(directory: str | Path, split: str) -> list[Picture]:
    """One split of a folder of photographs without a face: images/ and pictures.csv (file, split). Raises InputError
    for a folder without them or an empty split."""
    rows = _rows(Path(directory) / PICTURES, split, ())
    return [Picture(load_image(Path(directory) / "images" / row["file"])) for _, row in rows]


def _rows(table: Path, split: str, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    if not table.is_file():
        raise InputError(f"{table} is missing")
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        missing = {"file", "split", *columns} - set(reader.fieldnames or ())
        if missing:
            raise InputError(f"{table} has no column {' and '.join(sorted(missing))}")
        rows = [(number, row) for number, row in enumerate(reader, 2) if row["split"] == split]
    if not rows:
        raise InputError(f"{table} has no row in split {split!r}")
    return rows


class Composer:
    """Makes scenes of one size out of pictures.

    A scene begins with a photograph, with or without a face, that fills it; faces of all sizes, turned and cropped, and
    patches without a face are laid over it.
    """

    def __init__(self, faces: Sequence[Picture], frames: Sequence[Picture], negatives: Sequence[Picture], size: int):
        """faces: training images cut around a face. frames, negatives: whole photographs. size: side in pixels."""
        self.faces, self.frames, self.negatives, self.size = faces, frames, negatives, size

    def scene(self, rng: np.random.Generator, hard: Sequence[Picture] = (), least: float = 7, most: float = 150):
        """One scene. hard: photographs without a face that were taken for one. least, most: heights of laid faces, in
        pixels."""
        canvas = _Canvas(self.size)
        draw = rng.random()
        if draw < 0.35 and self.frames:
            self._fill(canvas, self._one(self.frames, rng), rng)
        elif draw < 0.55 or not self.negatives:
            self._fill(canvas, self._one(self.faces, rng), rng)
        else:
            chosen = hard if len(hard) and rng.random() < 0.4 else self.negatives
            self._fill(canvas, self._one(chosen, rng), rng)
        for _ in range(rng.choice((0, 1, 2, 4, 7), p=(0.3, 0.25, 0.2, 0.15, 0.1))):
            chosen = (self.faces, self.frames, self.negatives)[rng.choice(3, p=(0.6, 0.22, 0.18))]
            self._lay(canvas, self._one(chosen or self.faces, rng), rng, least, most)
        return canvas.scene(photographic(canvas.image, rng))

    @staticmethod
    def _one(pictures: Sequence[Picture], rng: np.random.Generator) -> Picture:
        return pictures[int(rng.integers(len(pictures)))]

    def _fill(self, canvas: _Canvas, picture: Picture, rng: np.random.Generator) -> None:
        height, width = picture.image.shape[:2]
        scale = self.size / max(height, width) * np.exp(rng.uniform(0, 1.1) if rng.random() < 0.6 else 0.0)
        focus = np.array([width, height]) / 2
        if picture.box:
            focus = np.array([picture.box[0] + picture.box[2], picture.box[1] + picture.box[3]]) / 2
        shown = self.size / 2 / scale
        low = np.minimum(shown, np.array([width, height]) / 2)
        centre = focus + rng.uniform(-1, 1, 2) * shown * 0.9
        centre = np.clip(centre, low, np.array([width, height]) - low)
        canvas.add(picture, _turned(centre, scale, rng), (self.size / 2, self.size / 2), None)

    def _lay(self, canvas: _Canvas, picture: Picture, rng: np.random.Generator, least: float, most: float) -> None:
        tall = np.exp(rng.uniform(np.log(least), np.log(most)))
        height, width = picture.image.shape[:2]
        if picture.box:
            x0, y0, x1, y1 = picture.box
            centre, scale = np.array([x0 + x1, y0 + y1]) / 2, tall / (y1 - y0)
            unit = (y1 - y0) / 2
            margins = unit * np.array([rng.uniform(1.0, 2.4) for _ in range(4)])
        else:
            centre, scale = np.array([rng.uniform(0, width), rng.uniform(0, height)]), tall / 86
            margins = rng.uniform(40, 120, 4)
        place = rng.uniform(-0.03, 1.03, 2) * self.size
        seen = (centre[0] - margins[0], centre[1] - margins[1], centre[0] + margins[2], centre[1] + margins[3])
        canvas.add(picture, _turned(centre, scale, rng), place, seen, rng.random() < 0.4, rng.uniform(0, 0.12))


def _turned(centre: np.ndarray, scale: float, rng: np.random.Generator):
    """A linear map about a point of a picture: (centre, 2x2, whether it mirrors, turn in degrees)."""
    draw = rng.random()
    turn = rng.choice((90, 180, 270)) if draw < 0.06 else rng.uniform(-30, 30) if draw < 0.3 else rng.normal(0, 6)
    angle = np.deg2rad(turn)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    mirrored = rng.random() < 0.5
    if mirrored:
        linear[:, 0] *= -1
    return centre, linear, mirrored, turn


class _Canvas:
    """A scene in the making."""

    def __init__(self, size: int):
        self.size = size
        self.image = np.zeros((size, size, 3), np.uint8)
        self.boxes: list[np.ndarray] = []
        self.landmarks: list[np.ndarray] = []
        self.shown: list[float] = []

    def add(self, picture: Picture, turned, place, seen, oval: bool = False, feather: float = 0.0) -> None:
        """Lays a picture so that a point of it comes to `place`.

        seen: the part of it that is laid, xyxy in its pixels, or None for all of the canvas. oval: the part has the
        form of an ellipse. feather: how soft its edge is, in shares of its size.
        """
        centre, linear, mirrored, turn = turned
        matrix = np.column_stack([linear, np.asarray(place) - linear @ centre])
        pixels = warp(picture.image, matrix, self.size)
        if seen is None:
            self.image = pixels
        else:
            self._cover(picture.image.shape[:2], pixels, matrix, seen, oval, feather)
        if picture.box is None or abs(turn) > 60:
            return
        x0, y0, x1, y1 = picture.box
        middle = matrix @ [(x0 + x1) / 2, (y0 + y1) / 2, 1]
        half = np.array([x1 - x0, y1 - y0]) / 2 * np.sqrt(abs(np.linalg.det(linear)))
        box = np.concatenate([middle - half, middle + half])
        if len(self.boxes) < MOST_FACES:
            points = picture.landmarks @ linear.T + matrix[:, 2]
            self.boxes.append(box)
            self.landmarks.append(points[_SWAPPED] if mirrored else points)
            self.shown.append(_inside(box, (0, 0, self.size, self.size)))

    def _cover(self, shape, pixels, matrix, seen, oval: bool, feather: float) -> None:
        mask = np.zeros(shape, np.uint8)
        x0, y0 = (max(0, round(v)) for v in seen[:2])
        x1, y1 = (min(side, round(v)) for side, v in zip(shape[::-1], seen[2:], strict=True))
        if x1 - x0 < 4 or y1 - y0 < 4:
            return
        if oval:
            cv2.ellipse(mask, (((x0 + x1) / 2, (y0 + y1) / 2), (x1 - x0, y1 - y0), 0), 255, -1)
        else:
            mask[y0:y1, x0:x1] = 255
        cover = cv2.warpAffine(mask, matrix, (self.size, self.size), flags=cv2.INTER_LINEAR)
        soft = feather * (x1 - x0) * np.sqrt(abs(np.linalg.det(matrix[:, :2])))
        if soft > 0.5:
            cover = cv2.GaussianBlur(cover, (0, 0), soft / 2)
        for i, box in enumerate(self.boxes):  # what is laid hides faces below it
            left, top, right, bottom = (int(v) for v in np.clip(box, 0, self.size))
            if right > left and bottom > top:
                self.shown[i] *= 1 - cover[top:bottom, left:right].mean() / 255
        share = cover[..., None].astype(np.float32) / 255
        self.image = (self.image + (pixels.astype(np.float32) - self.image) * share).astype(np.uint8)

    def scene(self, image: np.ndarray) -> Scene:
        shown, boxes = np.array(self.shown), np.array(self.boxes).reshape(-1, 4)
        landmarks = np.array(self.landmarks).reshape(-1, 5, 2)
        kept = shown > 0.15
        tall = boxes[:, 3] - boxes[:, 1]
        ignored = (shown < 0.6) | (tall < 6.5)
        return Scene(image, boxes[kept], landmarks[kept], ignored[kept])


def _inside(box: np.ndarray, frame) -> float:
    """Share of a box that lies in the frame."""
    width = min(box[2], frame[2]) - max(box[0], frame[0])
    height = min(box[3], frame[3]) - max(box[1], frame[1])
    return max(width, 0) * max(height, 0) / ((box[2] - box[0]) * (box[3] - box[1]))
