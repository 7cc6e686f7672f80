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
    tighten,
    wear_glasses,
)
from faceinsight.models.data.joined import JoinedFaces, repeats
from faceinsight.models.data.portraits import Portraits
from faceinsight.models.data.synthetic import generate
from faceinsight.models.data.targets import targets
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


def test_a_tight_face_keeps_the_face_and_loses_what_is_around():
    sample = generate(5)
    image, parse_map = tighten(sample.image, sample.parse_map, np.random.default_rng(1))
    assert image.shape == sample.image.shape
    middle = np.s_[90:150, 90:134]
    side = len(image)
    assert np.array_equal(image[middle], sample.image[middle])
    assert np.array_equal(parse_map[middle], sample.parse_map[middle])
    assert (parse_map[:10] == IGNORE).all() and (parse_map[:, side - 10 :] == IGNORE).all()
    assert (image[:10] == image[:1]).all() and (image[:, :10] == image[:, :1]).all()


def test_dark_glasses_hide_the_eyes():
    sample = next(s for s in map(generate, range(40)) if not s.labels["Eyeglasses"] and shows_both_eyes(s.parse_map))
    eyes = np.isin(sample.parse_map, [PARSE_CLASSES.index(name) for name in ("l_eye", "r_eye")])
    worn, _ = wear_glasses(sample.image, sample.parse_map, np.random.default_rng(0), dark=True)
    assert worn[eyes].std() < 0.6 * sample.image[eyes].std() and worn[eyes].mean() < 110


@given(st.lists(st.tuples(*[st.sampled_from([0.0, 1.0, np.nan])] * 3), min_size=1, max_size=60), st.floats(0, 1))
def test_faces_with_rare_values_come_more_often(rows, rare):
    targets = np.array(rows, np.float32)
    times = repeats(targets, rare)
    assert ((times >= 1) & (times <= 4)).all()
    for column in targets.T:
        known = ~np.isnan(column)
        for value in (0, 1):
            has = column == value
            if has.any() and has.sum() < rare * known.sum():
                assert (times[has] > 1).all()
    assert (repeats(targets, 0.0) == 1).all()


def test_joined_sets_are_one_after_the_other():
    sets = [faces_of(range(3)), faces_of(range(3, 5))]
    joined = JoinedFaces(sets)
    assert len(joined) == 5 and np.array_equal(joined.targets, np.concatenate([s.targets for s in sets]), True)
    for index in range(5):
        image, _, target = joined.face(index)
        assert np.array_equal(image, generate(index).image)
        assert np.array_equal(target, joined.targets[index], equal_nan=True)
    with pytest.raises(IndexError):
        joined.face(5)


def faces_of(seeds) -> Portraits:
    samples = [generate(seed) for seed in seeds]
    return Portraits(
        [s.image for s in samples], [s.parse_map for s in samples], targets([s.labels for s in samples], NANO),
        [str(seed) for seed in seeds], {}, np.full((len(samples), 5, 2), np.nan),
    )  # fmt: skip
