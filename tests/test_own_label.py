"""A flag and a number that the code has never heard of: from a folder of made images to the words of an INT8 bundle."""

from __future__ import annotations

import json
import re

import cv2
import numpy as np
import pytest

from faceinsight import FaceInsight
from faceinsight.benchmarks.accuracy import evaluate
from faceinsight.build_engines.build import build_bundle
from faceinsight.models.data.synthetic import generate
from faceinsight.models.training.recipe import Recipe, train
from faceinsight.models.vocabulary import load_vocabulary
from faceinsight.runtime.reading import read

from .tiny import tiny_config

pytestmark = pytest.mark.slow

BOX = (80.0, 69.0, 144.0, 155.0)
"""Where the renderer puts a face, xyxy in pixels of its 224 x 224 images."""

VOCABULARY = """
[labels.Wearing_Helmet]
kind = "flag"
prompt = "a person who wears a helmet"

[labels.Visibility]
kind = "number"
prompt = "how well a face is lit"
unit = "points"
range = [0, 10]
"""

RECIPE = """
[stage.language]
steps = 1000
batch = 8
rate = 6e-3
tokens = 128
[stage.refiner]
steps = 40
batch = 16
[stage.vision]
steps = 200
batch = 16
rate = 1.5e-2
jitter = 0.2
[stage.alignment]
steps = 60
batch = 16
faces = 150
jitter = 0.2
[stage.instruct]
steps = 20
batch = 4
faces = 50
tokens = 200
"""


def made_image(seed: int, helmet: bool, light: float) -> np.ndarray:
    """A rendered face below a striped helmet or none, above a bar that is `light` tenths white; 224x224x3
    uint8 RGB."""
    image = generate(seed).image.copy()
    if helmet:
        image[20:66, 30:194] = np.where(np.arange(164) // 8 % 2, 255, 0)[:, None]
    image[158:200, 40:184] = 0
    image[158:200, 40 : 40 + round(14.4 * light)] = 255
    return image


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of one's own: images/ and labels.csv with a column for each label."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "images").mkdir()
    rows, rng = ["file,split,Wearing_Helmet,Visibility"], np.random.default_rng(0)
    for number in range(120):
        helmet, light = bool(rng.integers(2)), float(rng.integers(0, 10))
        cv2.imwrite(str(folder / "images" / f"{number}.png"), made_image(number, helmet, light)[..., ::-1])
        # a fifth of the numbers is known as a range only
        told = f"{light // 2 * 2:.0f}..{light // 2 * 2 + 2:.0f}" if number % 5 == 0 else f"{light:.0f}"
        rows.append(f"{number}.png,{'val' if number % 3 == 0 else 'train'},{int(helmet)},{told}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder


@pytest.fixture(scope="module")
def bundle(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("helmet")
    (out / "helmet.toml").write_text(VOCABULARY)
    (out / "recipe.toml").write_text(RECIPE)
    config = tiny_config(vocabulary=load_vocabulary(out / "helmet.toml"))
    model = train(Recipe.load(out / "recipe.toml"), config, data, out / "run", 2)
    build_bundle(model, out / "bundle", calibration=data / "images")
    return out / "bundle"


@pytest.fixture(scope="module")
def answers(bundle):
    """(helmet, light, face, model) of faces that training never saw."""
    with FaceInsight.load(bundle, threads=1, min_score=0.2) as model:  # half of a made face is covered
        cases = [(helmet, light) for helmet in (True, False) for light in (1, 4, 8)]
        yield model, [(*case, model.perceive(made_image(900 + i, *case), BOX)) for i, case in enumerate(cases)]


def test_the_label_is_seen(answers):
    _, faces = answers
    assert [face.labels["Wearing_Helmet"] for _, _, face in faces] == [helmet for helmet, _, _ in faces]


def test_the_number_is_seen(answers):
    _, faces = answers
    for _, light, face in faces:
        assert abs(face.numbers["Visibility"] - light) < 2, (light, face.numbers)
        assert face.labels["Visibility"] == round(face.numbers["Visibility"])


def test_the_label_is_spoken_of(answers):
    model, faces = answers
    for helmet, _, face in faces:
        answer = model.ask(face, "Is the person wearing a helmet?")
        assert answer.reading == "wearing-helmet yes"
        assert answer.text.startswith("Yes," if helmet else "No,"), answer.text
        assert set(answer.attributes) == {"Wearing_Helmet"} and answer.confidence > 0.5


def test_the_number_is_stated_and_compared_by_its_value(answers):
    model, faces = answers
    understood, right = [], []
    for _, _, face in faces:
        value = face.labels["Visibility"]
        stated = model.ask(face, "What is the visibility?")
        assert stated.attributes == {"Visibility": face.numbers["Visibility"]}
        assert re.search(r"\d point", stated.text), stated.text
        right.append(f"about {value} point" in stated.text)
        questions = {
            f"Is the visibility below {value + 1} points?": True,
            f"Is the visibility below {value} points?": False,
            f"Is the visibility at least {value} points?": True,
        }
        for question, wanted in questions.items():
            answer = model.ask(face, question)
            verdict = read(answer.reading, model.vocabulary).verdict(face.labels)
            assert verdict is None or answer.text.startswith("Yes," if verdict else "No,"), answer.text
            assert answer.attributes == {"Visibility": face.numbers["Visibility"]}
            understood.append(verdict is not None)
            right.append(answer.text.startswith("Yes,") == wanted)
    assert np.mean(understood) > 0.8
    # so small a language model may misread a digit
    assert np.mean(right) > 0.7


def test_both_are_evaluated(answers, data):
    found = evaluate(answers[0], data)
    assert found["labels"]["Wearing_Helmet"]["balanced_accuracy"] > 0.9
    assert found["numbers"]["Visibility"]["mae"] < 1.5 and found["numbers"]["Visibility"]["unit"] == "points"


def test_the_manifest_says_what_the_number_is(bundle):
    label = json.loads((bundle / "manifest.json").read_text())["vocabulary"]["labels"]["Visibility"]
    assert label["range"] == [0, 10] and label["spread"] > 0
