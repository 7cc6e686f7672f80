"""Finds faces in a frame. Any callable from an RGB image to xyxy boxes, largest first, can take this one's place."""

from __future__ import annotations

import threading

import numpy as np

Box = tuple[float, float, float, float]

# A frontal cascade's square is centred on the crop's centre (0.1 face heights above the face's own) and about as wide
# as the face is tall: medians over 700 training portraits.
_HEIGHT = 0.975
_WIDTH = 0.75
_SHIFT = 0.085

_LONGEST = 1600
"""Most pixels along the longer side of what the cascades search."""

_PASSES = (
    # cascade file, image height in pixels, scale factor, neighbours
    ("haarcascade_frontalface_alt2.xml", 240, 1.2, 3),
    ("haarcascade_frontalface_alt2.xml", 400, 1.05, 2),
    ("haarcascade_frontalface_alt.xml", 300, 1.05, 2),
    ("haarcascade_frontalface_default.xml", 300, 1.05, 2),
    ("haarcascade_profileface.xml", 300, 1.05, 2),
)


class CascadeDetector:
    """OpenCV's bundled cascades, the fast one first; the others only look when it found nothing.

    smallest: least face size, as a share of the frame's shorter side. Beside a large face a small one is often missed.
    """

    def __init__(self, smallest: float = 0.12):
        self.smallest = smallest
        self._cascades: dict[str, object] = {}
        self._lock = threading.Lock()

    def __call__(self, image: np.ndarray) -> list[Box]:
        """image: HxWx3 uint8 RGB. Returns face boxes xyxy in pixels (hairline to chin), largest first."""
        import cv2

        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        side = min(grey.shape)
        if side < 16:
            return []
        # a cascade object keeps scratch memory, so it is not for two threads at once
        with self._lock:
            for name, height, step, neighbours in _PASSES:
                # a long strip must not grow without bound
                scale = min(height / side, _LONGEST / max(grey.shape))
                if side * scale < 24:
                    return []
                boxes = self._detect(name, _resized(grey, scale), step, neighbours)
                if not boxes and name.endswith("profileface.xml"):
                    boxes = self._detect(name, _resized(grey, scale)[:, ::-1], step, neighbours)
                    boxes = [(int(grey.shape[1] * scale) - x - w, y, w, h) for x, y, w, h in boxes]
                if boxes:
                    found = [_face_box(*(float(v) / scale for v in box)) for box in boxes]
                    return sorted(found, key=lambda b: b[1] - b[3])
        return []

    def _detect(self, name: str, grey: np.ndarray, step: float, neighbours: int) -> list[tuple[int, int, int, int]]:
        """Squares xywh. Of those that overlap only the one with most raw hits stays: a face has 27 (median), a collar
        or a shadow beside it 4 or 5, and it may well be the larger square."""
        import cv2

        if name not in self._cascades:
            self._cascades[name] = cv2.CascadeClassifier(cv2.data.haarcascades + name)
        least = max(24, int(self.smallest * min(grey.shape)))
        boxes, hits = self._cascades[name].detectMultiScale2(
            np.ascontiguousarray(grey), step, neighbours, minSize=(least, least)
        )
        kept: list[tuple[int, int, int, int]] = []
        strongest = sorted(zip(np.ravel(hits), boxes, strict=True), key=lambda found: (-found[0], -found[1][2]))
        for _, box in strongest:
            box = tuple(int(v) for v in box)
            if all(_overlap(box, other) < 0.25 for other in kept):
                kept.append(box)
        return kept


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """Share of the smaller square, both xywh, that lies in the other one."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0) / min(a[2] * a[3], b[2] * b[3])


def _resized(grey: np.ndarray, scale: float) -> np.ndarray:
    import cv2

    size = (max(1, int(grey.shape[1] * scale)), max(1, int(grey.shape[0] * scale)))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def _face_box(x: float, y: float, width: float, height: float) -> Box:
    face = _HEIGHT * width
    centre_x, centre_y = x + width / 2, y + height / 2 + _SHIFT * face
    half = _WIDTH * face / 2
    return (centre_x - half, centre_y - face / 2, centre_x + half, centre_y + face / 2)
