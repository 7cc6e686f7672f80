"""Batches of augmented face crops: real portraits, synthetic faces, or a mix; a pure function of the step."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from faceinsight.models.data.augment import (
    crop_pair,
    cutout,
    nominal_matrix,
    photographic,
    placement,
    random_matrix,
    wear_glasses,
)
from faceinsight.models.data.dataset import RecordFaces
from faceinsight.models.data.portraits import Portraits
from faceinsight.models.data.sampling import told
from faceinsight.models.data.targets import targets
from faceinsight.runtime.vocabulary import Vocabulary

Faces = Portraits | RecordFaces
MOST_VALIDATED = 2000

EYEGLASSES = "Eyeglasses"
"""The attribute of faces that are given a drawn pair."""


@dataclass(frozen=True)
class FaceBatches:
    """real: labelled faces, or None for synthetic faces only. synthetic: share of rendered faces, 0..1.

    size: side of the crops in pixels. parser_size: also crop for the parser, at this side. glasses: share of the real
    faces without eyeglasses that get a drawn pair. jitter: how far the crops are off, see `random_matrix`.
    vocabulary: of the targets, that `real` was read with; None where no targets are wanted. Real faces are visited in
    shuffled epochs.
    """

    real: Faces | None
    batch: int
    size: int
    synthetic: float = 0.0
    seed: int = 0
    occlude: bool = True
    parser_size: int | None = None
    glasses: float = 0.0
    jitter: float = 1.0
    vocabulary: Vocabulary | None = None

    def __call__(self, step: int) -> dict[str, Tensor]:
        """pixels [B, S, S, 3] uint8, parse_map [B, S, S] uint8 (255 unknown), targets [B, A + 2 K] float32 (NaN
        unknown), placement [B, 3] float32, where the nominal crop lies in this one.

        With `parser_size` P also parser_pixels [B, P, P, 3] uint8: the same faces, in the same places.
        """
        rng = np.random.default_rng((self.seed, step))
        rendered = self.batch if self.real is None else round(self.batch * self.synthetic)
        items: dict[str, list[np.ndarray]] = {"pixels": [], "parse_map": [], "targets": [], "placement": []}
        if self.parser_size:
            items["parser_pixels"] = []
        for image, mask, target in [*self._real(step, self.batch - rendered), *self._synthetic(step, rendered)]:
            matrix, mirrored = random_matrix(image.shape[:2], self.size, rng, self.jitter)
            seed = rng.integers(2**63)
            crop, parse_map = self._crop(image, mask, matrix, mirrored, self.size, seed)
            items["pixels"].append(crop)
            items["parse_map"].append(parse_map)
            items["targets"].append(target)
            items["placement"].append(placement(matrix, image.shape[:2], self.size))
            if self.parser_size:
                scaled = matrix * (self.parser_size / self.size)
                items["parser_pixels"].append(self._crop(image, None, scaled, mirrored, self.parser_size, seed)[0])
        return {name: torch.from_numpy(np.stack(arrays)) for name, arrays in items.items()}

    def _crop(self, image, mask, matrix, mirrored: bool, size: int, seed: int):
        """One augmented crop; the same seed changes crops of other sizes alike."""
        crop, parse_map = crop_pair(image, mask, matrix, mirrored, size)
        crop = photographic(crop, np.random.default_rng(seed))
        # a stream of its own: noise takes as many draws as there are pixels
        return (cutout(crop, np.random.default_rng((seed, 1))) if self.occlude else crop), parse_map

    def _real(self, step: int, count: int):
        if count == 0:
            return
        total = len(self.real)
        for position in range(step * count, (step + 1) * count):
            epoch, place = divmod(position, total)
            index = _shuffled(self.seed, epoch, total)[place]
            image, mask, target = self.real.face(int(index))
            rng = np.random.default_rng((self.seed, 5, position))
            bare = self._glasses_column is not None and target[self._glasses_column] == 0
            if bare and rng.random() < self.glasses and (worn := wear_glasses(image, mask, rng)):
                image, mask = worn
                target = target.copy()
                target[self._glasses_column] = 1
            yield image, mask, target if self.vocabulary else target[:0]

    @functools.cached_property
    def _glasses_column(self) -> int | None:
        names = self.vocabulary.attribute_names if self.vocabulary else ()
        return names.index(EYEGLASSES) if EYEGLASSES in names else None

    def _synthetic(self, step: int, count: int):
        if count == 0:
            return
        from faceinsight.models.data.synthetic import generate

        for k in range(count):
            sample = generate(int(np.random.default_rng((self.seed, 1, step, k)).integers(2**31)))
            known = [told(sample.labels, self.vocabulary)] if self.vocabulary else []
            wanted = targets(known, self.vocabulary)[0] if known else np.empty(0, np.float32)
            yield sample.image, sample.parse_map, wanted


@functools.lru_cache(maxsize=4)
def _shuffled(seed: int, epoch: int, total: int) -> np.ndarray:
    return np.random.default_rng((seed, 2, epoch)).permutation(total)


def nominal_faces(faces: Faces, *sizes: int) -> list[Tensor]:
    """For validation: unaugmented crops [n, S, S, 3] uint8 for every size, parse maps [n, S, S] uint8 of the last size
    and targets [n, A + 2 K] float32 (NaN unknown), of at most MOST_VALIDATED faces, spread evenly."""
    count = min(len(faces), MOST_VALIDATED)
    rows = []
    for position in range(count):
        image, mask, target = faces.face(position * len(faces) // count)
        crops = [crop_pair(image, mask, nominal_matrix(image.shape[:2], size), False, size) for size in sizes]
        rows.append((*(pixels for pixels, _ in crops), crops[-1][1], target))
    return [torch.from_numpy(np.stack(side)) for side in zip(*rows, strict=True)]
