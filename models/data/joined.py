"""Several sets of faces as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .dataset import RecordFaces
from .portraits import Portraits


class JoinedFaces:
    """Sets of faces one after the other, with the interface of `Portraits`."""

    def __init__(self, sets: Sequence[Portraits | RecordFaces]):
        """sets: read with the same vocabulary."""
        self.sets = tuple(sets)
        self.targets = np.concatenate([faces.targets for faces in self.sets])
        self.masked = any(faces.masked for faces in self.sets)
        self.skipped = {what: why for faces in self.sets for what, why in faces.skipped.items()}

    def __len__(self) -> int:
        return len(self.targets)

    def face(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image, parse map and its row of the targets, see `Portraits.face`."""
        for faces in self.sets:
            if index < len(faces):
                return faces.face(index)
            index -= len(faces)
        raise IndexError("there are fewer faces")


def repeats(targets: np.ndarray, rare: float, most: float = 4.0) -> np.ndarray:
    """How often each face should be seen: max over what is known of it of sqrt(rare / share of faces that have it),
    from 1 to `most` (repeat factor sampling: Gupta et al. 2019, LVIS, section 5).

    targets: [n, columns], of which those with the values 0, 1 and NaN count. rare: the share below which a value is
    rare, 0..1.
    """
    times = np.ones(len(targets))
    for column in targets.T:
        known = ~np.isnan(column)
        if not known.any() or not np.isin(column[known], (0, 1)).all():
            continue
        for value in (0, 1):
            has = column == value
            if has.any():
                times[has] = np.maximum(times[has], np.sqrt(rare * known.sum() / has.sum()))
    return times.clip(1, most)
