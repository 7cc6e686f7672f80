"""Batches of augmented face crops: real portraits, synthetic faces, or a mix; a pure function of the step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from faceinsight.models.data.augment import crop_pair, cutout, nominal_matrix, photographic, random_matrix
from faceinsight.models.data.portraits import Portraits, targets


@dataclass(frozen=True)
class FaceBatches:
    """real: the portraits' train split, or None for synthetic faces only. synthetic: share of rendered faces, 0..1.

    size: side of the crops in pixels. Real faces are visited in shuffled epochs.
    """

    real: Portraits | None
    batch: int
    size: int
    synthetic: float = 0.0
    seed: int = 0
    occlude: bool = True

    def __call__(self, step: int) -> dict[str, Tensor]:
        """pixels [B, S, S, 3] uint8, parse_map [B, S, S] uint8 (255 unknown), targets [B, L] float32 (NaN unknown)."""
        rng = np.random.default_rng((self.seed, step))
        rendered = self.batch if self.real is None else round(self.batch * self.synthetic)
        pixels, maps, wanted = [], [], []
        for image, mask, target in [*self._real(step, self.batch - rendered), *self._synthetic(step, rendered)]:
            matrix, mirrored = random_matrix(image.shape[:2], self.size, rng)
            crop, parse_map = crop_pair(image, mask, matrix, mirrored, self.size)
            crop = photographic(crop, rng)
            pixels.append(cutout(crop, rng) if self.occlude else crop)
            maps.append(parse_map)
            wanted.append(target)
        return {
            "pixels": torch.from_numpy(np.stack(pixels)),
            "parse_map": torch.from_numpy(np.stack(maps)),
            "targets": torch.from_numpy(np.stack(wanted)),
        }

    def _real(self, step: int, count: int):
        if count == 0:
            return
        total = len(self.real.images)
        for position in range(step * count, (step + 1) * count):
            epoch, place = divmod(position, total)
            index = _shuffled(self.seed, epoch, total)[place]
            yield self.real.images[index], self.real.masks[index], self.real.targets[index]

    def _synthetic(self, step: int, count: int):
        if count == 0:
            return
        from faceinsight.models.data.synthetic import generate

        for k in range(count):
            sample = generate(int(np.random.default_rng((self.seed, 1, step, k)).integers(2**31)))
            yield sample.image, sample.parse_map, targets([sample.labels])[0]


_ORDERS: dict[tuple[int, int, int], np.ndarray] = {}


def _shuffled(seed: int, epoch: int, total: int) -> np.ndarray:
    key = (seed, epoch, total)
    if key not in _ORDERS:
        _ORDERS.clear()
        _ORDERS[key] = np.random.default_rng((seed, 2, epoch)).permutation(total)
    return _ORDERS[key]


def nominal_pixels(portraits: Portraits, size: int) -> tuple[Tensor, Tensor]:
    """Unaugmented crops [n, S, S, 3] uint8 and their parse maps [n, S, S] uint8, for validation."""
    pairs = [
        crop_pair(image, mask, nominal_matrix(image.shape[:2], size), False, size)
        for image, mask in zip(portraits.images, portraits.masks, strict=True)
    ]
    return tuple(torch.from_numpy(np.stack(side)) for side in zip(*pairs, strict=True))
