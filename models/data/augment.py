"""Training augmentation: random crops around the nominal face, and photographic changes.

The crop itself is the runtime's (`runtime.image.warp`), so training and inference sample pixels the same way.
"""

from __future__ import annotations

import cv2
import numpy as np

from faceinsight.runtime.image import CROP_HEIGHTS, warp
from faceinsight.runtime.parse_map import IGNORE, PARSE_CLASSES

NOMINAL_SIDE = 164.0
"""Side in pixels of the nominal crop, centred in a 224 px training image (1.9 oval heights of 86 px)."""

OVAL = NOMINAL_SIDE / CROP_HEIGHTS
"""Height in pixels of the face, hairline to chin, in a training image."""

_EYES = tuple(PARSE_CLASSES.index(name) for name in ("r_eye", "l_eye"))
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
    """A turned and mirrored crop that is off as a detector's box is, and whether it is mirrored.

    strength: 1 is somewhat more than what the detector's crops are off by on the portraits, which is 3 px (shift) and
    8 % (scale), one standard deviation.
    """
    angle = np.deg2rad(rng.normal(0, 5))
    side = NOMINAL_SIDE * shape[0] / 224 * np.exp(rng.normal(0, 0.11 * strength))
    mirrored = rng.random() < 0.5
    a = size / side * np.cos(angle)
    b = size / side * np.sin(angle)
    linear = np.array([[a, -b], [b, a]])
    if mirrored:
        linear[0] *= -1
    centre = np.array([shape[1], shape[0]]) / 2 + rng.normal(0, 4.5 * strength, 2)
    return np.hstack([linear, (size / 2 - linear @ centre)[:, None]]), mirrored


def placement(matrix: np.ndarray, shape: tuple[int, int], size: int) -> np.ndarray:
    """Where the nominal crop of a training image lies in the crop that `matrix` takes.

    Returns float32 [3]: how far its centre is right of and below this crop's, in sides of this crop, and the logarithm
    of its side over this one's. What `runtime.image.refined_box` undoes.
    """
    right, down = (matrix @ np.array([shape[1] / 2, shape[0] / 2, 1])) / size - 0.5
    scale = np.hypot(matrix[0, 0], matrix[1, 0])
    return np.array([right, down, np.log(scale * NOMINAL_SIDE * shape[0] / 224 / size)], np.float32)


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
    if draw < 0.1:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.1))
    elif draw < 0.3:
        size = image.shape[0]
        small = int(size * rng.uniform(0.25, 0.9))
        image = cv2.resize(cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA), (size, size))
    draw = rng.random()
    if draw < 0.3:
        image += rng.standard_normal(image.shape, np.float32) * rng.uniform(1, 10)
    image = np.clip(image, 0, 255).astype(np.uint8)
    if draw >= 0.8:
        _, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 80))])
        image = cv2.imdecode(packed, cv2.IMREAD_COLOR)
    return image


def tighten(image: np.ndarray, parse_map: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The face as tight crops and badly framed cameras show it: what lies beyond a rectangle around it repeats the
    rectangle's border, and is not known in the parse map.

    image: a training image, HxWx3 uint8 RGB. parse_map: HxW uint8. Returns both in their shapes.
    """
    height, width = parse_map.shape
    oval = OVAL * height / 224
    top, bottom = (round(height / 2 + share * oval) for share in (-rng.uniform(0.3, 0.55), rng.uniform(0.6, 0.8)))
    left, right = (round(width / 2 + side * rng.uniform(0.4, 0.7) * oval) for side in (-1, 1))
    margins = (top, height - bottom), (left, width - right)
    image = np.pad(image[top:bottom, left:right], (*margins, (0, 0)), mode="edge")
    return image, np.pad(parse_map[top:bottom, left:right], margins, constant_values=IGNORE)


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


def wear_glasses(
    image: np.ndarray, parse_map: np.ndarray, rng: np.random.Generator, dark: bool = False
) -> tuple[np.ndarray, np.ndarray] | None:
    """The face and its parse map with eyeglasses drawn over the eyes; None where the parse map does not show both eyes.
    dark: sunglasses, through which the eyes can hardly be seen.

    image: HxWx3 uint8 RGB. parse_map: HxW uint8. Thin rims, half rims and rimless lenses are as frequent as thick
    ones: they are what a model misses.
    """
    if not shows_both_eyes(parse_map):
        return None
    right, left = (np.argwhere(parse_map == eye).mean(0)[::-1] for eye in _EYES)
    distance = float(np.linalg.norm(left - right))
    x0, y0 = np.maximum((left + right) / 2 - 1.6 * distance, 0).astype(int)
    part = np.s_[y0 : int(y0 + 3.2 * distance), x0 : int(x0 + 3.2 * distance)]
    glasses = _Glasses(image[part].shape[:2], right - (x0, y0), left - (x0, y0), rng, dark)
    image, parse_map = image.copy(), parse_map.copy()
    image[part] = glasses.over(image[part], is_toned(image))
    parse_map[part][glasses.covered] = PARSE_CLASSES.index("eye_g")
    return image, parse_map


def shows_both_eyes(parse_map: np.ndarray) -> bool:
    """Whether each eye has at least 4 pixels, enough to put glasses over it. parse_map: HxW uint8."""
    return all(np.count_nonzero(parse_map == eye) >= 4 for eye in _EYES)


def is_toned(image: np.ndarray) -> bool:
    """Whether a photograph has one hue only: grey or sepia."""
    colours = image[::8, ::8].reshape(-1, 3).astype(np.float32)
    return bool(np.ptp(colours - colours.mean(0), axis=1).mean() < 18)


class _Glasses:
    """One random pair between two eyes; all lengths in eye distances, then pixels."""

    def __init__(
        self, shape: tuple[int, int], right: np.ndarray, left: np.ndarray, rng: np.random.Generator, dark=False
    ):
        self.shape, self.rng, self.dark = shape, rng, dark
        distance = float(np.linalg.norm(left - right))
        along = (left - right) / distance
        down = np.array([-along[1], along[0]])
        middle = (left + right) / 2 + down * distance * rng.uniform(0, 0.1)

        def place(x, y):
            return middle + distance * (np.multiply.outer(x, along) + np.multiply.outer(y, down))

        width, height, power = rng.uniform(0.3, 0.4), rng.uniform(0.2, 0.36), rng.choice((1.0, 0.8, 0.55))
        gap = rng.uniform(0.47, 0.54)
        turn = np.linspace(0, 2 * np.pi, 40)
        x, y = (np.sign(f) * np.abs(f) ** power for f in (np.cos(turn), np.sin(turn)))  # power < 1: squarer
        lenses = [place(side * gap + width * x, height * y) for side in (-1, 1)]
        kind = rng.choice(("full", "half", "rimless"), p=(0.6, 0.2, 0.2))
        rims = {"full": lenses, "half": [lens[19:] for lens in lenses], "rimless": []}[kind]
        arc = np.linspace(-1, 1, 9)
        bridge = place(arc * (gap - width), -0.06 - rng.uniform(0, 0.06) * (1 - arc**2))
        ends = np.array([gap + width, gap + width + rng.uniform(0.1, 0.45)])
        arms = [place(side * ends, np.array([-0.05, -0.1])) for side in (-1, 1)]
        thickness = rng.choice((rng.uniform(0.012, 0.035), rng.uniform(0.035, 0.09)))
        shine = place(rng.choice((-1, 1)) * gap + np.array([-0.1, 0.05]), np.array([-0.15, 0.12]))
        inside = self.coverage(lenses)
        self.frame = self.coverage([*rims, bridge, *arms], distance * thickness) * rng.uniform(0.45, 1)
        self.edge = self.coverage(lenses, distance * 0.02) * (0 if kind == "full" else rng.uniform(0.15, 0.5))
        self.glass = inside * rng.choice((0.0, rng.uniform(0, 0.12), rng.uniform(0.1, 0.4)), p=(0.5, 0.4, 0.1))
        if dark:
            self.glass = inside * rng.uniform(0.75, 1.0)
        self.shine = self.coverage([shine], distance * rng.uniform(0.02, 0.1)) * 0.7 * (rng.random() < 0.25)
        self.covered = np.maximum(inside, self.frame) > 0.4

    def coverage(self, outlines: list[np.ndarray], thickness: float | None = None) -> np.ndarray:
        """HxW share of each pixel that lines of `thickness` pixels cover, or that the outlines enclose (None)."""
        fine = 4
        canvas = np.zeros((self.shape[0] * fine, self.shape[1] * fine), np.uint8)
        for outline in outlines:
            points = np.rint((outline + 0.5) * fine).astype(np.int32)
            if thickness is None:
                cv2.fillPoly(canvas, [points], 255)
            else:
                cv2.polylines(canvas, [points], False, 255, max(1, round(thickness * fine)))
        return cv2.resize(canvas, self.shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255

    def over(self, image: np.ndarray, toned: bool) -> np.ndarray:
        """Lays the pair over an image of `shape`. toned: the photograph has one hue, and so has the frame."""
        colour = np.array(_FRAMES[self.rng.integers(len(_FRAMES))], np.float32)
        if toned:
            mean = image.reshape(-1, 3).mean(0)
            colour = colour.mean() * mean / max(mean.mean(), 1)
        worn = image.astype(np.float32)
        lens = np.float32(self.rng.uniform(5, 60) if self.dark else self.rng.choice((30, 240)))
        for cover, tone in ((self.glass, lens), (self.edge, 235), (self.frame, colour), (self.shine, 250)):
            worn += (tone - worn) * cover[..., None]
        return worn.clip(0, 255).astype(np.uint8)


_FRAMES = ((18, 18, 20), (64, 40, 26), (190, 160, 90), (170, 172, 176), (110, 40, 40))
"""RGB colours of frames."""
