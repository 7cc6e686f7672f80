"""Perception on a GPU. A kernel makes the crops, and parser and vision encoder run on two streams at the same time.

    main stream   frame, crops --+-- vision --+-- fusion -- parse maps, probabilities
    side stream                  +-- parser --+

The three steps, detecting, refining and encoding, are CUDA graphs. Only the outputs of detector and refiner, parse maps
and probabilities are copied back to the host.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from .cuda import Device, DeviceArray, Graph, Pool, Stream
from .detect import Box, fitted
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
"""The beginning of crop.cu's struct Crops. The maps follow it, 24 bytes for each face."""
_BLOCK = 16
"""Threads of the kernel along each side of a block."""


class GpuPerception(Perception):
    """Perception with TensorRT on one GPU. It works on one frame at a time; other threads wait.

    use_graphs: with False the steps are enqueued call by call, so that a profiler shows their parts.
    """

    def __init__(
        self,
        executors: Mapping[str, Executor],
        stages: Mapping[str, Stage],
        device: Device,
        max_faces: int,
    ):
        """Allocates all memory and loads the kernel.

        executors: the loaded plans of the stages before the language model. stages: the manifest's entries of the same
        stages. max_faces: the most faces of one batch; more faces are done in several batches.
        """
        self._executors, self._device, self._max_faces = executors, device, max_faces
        self._lock = threading.Lock()
        self._contexts: dict[tuple[str, int], Context] = {}
        self._graphs: dict[tuple[str, int], Graph | None] = {}
        self.use_graphs = True
        with device.current():
            self._main, self._side = device.stream(), device.stream()
            self._cropped, self._parsed, self._filled = device.event(), device.event(), device.event()
            self._times = {name: (device.event(), device.event()) for name in ("crop", "parser", "vision", "fusion")}
            self._kernel = device.kernel(KERNEL, "crop")
            self._arrays = self._allocate(stages)
            self._host = {
                name: device.pinned(self._arrays[name].shape, self._arrays[name].dtype)
                for name in ("faces", "placement", "parse_map", "probabilities")
            }
            size = FRAME.itemsize + max_faces * 24
            # struct Crops on the host and on the device
            self._crops = device.pinned((size,), np.uint8), device.empty((size,), np.uint8)
        self._frame = self._crops[0][: FRAME.itemsize].view(FRAME)
        self._maps = self._crops[0][FRAME.itemsize :].view(np.float32).reshape(max_faces, 2, 3)
        self._uploads = _GrowingBuffer(device)
        tokens = self._arrays["visual_tokens"]
        self._tokens = Pool(lambda: device.empty((1, *tokens.shape[1:]), tokens.dtype))

    def _allocate(self, stages: Mapping[str, Stage]) -> dict[str, DeviceArray]:
        """Allocates every input and output of the stages, for max_faces faces.

        Returns name -> array. The crops, which are called "pixels" in several stages, are "<stage>_pixels".
        """
        arrays = {}
        for stage, entry in stages.items():
            for name, value in entry.tensors.items():
                key = f"{stage}_pixels" if name == "pixels" else name
                if key not in arrays:
                    shape = (self._max_faces, *value.shape[1:])
                    arrays[key] = self._device.empty(shape, self._executors[stage].dtypes[name])
        if arrays["parser_pixels"].shape == arrays["vision_pixels"].shape:
            arrays["parser_pixels"] = arrays["vision_pixels"]  # one crop for both
        return arrays

    def load(self, image):
        if isinstance(image, DeviceFrame):
            return image
        return device_frame(image) if on_device(image) else super().load(image)

    def _faces(self, frame):
        with self._lock, self._device.current():
            self._set_frame(frame)
            self._maps[0] = _inverse(fitted(frame.shape, 1))
            self._run("detect", 1, self._detect)
            self._main.synchronize()
            return self._host["faces"][0].astype(np.float32)

    def perceive(self, frame, boxes):
        with self._lock, self._device.current():
            self._set_frame(frame)
            try:
                return super().perceive(frame, boxes)
            except Exception:
                with contextlib.suppress(Exception):
                    self._side.synchronize()  # the next frame must not find work of this one on the side stream
                raise

    def _placements(self, frame, boxes):
        found = []
        for some in self._batches(boxes):
            self._set_maps(some)
            self._run("refine", len(some), self._refine)
            self._main.synchronize()
            found.append(self._host["placement"][: len(some)].astype(np.float32))
        return np.concatenate(found)

    def _encoded(self, frame, boxes):
        maps, tokens, probabilities, timings = [], [], [], {}
        for some in self._batches(boxes):
            self._set_maps(some)
            self._run("encode", len(some), self._encode)
            for i in range(len(some)):
                tokens.append(self._tokens.lease(self._lent))
                self._main.copy(tokens[-1], self._arrays["visual_tokens"].part(i))
            self._main.synchronize()
            maps.append(self._host["parse_map"][: len(some)].astype(np.uint8))
            probabilities.append(self._host["probabilities"][: len(some)].astype(np.float32))
            for name, (begun, ended) in self._times.items():
                timings[f"{name}_ms"] = timings.get(f"{name}_ms", 0.0) + ended.ms_since(begun)
        return Perceived(boxes, np.concatenate(maps), tokens, np.concatenate(probabilities), timings)

    def _batches(self, boxes: Sequence[Box]) -> list[Sequence[Box]]:
        return [boxes[start : start + self._max_faces] for start in range(0, len(boxes), self._max_faces)]

    def _lent(self, memory: DeviceArray) -> DeviceArray:
        """Returns a new array in the memory of one of the pool, see `Pool.lease`."""
        return DeviceArray(self._device, memory.pointer, memory.shape, memory.dtype, memory)

    def _set_frame(self, frame: np.ndarray | DeviceFrame) -> None:
        """Tells the kernel where the frame is. A frame in host memory is copied to the device first."""
        if isinstance(frame, DeviceFrame):
            if not self._device.holds(frame.pointer):
                raise InputError(f"this frame is not in the memory of {self._device}; copy it there, or to the host")
            if frame.stream is not None:
                self._main.wait_for(frame.stream, self._filled)
            size, red = LAYOUTS[frame.layout]
            values = frame.pointer, frame.chroma, *frame.shape[:2], frame.pitch, size, red
        else:
            host, memory = self._uploads.of(frame.shape)
            host[:] = frame
            self._main.copy(memory, host)
            height, width = frame.shape[:2]
            values = memory.pointer, 0, height, width, width * 3, 3, 0
        self._frame[0] = values

    def _set_maps(self, boxes: Sequence[Box]) -> None:
        """Tells the kernel where the crops of the boxes are. The maps do not depend on the size of the crops."""
        for i, box in enumerate(boxes):
            self._maps[i] = _inverse(crop_matrix(box, 1))

    def _run(self, name: str, count: int, enqueue: Callable[[int], None]) -> None:
        """Enqueues a step: the first time call by call, because a library must have run with a shape before its work
        can be captured, and then as a graph.

        name: "detect", "refine" or "encode". count: number of faces. enqueue: makes the calls of the step for so many
        faces.
        """
        key = name, count
        if self.use_graphs and key not in self._graphs and self._capturable(name, count):
            self._graphs[key] = self._captured(count, enqueue)
        graph = self._graphs.get(key) if self.use_graphs else None
        if graph:
            graph.launch(self._main)
        else:
            enqueue(count)

    def _captured(self, count: int, enqueue: Callable[[int], None]) -> Graph | None:
        """Captures a step. Returns None if that fails; to enqueue the step's calls takes little longer."""
        try:
            with self._main.capture(self._side) as graph:
                enqueue(count)
            return graph
        except FaceInsightError:
            return None

    def _capturable(self, name: str, count: int) -> bool:
        """Tells whether all stages of a step have run with so many faces and can be part of a graph."""
        streams = {
            "detect": {"detector": self._main},
            "refine": {"refiner": self._main},
            "encode": {"parser": self._side, "vision": self._main, "fusion": self._main},
        }[name]
        contexts = {self._contexts.get((stage, count)): stream for stage, stream in streams.items()}
        return all(context is not None and context.capturable(stream) for context, stream in contexts.items())

    def _detect(self, count: int) -> None:
        pixels, faces = (self._arrays[name].head(count) for name in ("detector_pixels", "faces"))
        self._main.copy(self._crops[1], self._crops[0])
        self._crop(self._main, pixels)
        self._execute(self._main, "detector", {"pixels": pixels, "faces": faces})
        self._main.copy(self._host["faces"][:count], faces)

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
        """Enqueues one run of a stage. Each number of faces has its own context, which is bound once."""
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
        begun, ended = self._times[name]
        stream.record_time(begun)
        yield
        stream.record_time(ended)


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Returns the map from crop to frame of a map from frame to crop, both 2x3."""
    return np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]


class _GrowingBuffer:
    """Memory for a uint8 array whose shape changes, on the host and on the device. It grows with the largest shape."""

    def __init__(self, device: Device):
        self._device, self._host, self._memory = device, np.empty(0, np.uint8), None

    def of(self, shape: tuple[int, ...]) -> tuple[np.ndarray, DeviceArray]:
        """Returns the memory as arrays of the given shape: (pinned host array, device array)."""
        size = math.prod(shape)
        if self._host.size < size:
            self._memory = self._device.empty((size,), np.uint8)
            self._host = self._device.pinned((size,), np.uint8)
        memory = DeviceArray(self._device, self._memory.pointer, shape, np.uint8, self._memory)
        return self._host[:size].reshape(shape), memory
