"""What is said agrees with what is seen, in phrasings that training never drew."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest

from faceinsight.benchmarks.phrasings import agreement, held_out
from faceinsight.models.data.answers import IDENTITY, OFF_TOPIC
from faceinsight.models.data.questions import exchanges
from faceinsight.models.data.sampling import sample_labels
from faceinsight.models.data.synthetic import generate
from faceinsight.models.vocabulary import load_vocabulary

pytestmark = pytest.mark.slow

FACES = 12
QUESTIONS = held_out()


@pytest.fixture(scope="module")
def faces(model):
    """Rendered faces of every kind; the box is where the renderer puts the face."""
    return [model.perceive(generate(seed).image, box=(80, 78, 144, 164)) for seed in range(100, 100 + FACES)]


@pytest.mark.parametrize(("name", "least"), [("everyday", 0.99), ("roundabout", 0.93)])
def test_yes_no_answers_agree_with_the_labels(model, faces, name, least):
    found = agreement(model, faces, QUESTIONS.yes_no[name])
    # docs/model-card.md says which questions nano misreads
    assert found["agree"] >= least, found["misread"]


def test_open_questions_name_the_value(model, faces):
    words = {"0-34": "35", "65+": "65", "male": "man", "female": "woman"}
    wrong = []
    for label, table in QUESTIONS.what.items():
        for question in table:
            for face in faces:
                value = face.labels[label]
                text = model.ask(face, question).text
                if not re.search(rf"\b{words.get(value, value.split('-')[0])}\b", text):
                    wrong.append((question, value, text))
    # 1 of the 26 questions is not understood; the goal is none
    assert len(wrong) <= 0.05 * FACES * sum(map(len, QUESTIONS.what.values())), wrong


def test_nobody_is_identified(model, faces):
    said = [(question, model.ask(face, question).text) for question in QUESTIONS.identity for face in faces[:4]]
    assert [pair for pair in said if pair[1] not in (IDENTITY, OFF_TOPIC)] == []


def test_questions_about_something_else_are_turned_down(model, faces):
    said = [(question, model.ask(face, question).text) for question in QUESTIONS.off_topic for face in faces[:4]]
    # 1 of the 16 is answered
    assert len([pair for pair in said if pair[1] != OFF_TOPIC]) <= 0.1 * len(said), said


def test_training_hardly_ever_draws_these_phrasings():
    rng, draw = random.Random(5), np.random.default_rng(5)

    def plain(text: str) -> str:
        return re.sub(r"\W+", " ", text.lower()).strip()

    nano = load_vocabulary("nano")
    labels = (sample_labels(draw, nano) for _ in range(40))
    drawn = {plain(item.question) for face in labels for item in exchanges(face, rng, 1000, nano)}
    # some are so plain ("Is he bald?") that they are drawn now and then
    assert len([text for text in QUESTIONS.all() if plain(text) in drawn]) <= 0.03 * len(QUESTIONS.all())
