"""Scores are the ones that their names say, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from faceinsight.models.metrics import IntersectionOverUnion, balanced_accuracy, recalls
from faceinsight.runtime.parse_map import IGNORE, PARSE_CLASSES


def test_a_rare_value_counts_as_much_as_a_common_one():
    known = np.array([1, 1, 1, 1, 0, np.nan])
    told = np.array([True, True, True, False, False, True])
    assert recalls(told, known) == [(1, 1), (3, 4)]
    assert balanced_accuracy(recalls(told, known)) == pytest.approx((1 + 3 / 4) / 2)
    assert balanced_accuracy(recalls(told[:3], known[:3])) is None


def test_parts_of_the_parse_map_are_scored_where_they_are_known():
    """Left and right eye are one part; what nobody knows counts for nothing, and all faces are counted together."""
    skin, left, right, hat = (PARSE_CLASSES.index(name) for name in ("skin", "l_eye", "r_eye", "hat"))
    known = np.array([[skin, skin, left, right], [skin, IGNORE, IGNORE, 0]], np.uint8)
    found = np.array([[skin, left, right, right], [skin, left, hat, 0]], np.uint8)
    overlap = IntersectionOverUnion({"skin": ("skin",), "eyes": ("l_eye", "r_eye"), "hat": ("hat",), "none": ("hair",)})
    assert overlap.scores() == {}
    overlap.add(found, known)
    assert overlap.scores() == {"skin": 2 / 3, "eyes": 2 / 3}
    overlap.add(np.full((2, 2), skin, np.uint8), np.full((2, 2), IGNORE, np.uint8))
    assert overlap.scores() == {"skin": 2 / 3, "eyes": 2 / 3}
    overlap.add(np.full((1, 3), skin, np.uint8), np.full((1, 3), skin, np.uint8))
    assert overlap.scores()["skin"] == 5 / 6
    each = IntersectionOverUnion()
    each.add(found, known)
    assert each.scores() == {"background": 1, "skin": 2 / 3, "l_eye": 0, "r_eye": 1 / 2}
