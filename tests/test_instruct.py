"""Exchanges are true of the facts before them, and packed as the runtime asks."""

from __future__ import annotations

import itertools
import random

import torch

from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.models.training.instruct import ExchangeBatches, Text, pack
from faceinsight.models.vocabulary import load_vocabulary
from faceinsight.runtime.bundle import NANO as NANO_BUNDLE
from faceinsight.runtime.bundle import read_bundle
from faceinsight.runtime.label import fact_value
from faceinsight.runtime.reading import read

from .tiny import tiny_config

NANO = load_vocabulary("nano")


def test_exchanges_are_true_of_the_facts_before_them():
    """Of every face that is spoken of: the verdict of an answer is that of its reading on the facts."""
    prompter = read_bundle(NANO_BUNDLE).prompter
    packed, decided = ExchangeBatches(None, prompter, 4, Text())(1), 0
    for ids, targets in zip(packed["ids"].tolist(), packed["targets"].tolist(), strict=True):
        labels = labels_in(prompter.decode(ids[: targets.index(next(t for t in targets if t != -100))]))
        assert tuple(labels) == NANO.names
        for answer in answers(targets, prompter.stop_id):
            end = answer.index(prompter.answer_id)
            said = {"Yes": True, "No": False}.get(prompter.decode(answer[end:]).strip().split(",")[0])
            assert read(prompter.decode(answer[:end]), NANO).verdict(labels) is said
            decided += said is not None
    assert decided > 5


def labels_in(prefix: str) -> dict:
    """What facts say, read back."""
    every = {(label.word, fact_value(value)): value for label in NANO for value in label.value_names}
    words = prefix.split()
    told = {word: every[word, value] for word, value in itertools.pairwise(words) if (word, value) in every}
    return {label.name: told[label.word] for label in NANO}


def answers(targets: list[int], stop: int) -> list[list[int]]:
    """The answers in a packed sequence, each with its reading before it."""
    found: list[list[int]] = [[]]
    for token in targets:
        if token != -100:
            found[-1].append(token)
            if token == stop:
                found.append([])
    return found[:-1]


def test_packed_exchanges_see_their_prefix_and_themselves_only():
    sequences = [([10, 11], [([20, 21], [30, 1]), ([22], [31, 32, 1])])]
    packed = pack(sequences)
    assert packed["ids"][0].tolist() == [10, 11, 20, 21, 30, 22, 31, 32]
    assert packed["positions"][0].tolist() == [0, 1, 2, 3, 4, 2, 3, 4]
    assert packed["targets"][0].tolist() == [-100, -100, -100, 30, 1, 31, 32, 1]
    seen = packed["mask"][0, 0]
    assert seen[7].tolist() == [True, True, False, False, False, True, True, True]
    assert seen[4].tolist() == [True, True, True, True, True, False, False, False]


def test_packing_equals_asking_one_at_a_time():
    """Logits of a packed exchange are those of the exchange alone after the prefix."""
    torch.manual_seed(0)
    model = FaceInsightModel(tiny_config()).eval()
    rng = random.Random(0)
    prefix = [rng.randrange(5, 600) for _ in range(7)]
    pairs = [([9, 8, 7], [50, 51, 1]), ([6, 5], [52, 1])]
    packed = pack([(prefix, pairs)])
    visual = torch.zeros(1, 1, model.language.width)
    bias = torch.zeros(packed["mask"].shape).masked_fill(~packed["mask"], -1e9)
    with torch.no_grad():
        together = model.language(
            packed["ids"], visual, attention_mask=bias, position_ids=packed["positions"], use_cache=False
        )[0]
        alone = model.language(torch.tensor([[*prefix, 6, 5, 52]]), visual, use_cache=False)[0]
    assert torch.allclose(together[-2:], alone[-2:], atol=1e-4)
