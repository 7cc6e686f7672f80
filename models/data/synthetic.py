"""Procedural faces: an image, its exact parse map and its labels, drawn from one seed.

Coordinates are *oval units*: the face oval (hairline to chin) is one unit tall, its midpoint is the origin, x grows to
the image right (the subject's left), y down. `Frame` maps them to pixels with roll and yaw. Layers are painted back to
front, each into the image (at twice the final size, anti-aliased) and into the parse map (at the final size, exact).
Shading and texture multiply the image afterwards, so they never touch the map.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from faceinsight.runtime.parse_map import PARSE_CLASSES

from .sampling import AGES, drawn_labels

SIZE = 224
OVAL = 86.0
"""Height in pixels of the nominal face oval; its midpoint lies 0.10 of it below the image centre."""

CLASS = {name: index for index, name in enumerate(PARSE_CLASSES)}

HAIR = {
    "black": (30, 26, 26), "brown": (78, 54, 38), "blond": (212, 174, 108),
    "red": (148, 70, 38), "gray": (138, 136, 134), "white": (226, 223, 218),
}  # fmt: skip
SKIN = np.array(
    [(242, 204, 178), (236, 192, 162), (226, 180, 150), (208, 158, 122), (182, 130, 96), (146, 98, 70), (106, 70, 50),
     (78, 52, 40)]
)  # fmt: skip
SKIN_ODDS = (0.17, 0.19, 0.19, 0.15, 0.1, 0.08, 0.07, 0.05)
_PLAIN, _SKIN, _HAIR, _CLOTH = range(4)  # materials: which texture a pixel gets


@dataclass(frozen=True)
class Sample:
    """image: 224x224x3 uint8 RGB; parse_map: 224x224 uint8 in 0..18; labels: see `drawn_labels`."""

    image: np.ndarray
    parse_map: np.ndarray
    labels: dict


# Geometry


@dataclass(frozen=True)
class Frame:
    """Where the face is. centre: [2] px; scale: px per oval unit; roll, yaw: radians, + = towards image right."""

    centre: np.ndarray
    scale: float
    roll: float
    yaw: float

    def head(self, points, depth=None) -> np.ndarray:
        """[n, 2] oval units -> [n, 2] px. depth: distance before the ear plane; default an ellipsoid's surface."""
        x, y = np.asarray(points, float).T
        if depth is None:
            depth = 0.3 * np.sqrt(np.maximum(1 - (x / 0.42) ** 2 - (y / 0.62) ** 2, 0))
        x = x * np.cos(self.yaw) + depth * np.sin(self.yaw)
        c, s = np.cos(self.roll), np.sin(self.roll)
        return self.centre + self.scale * np.array([c * x - s * y, s * x + c * y]).T

    def body(self, points, depth=None) -> np.ndarray:
        """[n, 2] oval units -> [n, 2] px: upright, hung below the rolled chin; depth is not used."""
        return self.centre + self.scale * (np.asarray(points, float) - [0.5 * np.sin(self.roll), 0])

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Oval coordinates (x, y) of every final pixel, each 224x224 float32; yaw is left out."""
        steps = np.arange(SIZE, dtype=np.float32)
        x, y = (((steps - c) / self.scale).astype(np.float32) for c in self.centre)
        c, s = np.float32(np.cos(self.roll)), np.float32(np.sin(self.roll))
        return c * x + s * y[:, None], c * y[:, None] - s * x


_T = np.arange(4)[:, None] / 4
_SPLINE = np.hstack([-_T + 2 * _T**2 - _T**3, 2 - 5 * _T**2 + 3 * _T**3, _T + 4 * _T**2 - 3 * _T**3, _T**3 - _T**2]) / 2


def _smooth(points) -> np.ndarray:
    """Closed Catmull-Rom curve through [n, 2] points, as [4 n, 2]."""
    points = np.asarray(points, float)
    around = np.arange(len(points))[:, None] + [-1, 0, 1, 2]
    return (_SPLINE @ points[around % len(points)]).reshape(-1, 2)


def _mirror(half) -> np.ndarray:
    """Completes a right half, listed from top to bottom, to a symmetric closed outline."""
    half = np.asarray(half, float)
    return np.vstack([half, half[::-1] * [-1, 1]])


def _oval(x, y, rx, ry, count=20) -> np.ndarray:
    """[count, 2] points of an ellipse."""
    t = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([x + rx * np.cos(t), y + ry * np.sin(t)], 1)


class Scene:
    """One drawing in progress: its labels, its random details and its layers."""

    def __init__(self, labels: dict, rng: np.random.Generator):
        self.labels, self.rng = labels, rng
        self.man, self.age = labels["Gender"] == "male", AGES.index(labels["Age"])
        roll, yaw = np.clip(rng.normal(0, (0.06, 0.2)), (-0.175, -0.5), (0.175, 0.5))
        centre = np.array([SIZE / 2, SIZE / 2 + 0.1 * OVAL]) + rng.normal(0, 0.6, 2)
        self.frame = Frame(centre, OVAL * rng.uniform(0.94, 1.06), roll, yaw)
        tone = rng.choice(len(SKIN), 2, p=SKIN_ODDS)  # the lighter of two draws goes with red and blond hair
        self.skin = SKIN[tone.min() if labels["Hair_Color"] in ("red", "blond") else tone[0]] * rng.uniform(
            0.93, 1.04
        ) + rng.normal(0, 4, 3)
        self.hair = np.array(HAIR[labels["Hair_Color"]]) * rng.uniform(0.88, 1.1) + rng.normal(0, 4, 3)
        self.wide = rng.uniform(0.92, 1.04) * (1 if self.man else 0.97)
        self.image = np.empty((2 * SIZE, 2 * SIZE, 3), np.uint8)
        self.parse_map, self.material = np.zeros((2, SIZE, SIZE), np.uint8)
        self.relief = np.full((2, SIZE, SIZE), 128, np.uint8)  # of the skin, soft and fine; 128 changes nothing

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def draw(self, points, rgb, part=None, material=None, *, sides=(1,), depth=None, rough=0.0, alpha=1.0, to=None):
        """Paints a closed curve through [n, 2] points, mirrored for side -1.

        part, material: None keeps what is there. rough: noise on the outline, oval units. to: map to pixels, default
        `frame.head`. alpha < 1: translucent.
        """
        for side in sides:
            outline = _smooth(np.asarray(points) * [side, 1])
            outline = outline + self.rng.normal(0, rough, outline.shape) if rough else outline
            self.fill((to or self.frame.head)(outline, depth), rgb, part, material, alpha)

    def fill(self, pixels, rgb, part=None, material=None, alpha=1.0) -> None:
        """Paints a polygon of [n, 2] final pixels."""
        x, y, w, h = cv2.boundingRect(np.float32(2 * pixels))
        box = slice(max(y, 0), max(y + h + 1, 0)), slice(max(x, 0), max(x + w + 1, 0))
        before = self.image[box].copy() if alpha < 1 else None
        cv2.fillPoly(self.image, [_fixed(2 * pixels + 0.5)], _rgb(rgb), cv2.LINE_AA, 4)
        if before is not None and before.size:
            self.image[box] = cv2.addWeighted(self.image[box], alpha, before, 1 - alpha, 0)
        for layer, value in ((self.parse_map, CLASS.get(part)), (self.material, material)):
            if value is not None:
                cv2.fillPoly(layer, [_fixed(pixels)], value, cv2.LINE_8, 4)

    def line(self, points, rgb, width: float, part=None, *, sides=(1,), depth=None, closed=False, to=None) -> None:
        """Draws a line through [n, 2] points; width: final pixels, 0.5 at least."""
        for side in sides:
            pixels = (to or self.frame.head)(np.asarray(points) * [side, 1], depth)
            fine = [_fixed(2 * pixels + 0.5)]
            cv2.polylines(self.image, fine, closed, _rgb(rgb), max(1, round(2 * width)), cv2.LINE_AA, 4)
            if part:
                thick = max(1, round(width))
                cv2.polylines(self.parse_map, [_fixed(pixels)], closed, CLASS[part], thick, cv2.LINE_8, 4)

    def crease(self, points, value: float, sides=(-1, 1)) -> None:
        """Draws a thin line into the fine relief; value under 128 is darker."""
        for side in sides:
            outline = [_fixed(self.frame.head(np.asarray(points) * [side, 1]))]
            cv2.polylines(self.relief[1], outline, False, value, 1, cv2.LINE_AA, 4)

    def mound(self, x, y, rx, ry, value: float, sides=(-1, 1)) -> None:
        """Draws an ellipse into the soft relief; value over 128 is brighter."""
        for side in sides:
            cv2.fillPoly(self.relief[0], [_fixed(self.frame.head(_oval(side * x, y, rx, ry)))], value, cv2.LINE_AA, 4)


def _fixed(pixels) -> np.ndarray:
    """cv2's fixed point with 4 fractional bits."""
    return np.rint(np.asarray(pixels) * 16).astype(np.int32)


def _rgb(values) -> tuple[float, ...]:
    return tuple(float(v) for v in np.clip(values, 0, 255))


def _dull(rng: np.random.Generator, deviation: float, shape=()) -> np.ndarray:
    """[*shape, 3] random colour differences, more of brightness than of hue."""
    return rng.normal(0, deviation, (*shape, 1)) + rng.normal(0, deviation / 2, (*shape, 3))


# Layers


def _background(scene: Scene) -> None:
    rng, kind = scene.rng, scene.rng.integers(4)
    small = cv2.resize(_dull(rng, 14, (4, 4)), (28, 28), interpolation=cv2.INTER_CUBIC)
    small += rng.uniform(20, 235) + _dull(rng, 18) + np.linspace(-1, 1, 28)[:, None, None] * _dull(rng, 18)
    scene.image[:] = cv2.resize(np.clip(small, 0, 255).astype(np.uint8), (2 * SIZE, 2 * SIZE))
    if kind == 2:
        for _ in range(rng.integers(3, 9)):
            scene.fill(_oval(*rng.uniform(0, SIZE, 2), *rng.uniform(8, 50, 2)), small[0, 0] + _dull(rng, 50), alpha=0.6)
        scene.image[:] = cv2.blur(scene.image, (21, 21))
    if kind == 3:
        left, slant = rng.choice((-20, 140)), rng.uniform(-30, 30)
        for k in range(7):
            x = left + 14 * k
            stripe = np.array([(x, 0), (x + 14, 0), (x + 14 + slant, SIZE), (x + slant, SIZE)])
            scene.fill(stripe, ((178, 42, 52), (232, 228, 222), (44, 52, 104))[k % 2 if k < 6 else 2])


def _hair(scene: Scene, points, sides=(1,), depth=None, shade=1.0) -> None:
    """Hair; under a hat it stays below the hat's crown."""
    points = np.maximum(points, [-9, -0.47]) if scene.labels["Wearing_Hat"] else points
    scene.draw(points, scene.hair * shade, "hair", _HAIR, sides=sides, depth=depth, rough=0.006)


def _hair_behind(scene: Scene, end: float, volume: float) -> None:
    half = [(0.05, -0.8), (0.3, -0.75), (0.46, -0.5), (0.5, -0.1), (0.52, 0.25), (0.48, end), (0.2, end + 0.04)]
    _hair(scene, _mirror(half) * [volume, 1], depth=-0.1, shade=0.75)


def _hair_front(scene: Scene, end: float, volume: float) -> None:
    """Long hair before the ears and shoulders."""
    lock = [(0.30, -0.52), (0.35, -0.25), (0.375, 0.05), (0.36, 0.3), (0.38, end - 0.03), (0.47, end + 0.02),
            (0.52 * volume, end - 0.1), (0.51 * volume, 0.1), (0.48 * volume, -0.3), (0.40, -0.6)]  # fmt: skip
    _hair(scene, lock, (-1, 1), depth=-0.03)


def _hair_cap(scene: Scene) -> None:
    """Hair on the head, down to the hairline; only a fringe round the sides when bald."""
    labels, side = scene.labels, scene.rng.choice((-1, 1))
    tail = scene.between(-0.14, 0.05) if scene.man else scene.between(-0.05, 0.17)
    wide = scene.between(0.42, 0.455) if scene.man or labels["Wearing_Hat"] else scene.between(0.44, 0.53)
    if labels["Bald"]:
        fringe = [(0.365, tail), (0.40, tail - 0.02), (wide, -0.2), (wide - 0.01, -0.38), (0.39, -0.48), (0.36, -0.3)]
        return _hair(scene, fringe, (-1, 1), depth=0)
    top = scene.between(-0.92, -0.79)
    corner, middle = scene.between(-0.49, -0.41), scene.between(-0.54, -0.46)
    temple = [(0.35, -0.15), (0.335, -0.32), (0.26, corner), (0.1, middle)]
    if labels["Receding_Hairline"]:
        corner, middle = scene.between(-0.71, -0.64), scene.between(-0.66, -0.55)
        temple = [(0.355, -0.2), (0.34, -0.42), (0.26, corner + 0.05), (0.17, corner), (0.07, middle)]
    elif scene.chance(0.08 if scene.man else 0.35):
        temple = [(0.355, -0.12), (0.335, -0.28), (0.25, -0.35), (0.1, scene.between(-0.42, -0.34))]  # bangs
    low = [(wide, -0.2), (0.405 if tail < 0.05 else wide - 0.03, tail - 0.04), (0.37, tail)]
    right = np.array([(0.06, top), (0.26, top + 0.05), (0.4, top + 0.2), (wide, -0.4), *low, *temple])
    left = right * [-1, 1]
    if not labels["Receding_Hairline"]:
        left[-2:, 1] += scene.between(0, 0.08)  # combed over to one side
    _hair(scene, np.vstack([right, left[::-1]]) * [side, 1])
    if scene.chance(0.5) and not labels["Wearing_Hat"]:
        part = np.array([(0.13, middle - 0.02), (0.15, middle - 0.1), (0.13, top + 0.1)]) * [side, 1]
        scene.line(part, scene.hair * 0.6 + scene.skin * 0.2, 0.7)


def _neck(scene: Scene) -> None:
    half = (0.25 if scene.man else 0.20) * scene.between(0.92, 1.1)
    outline = _mirror([(half, 0.2), (half, 0.6), (half + 0.08, 0.72), (half + 0.3, 1.3)])
    scene.draw(outline, scene.skin * 0.88, "neck", _SKIN, to=scene.frame.body)
    scene.draw(_mirror([(0.2, 0.2), (0.2, 0.45), (0.12, 0.56), (0.02, 0.6)]), scene.skin * 0.68)


def _cloth(scene: Scene) -> None:
    """A jacket over a shirt, or a dress or sweater; the neckline bounds the visible neck."""
    rng, tie, to, both = scene.rng, scene.labels["Wearing_Necktie"], scene.frame.body, (-1, 1)
    high, low = scene.between(0.58, 0.66), scene.between(0.85, 1.0)
    neckline = scene.between(0.66, 0.72) if tie else scene.between(0.66, 0.95)
    formal = tie or scene.man
    coat = (
        rng.uniform(12, 80) + rng.normal(0, 10, 3)
        if formal or scene.chance(0.5)
        else rng.uniform(40, 210) + _dull(rng, 36)
    )
    shirt = rng.uniform(195, 250) + rng.normal(0, 8, 3) if formal else rng.uniform(40, 230) + _dull(rng, 36)
    right = np.array([(0, neckline), (0.20, high), (0.34, 0.72), (0.8, 0.86), (1.5, 1.4)])
    scene.fill(to(np.vstack([right, right[::-1] * [-1, 1]])), shirt, "cloth", _CLOTH)
    if tie:
        _necktie(scene)
    if tie or scene.chance(0.65):
        edge = [(0.23, high + 0.02), (0.36, 0.7), (0.85, 0.84), (1.2, 0.98), (1.5, 1.4), (0.03, 1.4), (0.05, low + 0.1)]
        lapel = [(0.22, high + 0.02), (0.31, 0.72), (0.36, 0.86), (0.29, 0.9), (0.30, 0.95), (0.04, low + 0.17)]
        scene.draw(edge, coat, "cloth", _CLOTH, sides=both, to=to)
        scene.draw(lapel, coat * 1.18 + 6, sides=both, to=to)
        scene.line(lapel[2:], coat * 0.6, 0.6, sides=both, to=to)
    if formal:
        collar = np.array([(0.19, high - 0.04), (0.25, high + 0.06), (0.13, 0.80), (0.02, neckline)])
        for side in both:
            scene.fill(to(collar * [side, 1]), shirt * 0.96, "cloth", _CLOTH)
        scene.line(collar[1:], shirt * 0.7, 0.5, sides=both, to=to)


def _necktie(scene: Scene) -> None:
    colour, width, to = scene.rng.uniform(15, 190, 3), scene.between(0.06, 0.12), scene.frame.body
    scene.fill(to(_mirror([(0.035, 0.78), (width, 1.3)])), colour, "cloth", _CLOTH)
    for y in np.arange(0.8, 1.25, 0.07) if scene.chance(0.5) else ():
        half = 0.03 + (width - 0.035) * (y - 0.78) / 0.52
        scene.line([(-half, y), (half, y + 0.05)], (colour + 110) % 256, 1.5, to=to)
    scene.fill(to(_mirror([(0.055, 0.68), (0.035, 0.79)])), colour * 0.85, "cloth", _CLOTH)


def _ears(scene: Scene) -> None:
    out = scene.between(0.415, 0.445) * scene.wide
    for side, part in ((-1, "r_ear"), (1, "l_ear")):
        ear = [(0.36, -0.17), (out, -0.2), (out + 0.02, -0.1), (out, 0.03), (0.37, 0.1), (0.34, 0)]
        scene.draw(ear, scene.skin * 0.93, part, _SKIN, sides=(side,), depth=-0.15)
        inner = [(0.385, -0.13), (out - 0.015, -0.14), (out - 0.01, -0.05), (0.385, 0.02)]
        scene.draw(inner, scene.skin * 0.74, sides=(side,), depth=-0.15)


def _jewels(scene: Scene) -> None:
    """Ear rings and a necklace; drawn over the hair, since they hang before it."""
    metal = scene.rng.choice([(226, 190, 90), (222, 222, 226), (245, 240, 228), (50, 60, 120)])
    if scene.chance(0.35):
        drop = scene.between(0.015, 0.04)
        ring = _oval(0.415 * scene.wide, 0.10 + drop, 0.018, drop + 0.01)
        seen = [side for side in (-1, 1) if side * scene.frame.yaw < 0.15]
        scene.draw(ring, metal, "ear_r", _PLAIN, sides=seen, depth=-0.12)
    if scene.chance(0.25):
        for t in np.linspace(-1, 1, 19):
            bead = _oval(0.2 * t, 0.65 + 0.13 * (1 - t * t), 0.017, 0.017, 8)
            scene.draw(bead, metal, "neck_l", _PLAIN, to=scene.frame.body)


def _face(scene: Scene) -> None:
    jaw = (1.03 if scene.man else 0.94) * scene.between(0.95, 1.06) + 0.015 * scene.age
    half = [(0.03, -0.72), (0.25, -0.66), (0.36, -0.48), (0.39, -0.25), (0.38, 0), (0.35 * jaw, 0.2),
            (0.275 * jaw, 0.36), (0.15 * jaw, 0.475), (0.02, 0.505)]  # fmt: skip
    scene.draw(_mirror(half) * [scene.wide, 1], scene.skin, "skin", _SKIN)


def _beard(scene: Scene) -> None:
    """A goatee, or a beard along the jaw, short or full, that leaves the neck's sides bare; class skin."""
    low = scene.between(0.52, 0.85 if scene.chance(0.4) else 0.6)
    half = [(0.02, 0.30), (0.12, 0.30), (0.16, 0.36), (0.14, 0.47), (0.07, low), (0.01, low + 0.01)]
    if scene.chance(0.7):
        half = [(0.03, 0.31), (0.15, 0.30), (0.2, 0.17), (0.3, scene.between(0.08, 0.2)), (0.36, -0.08), (0.39, -0.05),
                (0.375, 0.18), (0.31, 0.36), (0.18, min(low, 0.6) - 0.08), (0.13, low - 0.02), (0.03, low)]  # fmt: skip
    scene.draw(_mirror(half) * [scene.wide, 1], scene.hair * 0.9 + scene.skin * 0.04, "skin", _HAIR, rough=0.01)


def _mustache(scene: Scene, lip: float) -> None:
    """Chevron, walrus, handlebar or short, above the upper lip's y; class skin."""
    width, drop = scene.rng.choice([(0.15, 0.02), (0.18, 0.07), (0.23, -0.02), (0.13, 0.0)])
    half = [(0.01, 0.135), (0.06, 0.125), (width * 0.8, lip - 0.03), (width, lip + drop), (width * 0.7, lip + 0.03)]
    outline = _mirror([*half, (0.01, lip + 0.015)])
    scene.draw(outline, scene.hair * 0.9 + scene.skin * 0.03, "skin", _HAIR, rough=0.005)


def _mouth(scene: Scene) -> float:
    """Lips, and teeth between them when the mouth is open; returns y of the upper lip's top."""
    smile, teeth = scene.labels["Smiling"], scene.labels["Teeth_Visible"]
    half = scene.between(0.175, 0.205) if smile else scene.between(0.13, 0.16)
    lift = scene.between(0.03, 0.055) if smile else scene.between(-0.014, 0.004)
    full = scene.between(0.014, 0.026) if scene.man else scene.between(0.02, 0.032)
    gap = scene.between(0.045, 0.08) if teeth else 0.0
    x = np.linspace(-1, 1, 13)
    arch, seam = 1 - x**2, scene.between(0.20, 0.23) - lift * x**2
    bow = seam - full * (arch - 0.3 * np.exp(-((4 * x) ** 2)))
    edges = bow, seam, seam + gap * arch, seam + (gap + 1.5 * full) * arch
    top, upper, lower, bottom = (scene.frame.head(np.stack([half * x, edge], 1)) for edge in edges)
    red = (-10, -30, -26) if scene.man else np.array((0, -64, -52)) * scene.between(0.5, 1.3)
    lips = scene.skin * 0.88 + red
    scene.fill(np.vstack([lower, bottom[::-1]]), lips, "l_lip", _PLAIN)
    scene.fill(np.vstack([top, upper[::-1]]), lips * 0.88, "u_lip", _PLAIN)
    if teeth:
        scene.fill(np.vstack([upper, lower[::-1]]), (70, 28, 28), "mouth", _PLAIN)
        row = scene.frame.head(np.stack([0.93 * half * x, edges[1] + 0.75 * gap * arch], 1))
        scene.fill(np.vstack([upper, row[::-1]]), np.array((238, 232, 220)) * scene.between(0.85, 1.03))
    else:
        scene.line(np.stack([half * x, seam], 1), lips * 0.5, 0.7)
    return float(bow.min())


def _nose(scene: Scene) -> None:
    half = np.array([(0.028, -0.14), (0.032, -0.03), (0.06, 0.04), (0.095, 0.075), (0.085, 0.105), (0.03, 0.12)])
    tip = np.array([0, 0.03, 0.07, 0.03, 0.02, 0.03])
    outline = _mirror(half * [scene.between(0.85, 1.1), 1])
    depth = 0.29 + np.concatenate([tip, tip[::-1]])
    pixels = _smooth(scene.frame.head(outline, depth))
    scene.fill(pixels, scene.skin * 1.02, "nose")
    scene.draw(_oval(0.045, 0.098, 0.022, 0.011), scene.skin * 0.42, sides=(-1, 1), depth=0.33)
    wing = [(0.075, 0.045), (0.097, 0.075), (0.085, 0.108), (0.06, 0.112)]
    scene.line(wing, scene.skin * 0.76, 0.6, sides=(-1, 1), depth=0.31)


def _eyes(scene: Scene) -> None:
    iris = scene.rng.choice([(70, 45, 28), (92, 62, 38), (60, 84, 120), (70, 96, 80), (48, 34, 26)])
    tall = scene.between(0.024, 0.034) * (0.72 if scene.labels["Smiling"] else 1)
    look, x = scene.between(-0.015, 0.015), np.linspace(-1, 1, 9)
    for side, eye in ((-1, "r_eye"), (1, "l_eye")):
        lid, low = (np.stack([0.18 * side + 0.076 * x, -0.185 + k * tall * (1 - x**2)], 1) for k in (-1.15, 0.85))
        scene.fill(scene.frame.head(np.vstack([lid, low[::-1]])), (222, 214, 208), eye)
        ball = _oval(0.18 * side + look, -0.19, 0.033, 0.033)
        ball[:, 1] = np.clip(ball[:, 1], -0.185 - tall * 1.05, -0.185 + tall * 0.8)
        scene.fill(scene.frame.head(ball), iris)
        scene.draw(_oval(0.18 * side + look, -0.19, 0.014, min(0.014, tall * 0.8)), (14, 12, 12))
        scene.draw(_oval(0.18 * side + look + 0.012, -0.2, 0.006, 0.006, 6), (245, 245, 245))
        scene.line(lid, scene.skin * 0.3 if scene.man else (34, 26, 24), 0.9 if scene.man else 1.3)
        scene.line(low, scene.skin * 0.68, 0.5)
        scene.line(lid - [0, 0.022], scene.skin * 0.72, 0.5)
    _brows(scene)


def _brows(scene: Scene) -> None:
    thick = scene.between(0.024, 0.042) if scene.man else scene.between(0.014, 0.026)
    y, rise = scene.between(-0.285, -0.26), scene.between(0.0, 0.03)
    curve = np.array([(0.075, y + 0.015), (0.14, y - rise / 2), (0.21, y - rise), (0.29, y + 0.02)])
    brow = np.vstack([curve, curve[2::-1] + np.array([0, thick])])
    colour = scene.hair * (0.62 if scene.hair.mean() > 60 else 0.9) + scene.skin * 0.1
    for side, part in ((-1, "r_brow"), (1, "l_brow")):
        scene.draw(brow, colour, part, sides=(side,), rough=0.003)


def _glasses(scene: Scene) -> None:
    """Lenses and frame, class eye_g over eyes and lids as in CelebAMask-HQ."""
    rng, rimless, head = scene.rng, scene.chance(0.18), scene.frame.head
    rx, ry, power = scene.between(0.125, 0.155), scene.between(0.085, 0.125), rng.choice((1.0, 0.75, 0.5))
    t = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    unit = np.stack([np.sign(f) * np.abs(f) ** power for f in (np.cos(t), np.sin(t))], 1)  # power < 1: squarer
    lens = unit * [rx, ry] + [0.182, -0.165] - unit[:, 1:] * unit[:, :1] * [0, 0.012 * rng.integers(2)]
    colour = rng.choice([(18, 18, 20), (64, 40, 26), (190, 160, 90), (170, 172, 176), (120, 30, 34)])
    width = 0.6 if rimless else scene.between(0.7, 2.4)
    alpha, glass = (scene.between(0.4, 0.7), 40) if scene.chance(0.07) else (scene.between(0.03, 0.12), 235)
    for side in (-1, 1):
        scene.fill(head(lens * [side, 1]), (glass, glass, glass), "eye_g", alpha=alpha)
        if scene.chance(0.25):
            shine = np.array([(0.54, -0.7), (0.1, -0.7), (-0.45, 0.6), (-0.1, 0.7)]) * [rx, ry]
            scene.fill(head(shine + np.array([0.182 * side, -0.165])), (250, 250, 250), alpha=scene.between(0.15, 0.5))
    rim = scene.skin * 0.8 + 20 if rimless else colour
    scene.line(lens, rim, width, "eye_g", sides=(-1, 1), closed=True)
    inner = 0.182 - rx
    scene.line([(-inner, -0.18), (0, -0.195), (inner, -0.18)], colour, max(width, 1), "eye_g", depth=0.32)
    scene.line([(0.182 + rx, -0.19), (0.385, -0.2)], colour, max(0.8 * width, 0.8), "eye_g", sides=(-1, 1))


def _hat(scene: Scene) -> None:
    rng, y = scene.rng, scene.between(-0.44, -0.39)
    colour = rng.choice([(32, 32, 36), (58, 62, 84), (120, 104, 80), (196, 184, 160), (150, 36, 40), (70, 84, 60)])
    colour = colour * scene.between(0.8, 1.15)
    band, part = np.clip(colour * 0.55, 8, 255), ("hat", _CLOTH)
    dome = [(0.05, -0.95), (0.3, -0.88), (0.44, -0.68), (0.465, y), (0.2, y + 0.01)]
    kind = rng.integers(4)
    if kind in (0, 1):  # a cap with a visor, a beanie
        scene.draw(_mirror(dome), colour, *part, depth=0)
        if kind:
            fold = [(0.2, y - 0.13), (0.47, y - 0.12), (0.475, y + 0.02), (0.2, y + 0.04)]
            scene.draw(_mirror(fold), band + 20, *part, depth=0)
        else:
            scene.draw(_oval(0, y, 0.4, 0.075), band, *part, depth=0.2)
    elif kind == 2:  # a fedora or a wide-brimmed hat
        crown = [(0.04, -0.9), (0.2, -0.98), (0.34, -0.88), (0.41, y - 0.02), (0.2, y)]
        scene.draw(_oval(0, y - 0.01, scene.between(0.58, 0.8), 0.085), colour * 0.85, *part, depth=0)
        scene.draw(_mirror(crown), colour, *part, depth=0)
        scene.draw(_mirror([(0.2, y - 0.13), (0.395, y - 0.12), (0.41, y - 0.02), (0.2, y)]), band, *part, depth=0)
    else:  # an officer's cap
        scene.draw(_mirror([(0.05, -0.98), (0.35, -0.9), (0.57, -0.74), (0.46, y - 0.13)]), colour, *part, depth=0)
        scene.draw(_mirror([(0.2, y - 0.17), (0.45, y - 0.17), (0.45, y), (0.2, y + 0.01)]), band, *part, depth=0)
        scene.draw(_oval(0, y, 0.37, 0.07), (16, 16, 18), *part, depth=0.2)
        scene.draw(_oval(0, y - 0.16, 0.05, 0.06), (214, 176, 80), *part, depth=0.25)


# Light, texture and the photograph


def _model_skin(scene: Scene) -> None:
    """Fills the skin's relief: sockets, cheeks, folds that deepen with age."""
    age, smile = scene.age + scene.between(-0.3, 0.3), scene.labels["Smiling"]
    scene.mound(0.17, -0.2, 0.1, 0.055, 104)
    scene.mound(0.23, 0.02, 0.09, 0.07, 142 if smile else 136)
    scene.mound(0, 0.04, 0.035, 0.05, 150, (1,))
    scene.mound(0.075, -0.02, 0.025, 0.1, 116, (int(scene.rng.choice((-1, 1))),))
    scene.mound(0, 0.14, 0.08, 0.02, 108, (1,))
    scene.mound(0, 0.305, 0.1, 0.018, 106, (1,))
    if scene.labels["Bald"]:
        scene.mound(0.08, -0.58, 0.1, 0.06, 156, (1,))
    fold = [(0.1, 0.08), (0.16, 0.14), (0.19, 0.21), (0.19, 0.26)]
    scene.crease(fold, 124 - 14 * age - 16 * smile)
    scene.crease([(0.11, -0.135), (0.17, -0.115), (0.24, -0.13)], 122 - 13 * age)
    for k in range(round(1.6 * age)):
        y, tilt = -0.46 + 0.035 * k, scene.between(-0.01, 0.01)
        scene.crease([(-0.2, y + tilt), (0, y - 0.01), (0.2, y - tilt)], 122 - 9 * age, (1,))
        scene.crease([(0.275, -0.17 + 0.01 * k), (0.335, -0.2 + 0.035 * k)], 122 - 10 * age)
    if age > 2:
        scene.crease([(0.2, 0.27), (0.21, 0.34)], 90)
        scene.crease([(0.03, -0.3), (0.025, -0.24)], 92)


@functools.cache
def _noise_bank() -> np.ndarray:
    """[512, 512] float32, standard normal; crops of it are cheaper than fresh noise."""
    return np.random.default_rng(0).standard_normal((512, 512), np.float32)


def _noise(rng: np.random.Generator, cell: int = 1) -> np.ndarray:
    """[224, 224] float32 of about unit variance, smooth over `cell` pixels."""
    n = -(-SIZE // cell)
    y, x = rng.integers(0, 512 - n, 2)
    return cv2.resize(_noise_bank()[y : y + n, x : x + n], (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)


def _texture(scene: Scene, image: np.ndarray) -> np.ndarray:
    """Light, skin relief, strands of hair and weave of cloth. image: 224x224x3 float32."""
    rng, (x, y) = scene.rng, scene.frame.grid()
    across = scene.between(-0.35, 0.35)
    nx, ny = x / 0.5, (y + 0.1) / 0.72
    edge = np.maximum(np.sqrt(nx**2 + ny**2), 1)
    nz = np.sqrt(np.maximum(1 - nx**2 - ny**2, 0))
    form = 0.62 + (across * nx - 0.2 * ny) / edge + 0.44 * nz
    soft, fine = (
        cv2.GaussianBlur(r, (0, 0), s).astype(np.float32) / 128 for r, s in zip(scene.relief, (3, 0.7), strict=True)
    )
    skin = form * soft * fine * (1 + 0.025 * _noise(rng, 7) + 0.02 * _noise(rng))
    if scene.chance(0.75):  # strands that fan out from the crown
        strand = 42 * cv2.phase(y + 0.95, x) + 1.5 * _noise(rng, 24)
        grain = _noise_bank()[0][strand.astype(np.int32) % 512]
    else:
        grain = 0.8 * _noise(rng, 5)
    hair = 0.35 + 0.65 * form + 0.13 * grain + 0.08 * _noise(rng, 16)
    gain = 1 + 0.06 * _noise(rng) + 0.08 * _noise(rng, 28)
    for material, texture in ((_PLAIN, np.ones_like(gain)), (_SKIN, skin), (_HAIR, hair)):
        np.copyto(gain, texture, where=scene.material == material)
    gain = cv2.GaussianBlur(gain, (3, 3), 0)
    # black hair has nothing to multiply: its strands are added
    return image * gain[..., None] + (10 * (gain - 1) * (scene.material == _HAIR))[..., None]


def _photograph(scene: Scene, image: np.ndarray) -> np.ndarray:
    """Grey or sepia, contrast, blur, film noise, JPEG: 224x224x3 float32 to uint8. Reddish hair is seldom made grey."""
    rng = scene.rng
    old = scene.chance({"red": 0.15, "blond": 0.35}.get(scene.labels["Hair_Color"], 0.52))
    if old:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        image = grey[..., None] * np.array((1.05, 1, 0.84) if scene.chance(0.35) else (1, 1, 1), np.float32)
    if scene.chance(0.5):
        image = cv2.GaussianBlur(image, (0, 0), scene.between(0.4, 1.4))
    image = np.clip(image, 0, 255) / 255
    image = 255 * (0.5 + (cv2.pow(image, scene.between(0.75, 1.35)) - 0.5) * scene.between(0.75, 1.15))
    grain = _noise(rng, int(rng.integers(1, 3)))[..., None]
    image = image + scene.between(-12, 12) + grain * scene.between(1, 9 if old else 4)
    pixels = np.clip(image, 0, 255).astype(np.uint8)
    if scene.chance(0.35):
        quality = int(rng.integers(25, 85))
        pixels = cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    return pixels


def render(labels: dict, rng: np.random.Generator) -> Sample:
    """Draws a face with these labels; what they leave open is random."""
    scene = Scene(labels, rng)
    end, volume = scene.between(0.42, 0.6 if scene.man else 0.95), scene.between(0.92, 1.12)
    _background(scene)
    if labels["Long_Hair"]:
        _hair_behind(scene, end, volume)
    _neck(scene)
    _cloth(scene)
    _ears(scene)
    _face(scene)
    _model_skin(scene)
    if labels["Beard"]:
        _beard(scene)
    lip = _mouth(scene)
    _nose(scene)
    if labels["Mustache"]:
        _mustache(scene, lip)
    _hair_cap(scene)
    if labels["Long_Hair"]:
        _hair_front(scene, end, volume)
    if not scene.man:
        _jewels(scene)
    _eyes(scene)
    if labels["Eyeglasses"]:
        _glasses(scene)
    if labels["Wearing_Hat"]:
        _hat(scene)
    small = cv2.resize(scene.image, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(np.float32)
    return Sample(_photograph(scene, _texture(scene, small)), scene.parse_map, dict(labels))


def generate(seed: int) -> Sample:
    """The sample of one seed: random labels, drawn. The same seed gives the same bytes."""
    rng = np.random.default_rng(seed)
    return render(drawn_labels(rng), rng)
