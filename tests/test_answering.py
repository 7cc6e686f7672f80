"""The KV cache of a face and the answers in it, with a language engine whose every token is known."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from faceinsight.runtime.answering import READING_TOKENS, Answerer, Progress
from faceinsight.runtime.engine import CacheEngine
from faceinsight.runtime.errors import FaceInsightError, InputError
from faceinsight.runtime.generate import GREEDY, Sampling, generate
from faceinsight.runtime.kv_cache import CacheShape, KVCache

STOP, ANSWER, YES = 0, 1, 2
PREFIX = [90, 91, 92]
SHAPE = CacheShape(layers=1, kv_heads=1, head_dim=1, context=160)
VISUAL = np.zeros((1, 2, 4), np.float32)


class Buffers:
    """The tokens that a cache holds."""

    def __init__(self):
        self.tokens: list[int] = []


class CountingEngine(CacheEngine):
    """Continues any token with the next number, and ends a turn with STOP after a multiple of ten."""

    def __init__(self):
        self.fails, self.computed = False, []

    def allocate(self, shapes):
        self.buffers = Buffers()
        return self.buffers

    def run_in_place(self, feeds, buffers, outputs):
        ids, (position,) = feeds["input_ids"][0].tolist(), feeds["position"].tolist()
        assert position <= len(buffers.tokens), "a gap in the cache"
        assert position + len(ids) <= SHAPE.context, "a token behind the context's end"
        if self.fails:
            buffers.tokens = []
            raise FaceInsightError("the engine failed")
        buffers.tokens[position:] = ids
        self.computed.append(len(ids))
        following = STOP if ids[-1] % 10 == 0 else ids[-1] + 1
        logits = np.full((1, 400), -30.0, np.float32)
        logits[0, following : following + 3] = 0.0
        found = {"next_token": np.array([following]), "logits": logits}
        return {name: found[name] for name in outputs}


class Prompter:
    """A prompt whose questions are numbers. A reading that ends in an even number is answered with YES."""

    stop_id = STOP

    def __init__(self, answer_id: int | None = None):
        self.answer_id = answer_id

    def prefix(self, labels, visual_count):
        return PREFIX

    def question(self, question, room):
        return [int(word) for word in question.split()]

    def opening(self, reading, labels):
        return [YES] if reading and reading[-1] % 2 == 0 else []


@pytest.fixture
def engine():
    return CountingEngine()


def said(engine, cache, question, sampling=GREEDY, answer_id=None) -> tuple[list[int], Progress]:
    progress = Progress()
    answerer = Answerer(engine, SHAPE, Prompter(answer_id))
    return list(answerer.answer(cache, {}, VISUAL, question, sampling, progress)), progress


def test_the_prefix_is_computed_once_and_the_next_question_overwrites_the_last(engine):
    cache = KVCache(engine, SHAPE)
    assert said(engine, cache, "25 26")[0] == [27, 28, 29, 30]
    assert engine.computed == [len(PREFIX) + 2, 1, 1, 1, 1]
    assert said(engine, cache, "38")[0] == [39, 40]
    assert engine.computed[5:] == [1, 1, 1] and engine.buffers.tokens[:6] == [*PREFIX, 38, 39, 40]


@pytest.mark.parametrize("held", [False, True])
def test_after_a_failed_first_step_the_prefix_is_computed_again(engine, held):
    cache = KVCache(engine, SHAPE)
    if held:
        said(engine, cache, "29")
    engine.fails = True
    with pytest.raises(FaceInsightError, match="the engine failed"):
        said(engine, cache, "37")
    engine.fails = False
    assert said(engine, cache, "37")[0] == [38, 39, 40]
    assert engine.buffers.tokens[:4] == [*PREFIX, 37]


def test_a_later_question_ends_an_answer_but_not_one_that_has_not_begun(engine):
    cache, answerer = KVCache(engine, SHAPE), Answerer(engine, SHAPE, Prompter())
    older, newer = (answerer.answer(cache, {}, VISUAL, ask, GREEDY, Progress()) for ask in ("51", "61"))
    assert next(newer) == 62 and next(older) == 52
    with pytest.raises(FaceInsightError, match="another question was asked about this face"):
        next(newer)
    assert list(older) == list(range(53, 61))


def test_the_cache_of_a_face_that_nobody_holds_is_freed_at_once(engine):
    """The garbage collector may come late, and a cache is many megabytes."""
    cache = KVCache(engine, SHAPE)
    said(engine, cache, "25")
    buffers = weakref.ref(engine.buffers)
    gc.disable()
    try:
        del engine.buffers, cache
        assert buffers() is None
    finally:
        gc.enable()


def test_an_answer_ends_with_max_tokens_or_the_context(engine):
    tokens, progress = said(engine, KVCache(engine, SHAPE), "51", Sampling(max_tokens=4))
    assert tokens == [52, 53, 54, 55] and not progress.finished
    turn = KVCache(engine, SHAPE).begin_turn(PREFIX, VISUAL)
    assert turn.room() == SHAPE.context - len(PREFIX)
    # what follows a full context is yielded, but there is no room to write it
    assert len(list(generate(turn, [101] * turn.room()))) == 1 and turn.room() == 0


def test_a_question_without_room_for_its_answer_is_refused_at_once(engine):
    answerer = Answerer(engine, SHAPE, Prompter())
    room = SHAPE.context - len(PREFIX) - READING_TOKENS - 1
    with pytest.raises(InputError, match=f"there is room for {room - 1}"):
        answerer.answer(KVCache(engine, SHAPE), {}, VISUAL, "5", Sampling(max_tokens=room), Progress())
    answerer.answer(KVCache(engine, SHAPE), {}, VISUAL, "5", Sampling(max_tokens=room - 1), Progress())


def test_the_reading_is_not_shown_and_gives_the_opening(engine):
    tokens, progress = said(engine, KVCache(engine, SHAPE), "7", answer_id=ANSWER)
    assert progress.reading == [8, 9, 10] and tokens == [YES, *range(3, 11)]
    assert (progress.tokens, progress.finished) == (len(tokens), True)
    tokens, progress = said(engine, KVCache(engine, SHAPE), "7", Sampling(max_tokens=1), ANSWER)
    assert tokens == [YES] and progress.tokens == 1 and not progress.finished


def test_a_reading_without_end_is_cut_off(engine, monkeypatch):
    monkeypatch.setattr("faceinsight.runtime.answering.READING_TOKENS", 4)
    tokens, progress = said(engine, KVCache(engine, SHAPE), "101", answer_id=ANSWER)
    assert progress.reading == [102, 103, 104, 105] and tokens[0] == ANSWER + 1


def test_sampling_draws_with_its_seed(engine):
    drawn = [said(engine, KVCache(engine, SHAPE), "51", Sampling(1.0, seed, 12))[0] for seed in (1, 1, 2, 3)]
    assert drawn[0] == drawn[1] and len({tuple(tokens) for tokens in drawn}) > 1


def test_times_run_to_the_first_token_and_from_there_to_the_end(monkeypatch):
    now = iter([1.0, 1.5, 3.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(now))
    progress = Progress(start=0.0)
    progress.count_token()
    assert (progress.ttft_ms, progress.decode_ms) == (1000, 0)
    progress.finish()
    assert (progress.ttft_ms, progress.decode_ms, progress.tokens) == (1000, 500, 1)
    silent = Progress(start=0.0)
    silent.finish()
    assert (silent.ttft_ms, silent.decode_ms, silent.finished) == (3000, 0, True)
