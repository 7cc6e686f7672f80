"""nano's own tokenizer: byte-level BPE over the generated questions, answers and fact lines; or a backbone's."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np

from faceinsight.runtime.errors import InputError, reason
from faceinsight.runtime.prompt import PromptTemplate
from faceinsight.runtime.vocabulary import Vocabulary

from .questions import exchanges
from .sampling import sample_labels

SPECIAL = ("<bos>", "<eos>", "<pad>", "<q>", "<a>")


def corpus(template: PromptTemplate, vocabulary: Vocabulary, count: int, seed: int = 0) -> Iterator[str]:
    """`count` faces' worth of fact lines, questions and answers over the vocabulary."""
    rng, draw = random.Random(seed), np.random.default_rng(seed)
    for _ in range(count):
        labels = sample_labels(draw, vocabulary)
        yield template.fact_separator.join(vocabulary.facts(labels))
        for item in exchanges(labels, rng, 6, vocabulary):
            yield template.normalise(item.question)
            yield item.answer


def backbone_tokenizer(name: str, template: PromptTemplate) -> str:
    """The content of tokenizer.json of a language model that comes with its own, with the template's tokens added where
    it lacks them. name: a local directory or a hub id. Raises InputError for one without a fast tokenizer."""
    tokenizer = _fast_tokenizer(name)
    tokenizer.add_special_tokens(unknown_tokens(name, template))
    return tokenizer.to_str()


def unknown_tokens(name: str, template: PromptTemplate) -> list[str]:
    """The template's tokens that a language model's own tokenizer lacks. Raises InputError as `backbone_tokenizer`."""
    tokenizer = _fast_tokenizer(name)
    return [token for token in template.special_tokens() if tokenizer.token_to_id(token) is None]


def _fast_tokenizer(name: str):
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name).backend_tokenizer
    except Exception as error:  # transformers raises nearly anything for a damaged directory
        raise InputError(
            f"{name} has no tokenizer that can be used ({reason(error)}); it needs a tokenizer.json"
        ) from error


FACES_A_TOKEN = 4
"""Faces that are spoken of for each token of the vocabulary: fewer tokens need less text to be counted in."""


def train_tokenizer(
    template: PromptTemplate, vocab_size: int, vocabulary: Vocabulary, count: int | None = None, seed: int = 0
) -> str:
    """Returns the content of tokenizer.json, for questions and answers over the vocabulary."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(template, vocabulary, count or FACES_A_TOKEN * vocab_size, seed), trainer)
    return tokenizer.to_str()
