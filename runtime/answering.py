"""How a question is answered: the model writes down how it reads the question, unseen; the verdict is decided on the
face's labels and opens the answer; the model goes on from there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from .engine import CacheEngine
from .errors import InputError
from .generate import GREEDY, Sampling, generate
from .kv_cache import CacheShape, KVCache, Turn
from .prompt import Prompter

READING_TOKENS = 24
"""The most that a model may write before its answer."""


@dataclass
class Progress:
    """What is known of an answer while it is written.

    reading: ids that the model wrote before its answer. tokens: shown so far. ttft_ms: from the start to the first
    token that is shown; decode_ms: from there to the latest. finished: the model ended the answer itself; else it was
    cut off by max_tokens or the context.
    """

    reading: list[int] = field(default_factory=list)
    tokens: int = 0
    ttft_ms: float = 0.0
    decode_ms: float = 0.0
    finished: bool = False
    _start: float = field(default_factory=time.perf_counter)

    def shown(self) -> None:
        """Counts a token."""
        self.tokens += 1
        self.clock()

    def clock(self) -> None:
        """Takes the time."""
        passed = (time.perf_counter() - self._start) * 1e3
        if self.tokens <= 1:
            self.ttft_ms = passed
        self.decode_ms = passed - self.ttft_ms


class Answerer:
    """The language engine with the prompt of its model."""

    def __init__(self, engine: CacheEngine, shape: CacheShape, prompter: Prompter):
        self._engine, self._shape, self._prompter = engine, shape, prompter

    def new_cache(self) -> KVCache:
        """The cache of one face."""
        return KVCache(self._engine, self._shape)

    def answer(
        self, cache: KVCache, labels: dict, visual_tokens, question: str, sampling: Sampling, progress: Progress
    ) -> Iterator[int]:
        """Yields the answer's token ids.

        cache: the face's. labels: its consistent labels, which are the facts and decide the verdict. visual_tokens:
        [1, N, width]. Raises InputError at once for an unusable question, or one that leaves no room for max_tokens;
        FaceInsightError, while it yields, if another question was asked on the same cache.
        """
        prefix = self._prompter.prefix(labels, visual_tokens.shape[1])
        room = self._shape.context - len(prefix) - READING_TOKENS - 1
        ids = self._prompter.question(question, room - 1)
        if len(ids) + sampling.max_tokens > room:
            raise InputError(
                f"max_tokens is {sampling.max_tokens}; beside this question's {len(ids)} tokens there is room for "
                f"{room - len(ids)}: ask a shorter one or give a smaller max_tokens"
            )
        return self._tokens(cache.turn(prefix, visual_tokens), ids, labels, sampling, progress)

    def _tokens(self, turn: Turn, ids, labels, sampling: Sampling, progress: Progress) -> Iterator[int]:
        opening: list[int] = []
        if self._prompter.answer_id is not None:
            self._read(turn, ids, progress)
            opening = self._prompter.opening(progress.reading, labels)
            # the opening is known before the model has read it, so it is read in one step with what precedes it
            ids = [self._prompter.answer_id, *opening]
        for token in opening[: sampling.max_tokens]:
            progress.shown()
            yield token
        if progress.tokens >= sampling.max_tokens:
            return
        for token in generate(turn, ids, sampling):
            if token == self._prompter.stop_id:
                progress.clock()
                progress.finished = True
                return
            progress.shown()
            yield token
            if progress.tokens >= sampling.max_tokens:
                return

    def _read(self, turn: Turn, ids: list[int], progress: Progress) -> None:
        """Lets the model write its reading. It is always greedy: in reading a question there is no variety."""
        ends = (self._prompter.answer_id, self._prompter.stop_id)
        for token in generate(turn, ids, GREEDY):
            if token in ends or len(progress.reading) == READING_TOKENS:
                return
            progress.reading.append(token)
