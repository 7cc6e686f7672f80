"""How well faces are found, through the whole runtime: in photographs with a marked face, and in such without any."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from faceinsight.models.data.scenes import BOXES, PICTURES, Picture, read_frames, read_negatives
from faceinsight.runtime.detect import SAME_FACE, overlap
from faceinsight.runtime.pipeline import FaceInsight

from .accuracy import interval


def has_photographs(directory: str | Path) -> bool:
    """Whether a folder holds whole photographs, with boxes.csv or pictures.csv."""
    return any((Path(directory) / table).is_file() for table in (BOXES, PICTURES))


def evaluate_detector(model: FaceInsight, directory: str | Path, split: str = "val", limit: int | None = None) -> dict:
    """Scores the detector on a folder of whole photographs.

    limit: the most photographs. Returns, of photographs with a marked face, "found": the share of those faces that a
    box overlaps by more than SAME_FACE, "overlap": the median intersection over union with them, "missed": their files'
    places in the split; of photographs without a face, "with_face": the share in which one is seen all the same. Each
    share has an "interval" of 95 %. Beside them "pictures": their number, and "detect_ms": the median time. Raises
    InputError as the readers do.
    """
    if (Path(directory) / BOXES).is_file():
        return _frames(model, read_frames(directory, split)[:limit])
    return _negatives(model, read_negatives(directory, split)[:limit])


def _frames(model: FaceInsight, pictures: Sequence[Picture]) -> dict:
    found, times = _detected(model, pictures)
    best = [
        max((overlap(picture.box, box) for box in boxes), default=0.0)
        for picture, boxes in zip(pictures, found, strict=True)
    ]
    hits = [value > SAME_FACE for value in best]
    return {
        "pictures": len(pictures),
        "found": float(np.mean(hits)),
        "interval": interval([(sum(hits), len(hits))]),
        "overlap": float(np.median(best)),
        "missed": [place for place, hit in enumerate(hits) if not hit],
        "other_boxes": sum(len(boxes) for boxes in found) - sum(hits),
        "detect_ms": times,
    }


def _negatives(model: FaceInsight, pictures: Sequence[Picture]) -> dict:
    found, times = _detected(model, pictures)
    seen = [bool(boxes) for boxes in found]
    return {
        "pictures": len(pictures),
        "with_face": float(np.mean(seen)),
        "interval": interval([(sum(seen), len(seen))]),
        "mistaken": [place for place, face in enumerate(seen) if face],
        "detect_ms": times,
    }


def _detected(model: FaceInsight, pictures: Sequence[Picture]) -> tuple[list[list], float]:
    """The boxes of each picture, and the median time of one in ms."""
    boxes, times = [], []
    for picture in pictures:
        start = time.perf_counter()
        boxes.append([face.box for face in model.detect(picture.image)])
        times.append((time.perf_counter() - start) * 1e3)
    return boxes, statistics.median(times)
