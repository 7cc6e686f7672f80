"""A GPU made of the host's memory, for tests of what cannot run here: stands in for runtime/cuda.py's Device and for
the TensorRT module.

Nothing is done when it is enqueued. Whoever synchronises a stream lets all streams go on in an order drawn by chance,
that only the streams' own order and the events bind: what is missing a wait goes wrong in some of the orders. Memory
begins as rubbish, host arrays that are not pinned cannot be copied, and addresses are checked. The kernel is the real
one, compiled for the host. A plan is an ONNX graph, which ONNX Runtime computes.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import random
import re
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from faceinsight.runtime.cuda import LEGACY_STREAM, DeviceArray, OutOfMemoryError
from faceinsight.runtime.errors import FaceInsightError

BOX = (183.0, 69.0, 266.0, 179.0)
"""Roughly the astronaut's face."""
STREAMS: dict[int, Stream] = {}
_HANDLES = itertools.count(1000)


class Device:
    """Like runtime.cuda.Device. log: (stream's number, what) of everything done, in the order it was done."""

    name, sm, ordinal = "Simulated GPU", 89, 0

    def __init__(self, ordinal: int = 0, seed: int = 0, capacity: int = 1 << 32):
        self.random, self.capacity, self.used = random.Random(seed), capacity, 0
        self.streams: list[Stream] = []
        self.blocks: dict[int, np.ndarray] = {}
        self.pins: dict[int, np.ndarray] = {}
        self.log: list[tuple[int, str]] = []
        self.lock = threading.RLock()
        self.depth = threading.local()
        with self.current():
            STREAMS[LEGACY_STREAM] = self.legacy = self.stream()

    def __str__(self) -> str:
        return f"{self.name} (SM {self.sm})"

    @contextlib.contextmanager
    def current(self):
        self.depth.value = getattr(self.depth, "value", 0) + 1
        try:
            yield
        finally:
            self.depth.value -= 1

    def check(self) -> None:
        assert getattr(self.depth, "value", 0), "called outside of device.current()"

    def holds(self, pointer: int) -> bool:
        return any(start <= pointer < start + block.nbytes for start, block in self.blocks.items())

    def stream(self) -> Stream:
        self.check()
        self.streams.append(Stream(self, len(self.streams)))
        return self.streams[-1]

    def event(self) -> Event:
        self.check()
        return Event()

    def empty(self, shape, dtype) -> DeviceArray:
        self.check()
        block = np.empty(max(1, int(np.prod(shape)) * np.dtype(dtype).itemsize), np.uint8)
        if self.used + block.nbytes > self.capacity:
            raise OutOfMemoryError(f"{self} is out of memory")
        self.used += block.nbytes
        block[:] = 0xFF  # NaN, and -1
        self.blocks[block.ctypes.data] = block
        return DeviceArray(self, block.ctypes.data, shape, dtype, block)

    def pinned(self, shape, dtype) -> np.ndarray:
        self.check()
        array = np.full(shape, 0x5A, np.uint8).astype(dtype) if np.dtype(dtype) != np.uint8 else np.empty(shape, dtype)
        self.pins[array.ctypes.data] = array
        return array

    def download(self, array: DeviceArray) -> np.ndarray:
        return self.at(array.pointer, array.shape, array.dtype).copy()

    def kernel(self, source: Path, name: str):
        return functools.partial(_launch, getattr(host_library(source), name))

    def at(self, pointer: int, shape, dtype) -> np.ndarray:
        """The memory as an array. Raises AssertionError outside of what was allocated."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        inside = any(start <= pointer and pointer + size <= start + b.nbytes for start, b in self.blocks.items())
        assert inside, f"{size} bytes at {pointer} were never allocated"
        return np.frombuffer((ctypes.c_uint8 * size).from_address(pointer), dtype).reshape(shape)

    def is_pinned(self, array: np.ndarray) -> bool:
        start = array.ctypes.data
        inside = any(p <= start and start + array.nbytes <= p + pin.nbytes for p, pin in self.pins.items())
        return inside and array.flags.c_contiguous

    def drain(self, wanted: Stream) -> None:
        with self.lock:
            while wanted.queue:
                ready = [stream for stream in self.streams if stream.queue and stream.queue[0].ready()]
                assert ready, "every stream waits for another"
                stream = self.random.choice(ready)
                stream.queue.pop(0).do()


class Event:
    def __init__(self):
        self.recorded = self.done = 0
        self.time = 0.0

    def ms_since(self, earlier: Event) -> float:
        assert self.done and earlier.done, "the time of an event that has not happened"
        return 0.25


class _Work:
    """What a stream does next. what: its name in the log."""

    def __init__(self, stream: Stream, what: str, call, still_valid=lambda: True):
        self.stream, self.what, self.call, self.still_valid = stream, what, call, still_valid

    def ready(self) -> bool:
        return True

    def do(self) -> None:
        self.stream.device.log.append((self.stream.number, self.what))
        self.call()


class _Record(_Work):
    def __init__(self, stream: Stream, event: Event):
        event.recorded += 1
        self.event, self.version = event, event.recorded
        super().__init__(stream, "record", self.happen)

    def happen(self) -> None:
        self.event.done = max(self.event.done, self.version)

    def again(self) -> _Record:
        return _Record(self.stream, self.event)


class _Wait(_Work):
    def __init__(self, stream: Stream, event: Event):
        self.event, self.version = event, event.recorded
        super().__init__(stream, "wait", lambda: None)

    def ready(self) -> bool:
        return self.event.done >= self.version

    def again(self) -> _Wait:
        return _Wait(self.stream, self.event)


class Stream:
    def __init__(self, device: Device, number: int):
        self.device, self.number, self.handle = device, number, next(_HANDLES)
        self.queue: list[_Work] = []
        self.capture_of: Graph | None = None
        STREAMS[self.handle] = self

    def put(self, work: _Work) -> None:
        self.device.check()
        with self.device.lock:
            (self.queue if self.capture_of is None else self.capture_of.work).append(work)

    def copy(self, target, source) -> None:
        assert target.nbytes == source.nbytes, "sizes differ"
        for end in (target, source):
            assert isinstance(end, DeviceArray) or self.device.is_pinned(end), "a host array that is not pinned"

        def memory(end) -> np.ndarray:
            where = end.pointer if isinstance(end, DeviceArray) else end.ctypes.data
            return np.frombuffer((ctypes.c_uint8 * end.nbytes).from_address(where), np.uint8)

        def move():
            for end in (target, source):
                if isinstance(end, DeviceArray):
                    self.device.at(end.pointer, (end.nbytes,), np.uint8)
            memory(target)[:] = memory(source)

        kinds = ["device" if isinstance(end, DeviceArray) else "host" for end in (source, target)]
        self.put(_Work(self, f"copy {' to '.join(kinds)} {source.nbytes}", move))

    def zero(self, array: DeviceArray) -> None:
        self.put(_Work(self, "zero", lambda: self.device.at(array.pointer, (array.nbytes,), np.uint8).fill(0)))

    def launch(self, kernel, grid, block, *arguments) -> None:
        values = [a.pointer if isinstance(a, DeviceArray) else a for a in arguments]
        self.put(_Work(self, "crop", lambda: kernel(grid, block, *values)))

    def record(self, event: Event) -> None:
        self.put(_Record(self, event))

    record_time = record

    def wait(self, event: Event) -> None:
        graph = next((s.capture_of for s in self.device.streams if s.capture_of), None)
        inside = graph is not None and any(isinstance(w, _Record) and w.event is event for w in graph.work)
        if inside and self.capture_of is None and self in graph.others:
            self.capture_of = graph  # it joins
        self.put(_Wait(self, event))

    def wait_for(self, handle: int, event: Event) -> None:
        STREAMS[handle].record(event)
        self.wait(event)

    def synchronize(self) -> None:
        self.device.check()
        assert self.capture_of is None, "synchronising a stream that is captured"
        self.device.drain(self)

    @contextlib.contextmanager
    def capture(self, *others: Stream):
        graph = Graph(self, others)
        self.capture_of = graph
        try:
            yield graph
        finally:
            for stream in (self, *others):
                stream.capture_of = None
        graph.close()


class Graph:
    def __init__(self, origin: Stream, others: tuple[Stream, ...]):
        self.origin, self.others, self.work = origin, others, []

    def close(self) -> None:
        """Every stream that joined must be waited for after its last work."""
        for stream in self.others:
            places = [i for i, work in enumerate(self.work) if work.stream is stream]
            if not places:
                continue
            last = self.work[places[-1]]
            waits = [w.event for w in self.work[places[-1] :] if isinstance(w, _Wait) and w.stream is self.origin]
            if not isinstance(last, _Record) or last.event not in waits:
                raise FaceInsightError("a captured stream was not joined")

    def launch(self, stream: Stream) -> None:
        stream.put(_Work(stream, "graph", self.replay))

    def replay(self) -> None:
        assert all(work.still_valid() for work in self.work), "a graph whose context was bound to something else since"
        queues: dict[Stream, list[_Work]] = {}
        for work in self.work:
            again = work.again() if isinstance(work, (_Record, _Wait)) else work
            queues.setdefault(work.stream, []).append(again)
        while any(queues.values()):
            ready = [queue for queue in queues.values() if queue and queue[0].ready()]
            assert ready, "a graph that waits for itself"
            self.origin.device.random.choice(ready).pop(0).call()


_SHIM = r"""
#include <cmath>
struct Place { int x, y, z; };
static thread_local Place blockIdx, blockDim, threadIdx;
#define __device__
#define __global__
#include "SOURCE"
extern "C" void host_NAME(int gx, int gy, int gz, int bx, int by,
                          const Crops* frame, unsigned char* out, int w, int h) {
    blockDim = {bx, by, 1};
    for (int z = 0; z < gz; z++) for (int y = 0; y < gy; y++) for (int x = 0; x < gx; x++)
        for (int j = 0; j < by; j++) for (int i = 0; i < bx; i++) {
            blockIdx = {x, y, z};
            threadIdx = {i, j, 0};
            NAME(frame, out, w, h);
        }
}
"""


@functools.cache
def host_library(source: Path):
    """The kernel compiled for the host."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("a C++ compiler is needed to run the kernel on the host")
    folder = Path(tempfile.mkdtemp())
    shim = _SHIM.replace("SOURCE", str(source)).replace("NAME", "crop")
    (folder / "kernel.cpp").write_text(shim)
    built = folder / "kernel.so"
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(built), str(folder / "kernel.cpp")]
    subprocess.run(command, check=True, capture_output=True)
    library = ctypes.CDLL(str(built))
    library.crop = library.host_crop
    return library


def _launch(function, grid, block, crops: int, out: int, width: int, height: int) -> None:
    function(*grid, *block[:2], ctypes.c_void_p(crops), ctypes.c_void_p(out), width, height)


class TensorRT:
    """The module: what runtime/tensorrt.py uses of it. rtx: TensorRT-RTX. failing: stages whose next run fails;
    uncapturable: those that cannot be part of a graph; foreign: refuses plans."""

    def __init__(self, version: str, device: Device, rtx: bool = True):
        self.__version__, self._device = version, device
        self.uncapturable: set[str] = set()
        if rtx:
            self.DynamicShapesKernelSpecializationStrategy = Specialization
        self.failing: set[str] = set()
        self.strategies: list[str] = []
        self.foreign = False
        outer = self

        class ILogger:
            ERROR = 1

            def __init__(self):
                pass

        class Runtime:
            def __init__(self, log):
                self.log = log

            def deserialize_cuda_engine(self, plan: bytes):
                if outer.foreign:
                    self.log.log(1, "the plan is of\nanother platform")
                    return None
                return Engine(outer, plan, self.log)

        class TensorIOMode:
            INPUT, OUTPUT = "input", "output"

        self.ILogger, self.Runtime, self.TensorIOMode = ILogger, Runtime, TensorIOMode

    class ExecutionContextAllocationStrategy:
        USER_MANAGED = "user"

    @staticmethod
    def nptype(dtype):
        return dtype


_TYPES = {"float16": np.float16, "float": np.float32, "int64": np.int64, "int32": np.int32, "uint8": np.uint8}


class Engine:
    device_memory_size_v2 = 1 << 20

    def __init__(self, library: TensorRT, plan: bytes, log):
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(plan, options, providers=["CPUExecutionProvider"])
        self.library, self.log = library, log
        values = [*self.session.get_inputs(), *self.session.get_outputs()]
        self.types = {v.name: _TYPES[re.fullmatch(r"tensor\((\w+)\)", v.type)[1]] for v in values}
        self.names, self.inputs = list(self.types), [v.name for v in self.session.get_inputs()]
        self.num_io_tensors = len(self.names)
        self.num_optimization_profiles = 2 if "input_ids" in self.inputs else 1

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_dtype(self, name: str):
        return self.types[name]

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name in self.inputs else "output"

    def create_runtime_config(self) -> RuntimeConfig:
        return RuntimeConfig()

    def create_execution_context(self, given: RuntimeConfig | str) -> Context:
        """given: TensorRT-RTX's config, or the allocation strategy."""
        if isinstance(given, RuntimeConfig):
            self.library.strategies.append(given.dynamic_shapes_kernel_specialization_strategy)
            self.library.kernels, given = given.cache, given.allocation
        assert given == "user"
        return Context(self)


class Specialization:
    NONE, EAGER = "none", "eager"


class RuntimeConfig:
    """TensorRT-RTX's: how a context compiles its kernels, and where it keeps them."""

    dynamic_shapes_kernel_specialization_strategy = cache = allocation = None

    def set_execution_context_allocation_strategy(self, strategy: str) -> None:
        self.allocation = strategy

    def create_runtime_cache(self) -> Kernels:
        return Kernels()

    def set_runtime_cache(self, cache: Kernels) -> None:
        self.cache = cache


class Kernels:
    known = b""

    def deserialize(self, content: bytes) -> bool:
        self.known = content
        return True

    def serialize(self) -> bytes:
        return self.known + b"kernel"


class Context:
    def __init__(self, engine: Engine):
        self.engine, self.shapes, self.addresses, self.scratch, self.bound = engine, {}, {}, None, 0

    def set_device_memory(self, pointer: int, size: int) -> None:
        assert size >= self.engine.device_memory_size_v2 and self.engine.library._device.holds(pointer)
        self.scratch = pointer

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        return True

    def set_input_shape(self, name: str, shape) -> bool:
        self.bound += self.shapes.get(name) != tuple(shape)
        self.shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name: str, pointer: int) -> bool:
        self.bound += self.addresses.get(name) != pointer
        self.addresses[name] = pointer
        return True

    @property
    def name(self) -> str:
        engine = self.engine
        outputs = set(engine.names) - set(engine.inputs)
        return "language" if "input_ids" in engine.inputs else "+".join(sorted(outputs))

    def is_stream_capturable(self, stream: int) -> bool:
        return self.name not in self.engine.library.uncapturable

    def execute_async_v3(self, stream: int) -> bool:
        engine, library, name = self.engine, self.engine.library, self.name
        assert self.scratch is not None, "no memory to work in"
        if name in library.failing:
            library.failing.discard(name)
            engine.log.log(1, "an illegal something")
            return False
        shapes, addresses, bound = dict(self.shapes), dict(self.addresses), self.bound

        def compute():
            at = library._device.at
            feeds = {n: at(addresses[n], shapes[n], engine.types[n]).copy() for n in engine.inputs}
            found = engine.session.run(None, feeds)
            for value, output in zip(found, engine.session.get_outputs(), strict=True):
                at(addresses[output.name], value.shape, value.dtype)[...] = value

        work = _Work(STREAMS[stream], name, compute, lambda: self.bound == bound)
        STREAMS[stream].put(work)
        return True


class OnGpu:
    """A producer's array in (simulated) device memory. stride: bytes from row to row."""

    def __init__(self, device, pixels: np.ndarray, stride: int | None = None, stream=None):
        height, row = pixels.shape[0], pixels.reshape(pixels.shape[0], -1)
        stride = stride or row.shape[1]
        with device.current():
            self.memory = device.empty((height, stride), np.uint8)
        device.at(self.memory.pointer, (height, stride), np.uint8)[:, : row.shape[1]] = row
        strides = (stride, *pixels.strides[1:])
        data = (self.memory.pointer, False)
        self.__cuda_array_interface__ = {
            "shape": pixels.shape, "typestr": "|u1", "data": data, "strides": strides, "version": 3, "stream": stream
        }  # fmt: skip


def done(device, start: int = 0) -> list[str]:
    """What the streams did, without events."""
    return [what for _, what in device.log[start:] if what not in ("record", "wait", "zero")]
