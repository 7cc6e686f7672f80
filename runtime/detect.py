"""Finds faces with OpenCV's cascades. A user may give a detector of their own, see `Detector` in pipeline.py."""

from __future__ import annotations

import threading

import numpy as np

Box = tuple[float, float, float, float]
"""A box xyxy: left, top, right and bottom in pixels."""

# The face box follows from the square of a frontal cascade by these medians over 700 training portraits.
_HEIGHT = 0.975
"""Height of the face in sides of the square."""
_WIDTH = 0.75
"""Width of the face in heights of the face."""
_SHIFT = 0.085
"""How far the face's centre lies below the square's centre, in heights of the face."""

_LONGEST = 1600
"""The most pixels along the longer side of an image that the cascades search."""

_PASSES = (
    # cascade file, shorter side of the searched image in pixels, scale factor, least number of neighbours
    ("haarcascade_frontalface_alt2.xml", 240, 1.2, 3),
    ("haarcascade_frontalface_alt2.xml", 400, 1.05, 2),
    ("haarcascade_frontalface_alt.xml", 300, 1.05, 2),
    ("haarcascade_frontalface_default.xml", 300, 1.05, 2),
    ("haarcascade_profileface.xml", 300, 1.05, 2),
)


class CascadeDetector:
    """Finds faces with the cascades that come with OpenCV.

    The fastest one searches first, and each of the others only if those before found nothing. A small face beside a
    large one is often missed.
    """

    def __init__(self, smallest: float = 0.12):
        """smallest: the size of the smallest face to find, as a share of the image's shorter side."""
        self.smallest = smallest
        self._cascades: dict[str, object] = {}
        self._lock = threading.Lock()

    def __call__(self, image: np.ndarray) -> list[Box]:
        """Returns the boxes of the faces, the largest first, xyxy in pixels from hairline to chin.

        image: HxWx3 uint8 RGB.
        """
        import cv2

        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        side = min(grey.shape)
        if side < 16:
            return []
        # a cascade object has its own working memory, so only one thread may use it at a time
        with self._lock:
            for name, shorter, step, neighbours in _PASSES:
                # the second limit is for a long strip, which would become very large
                scale = min(shorter / side, _LONGEST / max(grey.shape))
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
        """Runs one cascade and returns its squares, xywh in pixels.

        Of overlapping squares only the one with the most raw hits is kept. A face has 27 hits (median); a collar or a
        shadow beside it has 4 or 5, but its square may be larger.
        """
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
    """Returns the share of the smaller square that lies in the other one. Both are xywh."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0) / min(a[2] * a[3], b[2] * b[3])


def _resized(grey: np.ndarray, scale: float) -> np.ndarray:
    import cv2

    size = (max(1, int(grey.shape[1] * scale)), max(1, int(grey.shape[0] * scale)))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def _face_box(x: float, y: float, width: float, height: float) -> Box:
    """Converts a cascade's square, xywh, to the box of the face."""
    face = _HEIGHT * width
    centre_x, centre_y = x + width / 2, y + height / 2 + _SHIFT * face
    half = _WIDTH * face / 2
    return (centre_x - half, centre_y - face / 2, centre_x + half, centre_y + face / 2)
