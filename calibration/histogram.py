"""The distribution of an activation's values, gathered batch by batch in a fixed amount of memory."""

from __future__ import annotations

import math

import numpy as np

BINS = 4096


class Histogram:
    """Counts of |x| in BINS bins of equal width, and the exact extremes of x.

    The width doubles when a value comes that is larger than all bins.
    """

    def __init__(self) -> None:
        self.low, self.high, self.top = math.inf, -math.inf, 0.0
        self.counts = np.zeros(BINS, np.int64)

    def add(self, values: np.ndarray) -> None:
        """Counts values (float32, any shape). Raises ValueError if one is not finite."""
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("an activation is not finite: the float graph itself is broken")
        self.low, self.high = min(self.low, low), max(self.high, high)
        largest = max(-low, high, 1e-6)
        self.top = self.top or largest
        while largest > self.top:
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(1), np.zeros(BINS // 2, np.int64)])
            self.top *= 2
        bins = np.minimum((np.abs(values.ravel()) * (BINS / self.top)).astype(np.int32), BINS - 1)
        self.counts += np.bincount(bins, minlength=BINS)

    def range(self, percentile: float) -> tuple[float, float]:
        """The extremes (low, high), clipped to the |x| that `percentile` percent of the values do not exceed."""
        total = np.cumsum(self.counts)
        if percentile >= 100:
            return self.low, self.high
        limit = (int(np.searchsorted(total, percentile / 100 * total[-1])) + 1) * self.top / BINS
        return max(self.low, -limit), min(self.high, limit)
