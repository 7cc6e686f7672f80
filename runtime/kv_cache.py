"""The KV cache of one face. Token ids only: nothing here knows of text or faces.

A cache holds the tokens that all questions about a face share (the prefix) once. Every question is a turn: its tokens
are written after the prefix, and the next turn writes over them. So a second question costs only its own tokens.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .engine import CacheEngine
from .errors import FaceInsightError


@dataclass(frozen=True)
class CacheShape:
    """The sizes of one sequence's cache: layers times (key, value), each [1, kv_heads, context, head_dim]."""

    layers: int
    kv_heads: int
    head_dim: int
    context: int

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Input name of the engine -> shape."""
        shape = (1, self.kv_heads, self.context, self.head_dim)
        return {f"past_{kind}_{layer}": shape for layer in range(self.layers) for kind in ("key", "value")}


class KVCache:
    """The buffers of one sequence, and how many tokens of them hold the shared prefix.

    lock: is held while the buffers are written; whoever needs several steps undisturbed may hold it longer.
    """

    def __init__(self, engine: CacheEngine, shape: CacheShape):
        """Allocates the buffers on the engine's device."""
        self.shape, self.lock = shape, threading.RLock()
        self._engine, self._buffers = engine, engine.allocate(shape.tensors())
        self._prefix, self._newest = 0, None

    def turn(self, prefix: Sequence[int], visual_tokens) -> Turn:
        """Starts a question; turns that began earlier end with an error at their next step.

        prefix: token ids that all questions share; they are computed only if the cache does not hold them yet.
        visual_tokens: [1, N, width], as the engine takes them.
        """
        with self.lock:
            missing = [] if self._prefix else list(prefix)
            self._newest = Turn(self, missing, len(prefix), self._prefix, visual_tokens)
            return self._newest

    def _write(self, turn: Turn, ids: Sequence[int], output: str) -> np.ndarray:
        with self.lock:
            if self._newest is not turn:
                raise FaceInsightError("another question was asked about this face before this answer ended; ask again")
            if turn.fresh:
                self._prefix = 0  # a failed step leaves no prefix behind
            feeds = {
                "input_ids": np.array([ids], np.int64),
                "visual_tokens": turn.visual_tokens,
                "position": np.array([turn.position], np.int64),
            }
            found = self._engine.run_in_place(feeds, self._buffers, (output,))[output]
            self._prefix = turn.prefix_length
            return found


class Turn:
    """One question's place in a cache. position: tokens before the next one that is written."""

    def __init__(self, cache: KVCache, missing: list[int], prefix_length: int, position: int, visual_tokens):
        self.prefix_length, self.position, self.visual_tokens = prefix_length, position, visual_tokens
        self.fresh = True
        self._cache, self._missing = cache, missing

    def room(self) -> int:
        """How many tokens may still be written."""
        return self._cache.shape.context - self.position - len(self._missing)

    def write(self, ids: Sequence[int], output: str) -> np.ndarray:
        """Writes token ids after what is there, together with a prefix that is missing; returns an output of the engine
        for the last of them: "next_token" [1] int64, or "logits" [1, vocab].

        Raises FaceInsightError if a later turn has begun.
        """
        ids = [*self._missing, *ids]
        found = self._cache._write(self, ids, output)
        self.fresh, self._missing = False, []
        self.position += len(ids)
        return found
