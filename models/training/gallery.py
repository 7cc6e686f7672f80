"""Faces encoded once by the frozen encoders, for the stages that train what comes after them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from faceinsight.models.data.portraits import Portraits
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.runtime.progress import ProgressBar

from .faces import FaceBatches, nominal_pixels

_BATCH = 50


@dataclass(frozen=True)
class Gallery:
    """features: F_v [n, N, C] float16. parse_maps: [n, P, P] uint8. targets: [n, L] float32, NaN where unknown."""

    features: Tensor
    parse_maps: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)


@torch.no_grad()
def encode_faces(
    model: FaceInsightModel,
    train: Portraits | None,
    count: int,
    synthetic: float,
    seed: int,
    occlude: bool,
    glasses: float = 0.0,
    jitter: float = 1.0,
) -> Gallery:
    """Encodes `count` augmented faces, rounded up to whole batches; see `FaceBatches` for the arguments."""
    model.eval()
    config = model.config
    size, parser_size = config.vision.size, config.parser.size
    batches = FaceBatches(train, _BATCH, size, synthetic, seed, occlude, parser_size, glasses, jitter)
    parts = []
    steps = -(-count // _BATCH)
    with ProgressBar("encode faces", steps) as advance:
        for step in range(steps):
            batch = batches(step)
            parts.append(_encode(model, batch["pixels"], batch["parser_pixels"], batch["targets"]))
            advance({})
    return Gallery(*(torch.cat(side) for side in zip(*parts, strict=True)))


@torch.no_grad()
def encode_nominal(model: FaceInsightModel, portraits: Portraits) -> Gallery:
    """Encodes every portrait once, as the runtime would crop it."""
    model.eval()
    sides = [nominal_pixels(portraits, size)[0] for size in (model.config.vision.size, model.config.parser.size)]
    rows = zip(*(side.split(_BATCH) for side in (*sides, torch.from_numpy(portraits.targets))), strict=True)
    parts = [_encode(model, *row) for row in rows]
    return Gallery(*(torch.cat(side) for side in zip(*parts, strict=True)))


def _encode(model: FaceInsightModel, pixels: Tensor, parser_pixels: Tensor, targets: Tensor):
    return model.vision(pixels).half(), model.parser(parser_pixels), targets
