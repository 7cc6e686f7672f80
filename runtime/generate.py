"""Prefill and decode over a KV cache that is updated in place. Token ids only: nothing here knows of text or faces.

A face's cache holds its prefix once; every question is written after the prefix and forgotten by moving the position
back, so a second question costs only its own tokens.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real

import numpy as np

from .engine import CacheEngine
from .errors import FaceInsightError, InputError

READING_TOKENS = 24
"""The most that a model may write before its answer."""


@dataclass(frozen=True)
class CacheShape:
    """Of one sequence: layers x (key, value) of [1, kv_heads, context, head_dim]."""

    layers: int
    kv_heads: int
    head_dim: int
    context: int

    @classmethod
    def of_manifest(cls, manifest: Mapping) -> CacheShape:
        """Of a bundle's language model."""
        return cls(*(manifest["language"][key] for key in ("layers", "kv_heads", "head_dim", "context")))

    def tensors(self) -> dict[str, tuple[int, ...]]:
        shape = (1, self.kv_heads, self.context, self.head_dim)
        return {f"past_{kind}_{layer}": shape for layer in range(self.layers) for kind in ("key", "value")}


@dataclass
class Cache:
    """KV cache of one face. prefix: number of tokens that all questions share (0: nothing is in it yet).

    turn: counts the questions. lock: held while the buffers are written.
    """

    buffers: dict
    prefix: int = 0
    turn: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)


@dataclass(frozen=True)
class Sampling:
    """temperature 0 is greedy; otherwise softmax(logits / temperature) drawn with `seed`.

    Raises InputError for a temperature below 0 or between 0 and 0.001, a negative seed, max_tokens below 1, and for
    what is not a number.
    """

    temperature: float = 0.0
    seed: int | None = None
    max_tokens: int = 96

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


@dataclass
class Usage:
    """Filled while generating. ttft_ms: from the call to the first token that is shown.

    reading: ids that the model wrote before its answer and that are not shown, with the one that ends them.
    finished: the model ended the answer itself; else it was cut off by max_tokens or the context.
    """

    reading: list[int] = field(default_factory=list)
    tokens: int = 0
    ttft_ms: float = 0.0
    decode_ms: float = 0.0
    finished: bool = False
    _start: float = field(default_factory=time.perf_counter)


class Decoder:
    """The language engine with its caches."""

    def __init__(self, engine: CacheEngine, shape: CacheShape, stop_id: int, answer_id: int | None = None):
        """answer_id: the token before which nothing is shown; None shows all."""
        self.engine, self.shape, self.stop_id, self.answer_id = engine, shape, stop_id, answer_id

    def new_cache(self) -> Cache:
        return Cache(self.engine.allocate(self.shape.tensors()))

    def generate(
        self,
        cache: Cache,
        prefix: list[int],
        question: list[int],
        visual_tokens: np.ndarray,
        sampling: Sampling,
        usage: Usage,
        opening: Callable[[list[int]], list[int]] = lambda reading: [],
    ) -> Iterator[int]:
        """Yields the answer's token ids up to the stop token (not yielded), `max_tokens` or the end of the context.

        What the model writes before `answer_id` is always greedy: it reads the question, where there is no variety.
        opening: that reading -> ids that the answer then has to begin with.

        prefix: the face's ids, computed only if the cache does not hold them yet. visual_tokens: [1, N, H], as the
        engine takes them.
        Only the newest question on a cache may go on: an older iterator raises FaceInsightError.
        """
        rng = np.random.default_rng(sampling.seed) if sampling.temperature > 0 else None
        shown = self.answer_id is None
        with cache.lock:
            cache.turn += 1
            turn = cache.turn
            fresh = question if cache.prefix else [*prefix, *question]
            position = cache.prefix
            cache.prefix = 0  # a failed prefill leaves no prefix behind
            token = self._step(cache, fresh, position, visual_tokens, sampling, rng if shown else None)
            cache.prefix = len(prefix)
        position += len(fresh)
        started = time.perf_counter()
        while True:
            if not shown and (token == self.stop_id or len(usage.reading) == READING_TOKENS):
                token = self.answer_id  # whatever it made of the question, it has to answer now
            if token == self.stop_id:
                break
            said = [token]
            unread = [token]
            if not shown:
                usage.reading.append(token)
                shown = token == self.answer_id
                # the opening is known before the model has read it, so it is said at once and read in one step
                said = opening(usage.reading[:-1]) if shown else []
                unread = [token, *said]
            for known in said:
                if not usage.tokens:
                    started = time.perf_counter()
                    usage.ttft_ms = (started - usage._start) * 1e3
                usage.tokens += 1
                usage.decode_ms = (time.perf_counter() - started) * 1e3
                yield known
                if usage.tokens >= sampling.max_tokens:
                    return
            if position + len(unread) > self.shape.context:
                return
            with cache.lock:
                if cache.turn != turn:
                    raise FaceInsightError(
                        "another question was asked about this face before this answer ended; ask again"
                    )
                token = self._step(cache, unread, position, visual_tokens, sampling, rng if shown else None)
            position += len(unread)
        if not usage.tokens:
            usage.ttft_ms = (time.perf_counter() - usage._start) * 1e3
        usage.decode_ms = (time.perf_counter() - started) * 1e3
        usage.finished = True

    def _step(self, cache, ids, position, visual_tokens, sampling, rng) -> int:
        """Runs `ids` from `position` on; returns the next token's id."""
        feeds = {
            "input_ids": np.array([ids], np.int64),
            "visual_tokens": visual_tokens,
            "position": np.array([position], np.int64),
        }
        if rng is None:
            return int(self.engine.run_in_place(feeds, cache.buffers, ("next_token",))["next_token"][0])
        logits = self.engine.run_in_place(feeds, cache.buffers, ("logits",))["logits"][0].astype(np.float64)
        logits = logits / sampling.temperature
        weights = np.exp(logits - logits.max())
        return int(rng.choice(len(weights), p=weights / weights.sum()))
