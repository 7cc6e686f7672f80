"""Batches of face crops: augmented alike in all that belongs to a face, a function of the step alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from faceinsight.models.data.augment import (
    crop_pair,
    cutout,
    nominal_matrix,
    placement,
    random_matrix,
    shows_both_eyes,
    wear_glasses,
)
from faceinsight.models.data.synthetic import generate
from faceinsight.models.training.faces import FaceBatches
from faceinsight.models.vocabulary import load_vocabulary
from faceinsight.runtime.image import crop_matrix
from faceinsight.runtime.parse_map import IGNORE, PARSE_CLASSES

NANO = load_vocabulary("nano")


def test_face_batches_depend_on_the_step_only():
    batches = FaceBatches(None, 4, 64, seed=3, vocabulary=NANO)
    a, b, c = batches(5), batches(5), batches(6)
    assert torch.equal(a["pixels"], b["pixels"]) and torch.equal(a["parse_map"], b["parse_map"])
    assert not torch.equal(a["pixels"], c["pixels"])
    assert a["pixels"].shape == (4, 64, 64, 3) and a["targets"].shape == (4, len(NANO.attributes))


@given(st.integers(0, 2**32))
def test_a_placement_finds_the_nominal_crop(seed):
    """What the refiner is taught is what the runtime does with it: the refined box is that of the nominal crop."""
    size, rng = 64, np.random.default_rng(seed)
    matrix, _ = random_matrix((224, 224), size, rng, 1.5)
    box = (75.0, 77.47, 149.0, 163.79)  # that of the nominal crop
    np.testing.assert_allclose(crop_matrix(box, size), nominal_matrix((224, 224), size), atol=0.05)
    right, down, scale = placement(matrix, (224, 224), size)
    centre = matrix @ [112, 112, 1]
    assert centre == pytest.approx([size * (0.5 + right), size * (0.5 + down)], abs=1e-3)
    assert np.exp(scale) * size == pytest.approx(164 * np.sqrt(abs(np.linalg.det(matrix[:, :2]))), rel=1e-4)


def test_a_mirrored_face_keeps_left_and_right():
    """The subject's left is at the image's right, mirrored or not."""
    rng, left, right = np.random.default_rng(0), PARSE_CLASSES.index("l_brow"), PARSE_CLASSES.index("r_brow")
    mirrored_seen = set()
    for seed in range(12):
        sample = generate(seed)
        matrix, mirrored = random_matrix(sample.image.shape[:2], 96, rng, 0.2)
        parse_map = crop_pair(sample.image, sample.parse_map, matrix, mirrored, 96)[1]
        if {left, right} <= set(parse_map.flat):  # a fringe may cover one
            assert np.argwhere(parse_map == left)[:, 1].mean() > np.argwhere(parse_map == right)[:, 1].mean()
            mirrored_seen.add(mirrored)
    assert mirrored_seen == {True, False}


def test_drawn_glasses_lie_over_the_eyes_of_a_copy():
    sample = next(s for s in map(generate, range(20)) if not s.labels["Eyeglasses"])
    image, parse_map = sample.image.copy(), sample.parse_map.copy()
    worn, worn_map = wear_glasses(image, parse_map, np.random.default_rng(0))
    assert (image == sample.image).all() and (parse_map == sample.parse_map).all()
    glasses = worn_map == PARSE_CLASSES.index("eye_g")
    assert (parse_map[glasses] == PARSE_CLASSES.index("l_eye")).any()
    assert (worn[glasses] != image[glasses]).any() and (worn[-20:] == image[-20:]).all()
    unknown = np.full_like(parse_map, IGNORE)
    assert not shows_both_eyes(unknown) and wear_glasses(image, unknown, np.random.default_rng(0)) is None


def test_both_crops_of_a_face_are_covered_in_the_same_place():
    grey = np.full((224, 224, 3), 200, np.uint8)
    grey[::2] = 60
    for seed in range(20):
        small, large = (
            cutout(np.ascontiguousarray(grey[:size, :size]), np.random.default_rng(seed)) for size in (96, 192)
        )
        # covered pixels are the mean of the two stripes
        places = [np.argwhere((crop > 100) & (crop < 160)) / len(crop) for crop in (small, large)]
        assert (len(places[0]) == 0) == (len(places[1]) == 0)
        if len(places[0]):
            assert np.abs(places[0].min(0) - places[1].min(0)).max() < 0.05
