"""Answers a question about a perceived face in three steps.

1. The model writes a reading of the question ("beard yes", see reading.py), which the user does not see.
2. The reading and the face's labels give the verdict: the answer has to begin with "Yes," or "No,", or with neither.
3. The model continues from there.
"""

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
"""The most tokens of a reading."""


@dataclass
class Progress:
    """What is known of an answer while it is written. `Answerer.answer` fills it in."""

    reading: list[int] = field(default_factory=list)
    """Token ids of the reading."""
    tokens: int = 0
    """How many tokens of the answer were yielded."""
    ttft_ms: float = 0.0
    """Time from the start to the first token of the answer."""
    decode_ms: float = 0.0
    """Time from the first token of the answer to the latest one, or to the end of the answer."""
    finished: bool = False
    """Whether the model ended the answer itself; False if max_tokens or the context cut it off."""
    start: float = field(default_factory=time.perf_counter)
    """When the question was asked, by time.perf_counter(), in s."""

    def count_token(self) -> None:
        """Counts a token of the answer and takes its time."""
        self.tokens += 1
        self._take_time(first=self.tokens == 1)

    def finish(self) -> None:
        """Notes that the model ended the answer, and takes the time."""
        self.finished = True
        self._take_time(first=self.tokens == 0)

    def _take_time(self, first: bool) -> None:
        passed = (time.perf_counter() - self.start) * 1e3
        if first:
            self.ttft_ms = passed
        self.decode_ms = passed - self.ttft_ms


class Answerer:
    """Answers questions with the language engine and the prompt of a bundle."""

    def __init__(self, engine: CacheEngine, shape: CacheShape, prompter: Prompter):
        """engine: the language model. shape: of its KV cache. prompter: turns text into its tokens and back."""
        self._engine, self._shape, self._prompter = engine, shape, prompter

    def new_cache(self) -> KVCache:
        """Allocates the KV cache of one face."""
        return KVCache(self._engine, self._shape)

    def answer(
        self, cache: KVCache, labels: dict, visual_tokens, question: str, sampling: Sampling, progress: Progress
    ) -> Iterator[int]:
        """Checks a question at once and returns an iterator over the token ids of its answer.

        The model works only while the caller iterates. cache: of the face. labels: the face's consistent labels.
        visual_tokens: the face's, [1, N, width]. progress: is filled in while the caller iterates.

        Raises InputError for a question that cannot be used or leaves no room for max_tokens. The iterator raises
        FaceInsightError if another answer on the same cache began after this one.
        """
        prefix = self._prompter.prefix(labels, visual_tokens.shape[1])
        room = self._shape.context - len(prefix) - READING_TOKENS - 1
        ids = self._prompter.question(question, room - 1)
        if len(ids) + sampling.max_tokens > room:
            raise InputError(
                f"max_tokens is {sampling.max_tokens}; beside this question's {len(ids)} tokens there is room for "
                f"{room - len(ids)}: ask a shorter one or give a smaller max_tokens"
            )

        def tokens() -> Iterator[int]:
            # the turn begins with the first token, so an iterator that is not used yet does not end another answer
            yield from self._tokens(cache.begin_turn(prefix, visual_tokens), ids, labels, sampling, progress)

        return tokens()

    def _tokens(
        self, turn: Turn, ids: list[int], labels: dict, sampling: Sampling, progress: Progress
    ) -> Iterator[int]:
        opening: list[int] = []
        if self._prompter.answer_id is not None:
            self._read(turn, ids, progress)
            opening = self._prompter.opening(progress.reading, labels)
            # the model takes the opening in one step together with the token before it
            ids = [self._prompter.answer_id, *opening]
        for token in opening[: sampling.max_tokens]:
            progress.count_token()
            yield token
        if progress.tokens >= sampling.max_tokens:
            return
        for token in generate(turn, ids, sampling):
            if token == self._prompter.stop_id:
                progress.finish()
                return
            progress.count_token()
            yield token
            if progress.tokens >= sampling.max_tokens:
                return

    def _read(self, turn: Turn, ids: list[int], progress: Progress) -> None:
        """Lets the model write its reading, always greedily: a question has one right reading."""
        ends = (self._prompter.answer_id, self._prompter.stop_id)
        for token in generate(turn, ids, GREEDY):
            if token in ends or len(progress.reading) == READING_TOKENS:
                return
            progress.reading.append(token)
