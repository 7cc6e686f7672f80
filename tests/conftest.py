"""Fixtures that several files share: the bundled model and a real photograph; a build's cache of its own."""

from __future__ import annotations

import numpy as np
import pytest

from faceinsight import FaceInsight


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
    """Nothing that a test builds is found by, or left in, the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACEINSIGHT_CACHE", str(folder))
        yield folder


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
