"""Loaded engines: what closing a model gives back."""

from __future__ import annotations

import gc
import weakref

import pytest

from faceinsight import FaceInsight
from faceinsight.runtime.backend import open_backend
from faceinsight.runtime.bundle import NANO, read_bundle
from faceinsight.runtime.errors import FaceInsightError


def test_a_closed_model_gives_its_engines_back_and_keeps_its_faces(astronaut):
    bundle = read_bundle(NANO)
    backend = open_backend(bundle, "cpu", 1)
    engines = [weakref.ref(engine) for engine in (*backend.engines.values(), backend.perception)]
    with FaceInsight(bundle, backend) as model:
        face = model.perceive(astronaut)
        assert model.ask(face, "is she smiling?").text.startswith("Yes")
    del backend
    gc.collect()
    assert [engine() for engine in engines] == [None] * len(engines)
    assert face.labels["Smiling"] is True and face.to_dict()["attributes"]
    model.close()
    for call in (lambda: model.ask(face, "is she smiling?"), lambda: model.perceive(astronaut)):
        with pytest.raises(FaceInsightError, match="this model was closed; load it again"):
            call()
