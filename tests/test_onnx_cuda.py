"""The target cuda: ONNX Runtime's CUDA provider, for which its CPU provider stands in here."""

from __future__ import annotations

import onnxruntime as ort
import pytest

from faceinsight import FaceInsight
from faceinsight.models.data.synthetic import generate
from faceinsight.runtime import engine
from faceinsight.runtime.errors import BundleError, InputError

pytestmark = pytest.mark.slow

QUESTIONS = ("Is he smiling?", "What colour is the hair?", "describe this face")


@pytest.fixture
def bundle(cuda_bundle):
    return cuda_bundle


@pytest.fixture
def stand_in(monkeypatch):
    """Device 0 is the host."""
    make = ort.OrtValue.ortvalue_from_numpy
    monkeypatch.setattr(engine, "CUDA_PROVIDER", "CPUExecutionProvider")
    monkeypatch.setattr(ort.OrtValue, "ortvalue_from_numpy", lambda array, *place: make(array))


def test_it_says_what_the_cpu_bundle_says(bundle, stand_in):
    there, here = FaceInsight.load(bundle, "cuda:0"), FaceInsight.load()
    image = generate(343).image
    ours, wanted = there.perceive(image), here.perceive(image)
    assert ours.labels == wanted.labels and ours.visual_tokens.dtype == "float16"
    assert max(abs(ours.attributes[name] - p) for name, p in wanted.attributes.items()) < 0.1
    for question in QUESTIONS:
        assert there.ask(ours, question).text == here.ask(wanted, question).text


def test_without_cuda_it_is_one_line(bundle):
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(InputError, match=r"installed without CUDA; .* onnxruntime-gpu") as caught:
        FaceInsight.load(bundle, "cuda")
    assert "\n" not in str(caught.value)


def test_a_cuda_that_does_not_start_is_one_line(bundle, monkeypatch):
    """ONNX Runtime then warns on its log and goes on with the CPU."""
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    with pytest.raises((InputError, BundleError), match=r"cannot start CUDA on GPU 0|cannot load this stage") as caught:
        FaceInsight.load(bundle, "cuda")
    assert "\n" not in str(caught.value)


def test_it_is_not_for_the_cpu(bundle):
    with pytest.raises(BundleError, match=r"built for the target 'cuda'.*--target cpu"):
        FaceInsight.load(bundle)
