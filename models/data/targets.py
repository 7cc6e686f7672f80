"""What a data set says of faces, as numbers that the attribute head is trained on and scored with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from faceinsight.runtime.label import Label
from faceinsight.runtime.vocabulary import Vocabulary


def targets(labels: Sequence[Mapping], vocabulary: Vocabulary) -> np.ndarray:
    """[n, A + 2 K] float32: for each of A attributes 1, 0 or NaN where it is not known; then for each of K numbers the
    bounds of its value in its unit, least and greatest, NaN where it is not known.

    labels: of n faces, as a data set names them. Raises InputError for a value that a label does not have.
    """
    rows = []
    for item in labels:
        assignment = vocabulary.assignment_of(item)
        row = [np.nan if assignment[name] is None else assignment[name] for name in vocabulary.attribute_names]
        for label in vocabulary.numbers:
            row += vocabulary.bounds_of(label, item) or (np.nan, np.nan)
        rows.append(row)
    return np.array(rows, np.float32).reshape(len(rows), width(vocabulary))


def width(vocabulary: Vocabulary) -> int:
    """Columns of `targets`."""
    return len(vocabulary.attributes) + 2 * len(vocabulary.numbers)


def split_targets(found: np.ndarray, vocabulary: Vocabulary) -> tuple[np.ndarray, np.ndarray]:
    """The attributes' part of `targets` [n, A], and the numbers' bounds [n, K, 2]; of arrays and tensors alike."""
    count = len(vocabulary.attributes)
    return found[:, :count], found[:, count:].reshape(len(found), len(vocabulary.numbers), 2)


def is_exact(bounds: np.ndarray, label: Label) -> np.ndarray:
    """Whether bounds [..., 2] of a number hold one that was told, not a range of it: they lie a step apart."""
    return bounds[..., 1] - bounds[..., 0] < 1.5 * label.step


def known_labels(found: np.ndarray, vocabulary: Vocabulary) -> dict[str, bool]:
    """Label -> whether any row of `targets` says something of it."""
    attributes, numbers = split_targets(~np.isnan(found), vocabulary)
    seen = dict(zip(vocabulary.attribute_names, attributes.any(0).tolist(), strict=True))
    seen |= dict(zip((label.name for label in vocabulary.numbers), numbers.any((0, 2)).tolist(), strict=True))
    return {label.name: any(seen[name] for name in label.outputs) for label in vocabulary.labels}
