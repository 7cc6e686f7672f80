"""Generates tokens with a KV cache. This module works on token ids; it knows nothing of text and of stop tokens."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np

from .errors import InputError
from .kv_cache import Turn


@dataclass(frozen=True)
class Sampling:
    """How the tokens of an answer are chosen.

    The constructor raises InputError for a value outside of its range and for one that is not a number.
    """

    temperature: float = 0.0
    """0 takes the likeliest token (greedy). A temperature of 0.001 or more draws it from softmax(logits / temperature).
    """
    seed: int | None = None
    """Seed of the draws, 0 or more. With None every answer is drawn differently."""
    max_tokens: int = 96
    """The most tokens of an answer, 1 or more."""

    def __post_init__(self) -> None:
        numbers = {"temperature": Real, "max_tokens": Integral} | ({} if self.seed is None else {"seed": Integral})
        for name, kind in numbers.items():
            if not isinstance(value := getattr(self, name), kind):
                raise InputError(f"{name} must be a {'whole ' if kind is Integral else ''}number, not {value!r}")
        if not math.isfinite(self.temperature) or (self.temperature != 0 and self.temperature < 1e-3):
            raise InputError(f"temperature must be 0 (greedy) or at least 0.001, not {self.temperature}")
        if self.seed is not None and self.seed < 0:
            raise InputError(f"seed must not be negative: {self.seed}")
        if self.max_tokens < 1:
            raise InputError(f"max_tokens must be at least 1, not {self.max_tokens}")


GREEDY = Sampling()


def generate(turn: Turn, ids: Sequence[int], sampling: Sampling = GREEDY) -> Iterator[int]:
    """Writes token ids and yields the tokens that the model continues them with, until the context is full.

    turn: where they are written. ids: at least one. sampling: chooses the tokens; its max_tokens is left to the caller.
    A yielded token is written when the caller asks for the next one. Raises FaceInsightError if a later turn has begun.
    """
    rng = np.random.default_rng(sampling.seed) if sampling.temperature > 0 else None
    while turn.room() >= len(ids):
        token = _next_token(turn, ids, sampling.temperature, rng)
        yield token
        ids = [token]


def _next_token(turn: Turn, ids: Sequence[int], temperature: float, rng: np.random.Generator | None) -> int:
    if rng is None:
        return int(turn.write(ids, "next_token")[0])
    logits = turn.write(ids, "logits")[0].astype(np.float64) / temperature
    weights = np.exp(logits - logits.max())
    return int(rng.choice(len(weights), p=weights / weights.sum()))
