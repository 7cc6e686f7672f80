"""The GPU runtime on a real GPU, with each library that is there; elsewhere everything here is skipped, and
test_gpu.py has what can be known without one."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from faceinsight import FaceInsight
from faceinsight.build_engines.build import build_bundle
from faceinsight.models.data.synthetic import generate
from faceinsight.runtime.errors import FaceInsightError
from faceinsight.runtime.frame import device_frame
from faceinsight.runtime.targets import CUDA

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that PyTorch knows")
QUESTIONS = ("Is he smiling?", "What colour is the hair?", "describe this face")


@pytest.fixture(scope="module", params=["tensorrt", "tensorrt-rtx", "cuda"])
def there(request, tmp_path_factory):
    """The bundle of each target, on the first GPU."""
    out = tmp_path_factory.mktemp(request.param) / "bundle"
    major, minor = torch.cuda.get_device_capability(0)
    options = {"sm": (10 * major + minor,)} if request.param == "tensorrt-rtx" else {}
    try:
        build_bundle(None, out, request.param, **options)
        return FaceInsight.load(out, "cuda:0")
    except FaceInsightError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def images(model):
    """Rendered faces that the detector finds."""
    found = [image for image in (generate(seed).image for seed in range(14)) if model.detect(image)]
    return found[:12]


def test_it_says_what_the_cpu_says(there, images):
    here, same, total = FaceInsight.load(), 0, 0
    for image in images:
        ours, wanted = there.perceive(image), here.perceive(image)
        for question in QUESTIONS:
            total += 1
            same += there.ask(ours, question).text == here.ask(wanted, question).text
    assert same >= 0.9 * total, f"{same} of {total}"


def test_the_same_frame_gives_the_same_every_time(there, images):
    """From call by call to graphs, and between other frames."""
    first = there.perceive(images[0])
    for image in (images[1], images[0], images[0]):
        again = there.perceive(image)
    assert again.attributes == first.attributes and np.array_equal(again.parse_map, first.parse_map)
    assert there.ask(again, QUESTIONS[2]).text == there.ask(first, QUESTIONS[2]).text


def test_a_batch_is_its_faces(there, images, monkeypatch):
    frame = np.concatenate(images[:3], axis=1)
    boxes = [face.box for face in there.detect(frame)]
    monkeypatch.setattr(there, "detector", lambda image: boxes)
    for one, box in zip(there.perceive_all(frame), boxes, strict=True):
        other = there.perceive(frame, box)
        assert max(abs(one.attributes[name] - p) for name, p in other.attributes.items()) < 0.02


def test_a_frame_of_pytorch_stays_on_the_gpu(there, images):
    if there.bundle.target is CUDA:
        pytest.skip("ONNX Runtime crops on the host")
    box = there.detect(images[0])[0].box
    wanted = there.perceive(images[0], box)
    for pixels, layout in ((images[0], None), (images[0][..., ::-1].copy(), "bgr")):
        on_gpu = torch.from_numpy(pixels).cuda(non_blocking=True)
        found = there.perceive(on_gpu if layout is None else device_frame(on_gpu, layout), box)
        assert found.attributes == wanted.attributes
    assert torch.as_tensor(found.visual_tokens, device="cuda").isfinite().all()


def test_perceiving_and_answering_at_once(there, images):
    face = there.perceive(images[0])
    text, found = there.ask(face, QUESTIONS[2]).text, []
    thread = threading.Thread(target=lambda: found.extend(there.perceive(image).labels for image in images))
    thread.start()
    texts = {there.ask(face, QUESTIONS[2]).text for _ in range(20)}
    thread.join()
    assert texts == {text} and found == [there.perceive(image).labels for image in images]


def test_after_a_frame_that_does_not_fit_the_next_one_is_answered(there, images):
    if there.bundle.target is CUDA or torch.cuda.get_device_properties(0).is_integrated:
        pytest.skip("ONNX Runtime crops on the host; an integrated GPU shares its memory")
    wanted, (free, _) = there.perceive(images[0]).labels, torch.cuda.mem_get_info()
    hog = torch.empty(max(0, free - (64 << 20)), dtype=torch.uint8, device="cuda")
    with pytest.raises(FaceInsightError, match="out of memory"):
        there.perceive(np.zeros((9000, 9000, 3), np.uint8), (10, 10, 500, 600))
    del hog
    torch.cuda.empty_cache()
    assert there.perceive(images[0]).labels == wanted
