"""What is said agrees with what is seen, in phrasings that training never drew."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest

from faceinsight.models.data import questions
from faceinsight.models.data.synthetic import generate, sample_labels

from .phrasings import IDENTITY, OFF_TOPIC, WHAT, YES_NO

FACES = 12


@pytest.fixture(scope="module")
def faces(model):
    """Rendered faces of every kind; the box is where the renderer puts the face."""
    return [model.perceive(generate(seed).image, box=(80, 78, 144, 164)) for seed in range(100, 100 + FACES)]


def test_yes_no_answers_agree_with_the_labels(model, faces):
    wrong, asked = [], 0
    for label, table in YES_NO.items():
        for question, yes in table:
            for face in faces:
                holds = face.labels[label] in yes if isinstance(yes, tuple) else face.labels[label] == yes
                text = model.ask(face, question).text
                asked += 1
                if not re.match("Yes" if holds else "No", text):
                    wrong.append((question, face.labels[label], text))
    # the goal is 1 %: the README says how far nano is from it
    assert len(wrong) <= 0.1 * asked, f"{len(wrong)} of {asked}: {wrong[:20]}"


def test_open_questions_name_the_value(model, faces):
    words = {"0-34": "35", "65+": "65", "male": "man", "female": "woman"}
    wrong = []
    for label, table in WHAT.items():
        for question in table:
            for face in faces:
                value = face.labels[label]
                text = model.ask(face, question).text
                if not re.search(rf"\b{words.get(value, value.split('-')[0])}\b", text):
                    wrong.append((question, value, text))
    assert len(wrong) <= 0.05 * FACES * sum(map(len, WHAT.values())), wrong


def test_nobody_is_identified(model, faces):
    said = [(question, model.ask(face, question).text) for question in IDENTITY for face in faces[:4]]
    refusals = (questions.IDENTITY, questions.OFF_TOPIC)
    assert [pair for pair in said if pair[1] not in refusals] == []


def test_questions_about_something_else_are_turned_down(model, faces):
    said = [(question, model.ask(face, question).text) for question in OFF_TOPIC for face in faces[:4]]
    assert len([pair for pair in said if pair[1] != questions.OFF_TOPIC]) <= 0.1 * len(said), said


def test_training_never_drew_these_phrasings():
    rng, draw = random.Random(5), np.random.default_rng(5)

    def plain(text: str) -> str:
        return re.sub(r"\W+", " ", text.lower()).strip()

    faces = (sample_labels(draw) for _ in range(40))
    drawn = {plain(item.question) for labels in faces for item in questions.exchanges(labels, rng, 1000)}
    ours = [q for table in YES_NO.values() for q, _ in table] + [q for table in WHAT.values() for q in table]
    assert [q for q in [*ours, *IDENTITY, *OFF_TOPIC] if plain(q) in drawn] == []
