"""The vocabulary `celeba`: a tiny model is trained on a made CelebA folder, built, asked and evaluated."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from faceinsight import FaceInsight
from faceinsight.benchmarks.accuracy import evaluate
from faceinsight.build_engines.build import build_bundle
from faceinsight.models.data.synthetic import generate
from faceinsight.models.training.recipe import Recipe, train
from faceinsight.models.vocabulary import load_vocabulary

from .tiny import tiny_config

pytestmark = pytest.mark.slow

# encoders stay as they begin: what is tried here is that all 40 attributes go the whole way
RECIPE = """
[stage.language]
steps = 2
batch = 2
tokens = 400
[stage.alignment]
steps = 3
batch = 4
faces = 8
logic = 1.0
[stage.instruct]
steps = 2
batch = 2
faces = 8
tokens = 400
"""


@pytest.fixture(scope="module")
def celeba(tmp_path_factory):
    """A folder as CelebA is unpacked, with 16 rendered faces."""
    folder, rng = tmp_path_factory.mktemp("celeba"), np.random.default_rng(0)
    (folder / "img_align_celeba").mkdir()
    names = load_vocabulary("celeba").attribute_names
    rows, partition = [], []
    for number in range(1, 17):
        file = f"{number:06d}.jpg"
        cv2.imwrite(str(folder / "img_align_celeba" / file), generate(number).image[3:221, 23:201, ::-1])
        rows.append(" ".join([file, *(str(rng.choice((-1, 1))) for _ in names)]))
        partition.append(f"{file} {0 if number <= 8 else 1}")
    (folder / "list_attr_celeba.txt").write_text("\n".join([str(len(rows)), " ".join(names), *rows]) + "\n")
    (folder / "list_eval_partition.txt").write_text("\n".join(partition) + "\n")
    return folder


@pytest.fixture(scope="module")
def model(celeba, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    (out / "recipe.toml").write_text(RECIPE)
    # the facts are 40 labels, which leave little of a small context to an answer
    config = dataclasses.replace(tiny_config(vocabulary=load_vocabulary("celeba")), context=384)
    trained = train(Recipe.load(out / "recipe.toml"), config, celeba, out / "run", 1)
    build_bundle(trained, out / "bundle", precision="fp32")
    with FaceInsight.load(out / "bundle", threads=1) as loaded:
        yield loaded


def test_a_face_has_40_attributes_under_their_official_names(model):
    face = model.perceive(generate(0).image, box=(80, 69, 144, 155))
    assert len(face.attributes) == 40 and set(face.labels) == set(face.attributes)
    assert {"5_o_Clock_Shadow", "Mouth_Slightly_Open", "No_Beard", "Young"} <= set(face.labels)
    assert model.ask(face, "Does he have bushy eyebrows?", max_tokens=8).tokens > 0


def test_all_of_them_are_scored(model, celeba):
    found = evaluate(model, celeba, limit=4, task="attributes")
    assert set(found["labels"]) >= set(load_vocabulary("celeba").attribute_names)
    assert all(scores["faces"] == 4 for scores in found["labels"].values())
