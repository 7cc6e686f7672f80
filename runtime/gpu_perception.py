"""Perception on a GPU: crops by a kernel, parser and vision encoder on two streams that events join, and both steps
(refine, encode) replayed as CUDA graphs. Only boxes, parse maps and probabilities come back to the host.

    main   frame, crops --+-- vision ---------+-- fusion -- parse maps, probabilities
    side                  +-- parser ---------+
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from .cuda import Device, DeviceArray, Graph, Pool, Stream
from .detect import Box
from .errors import FaceInsightError, InputError
from .frame import LAYOUTS, DeviceFrame, device_frame, on_device
from .image import crop_matrix
from .manifest import Stage
from .perceive import Perceived, Perception
from .tensorrt import Context, Executor

KERNEL = Path(__file__).with_name("crop.cu")
FRAME = np.dtype(
    {"names": ["pixels", "chroma", "height", "width", "pitch", "channels", "red"],
     "formats": ["u8", "u8", "i4", "i4", "i4", "i4", "i4"], "itemsize": 40}
)  # fmt: skip
"""The head of crop.cu's struct Crops; the maps follow."""
_BLOCK = 16
_PICTURE = 480
"""Shorter side, in pixels, of what a face detector on the host sees of a device frame."""


class GpuPerception(Perception):
    """The engines before the language model on one GPU. One frame at a time; other threads wait."""

    def __init__(
        self,
        executors: Mapping[str, Executor],
        stages: Mapping[str, Stage],
        device: Device,
        max_faces: int,
    ):
        """executors: refiner, parser, vision, fusion. stages: the same, as the manifest has them.
        max_faces: of one batch; more are done in several."""
        self._executors, self._device, self._most = executors, device, max_faces
        self._lock = threading.Lock()
        self._contexts: dict[tuple[str, int], Context] = {}
        self._graphs: dict[tuple[str, int], Graph] = {}
        self._capture = True
        with device.current():
            self._main, self._side = device.stream(), device.stream()
            self._cropped, self._parsed, self._filled = device.event(), device.event(), device.event()
            self._marks = {name: (device.event(), device.event()) for name in ("crop", "parser", "vision", "fusion")}
            self._kernel = device.kernel(KERNEL, "crop")
            self._arrays = self._allocate(stages)
            self._host = {
                name: device.pinned(self._arrays[name].shape, self._arrays[name].dtype)
                for name in ("placement", "parse_map", "probabilities")
            }
            size = FRAME.itemsize + max_faces * 24
            self._crops = device.pinned((size,), np.uint8), device.empty((size,), np.uint8)
        self._head = self._crops[0][: FRAME.itemsize].view(FRAME)
        self._maps = self._crops[0][FRAME.itemsize :].view(np.float32).reshape(max_faces, 2, 3)
        self._staging, self._picture = _Buffers(device), _Buffers(device)
        tokens = self._arrays["visual_tokens"]
        self._tokens = Pool(lambda: device.empty((1, *tokens.shape[1:]), tokens.dtype))

    def _allocate(self, stages: Mapping[str, Stage]) -> dict[str, DeviceArray]:
        """Every tensor between the engines, for the most faces, by name; the pixels by stage."""
        arrays = {}
        for stage, entry in stages.items():
            for name, value in entry.tensors.items():
                key = f"{stage}_pixels" if name == "pixels" else name
                if key not in arrays:
                    shape = (self._most, *value.shape[1:])
                    arrays[key] = self._device.empty(shape, self._executors[stage].dtypes[name])
        if arrays["parser_pixels"].shape == arrays["vision_pixels"].shape:
            arrays["parser_pixels"] = arrays["vision_pixels"]  # the same crop
        return arrays

    def load(self, image):
        if isinstance(image, DeviceFrame):
            return image
        return device_frame(image) if on_device(image) else super().load(image)

    def picture(self, frame):
        if not isinstance(frame, DeviceFrame):
            return super().picture(frame)
        height, width = frame.shape[:2]
        scale = min(1.0, _PICTURE / min(height, width))
        shape = (1, max(1, round(height * scale)), max(1, round(width * scale)), 3)
        with self._lock, self._device.current():
            self._fill(frame)
            # pixel centres: frame = (picture + 0.5) / scale - 0.5
            self._maps[0] = np.array([[shape[2], 0, 0.5], [0, shape[1], 0.5]]) / scale - [0, 0, 0.5]
            found, small = self._picture.of(shape)
            self._main.copy(self._crops[1], self._crops[0])
            self._crop(self._main, small)
            self._main.copy(found, small)
            self._main.synchronize()
            return np.array(found[0]), scale

    def perceive(self, frame, boxes):
        with self._lock, self._device.current():
            self._fill(frame)
            try:
                return super().perceive(frame, boxes)
            except Exception:
                with contextlib.suppress(Exception):
                    self._side.synchronize()  # what was begun there must not meet the next frame
                raise

    def _placements(self, frame, boxes):
        found = []
        for some in self._batches(boxes):
            self._aim(some)
            self._run("refine", len(some), self._refine)
            self._main.synchronize()
            found.append(self._host["placement"][: len(some)].astype(np.float32))
        return np.concatenate(found)

    def _encoded(self, frame, boxes):
        maps, tokens, probabilities, timings = [], [], [], {}
        for some in self._batches(boxes):
            self._aim(some)
            self._run("encode", len(some), self._encode)
            for i in range(len(some)):
                tokens.append(self._tokens.lease(self._lent))
                self._main.copy(tokens[-1], self._arrays["visual_tokens"].part(i))
            self._main.synchronize()
            maps.append(self._host["parse_map"][: len(some)].astype(np.uint8))
            probabilities.append(self._host["probabilities"][: len(some)].astype(np.float32))
            for name, (begun, ended) in self._marks.items():
                timings[f"{name}_ms"] = timings.get(f"{name}_ms", 0.0) + ended.ms_since(begun)
        return Perceived(boxes, np.concatenate(maps), tokens, np.concatenate(probabilities), timings)

    def _batches(self, boxes: Sequence[Box]) -> list[Sequence[Box]]:
        return [boxes[start : start + self._most] for start in range(0, len(boxes), self._most)]

    def _lent(self, memory: DeviceArray) -> DeviceArray:
        return DeviceArray(self._device, memory.pointer, memory.shape, memory.dtype, memory)

    def _fill(self, frame: np.ndarray | DeviceFrame) -> None:
        """Tells the kernel where the frame is; one in host memory is copied to the device first."""
        if isinstance(frame, DeviceFrame):
            if not self._device.holds(frame.pointer):
                raise InputError(f"this frame is not in the memory of {self._device}; copy it there, or to the host")
            if frame.stream is not None:
                self._main.wait_for(frame.stream, self._filled)
            size, red = LAYOUTS[frame.layout]
            values = frame.pointer, frame.chroma, *frame.shape[:2], frame.pitch, size, red
        else:
            host, memory = self._staging.of(frame.shape)
            host[:] = frame
            self._main.copy(memory, host)
            height, width = frame.shape[:2]
            values = memory.pointer, 0, height, width, width * 3, 3, 0
        self._head[0] = values

    def _aim(self, boxes: Sequence[Box]) -> None:
        """The maps of the boxes' crops, of any size."""
        for i, box in enumerate(boxes):
            self._maps[i] = np.linalg.inv(np.vstack([crop_matrix(box, 1), [0, 0, 1]]))[:2]

    def _run(self, name: str, count: int, enqueue: Callable[[int], None]) -> None:
        """Enqueues a step for so many faces: the first time call by call, for a library must have worked on a shape
        before it is captured; then as a graph."""
        key = name, count
        if key not in self._graphs and self._capture and self._capturable(name, count):
            try:
                with self._main.capture(self._side) as graph:
                    enqueue(count)
                self._graphs[key] = graph
            except FaceInsightError:
                self._capture = False  # this library's kernels cannot be captured; enqueueing them costs little more
        if key in self._graphs:
            self._graphs[key].launch(self._main)
        else:
            enqueue(count)

    def _capturable(self, name: str, count: int) -> bool:
        """Whether all contexts of the step have worked on so many faces, and can be part of a graph."""
        streams = {"refiner": self._main} if name == "refine" else {
            "parser": self._side, "vision": self._main, "fusion": self._main
        }  # fmt: skip
        contexts = {self._contexts.get((stage, count)): stream for stage, stream in streams.items()}
        return all(context is not None and context.capturable(stream) for context, stream in contexts.items())

    def _refine(self, count: int) -> None:
        pixels, placement = (self._arrays[name].head(count) for name in ("refiner_pixels", "placement"))
        self._main.copy(self._crops[1], self._crops[0])
        self._crop(self._main, pixels)
        self._execute(self._main, "refiner", {"pixels": pixels, "placement": placement})
        self._main.copy(self._host["placement"][:count], placement)

    def _encode(self, count: int) -> None:
        arrays = {name: array.head(count) for name, array in self._arrays.items()}
        main, side = self._main, self._side
        main.copy(self._crops[1], self._crops[0])
        with self._timed("crop", main):
            self._crop(main, arrays["vision_pixels"])
            if arrays["parser_pixels"].pointer != arrays["vision_pixels"].pointer:
                self._crop(main, arrays["parser_pixels"])
        main.record(self._cropped)

        side.wait(self._cropped)
        with self._timed("parser", side):
            self._execute(side, "parser", {"pixels": arrays["parser_pixels"], "parse_map": arrays["parse_map"]})
        side.record(self._parsed)

        with self._timed("vision", main):
            self._execute(main, "vision", {"pixels": arrays["vision_pixels"], "features": arrays["features"]})
        main.wait(self._parsed)
        with self._timed("fusion", main):
            names = "features", "parse_map", "visual_tokens", "probabilities"
            self._execute(main, "fusion", {name: arrays[name] for name in names})
        for name in ("parse_map", "probabilities"):
            main.copy(self._host[name][:count], arrays[name])

    def _execute(self, stream: Stream, stage: str, arrays: Mapping[str, DeviceArray]) -> None:
        """On a context for each number of faces, bound once."""
        key = stage, next(iter(arrays.values())).shape[0]
        context = self._contexts.get(key) or self._executors[stage].context(stream).prepare(arrays)
        context.execute(stream)
        self._contexts[key] = context

    def _crop(self, stream: Stream, out: DeviceArray) -> None:
        count, height, width = out.shape[:3]
        grid = -(-width // _BLOCK), -(-height // _BLOCK), count
        stream.launch(self._kernel, grid, (_BLOCK, _BLOCK, 1), self._crops[1], out, width, height)

    @contextlib.contextmanager
    def _timed(self, name: str, stream: Stream) -> Iterator[None]:
        begun, ended = self._marks[name]
        stream.mark(begun)
        yield
        stream.mark(ended)


class _Buffers:
    """The same memory for arrays of changing shape, uint8, on the host and on the device; it grows with the largest."""

    def __init__(self, device: Device):
        self._device, self._host, self._memory = device, np.empty(0, np.uint8), None

    def of(self, shape: tuple[int, ...]) -> tuple[np.ndarray, DeviceArray]:
        size = math.prod(shape)
        if self._host.size < size:
            self._memory = self._device.empty((size,), np.uint8)
            self._host = self._device.pinned((size,), np.uint8)
        memory = DeviceArray(self._device, self._memory.pointer, shape, np.uint8, self._memory)
        return self._host[:size].reshape(shape), memory
