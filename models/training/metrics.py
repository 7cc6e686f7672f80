"""How well a model does on faces whose labels or parse maps are known."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from faceinsight.models.data.targets import is_exact, split_targets
from faceinsight.models.metrics import balanced_accuracy, recalls
from faceinsight.runtime.vocabulary import Vocabulary


def balanced_accuracies(logits: np.ndarray, targets: np.ndarray, vocabulary: Vocabulary) -> dict[str, float]:
    """Attribute -> mean of its two recalls at threshold 0.5; attributes with one value only in `targets` are left out.

    logits: [n, L] of the attribute head. targets: [n, A + 2 K].
    """
    wanted, _ = split_targets(targets, vocabulary)
    scores = {
        name: balanced_accuracy(recalls(logits[:, i] > 0, wanted[:, i]))
        for i, name in enumerate(vocabulary.attribute_names)
    }
    return {name: score for name, score in scores.items() if score is not None}


def mean_errors(logits: np.ndarray, targets: np.ndarray, vocabulary: Vocabulary) -> dict[str, float]:
    """Number -> mean absolute error in its unit: how far what is told lies from the bounds that are known."""
    _, bounds = split_targets(targets, vocabulary)
    shares = 1 / (1 + np.exp(-logits[:, len(vocabulary.attributes) :]))
    scores = {}
    for i, label in enumerate(vocabulary.numbers):
        known = ~np.isnan(bounds[:, i]).any(1)
        low, high = bounds[known, i].T
        told = label.bounds[0] + shares[known, i] * (label.bounds[1] - label.bounds[0])
        if known.any():
            nearest = np.where(is_exact(bounds[known, i], label), (low + high) / 2, np.clip(told, low, high))
            scores[label.name] = float(np.abs(told - nearest).mean())
    return scores


def head_scores(logits: Tensor, targets: Tensor, vocabulary: Vocabulary) -> dict[str, float]:
    """ "balanced", the mean over the attributes, with each attribute's own, and each number's mean error; where no
    attribute can be scored "error_loss", the mean over the numbers, is in the place of the first."""
    found, wanted = logits.numpy(), targets.numpy()
    scores = balanced_accuracies(found, wanted, vocabulary)
    errors = mean_errors(found, wanted, vocabulary)
    first = mean("balanced", scores) or mean("error_loss", errors)
    return first | {name: round(value, 4) for name, value in (scores | errors).items()}


def mean(name: str, scores: dict[str, float]) -> dict[str, float]:
    """Their mean under that name; nothing where nothing could be scored."""
    return {name: float(np.mean(list(scores.values())))} if scores else {}
