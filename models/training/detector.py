"""The stage that trains the face detector: composed scenes, its loss, hard negatives, and how well it finds faces."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from faceinsight.models.data.scenes import MOST_FACES, Composer, Picture, Scene
from faceinsight.models.detector import STRIDES, FaceDetector, decoded, find
from faceinsight.runtime.detect import fitted, overlap
from faceinsight.runtime.files import replacing_file

from .trainer import Schedule, fit

_REACH = 1.5
"""How far from a face's centre, in strides, a cell may lie that shall find it."""
_SIZES = ((0, 48), (36, 112), (88, 4096))
"""Heights in pixels of the faces that the cells of each stride shall find; two levels share what lies between."""
_HARD = 0.05
"""The score from which a photograph without a face is a hard one."""


@dataclass(frozen=True)
class Pictures:
    """What scenes are composed of, see `Composer`."""

    faces: Sequence[Picture]
    frames: Sequence[Picture]
    negatives: Sequence[Picture]


@dataclass(frozen=True)
class SceneBatches:
    """Composed scenes as tensors; a batch is a function of its number. hard: see `Composer.scene`."""

    composer: Composer
    batch: int
    seed: int
    hard: Sequence[Picture] = ()

    def __call__(self, step: int) -> dict[str, Tensor]:
        """pixels [B, S, S, 3] uint8; boxes [B, MOST_FACES, 4] and landmarks [B, MOST_FACES, 10] float32, NaN where
        there is none; ignored [B, MOST_FACES] bool."""
        rng = np.random.default_rng((self.seed, 8, step))
        scenes = [self.composer.scene(rng, self.hard) for _ in range(self.batch)]
        return {
            "pixels": torch.from_numpy(np.stack([scene.image for scene in scenes])),
            "boxes": _padded([scene.boxes for scene in scenes], 4),
            "landmarks": _padded([scene.landmarks.reshape(-1, 10) for scene in scenes], 10),
            "ignored": _padded([scene.ignored[:, None] for scene in scenes], 1)[..., 0] == 1,
        }


def _padded(rows: list[np.ndarray], width: int) -> Tensor:
    out = np.full((len(rows), MOST_FACES, width), np.nan, np.float32)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return torch.from_numpy(out)


def detector_loss(levels: list[Tensor], batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
    """Quality focal loss of the scores (Li et al. 2020, equation 2: the target is the overlap of the found box with the
    face's), 2 times the generalised IoU loss of the boxes, and smooth L1 of the landmarks in heights of the face.

    levels: of `FaceDetector.levels`. batch: of `SceneBatches`. Returns the loss, and its three parts by name.
    """
    found = torch.cat([decoded(level.float(), stride) for level, stride in zip(levels, STRIDES, strict=True)], dim=1)
    target, free = _assigned(levels, batch["boxes"], batch["ignored"])
    positive = target >= 0
    chosen = found[positive]
    rows = positive.nonzero()[:, 0], target[positive]
    boxes, landmarks = batch["boxes"][rows], batch["landmarks"][rows]
    iou, giou = _overlaps(chosen[:, 1:5], boxes)
    wanted = torch.zeros_like(found[..., 0])
    wanted[positive] = iou.detach().clamp(min=0.1)
    logits = found[..., 0]
    focus = (wanted - logits.sigmoid()).abs().square()
    scores = focus * F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    count = positive.sum().clamp(min=1)
    of_scores = (scores * ~free).sum() / count
    of_boxes = (1 - giou).sum() / count
    known = ~landmarks.isnan().any(1)
    tall = (boxes[known, 3] - boxes[known, 1])[:, None]
    off = (chosen[known, 5:] - landmarks[known]) / tall
    of_landmarks = F.smooth_l1_loss(off, torch.zeros_like(off), beta=0.02, reduction="sum") / 10 / known.sum().clamp(1)
    return 2 * of_scores + 2 * of_boxes + 4 * of_landmarks, {
        "score_loss": round(float(of_scores.detach()), 4),
        "box_loss": round(float(of_boxes.detach()), 4),
        "landmark_loss": round(float(of_landmarks.detach()), 4),
    }


def _assigned(levels: list[Tensor], boxes: Tensor, ignored: Tensor) -> tuple[Tensor, Tensor]:
    """Which face each cell shall find, [B, N] int64, -1 for none, and which cells count for nothing, [B, N] bool."""
    targets, free = [], []
    tall = boxes[..., 3] - boxes[..., 1]
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    for level, stride, (least, most) in zip(levels, STRIDES, _SIZES, strict=True):
        height, width = level.shape[2:]
        right = (torch.arange(width, device=boxes.device) + 0.5).expand(height, width).flatten() * stride
        down = (torch.arange(height, device=boxes.device) + 0.5)[:, None].expand(height, width).flatten() * stride
        cells = torch.stack([right, down], dim=1)[None, :, None]
        away = (cells - centre[:, None]).abs()
        inside = (away < (boxes[..., 2:] - boxes[..., :2])[:, None] / 2).all(3)
        near = (away < torch.clamp(0.25 * tall, min=0.75 * stride, max=_REACH * stride)[:, None, :, None]).all(3)
        fits = (tall >= least) & (tall < most) & ~ignored
        candidate = torch.where(near & fits[:, None], tall[:, None], torch.inf)
        smallest, index = candidate.min(2)
        targets.append(torch.where(smallest.isfinite(), index, -1))
        free.append((inside & ignored[:, None]).any(2) & ~smallest.isfinite())
    return torch.cat(targets, 1), torch.cat(free, 1)


def _overlaps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU of pairs of boxes [n, 4] xyxy."""
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    common = (high - low).clamp(min=0).prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - common
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(1)
    iou = common / union.clamp(min=1e-6)
    return iou, iou - (hull - union) / hull.clamp(min=1e-6)


def train_detector(detector: FaceDetector, train: Pictures, val: Pictures, schedule: Schedule, out: Path) -> float:
    """Trains on composed scenes; after two thirds of the steps the photographs without a face in which it finds one
    come more often. Returns the lowest score of a face, see `detector_scores`."""
    composer = Composer(train.faces, train.frames, train.negatives, detector.config.size)
    hard = functools.cache(lambda: _mined(detector, train.negatives, out / "detector-hard.json"))
    first = 2 * schedule.steps // 3

    def batch(number: int):
        chosen = hard() if number >= first * schedule.accumulate else ()
        return SceneBatches(composer, schedule.batch, schedule.seed, chosen)(number)

    def loss(items):
        return detector_loss(detector.levels(items["pixels"]), items)

    fit("detector", detector, batch, loss, schedule, out, functools.partial(detector_scores, detector, val))
    return lowest_score(detector, val.negatives)


def _mined(detector: FaceDetector, negatives: Sequence[Picture], path: Path) -> list[Picture]:
    """The photographs without a face in which the detector sees one. Remembered in a file, so that a run that is
    resumed goes on with the same ones."""
    if not path.is_file():
        still = copy.deepcopy(detector).eval()  # batches are made in a thread of their own, while the training goes on
        scores = [max((face[0] for face in found), default=0.0) for found in find(still, [p.image for p in negatives])]
        with replacing_file(path) as beside:
            beside.write_text(json.dumps([i for i, score in enumerate(scores) if score >= _HARD]), encoding="utf-8")
    return [negatives[i] for i in json.loads(path.read_text(encoding="utf-8"))]


def lowest_score(detector: FaceDetector, negatives: Sequence[Picture]) -> float:
    """The score that at most 3 in 100 photographs without a face reach."""
    found = find(detector, [picture.image for picture in negatives])
    highest = sorted(max((face[0] for face in faces), default=0.0) for faces in found)
    return min(round(float(highest[-1 - int(0.03 * len(highest))]) + 0.001, 3), 0.9)


def detector_scores(detector: FaceDetector, val: Pictures, composed: int = 200) -> dict[str, float]:
    """How many faces are found at the score that at most 3 in 100 photographs without a face exceed: of the main faces
    of frames, and of composed scenes by height in pixels of the input (12 there is 24 in a frame of 640)."""
    size = detector.config.size
    least = lowest_score(detector, val.negatives)
    scores = {"found": 0.0, "least": round(float(least), 4)}
    hits = []
    for picture, found in zip(val.frames, find(detector, [p.image for p in val.frames]), strict=True):
        matrix = fitted(picture.image.shape, size)
        box = np.array(picture.box).reshape(2, 2) @ matrix[:, :2].T + matrix[:, 2]
        hits.append(_found(box.ravel(), found, least))
    if hits:
        scores["frames"] = round(float(np.mean(hits)), 4)
    composer = Composer(val.faces, val.frames, val.negatives, size)
    scenes = [composer.scene(np.random.default_rng((7, k))) for k in range(composed)]
    by_size: dict[str, list[bool]] = {"12-20": [], "20-40": [], "40+": []}
    for scene, found in zip(scenes, find(detector, [s.image for s in scenes]), strict=True):
        for name, hit in _hits(scene, found, least):
            by_size[name].append(hit)
    scores |= {f"found_{name}": round(float(np.mean(h)), 4) for name, h in by_size.items() if h}
    shares = [value for name, value in scores.items() if name.startswith(("found_", "frames"))]
    return scores | {"found": float(np.mean(shares)) if shares else 0.0}


def _hits(scene: Scene, found: np.ndarray, least: float) -> list[tuple[str, bool]]:
    hits = []
    for box, ignored in zip(scene.boxes, scene.ignored, strict=True):
        tall = box[3] - box[1]
        if not ignored and tall >= 12:
            hits.append(("12-20" if tall < 20 else "20-40" if tall < 40 else "40+", _found(box, found, least)))
    return hits


def _found(box: np.ndarray, found: np.ndarray, least: float) -> bool:
    return any(face[0] >= least and overlap(box, face[1:5]) > 0.4 for face in found)
