"""Procedural faces: deterministic, their labels consistent, their parse maps in agreement with the labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from faceinsight.models.data.synthetic import CLASS, SIZE, generate, render
from faceinsight.models.vocabulary import load_vocabulary
from faceinsight.runtime.parse_map import PARSE_CLASSES

from .made import told

NANO = load_vocabulary("nano")
SEEDS = st.integers(0, 2**32 - 1)
FACE = {
    "Gender": "male", "Age": "35-49", "Hair_Color": "brown", "Eyeglasses": False, "Smiling": False,
    "Teeth_Visible": False, "Mustache": False, "Beard": False, "Bald": False, "Receding_Hairline": False,
    "Long_Hair": False, "Wearing_Hat": False, "Wearing_Necktie": True,
}  # fmt: skip


FACES = told(st.just(NANO)).map(lambda case: case[-1])
"""Any labels that satisfy every rule, however unlikely."""


def share(sample, part: str, rows: slice = slice(None)) -> float:
    """The class's share of the given rows."""
    return float((sample.parse_map[rows] == CLASS[part]).mean())


def test_same_seed_same_bytes():
    first, again, other = generate(7), generate(7), generate(8)
    assert first.labels == again.labels
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.parse_map, again.parse_map)
    assert (first.image != other.image).any()


@settings(max_examples=40)
@given(FACES, SEEDS)
@example(FACE | {"Beard": True, "Long_Hair": True, "Wearing_Necktie": False}, 303832635)  # the longest beard
def test_map_agrees_with_any_consistent_labels(labels, seed):
    sample = render(labels, np.random.default_rng(seed))
    assert sample.image.shape == (SIZE, SIZE, 3) and sample.image.dtype == np.uint8
    assert sample.parse_map.shape == (SIZE, SIZE) and sample.parse_map.dtype == np.uint8
    assert sample.parse_map.max() < len(PARSE_CLASSES)
    assert sample.labels == labels
    for label, part in (("Eyeglasses", "eye_g"), ("Wearing_Hat", "hat"), ("Teeth_Visible", "mouth")):
        assert (share(sample, part) > 0) == labels[label]
    for part in ("background", "skin", "nose", "l_lip", "hair", "neck", "cloth"):
        assert share(sample, part) > 0, part
    if not labels["Eyeglasses"]:
        assert share(sample, "l_eye") > 0 and share(sample, "r_eye") > 0
    assert labels["Gender"] == "female" or share(sample, "ear_r") == share(sample, "neck_l") == 0


@pytest.mark.parametrize("seed", range(12))
def test_left_parts_are_at_image_right(seed):
    sample = render(FACE, np.random.default_rng(seed))
    for part in ("eye", "brow"):
        left, right = (np.nonzero(sample.parse_map == CLASS[f"{s}_{part}"])[1].mean() for s in "lr")
        assert left > right + 15


@pytest.mark.parametrize("seed", range(8))
def test_hair_follows_its_labels(seed):
    def hair(rows: slice = slice(None), **change) -> float:
        return share(render(FACE | change, np.random.default_rng(seed)), "hair", rows)

    crown, jaw = slice(0, 75), slice(140, 170)
    assert hair(crown, Bald=True) < 0.2 * hair(crown)
    assert hair(crown, Receding_Hairline=True) < hair(crown)
    assert hair(jaw) < 0.01 < hair(jaw, Long_Hair=True)


def test_white_hair_is_brighter_than_black():
    def brightness(colour: str) -> float:
        sample = render(FACE | {"Hair_Color": colour}, np.random.default_rng(3))
        return sample.image[sample.parse_map == CLASS["hair"]].mean()

    assert brightness("black") < brightness("brown") < brightness("gray") < brightness("white")


@pytest.mark.parametrize("seed", range(6))
def test_face_is_where_the_portraits_have_it(seed):
    parse_map = render(FACE, np.random.default_rng(seed)).parse_map
    eyes = np.nonzero(np.isin(parse_map, (CLASS["l_eye"], CLASS["r_eye"])))[0].mean()
    lips = np.nonzero(np.isin(parse_map, (CLASS["u_lip"], CLASS["l_lip"])))[0].mean()
    assert abs(eyes - 104.7) < 8 and abs(lips - 139) < 8
