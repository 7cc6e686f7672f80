"""How far a model's probabilities are from how often what they speak of is so: the expected calibration error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .survey import Survey

BINS = 15
"""Of equal width, into which probabilities are sorted (Guo et al. 2017, On Calibration of Modern Neural Networks)."""


def expected_calibration_error(probabilities: Sequence[float], outcomes: Sequence[bool], bins: int = BINS) -> float:
    """The distance between the mean probability and the share that was so, averaged over the bins by their faces.

    probabilities: at least one, in [0, 1]. outcomes: whether what each speaks of was so.
    """
    p = np.asarray(probabilities, float)
    sums = np.bincount(np.minimum((p * bins).astype(int), bins - 1), p - np.asarray(outcomes, float))
    return float(np.abs(sums).sum() / len(p))


class Reliability:
    """The probabilities of every flag and of every value of a choice, beside what a person says of them."""

    def __init__(self, survey: Survey) -> None:
        self._survey = survey
        self._pairs: dict[str, list[tuple[float, bool]]] = {name: [] for name in survey.events}

    def add(self, labels: Mapping[str, object], attributes: Mapping[str, float]) -> None:
        """Adds one face. labels: a person's. attributes: {attribute: probability}."""
        for name, event in self._survey.events.items():
            if (outcome := self._survey.outcome(event, labels)) is not None:
                self._pairs[name].append((event.probability(attributes), outcome))

    def scores(self) -> dict:
        """Returns {"error": of all probabilities together, None without one, "probabilities": how many, "labels": name
        -> {"error", "faces": of which it is known}}; a name without such a face is left out."""
        every = [pair for pairs in self._pairs.values() for pair in pairs]
        return {
            "error": expected_calibration_error(*zip(*every, strict=True)) if every else None,
            "probabilities": len(every),
            "labels": {
                name: {"error": expected_calibration_error(*zip(*pairs, strict=True)), "faces": len(pairs)}
                for name, pairs in self._pairs.items()
                if pairs
            },
        }
