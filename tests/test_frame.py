"""Frames that are in the memory of a GPU already, on a simulated one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from faceinsight import FaceInsight
from faceinsight.runtime import cuda
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.frame import DeviceFrame, device_frame

from . import simulated_gpu

BOX = simulated_gpu.BOX

pytestmark = pytest.mark.slow


def layouts(pixels: np.ndarray) -> dict[str, np.ndarray]:
    rgba = np.dstack([pixels, np.full(pixels.shape[:2], 9, np.uint8)])
    yuv = cv2.cvtColor(pixels, cv2.COLOR_RGB2YUV_I420)
    height, width = pixels.shape[:2]
    planes = yuv[height:].reshape(2, -1)
    nv12 = np.vstack([yuv[:height], planes.T.reshape(height // 2, width)])
    bgra = rgba[..., [2, 1, 0, 3]].copy()
    return {"rgb": pixels, "bgr": pixels[..., ::-1].copy(), "rgba": rgba, "bgra": bgra, "nv12": nv12}


@pytest.mark.parametrize("layout", ["rgb", "bgr", "rgba", "bgra", "nv12"])
@pytest.mark.parametrize("stride", [None, 2560])
def test_a_frame_on_the_device_stays_there(load_on_gpu, astronaut, layout, stride):
    model = load_on_gpu()
    wanted = model.perceive(astronaut, BOX)
    source = simulated_gpu.OnGpu(load_on_gpu.device, layouts(astronaut)[layout], stride)
    frame = source if layout in ("rgb", "rgba") else device_frame(source, layout)
    start = len(load_on_gpu.device.log)
    face = model.perceive(frame, BOX)
    copies = [
        int(what.split()[-1]) for what in simulated_gpu.done(load_on_gpu.device, start) if what.startswith("copy host")
    ]
    assert max(copies, default=0) < 1000
    if layout == "nv12":  # half of the colour is gone
        assert face.labels["Gender"] == wanted.labels["Gender"] and np.allclose(face.box, wanted.box, atol=3)
    else:
        assert np.array_equal(face.visual_tokens.numpy(), wanted.visual_tokens.numpy())
    # without a box the detector sees the whole frame
    assert np.allclose(model.perceive(frame).box, wanted.box, atol=6)


def test_a_detector_of_ones_own_sees_the_frame_itself(load_on_gpu, astronaut):
    model, seen = load_on_gpu(), []
    model.detector = lambda image: seen.append(image) or [BOX]
    source = simulated_gpu.OnGpu(load_on_gpu.device, astronaut)
    model.perceive(source)
    assert seen == [source]


def test_a_frame_is_waited_for(load_on_gpu, astronaut):
    """The producer's stream fills it while we are already asked."""
    model = load_on_gpu()
    wanted = model.perceive(astronaut, BOX).visual_tokens.numpy()
    with load_on_gpu.device.current():
        producer = load_on_gpu.device.stream()
        pinned = load_on_gpu.device.pinned(astronaut.shape, np.uint8)
        pinned[:] = astronaut
        source = simulated_gpu.OnGpu(load_on_gpu.device, np.zeros_like(astronaut), stream=producer.handle)
        producer.copy(source.memory, pinned)
    assert np.array_equal(model.perceive(source, BOX).visual_tokens.numpy(), wanted)


def test_a_frame_of_which_nobody_says_who_fills_it(load_on_gpu, astronaut):
    """Before the interface's version 3 it is whatever works on the default stream."""
    model = load_on_gpu()
    wanted = model.perceive(astronaut, BOX).visual_tokens.numpy()
    source = simulated_gpu.OnGpu(load_on_gpu.device, np.zeros_like(astronaut))
    source.__cuda_array_interface__ |= {"version": 2}
    with load_on_gpu.device.current():
        pinned = load_on_gpu.device.pinned(astronaut.shape, np.uint8)
        pinned[:] = astronaut
        load_on_gpu.device.legacy.copy(source.memory, pinned)
    assert np.array_equal(model.perceive(source, BOX).visual_tokens.numpy(), wanted)


def test_a_frame_of_another_gpu(load_on_gpu, astronaut):
    model = load_on_gpu()
    with pytest.raises(InputError, match="not in the memory of Simulated GPU"):
        model.perceive(simulated_gpu.OnGpu(simulated_gpu.Device(), astronaut), BOX)


def test_dlpack(load_on_gpu, astronaut):
    torch = pytest.importorskip("torch")

    class Tensor:
        """A producer that says it is on CUDA; its memory is the host's, as the simulated GPU's is."""

        def __init__(self, device):
            self.streams = []
            with device.current():
                self.memory = device.empty(astronaut.shape, np.uint8)
            view = device.at(self.memory.pointer, astronaut.shape, np.uint8)
            view[:] = astronaut
            self.tensor = torch.from_numpy(view)

        __cuda_array_interface__ = None  # PyTorch has an old one, too, that names no stream

        def __dlpack__(self, stream=None):
            self.streams.append(stream)
            return self.tensor.__dlpack__()

        def __dlpack_device__(self):
            return (2, 0)

    model = load_on_gpu()
    source = Tensor(load_on_gpu.device)
    wanted = model.perceive(astronaut, BOX)
    assert np.array_equal(model.perceive(source, BOX).visual_tokens.numpy(), wanted.visual_tokens.numpy())
    assert source.streams == [cuda.LEGACY_STREAM]


@pytest.mark.parametrize(
    ("shape", "kind", "layout", "message"),
    [
        ((4, 4, 3), "<f4", None, "uint8 values .*not f4"),
        ((4, 4), "|u1", None, "needs its layout: rgb, bgr"),
        ((4, 4, 3), "|u1", "yuyv", "needs its layout: rgb, bgr.*'yuyv'"),
        ((4, 4, 4), "|u1", "bgr", "layout bgr is HxWx3"),
        ((5, 4), "|u1", "nv12", "1.5 H rows"),
        ((0, 4, 3), "|u1", "rgb", "HxWx3"),
    ],
)
def test_frames_that_cannot_be_used(shape, kind, layout, message):
    class Source:
        __cuda_array_interface__ = {"shape": shape, "typestr": kind, "data": (1, False), "version": 3}  # noqa: RUF012

    with pytest.raises(InputError, match=message):
        device_frame(Source(), layout)


def test_rows_that_do_not_lie_side_by_side():
    class Source:
        __cuda_array_interface__ = {  # noqa: RUF012
            "shape": (4, 4, 3), "typestr": "|u1", "data": (1, False), "version": 3, "strides": (3, 12, 1)
        }  # fmt: skip

    with pytest.raises(InputError, match="side by side"):
        device_frame(Source())
    with pytest.raises(InputError, match="not in CUDA memory"):
        device_frame(np.zeros((4, 4, 3), np.uint8))


def test_a_device_frame_on_the_cpu(astronaut):
    device = simulated_gpu.Device()
    with pytest.raises(InputError, match="in CUDA memory"):
        FaceInsight.load().perceive(simulated_gpu.OnGpu(device, astronaut))
    assert isinstance(device_frame(simulated_gpu.OnGpu(device, astronaut)), DeviceFrame)
