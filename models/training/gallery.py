"""Faces encoded once by the frozen encoders, for the stages that train what comes after them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.runtime.progress import ProgressBar

from .faces import FaceBatches, Faces, nominal_faces
from .trainer import device

_BATCH = 50


@dataclass(frozen=True)
class Gallery:
    """features: F_v [n, N, C] float16. parse_maps: [n, P, P] uint8. targets: [n, A + 2 K] float32, NaN where
    unknown, see models/data/targets.py."""

    features: Tensor
    parse_maps: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def batches(self, size: int, seed: int) -> Callable[[int], dict[str, Tensor]]:
        """Random batches of `size` faces; each is a function of its number."""

        def batch(number: int) -> dict[str, Tensor]:
            rng = np.random.default_rng((seed, 5, number))
            chosen = torch.from_numpy(rng.integers(len(self), size=size))
            return {
                "features": self.features[chosen],
                "parse_maps": self.parse_maps[chosen],
                "targets": self.targets[chosen],
            }

        return batch


@torch.no_grad()
def encode_faces(
    model: FaceInsightModel,
    train: Faces | None,
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
    shape = size, synthetic, seed, occlude, parser_size, glasses, jitter
    batches = FaceBatches(train, _BATCH, *shape, config.vocabulary)
    parts = []
    steps = -(-count // _BATCH)
    with ProgressBar("encode faces", steps) as advance:
        for step in range(steps):
            batch = batches(step)
            parts.append(_encode(model, batch["pixels"], batch["parser_pixels"], batch["targets"]))
            advance({})
    return Gallery(*(torch.cat(side) for side in zip(*parts, strict=True)))


@torch.no_grad()
def encode_nominal(model: FaceInsightModel, faces: Faces) -> Gallery:
    """Encodes every face once, as the runtime would crop it; see `nominal_faces`."""
    model.eval()
    pixels, parser_pixels, _, targets = nominal_faces(faces, model.config.vision.size, model.config.parser.size)
    rows = zip(*(side.split(_BATCH) for side in (pixels, parser_pixels, targets)), strict=True)
    parts = [_encode(model, *row) for row in rows]
    return Gallery(*(torch.cat(side) for side in zip(*parts, strict=True)))


def _encode(model: FaceInsightModel, pixels: Tensor, parser_pixels: Tensor, targets: Tensor):
    """The encoders work on the training's device; a gallery lies in main memory."""
    where = device()
    return model.vision(pixels.to(where)).half().cpu(), model.parser(parser_pixels.to(where)).cpu(), targets
