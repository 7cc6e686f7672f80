"""The KV cache of one face. This module works on token ids; it knows nothing of text and of faces.

All questions about a face share their first tokens, the prefix. A cache computes the prefix once. The tokens of a
question and of its answer are written behind it, and the next question overwrites them, so every question after the
first costs only its own tokens.
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
    """The sizes of one sequence's KV cache: a key and a value array for each layer."""

    layers: int
    kv_heads: int
    head_dim: int
    context: int
    """The most tokens of one sequence."""

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of each input of the engine that is a part of the cache, by name.

        Each shape is [1, kv_heads, context, head_dim].
        """
        shape = (1, self.kv_heads, self.context, self.head_dim)
        return {f"past_{kind}_{layer}": shape for layer in range(self.layers) for kind in ("key", "value")}


class KVCache:
    """The buffers of one sequence.

    lock: is held while the buffers are written. A caller may hold it longer, to write several times undisturbed.
    """

    def __init__(self, engine: CacheEngine, shape: CacheShape):
        """Allocates the buffers on the engine's device."""
        self.shape, self.lock = shape, threading.RLock()
        self._engine, self._buffers = engine, engine.allocate(shape.tensors())
        self._holds_prefix = False
        # a number and not the turn itself: a turn refers to its cache, and a reference back would keep the buffers of a
        # face that nobody holds any more until the garbage collector runs
        self._newest = 0

    def begin_turn(self, prefix: Sequence[int], visual_tokens) -> Turn:
        """Begins a question and its answer. It ends all earlier turns: their next `write` raises an error.

        prefix: token ids that all questions share; they are computed only if the cache does not hold them yet.
        visual_tokens: [1, N, width], as the engine takes them.
        """
        with self.lock:
            self._newest += 1
            return Turn(self, self._newest, prefix, visual_tokens)

    def _write(self, turn: Turn, ids: Sequence[int], output: str) -> np.ndarray:
        with self.lock:
            if turn.number != self._newest:
                raise FaceInsightError("another question was asked about this face before this answer ended; ask again")
            written, position = list(ids), turn.length
            if not turn.written:
                if not self._holds_prefix:
                    written, position = [*turn.prefix, *ids], 0
                self._holds_prefix = False  # until this step has succeeded: a failed one may have spoilt the buffers
            feeds = {
                "input_ids": np.array([written], np.int64),
                "visual_tokens": turn.visual_tokens,
                "position": np.array([position], np.int64),
            }
            found = self._engine.run_in_place(feeds, self._buffers, (output,))[output]
            self._holds_prefix = True
            return found


class Turn:
    """One question and its answer in a cache.

    number: place among the turns of the cache, from 1. length: tokens of the sequence so far, with the prefix. written:
    whether anything behind the prefix was written.
    """

    def __init__(self, cache: KVCache, number: int, prefix: Sequence[int], visual_tokens):
        """Use `KVCache.begin_turn`, which also explains the arguments."""
        self.number, self.prefix, self.visual_tokens = number, prefix, visual_tokens
        self.length, self.written = len(prefix), False
        self._cache = cache

    def room(self) -> int:
        """Returns how many tokens may still be written."""
        return self._cache.shape.context - self.length

    def write(self, ids: Sequence[int], output: str) -> np.ndarray:
        """Writes token ids behind those that are there, and before them the prefix if the cache does not hold it.

        ids: at least one, at most `room()`. output: the output of the engine that is wanted for the last id:
        "next_token" (the likeliest, [1] int64) or "logits" ([1, vocab_size]). Returns that output. Raises
        FaceInsightError if a later turn has begun or the engine fails.
        """
        found = self._cache._write(self, ids, output)
        self.length += len(ids)
        self.written = True
        return found
