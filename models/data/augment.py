"""Training augmentation: random crops around the nominal face, and photographic changes.

The crop itself is the runtime's (`runtime.image.warp`), so training and inference sample pixels the same way.
"""

from __future__ import annotations

import cv2
import numpy as np

from faceinsight.runtime.image import warp
from faceinsight.runtime.labels import PARSE_CLASSES

NOMINAL_SIDE = 164.0
"""Side in pixels of the nominal crop, centred in a 224 px training image (1.9 oval heights of 86 px)."""

_SWAP = {"l_eye": "r_eye", "l_brow": "r_brow", "l_ear": "r_ear"}
_MIRROR = np.arange(256, dtype=np.uint8)
for _left, _right in _SWAP.items():
    _l, _r = PARSE_CLASSES.index(_left), PARSE_CLASSES.index(_right)
    _MIRROR[_l], _MIRROR[_r] = _r, _l


def nominal_matrix(shape: tuple[int, int], size: int) -> np.ndarray:
    """2x3 map from a training image (its face centred) to the crop that the runtime would take."""
    scale = size / (NOMINAL_SIDE * shape[0] / 224)
    return np.array([[scale, 0, size / 2 - scale * shape[1] / 2], [0, scale, size / 2 - scale * shape[0] / 2]])


def random_matrix(shape: tuple[int, int], size: int, rng: np.random.Generator, strength: float = 1.0):
    """A jittered crop and whether it is mirrored.

    On the portraits the detector's crops are off by 3 px (shift) and 8 % (scale), one standard deviation; the jitter is
    wider, so that they lie well inside.
    """
    angle = np.deg2rad(rng.normal(0, 7 * strength))
    side = NOMINAL_SIDE * shape[0] / 224 * np.exp(rng.normal(0, 0.11 * strength))
    mirrored = rng.random() < 0.5
    a = size / side * np.cos(angle)
    b = size / side * np.sin(angle)
    linear = np.array([[a, -b], [b, a]])
    if mirrored:
        linear[0] *= -1
    centre = np.array([shape[1], shape[0]]) / 2 + rng.normal(0, 4.5 * strength, 2)
    return np.hstack([linear, (size / 2 - linear @ centre)[:, None]]), mirrored


def crop_pair(image: np.ndarray, mask: np.ndarray | None, matrix: np.ndarray, mirrored: bool, size: int):
    """Crops image and parse map with one map; a mirrored map swaps left and right classes."""
    pixels = warp(image, matrix, size)
    if mask is None:
        return pixels, None
    parse_map = warp(mask, matrix, size, nearest=True)
    return pixels, _MIRROR[parse_map] if mirrored else parse_map


def photographic(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random grey, sepia, contrast, brightness, blur, low resolution, noise. uint8 RGB in and out."""
    image = pixels.astype(np.float32)
    if rng.random() < 0.3:
        image[:] = (image @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
        if rng.random() < 0.3:
            image *= np.array([1.07, 1.0, 0.85], np.float32)
    else:
        image *= rng.normal(1, 0.05, 3).astype(np.float32)
    image = (image - 128) * np.exp(rng.normal(0, 0.2)) + 128 + rng.normal(0, 18)
    draw = rng.random()
    if draw < 0.15:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.3))
    elif draw < 0.3:
        size = image.shape[0]
        small = int(size * rng.uniform(0.4, 0.8))
        image = cv2.resize(cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA), (size, size))
    if rng.random() < 0.4:
        image += rng.standard_normal(image.shape, np.float32) * rng.uniform(1, 10)
    return np.clip(image, 0, 255).astype(np.uint8)


def cutout(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Covers one random rectangle with its mean colour in half of the images (in place).

    The same place for crops of all sizes: the draws are shares of the side.
    """
    covered, height, width, y, x = rng.random(5)
    if covered < 0.5:
        size = pixels.shape[0]
        height, width = (round(size * (1 / 8 + share * (1 / 3 - 1 / 8))) for share in (height, width))
        y, x = round(y * (size - height)), round(x * (size - width))
        pixels[y : y + height, x : x + width] = pixels.mean((0, 1))
    return pixels
