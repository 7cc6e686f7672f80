"""Finds faces: reads the detector stage's output, and takes detectors of the user's own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import InputError, reason

Box = tuple[float, float, float, float]
"""A box xyxy: left, top, right and bottom in pixels, from hairline to chin."""
Detector = Callable[[object], Sequence[Sequence[float]]]
"""A function that finds the faces of an image.

It takes an image, HxWx3 uint8 RGB, or a frame in device memory as the caller gave it. It returns a row for each face: a
box xyxy in pixels, and if it likes a fifth number, the face's score in [0, 1].
"""
SAME_FACE = 0.4
"""Two boxes whose intersection over union is greater are taken to show one face."""
_LIKELIEST = 300
"""The most boxes that are compared with each other."""
_UNLIKELY = 0.05
"""The score below which YuNet's boxes are not even looked at."""


@dataclass(frozen=True)
class Detection:
    """A face that was found."""

    box: Box
    """Where it is, in frame pixels."""
    score: float | None
    """How sure the detector is that it is a face, in [0, 1]; None if it does not say."""


def fitted(shape: Sequence[int], size: int) -> np.ndarray:
    """Returns the affine map that fits a frame into the middle of the detector's input, 2x3 float64.

    shape: (height, width, ...) of the frame. size: side of the input in pixels.
    """
    height, width = shape[:2]
    scale = size / max(height, width)
    return np.array([[scale, 0, size / 2 - scale * width / 2], [0, scale, size / 2 - scale * height / 2]])


def detections(faces: np.ndarray, shape: Sequence[int], least: float) -> list[Detection]:
    """Reads the output of the detector stage and returns the faces, the largest first.

    faces: [cells, 15] float32; score, box xyxy and landmarks in sides of the input. shape: (height, width, ...) of the
    frame. least: the lowest score of a face.
    """
    linear = fitted(shape, 1)
    found = suppressed(faces, least)
    boxes = (found[:, 1:5].reshape(-1, 2, 2) - linear[:, 2]) / linear[0, 0]
    rows = [
        Detection(tuple(float(v) for v in box.ravel()), float(face[0])) for box, face in zip(boxes, found, strict=True)
    ]
    return sorted(rows, key=lambda face: face.box[1] - face.box[3])


def suppressed(faces: np.ndarray, least: float) -> np.ndarray:
    """Keeps of the boxes that show one face the one with the highest score (non-maximum suppression).

    faces: [n, 15], as `detections` takes them, in any unit. least: rows with a lower score are left out. Returns the
    rows that are kept, the highest score first.
    """
    faces = faces[faces[:, 0] >= least]
    kept: list[np.ndarray] = []
    for face in faces[np.argsort(-faces[:, 0], kind="stable")[:_LIKELIEST]]:
        if all(overlap(face[1:5], other[1:5]) <= SAME_FACE for other in kept):
            kept.append(face)
    return np.array(kept, faces.dtype).reshape(-1, faces.shape[1])


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Returns the intersection over union of two boxes xyxy."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / union if union > 0 else 0.0


class YuNet:
    """OpenCV's face detector with the weights of a YuNet ONNX file. Several threads may use it, one after the other."""

    def __init__(self, path: str | Path):
        """path: the ONNX file. Raises InputError for a file that OpenCV cannot use."""
        import cv2

        if not Path(path).is_file():
            raise InputError(f"no such detector file: {path}; give a YuNet ONNX file, or a function that finds faces")
        try:
            self._detector = cv2.FaceDetectorYN.create(str(path), "", (320, 320), score_threshold=_UNLIKELY)
        except cv2.error as error:
            raise InputError(f"{path} is not a YuNet ONNX file that OpenCV reads ({reason(error)})") from error
        self._lock = threading.Lock()

    def __call__(self, image: np.ndarray) -> list[tuple[float, ...]]:
        """Returns a row for each possible face, the largest first: box xyxy in pixels, and score in [0, 1].

        image: HxWx3 uint8 RGB. Which scores are those of faces decides `FaceInsight.min_score`.
        """
        height, width = image.shape[:2]
        with self._lock:
            self._detector.setInputSize((width, height))
            _, found = self._detector.detect(np.ascontiguousarray(image[..., ::-1]))
        rows = [(x, y, x + w, y + h, row[-1]) for row in ([] if found is None else found.tolist())
                for x, y, w, h in [row[:4]]]  # fmt: skip
        return sorted(rows, key=lambda row: row[1] - row[3])
