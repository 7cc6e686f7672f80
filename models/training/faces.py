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
    tighten,
    wear_glasses,
)
from faceinsight.models.data.dataset import RecordFaces
from faceinsight.models.data.joined import JoinedFaces, repeats
from faceinsight.models.data.portraits import Portraits
from faceinsight.models.data.sampling import told
from faceinsight.models.data.targets import targets
from faceinsight.runtime.vocabulary import Vocabulary

Faces = Portraits | RecordFaces | JoinedFaces
MOST_VALIDATED = 2000

EYEGLASSES, SUNGLASSES = "Eyeglasses", "Sunglasses"
"""The attributes of faces that are given a drawn pair."""
DARK = 0.2
"""Share of the drawn pairs that are sunglasses."""
_SURROUNDINGS = frozenset(("hair", "hat", "neck", "cloth"))
"""Regions that a tight crop does not show."""
_EYES = frozenset(("l_eye", "r_eye", "eye_g"))
"""Regions that sunglasses cover."""


@dataclass(frozen=True)
class FaceBatches:
    """real: labelled faces, or None for synthetic faces only. synthetic: share of rendered faces, 0..1.

    size: side of the crops in pixels. parser_size: also crop for the parser, at this side. glasses: share of the real
    faces without eyeglasses that get a drawn pair. tight: share of the real faces whose surroundings are taken away,
    see `tighten`. rare: the share of the faces below which a value of a label is rare, and its faces come more often,
    see `repeats`. jitter: how far the crops are off, see `random_matrix`. vocabulary: of the targets, that `real` was
    read with; None where no targets are wanted. Real faces are visited in shuffled epochs.
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
    tight: float = 0.0
    rare: float = 0.0

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
        total = len(self._visited)
        for position in range(step * count, (step + 1) * count):
            epoch, place = divmod(position, total)
            index = self._visited[_shuffled(self.seed, epoch, total)[place]]
            image, mask, target = self.real.face(int(index))
            rng = np.random.default_rng((self.seed, 5, position))
            bare = EYEGLASSES in self._columns and target[self._columns[EYEGLASSES]] == 0
            if bare and rng.random() < self.glasses:
                dark = SUNGLASSES in self._columns and rng.random() < DARK
                if worn := wear_glasses(image, mask, rng, dark):
                    image, mask = worn
                    target = self._with_glasses(target, dark)
            if rng.random() < self.tight:
                image, mask = tighten(image, mask, rng)
                target = np.where(self._around, np.nan, target) if self.vocabulary else target
            yield image, mask, target if self.vocabulary else target[:0]

    @functools.cached_property
    def _visited(self) -> np.ndarray:
        """Indices of an epoch's faces: one that is due 1.3 times is there once, and with a chance of 0.3 twice."""
        sets = self.real.sets if isinstance(self.real, JoinedFaces) else (self.real,)
        due = np.concatenate([repeats(faces.targets, self.rare) for faces in sets])
        times = np.floor(due + np.random.default_rng((self.seed, 6)).random(len(due))).astype(int)
        return np.repeat(np.arange(len(due)), times)

    @functools.cached_property
    def _columns(self) -> dict[str, int]:
        names = self.vocabulary.attribute_names if self.vocabulary else ()
        return {name: index for index, name in enumerate(names)}

    @functools.cached_property
    def _around(self) -> np.ndarray:
        """[A + 2 K], of the columns of targets those that rest on the surroundings."""
        labels = (label for label in self.vocabulary.labels for _ in label.attributes)
        around = [bool(_SURROUNDINGS & set(label.regions)) for label in labels]
        return np.array(around + [False] * 2 * len(self.vocabulary.numbers))

    def _with_glasses(self, target: np.ndarray, dark: bool) -> np.ndarray:
        """The targets of a face that was given a pair. Behind dark lenses what was seen of the eyes is not known."""
        target = target.copy()
        if dark:
            of_eyes = (label for label in self.vocabulary.labels if set(label.regions) <= _EYES)
            target[[self._columns[name] for label in of_eyes for name in label.outputs]] = np.nan
            target[self._columns[SUNGLASSES]] = 1
        target[self._columns[EYEGLASSES]] = 1
        return target

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
