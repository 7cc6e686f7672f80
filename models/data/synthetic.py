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

from faceinsight.runtime.labels import FLAGS, GROUPS, LABELS, PARSE_CLASSES

SIZE = 224
OVAL = 86.0
"""Height in pixels of the nominal face oval; its midpoint lies 0.10 of it below the image centre."""

CLASS = {name: index for index, name in enumerate(PARSE_CLASSES)}

AGES = tuple(GROUPS["Age"])
HAIR = {
    "black": (30, 26, 26), "brown": (92, 60, 38), "blond": (212, 174, 108),
    "red": (166, 74, 34), "gray": (138, 136, 134), "white": (226, 223, 218),
}  # fmt: skip
SKIN = np.array(
    [(246, 214, 194), (236, 196, 170), (226, 180, 150), (208, 158, 122), (182, 130, 96), (146, 98, 70), (106, 70, 50),
     (78, 52, 40)], np.float32
)  # fmt: skip
_PLAIN, _SKIN, _HAIR, _CLOTH = range(4)  # materials: which texture a pixel gets


@dataclass(frozen=True)
class Sample:
    """image: 224x224x3 uint8 RGB; parse_map: 224x224 uint8 in 0..18; labels: every name of LABELS -> value."""

    image: np.ndarray
    parse_map: np.ndarray
    labels: dict


# Labels

ODDS = {
    "Age": (0.27, 0.25, 0.24, 0.24),
    "Hair_Color": (
        (0.32, 0.30, 0.18, 0.15, 0.03, 0.02), (0.27, 0.30, 0.15, 0.13, 0.11, 0.04),
        (0.14, 0.18, 0.12, 0.11, 0.30, 0.15), (0.06, 0.08, 0.08, 0.06, 0.35, 0.37),
    ),
    "Eyeglasses": (0.23, 0.28, 0.34, 0.40),
    "Smiling": {"male": 0.45, "female": 0.60},
    "Teeth_Visible": {False: 0.06, True: 0.62},
    "Beard": {"male": 0.32, "female": 0.0},
    "Mustache": {"shaven": 0.24, "bearded": 0.75},
    "Wearing_Hat": {"male": 0.17, "female": 0.14},
    "Bald": (0.12, 0.24, 0.34, 0.42),
    "Receding_Hairline": {"male": (0.20, 0.32, 0.40, 0.42), "female": (0.02, 0.03, 0.05, 0.07)},
    "Long_Hair": {"male": 0.12, "female": 0.66},
    "Wearing_Necktie": {"male": 0.72, "female": 0.10},
}  # fmt: skip
"""P(label | what it depends on). Tuples run over AGES, inner ones over HAIR. Beard and Mustache are men's, Mustache
depends on Beard, Teeth_Visible on Smiling. Bald is men's and without a hat; Receding_Hairline without either."""


def sample_labels(rng: np.random.Generator) -> dict:
    """Random labels {name: value}, every name of LABELS, that satisfy every rule of runtime/rules.py."""

    def chance(p: float) -> bool:
        return bool(rng.random() < p)

    gender = "male" if chance(0.5) else "female"
    age = int(rng.choice(len(AGES), p=ODDS["Age"]))
    man, known = gender == "male", {"Gender": gender, "Age": AGES[age]}
    known["Hair_Color"] = str(rng.choice(list(HAIR), p=ODDS["Hair_Color"][age]))
    known["Eyeglasses"] = chance(ODDS["Eyeglasses"][age])
    for name in ("Smiling", "Beard", "Wearing_Hat", "Long_Hair", "Wearing_Necktie"):
        known[name] = chance(ODDS[name][gender])
    known["Teeth_Visible"] = chance(ODDS["Teeth_Visible"][known["Smiling"]])
    known["Mustache"] = man and chance(ODDS["Mustache"]["bearded" if known["Beard"] else "shaven"])
    bare = not known["Wearing_Hat"]
    known["Bald"] = man and bare and chance(ODDS["Bald"][age])
    known["Receding_Hairline"] = bare and not known["Bald"] and chance(ODDS["Receding_Hairline"][gender][age])
    known["Long_Hair"] = known["Long_Hair"] and not known["Bald"]
    return {name: known[name] for name in LABELS}


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
            depth = 0.3 * np.sqrt(np.clip(1 - (x / 0.42) ** 2 - (y / 0.62) ** 2, 0, 1))
        x = x * np.cos(self.yaw) + depth * np.sin(self.yaw)
        c, s = np.cos(self.roll), np.sin(self.roll)
        return self.centre + self.scale * np.stack([c * x - s * y, s * x + c * y], 1)

    def body(self, points) -> np.ndarray:
        """[n, 2] oval units -> [n, 2] px: upright, hung below the rolled chin."""
        return self.centre + self.scale * (np.asarray(points, float) - [0.5 * np.sin(self.roll), 0])

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Oval coordinates (x, y) of every final pixel, each 224x224 float32; yaw is left out."""
        rows, columns = np.mgrid[:SIZE, :SIZE].astype(np.float32)
        x, y = (columns - self.centre[0]) / self.scale, (rows - self.centre[1]) / self.scale
        c, s = np.cos(self.roll), np.sin(self.roll)
        return np.float32(c) * x + np.float32(s) * y, np.float32(c) * y - np.float32(s) * x


_T = np.arange(4)[:, None] / 4
_SPLINE = np.hstack([-_T + 2 * _T**2 - _T**3, 2 - 5 * _T**2 + 3 * _T**3, _T + 4 * _T**2 - 3 * _T**3, _T**3 - _T**2]) / 2


def _smooth(points) -> np.ndarray:
    """Closed Catmull-Rom curve through [n, 2] points, as [4 n, 2]."""
    points = np.asarray(points, float)
    neighbours = np.stack([np.roll(points, k, 0) for k in (1, 0, -1, -2)])
    return np.einsum("tk,knd->ntd", _SPLINE, neighbours).reshape(-1, 2)


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
        self.frame = Frame(
            np.array([SIZE / 2, SIZE / 2 + 0.1 * OVAL]) + rng.normal(0, 0.6, 2),
            OVAL * rng.uniform(0.94, 1.06),
            np.clip(rng.normal(0, 0.06), -0.175, 0.175),
            np.clip(rng.normal(0, 0.2), -0.5, 0.5),
        )
        tone = rng.choice(len(SKIN), p=(0.18, 0.2, 0.18, 0.13, 0.09, 0.08, 0.08, 0.06))
        self.skin = SKIN[tone] * rng.uniform(0.93, 1.04) + rng.normal(0, 4, 3)
        self.hair = np.array(HAIR[labels["Hair_Color"]]) * rng.uniform(0.88, 1.1) + rng.normal(0, 4, 3)
        self.wide = rng.uniform(0.93, 1.06) * (1 if self.man else 0.97)
        self.image = np.empty((2 * SIZE, 2 * SIZE, 3), np.uint8)
        self.parse_map = np.zeros((SIZE, SIZE), np.uint8)
        self.material = np.zeros((SIZE, SIZE), np.uint8)
        self.broad = np.full((SIZE, SIZE), 128, np.uint8)  # soft relief of the skin: 128 leaves it as it is
        self.fine = np.full((SIZE, SIZE), 128, np.uint8)  # wrinkles and creases, likewise

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def wobble(self, points, amount: float) -> np.ndarray:
        """Roughens an outline (hair, beards); the noise is in oval units."""
        return points + self.rng.normal(0, amount, np.shape(points))

    def fill(self, pixels, rgb, part: str | None = None, material: int | None = None) -> None:
        """Paints a polygon of [n, 2] final pixels; `part` and `material` None keep what is there."""
        cv2.fillPoly(self.image, [_fixed(2 * pixels + 0.5)], _rgb(rgb), cv2.LINE_AA, 4)
        outline = [_fixed(pixels)]
        if part is not None:
            cv2.fillPoly(self.parse_map, outline, CLASS[part], cv2.LINE_8, 4)
        if material is not None:
            cv2.fillPoly(self.material, outline, material, cv2.LINE_8, 4)

    def stroke(self, pixels, rgb, width: float, part: str | None = None, closed: bool = False) -> None:
        """Draws a line through [n, 2] final pixels; width: final pixels, 0.5 at least."""
        cv2.polylines(self.image, [_fixed(2 * pixels + 0.5)], closed, _rgb(rgb), max(1, round(2 * width)), cv2.LINE_AA, 4)
        if part is not None:
            cv2.polylines(self.parse_map, [_fixed(pixels)], closed, CLASS[part], max(1, round(width)), cv2.LINE_8, 4)

    def tint(self, pixels, rgb, alpha: float) -> None:
        """Paints a translucent polygon, in the image only."""
        x, y, w, h = cv2.boundingRect(np.float32(2 * pixels))
        rows, columns = slice(max(y, 0), max(y + h, 0)), slice(max(x, 0), max(x + w, 0))
        before = self.image[rows, columns].copy()
        self.fill(pixels, rgb)
        self.image[rows, columns] = cv2.addWeighted(self.image[rows, columns], alpha, before, 1 - alpha, 0)

    def relief(self, points, value: float, width: float = 1, fine: bool = True) -> None:
        """Draws an open line (fine) or a filled area (broad) of the relief; value: 128 is neutral, less is darker."""
        outline = [_fixed(self.frame.head(points))]
        if fine:
            cv2.polylines(self.fine, outline, False, value, max(1, round(width)), cv2.LINE_AA, 4)
        else:
            cv2.fillPoly(self.broad, outline, value, cv2.LINE_AA, 4)


def _fixed(pixels) -> np.ndarray:
    """cv2's fixed point with 4 fractional bits."""
    return np.rint(np.asarray(pixels) * 16).astype(np.int32)


def _rgb(values) -> tuple[float, ...]:
    return tuple(float(v) for v in np.clip(values, 0, 255))


# Layers, back to front


def _background(scene: Scene) -> None:
    rng, kind = scene.rng, scene.rng.integers(4)
    base = rng.uniform(20, 235) + rng.normal(0, 22, 3)
    small = np.broadcast_to(base, (28, 28, 3)).astype(np.float32)
    if kind == 0:
        small = small + np.linspace(-1, 1, 28)[:, None, None] * rng.normal(0, 25, 3)
    else:
        small = small + cv2.resize(rng.normal(0, 24, (4, 4, 3)), (28, 28), interpolation=cv2.INTER_CUBIC)
    scene.image[:] = cv2.resize(np.clip(small, 0, 255).astype(np.uint8), (2 * SIZE, 2 * SIZE))
    if kind == 2:
        for _ in range(rng.integers(3, 9)):
            blob = _oval(*rng.uniform(0, SIZE, 2), *rng.uniform(8, 50, 2))
            scene.tint(blob, rng.uniform(0, 255, 3), 0.5)
        scene.image[:] = cv2.blur(scene.image, (25, 25))
    if kind == 3:
        left, slant = rng.choice((-20, 150)), rng.uniform(-30, 30)
        for k in range(7):
            x = left + 14 * k
            stripe = np.array([(x, 0), (x + 14, 0), (x + 14 + slant, SIZE), (x + slant, SIZE)], float)
            scene.fill(stripe, ((178, 42, 52), (232, 228, 222), (44, 52, 104))[k % 2 if k < 6 else 2])


def _hair_points(scene: Scene, points) -> np.ndarray:
    """Hair under a hat stays below the hat's crown."""
    points = np.asarray(points, float)
    return np.maximum(points, [-9, -0.47]) if scene.labels["Wearing_Hat"] else points


def _hair_outline(scene: Scene, points, depth=None, rough=0.008, shade=1.0) -> None:
    points = scene.wobble(_smooth(_hair_points(scene, points)), rough)
    scene.fill(scene.frame.head(points, depth), scene.hair * shade, "hair", _HAIR)


def _neck(scene: Scene) -> None:
    half = (0.25 if scene.man else 0.20) * scene.between(0.92, 1.1)
    outline = [(half, 0.2), (half, 0.6), (half + 0.08, 0.72), (half + 0.3, 1.3)]
    scene.fill(scene.frame.body(_mirror(outline)), scene.skin * 0.88, "neck", _SKIN)
    under = _mirror([(0.36, 0.2), (0.3, 0.42), (0.16, 0.56), (0.02, 0.6)])
    scene.fill(scene.frame.head(_smooth(under) * [scene.wide * 0.7, 1]), scene.skin * 0.66)


def _cloth(scene: Scene) -> None:
    """A jacket over a shirt, or a dress or sweater; the neckline bounds the visible neck."""
    rng, tie = scene.rng, scene.labels["Wearing_Necktie"]
    body = scene.frame.body
    high, low = scene.between(0.58, 0.66), scene.between(0.85, 1.0)
    dark = rng.uniform(12, 80) + rng.normal(0, 10, 3)
    shirt = rng.uniform(195, 250) + rng.normal(0, 8, 3)
    bright = rng.uniform(30, 230, 3)
    jacket = tie or scene.chance(0.65)
    colour = dark if scene.man or scene.chance(0.5) else bright
    if not tie and not scene.man:
        shirt = rng.uniform(30, 245, 3)
    opening = scene.between(0.66, 0.72) if tie else scene.between(0.66, 0.92)
    under = [(0.20, high), (0.34, 0.72), (0.8, 0.86), (1.5, 1.4)]
    inner = [(-1.5, 1.4), (-0.8, 0.86), (-0.34, 0.72), (-0.20, high), (0, opening)]
    scene.fill(body([*under, *inner]), shirt if jacket else colour, "cloth", _CLOTH)
    if tie:
        _necktie(scene)
    if jacket:
        for side in (-1, 1):
            edge = [(0.23, high + 0.02), (0.36, 0.7), (0.85, 0.84), (1.2, 0.98), (1.5, 1.4), (0.03, 1.4), (0.05, low + 0.15)]
            scene.fill(body(np.array(edge) * [side, 1]), colour, "cloth", _CLOTH)
            lapel = [(0.22, high + 0.02), (0.31, 0.72), (0.36, 0.86), (0.29, 0.9), (0.30, 0.95), (0.04, low + 0.17)]
            scene.fill(body(np.array(lapel) * [side, 1]), colour * 1.18 + 6)
            scene.stroke(body(np.array(lapel[2:]) * [side, 1]), colour * 0.6, 0.6)
    if jacket and (tie or scene.man):
        for side in (-1, 1):
            collar = np.array([(0.19, high - 0.04), (0.25, high + 0.06), (0.13, 0.80), (0.02, opening)]) * [side, 1]
            scene.fill(body(collar), shirt * 0.96, "cloth", _CLOTH)
            scene.stroke(body(collar[1:]), shirt * 0.7, 0.5)


def _necktie(scene: Scene) -> None:
    colour, body = scene.rng.uniform(15, 190, 3), scene.frame.body
    width = scene.between(0.06, 0.12)
    blade = [(0.035, 0.78), (width, 1.3)]
    scene.fill(body(_mirror(blade)), colour, "cloth", _CLOTH)
    if scene.chance(0.5):
        stripe = np.clip(colour + scene.rng.choice((-80, 90)), 0, 255)
        for y in np.arange(0.8, 1.25, 0.07):
            w = 0.035 + (width - 0.035) * (y - 0.78) / 0.52
            scene.stroke(body([(-w, y), (w * 0.9, y + 0.05)]), stripe, 1.5)
    scene.fill(body(_mirror([(0.055, 0.68), (0.035, 0.79)])), colour * 0.85, "cloth", _CLOTH)


def _ears(scene: Scene) -> None:
    for side, part in ((-1, "r_ear"), (1, "l_ear")):
        out = scene.between(0.42, 0.45) * scene.wide
        ear = [(0.36, -0.17), (out, -0.2), (out + 0.02, -0.1), (out, 0.03), (0.37, 0.1), (0.34, 0)]
        scene.fill(scene.frame.head(_smooth(ear) * [side, 1], -0.15), scene.skin * 0.93, part, _SKIN)
        inner = [(0.385, -0.13), (out - 0.015, -0.14), (out - 0.01, -0.05), (0.385, 0.02)]
        scene.fill(scene.frame.head(_smooth(inner) * [side, 1], -0.15), scene.skin * 0.74)


def _jewels(scene: Scene) -> None:
    """Ear rings and a necklace, women only; drawn over the hair, since they hang before it."""
    if scene.man:
        return
    metal = scene.rng.choice([(226, 190, 90), (222, 222, 226), (245, 240, 228), (50, 60, 120)])
    if scene.chance(0.35):
        drop = scene.between(0.015, 0.04)
        for side in (-1, 1):
            ring = _oval(side * 0.415 * scene.wide, 0.10 + drop, 0.018, drop + 0.01)
            scene.fill(scene.frame.head(ring, -0.12), metal, "ear_r", _PLAIN)
    if scene.chance(0.25):
        for t in np.linspace(-1, 1, 19):
            bead = _oval(0.22 * t, 0.66 + 0.12 * (1 - t * t), 0.017, 0.017, 8)
            pixels = scene.frame.body(bead)
            x, y = np.clip(np.rint(pixels.mean(0)).astype(int), 0, SIZE - 1)
            if scene.parse_map[y, x] != CLASS["hair"]:
                scene.fill(pixels, metal, "neck_l", _PLAIN)


def _face(scene: Scene) -> None:
    jaw = (1.03 if scene.man else 0.93) * scene.between(0.94, 1.07) + 0.015 * scene.age
    head = [(0.03, -0.72), (0.25, -0.66), (0.36, -0.48), (0.39, -0.25), (0.38, 0.0)]
    chin = [(0.355 * jaw, 0.2), (0.285 * jaw, 0.36), (0.15 * jaw, 0.475), (0.02, 0.505)]
    outline = _smooth(_mirror([*head, *chin])) * [scene.wide, 1]
    scene.fill(scene.frame.head(outline), scene.skin, "skin", _SKIN)


def _hair_behind(scene: Scene) -> float:
    """The mass behind the neck, for long hair; returns where long hair ends (0 when it is short)."""
    if not scene.labels["Long_Hair"]:
        return 0.0
    end = scene.between(0.4, 0.95) if not scene.man else scene.between(0.38, 0.6)
    half = [(0.05, -0.8), (0.3, -0.75), (0.46, -0.5), (0.5, -0.1), (0.52, 0.25), (0.48, end), (0.2, end + 0.04)]
    _hair_outline(scene, _mirror(half) * [scene.between(0.9, 1.12), 1], -0.1, shade=0.72)
    return end


def _hair_front(scene: Scene, end: float) -> None:
    """Long hair before the ears and shoulders."""
    volume = scene.between(0.95, 1.15)
    for side in (-1, 1):
        lock = [(0.30, -0.52), (0.35, -0.25), (0.375, 0.05), (0.34, 0.3), (0.36, end - 0.03), (0.47, end + 0.02)]
        lock += [(0.52 * volume, end - 0.1), (0.51 * volume, 0.1), (0.48 * volume, -0.3), (0.40, -0.6)]
        _hair_outline(scene, np.array(lock) * [side, 1], -0.03)


def _hair_cap(scene: Scene) -> None:
    """Hair on the head, down to the hairline; only a fringe round the sides when bald."""
    labels, side = scene.labels, scene.rng.choice((-1, 1))
    tail = scene.between(-0.12, 0.06) if scene.man else scene.between(-0.05, 0.17)
    tail = max(tail, 0.1) if labels["Long_Hair"] else tail
    wide = scene.between(0.42, 0.46) if scene.man or labels["Wearing_Hat"] else scene.between(0.45, 0.54)
    if labels["Bald"]:
        for s in (-1, 1):
            fringe = [(0.36, tail), (0.40, tail - 0.02), (wide, -0.2), (wide - 0.01, -0.4), (0.38, -0.5), (0.35, -0.3)]
            _hair_outline(scene, np.array(fringe) * [s, 1], 0)
        return
    top = scene.between(-0.92, -0.78)
    outer = [(0.04, top), (0.26, top + 0.05), (0.4, top + 0.2), (wide, -0.38), (wide, -0.2)]
    outer += [(0.405 if tail < 0.05 else wide - 0.03, tail - 0.04), (0.365, tail)]
    if labels["Receding_Hairline"]:
        corner, middle = scene.between(-0.70, -0.62), scene.between(-0.64, -0.54)
        line = [(0.345, -0.2), (0.33, -0.42), (0.25, corner + 0.04), (0.17, corner), (0.07, middle)]
    else:
        corner, middle = scene.between(-0.48, -0.40), scene.between(-0.54, -0.46)
        if scene.chance(0.10 if scene.man else 0.35):
            corner, middle = corner + 0.1, scene.between(-0.42, -0.32)  # bangs
        line = [(0.35, -0.15), (0.335, -0.32), (0.25, corner), (0.1, middle)]
    left = np.array([*outer, *line])
    right = left * [-1, 1]
    if not labels["Receding_Hairline"]:
        right[-2:, 1] += scene.between(0, 0.08)  # combed over to one side
    _hair_outline(scene, np.vstack([left, right[::-1]]) * [side, 1])
    if scene.chance(0.5) and not labels["Wearing_Hat"]:
        part = scene.frame.head(np.array([(0.13, middle - 0.03), (0.15, middle - 0.14), (0.12, top + 0.08)]) * [side, 1])
        scene.stroke(part, scene.hair * 0.55 + scene.skin * 0.2, 0.7)


def _facial_hair(scene: Scene) -> None:
    """The beard, class skin; a goatee or one that follows the jaw, short or full."""
    if not scene.labels["Beard"]:
        return
    low, rough = scene.between(0.52, 0.85 if scene.chance(0.4) else 0.6), 0.012
    if scene.chance(0.3):
        half = [(0.02, 0.29), (0.12, 0.29), (0.16, 0.36), (0.14, 0.47), (0.07, low), (0.01, low + 0.01)]
    else:
        cheek = scene.between(0.08, 0.2)
        half = [(0.03, 0.31), (0.15, 0.29), (0.19, 0.16), (0.3, cheek), (0.355, -0.08), (0.39, -0.05), (0.375, 0.18)]
        half += [(0.31, 0.38), (0.19, low - 0.02), (0.04, low)]
    outline = scene.wobble(_smooth(_mirror(half)) * [scene.wide, 1], rough)
    scene.fill(scene.frame.head(outline), scene.hair * 0.92 + scene.skin * 0.04, "skin", _HAIR)


def _mustache(scene: Scene, lip: float) -> None:
    """lip: y of the upper lip's top. Chevron, walrus, handlebar or pencil; class skin."""
    width, drop, high = scene.rng.choice([(0.15, 0.03, 0.12), (0.18, 0.08, 0.115), (0.23, -0.01, 0.13), (0.14, 0.02, 0.145)])
    half = [(0.01, high + 0.01), (0.06, high), (width * 0.8, lip - 0.03), (width, lip + drop), (width * 0.7, lip + 0.02)]
    outline = scene.wobble(_smooth(_mirror([*half, (0.01, lip + 0.012)])), 0.006)
    scene.fill(scene.frame.head(outline), scene.hair * 0.9 + scene.skin * 0.03, "skin", _HAIR)


def _mouth(scene: Scene) -> float:
    """Returns y of the upper lip's top."""
    smile, teeth = scene.labels["Smiling"], scene.labels["Teeth_Visible"]
    half = scene.between(0.175, 0.205) if smile else scene.between(0.13, 0.16)
    y, lift = scene.between(0.205, 0.235), scene.between(0.03, 0.055) if smile else scene.between(-0.012, 0.006)
    full = scene.between(0.014, 0.028) if scene.man else scene.between(0.02, 0.034)
    open_ = scene.between(0.035, 0.075) if teeth else 0.0
    red = np.array([-14, -34, -30]) if scene.man else np.array([0, -64, -52]) * scene.between(0.6, 1.3)
    lips, corner = scene.skin * 0.88 + red, (half, y - lift)
    bow = [(0.5 * half, y - full * 0.9), (0.2 * half, y - full * 1.15), (0, y - full * 0.8)]
    seam = [(0.55 * half, y - 0.25 * lift), (0, y)]
    low = [(0.55 * half, y - 0.25 * lift + open_ * 0.8), (0, y + open_)]
    bottom = [(0.6 * half, y - 0.2 * lift + open_ * 0.8 + full), (0.2 * half, y + open_ + full * 1.5)]
    shapes = (("u_lip", [corner, *seam[:1]], bow), ("l_lip", [corner, *low[:1]], bottom))
    across = lambda points: np.vstack([points, np.array(points)[::-1] * [-1, 1]])  # noqa: E731
    scene.fill(scene.frame.head(across([*bow[::-1][:3], corner])), lips * 0.9, "u_lip", _SKIN)
    scene.fill(scene.frame.head(across([*low[::-1], corner, *bottom])[:]), lips, "l_lip", _SKIN)
    del shapes
    return y - full
