"""Scores of what was told against what is known, for training and for the benchmarks alike."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence

import numpy as np

from faceinsight.runtime.parse_map import IGNORE, PARSE_CLASSES

Share = tuple[int, int]
"""How many were right, and of how many (at least one)."""

CLASSES: dict[str, tuple[str, ...]] = {name: (name,) for name in PARSE_CLASSES}
"""Every parse class as a part of its own."""


def recalls(told: np.ndarray, known: np.ndarray) -> list[Share]:
    """Counts, for each value that occurs in `known`, how many of its entries were told right.

    told, known: [n] of one dtype, or bool and float; NaN in `known` is not counted.
    """
    return [
        (int((told[known == value] == value).sum()), int((known == value).sum()))
        for value in np.unique(known)
        if value == value
    ]


def balanced_accuracy(shares: Sequence[Share]) -> float | None:
    """The mean of the values' shares, so that a rare value counts as much as a common one; None where fewer than two
    values occur."""
    return sum(right / of for right, of in shares) / len(shares) if len(shares) > 1 else None


class IntersectionOverUnion:
    """Intersection over union of parse maps, pooled over all pixels that are known."""

    def __init__(self, parts: Mapping[str, Sequence[str]] = CLASSES):
        """parts: name -> the parse classes that count as one."""
        self._parts = {part: [PARSE_CLASSES.index(name) for name in names] for part, names in parts.items()}
        self._common, self._either, self._known = (collections.Counter() for _ in range(3))

    def add(self, found: np.ndarray, known: np.ndarray) -> None:
        """found, known: uint8 of one shape; IGNORE in `known` is left out."""
        seen = known != IGNORE
        for part, indices in self._parts.items():
            a, b = np.isin(found, indices) & seen, np.isin(known, indices)
            self._common[part] += int((a & b).sum())
            self._either[part] += int((a | b).sum())
            self._known[part] += int(b.sum())

    def scores(self) -> dict[str, float]:
        """Part -> its score in [0, 1]. A part that occurs nowhere in what is known is left out."""
        return {part: self._common[part] / self._either[part] for part in self._parts if self._known[part]}
