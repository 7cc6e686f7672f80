"""Fixtures that several files share: the bundled model and a real photograph."""

from __future__ import annotations

import numpy as np
import pytest

from faceinsight import FaceInsight


@pytest.fixture(scope="session")
def model() -> FaceInsight:
    return FaceInsight.load()


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """A real photograph, HxWx3 uint8 RGB: a woman with brown hair who smiles, teeth visible, no glasses, no hat."""
    data = pytest.importorskip("skimage.data")
    return data.astronaut()


@pytest.fixture(scope="session")
def face(model, astronaut):
    return model.perceive(astronaut)
