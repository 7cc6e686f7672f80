"""The only module that calls CUDA: devices, streams, events, memory, kernels and graphs.

It uses pycuda, and the driver's library for what pycuda lacks: stream capture, and events inside of graphs and on
streams of other libraries.

All calls must be made inside of `with device.current():`, which makes the device's context current and turns CUDA's
errors into ours. pycuda frees memory only in the thread that loaded the device or inside of `current`. Buffers that are
needed again and again therefore belong in a `Pool`.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import math
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from .errors import FaceInsightError, InputError, reason

_CAPTURE_THREAD_LOCAL = 1  # calls of other threads do not break a capture
_RECORD_EXTERNAL = 1
_NON_BLOCKING = 1
_POINTER_ORDINAL = 9
LEGACY_STREAM = 1
"""CUDA's handle of the default stream. It waits for all blocking streams, and they wait for it; PyTorch works on it."""


class OutOfMemoryError(FaceInsightError):
    """The GPU has not enough free memory."""


class DeviceArray:
    """A C-contiguous array in device memory. Other libraries read it through `__cuda_array_interface__`."""

    def __init__(self, device: Device, pointer: int, shape: tuple[int, ...], dtype, owner: object = None):
        """pointer: address of the first value. owner: the object that keeps the memory alive."""
        self.device, self.pointer, self.shape, self.dtype = device, pointer, tuple(shape), np.dtype(dtype)
        self._owner = owner

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def __cuda_array_interface__(self) -> dict:
        data = (self.pointer, False)
        return {"shape": self.shape, "typestr": self.dtype.str, "data": data, "strides": None, "version": 3}

    def head(self, count: int) -> DeviceArray:
        """Returns the first `count` entries along the first axis, without a copy."""
        return DeviceArray(self.device, self.pointer, (count, *self.shape[1:]), self.dtype, self._owner)

    def part(self, index: int) -> DeviceArray:
        """Returns entry `index` along the first axis, which stays as an axis of length 1, without a copy."""
        one = self.nbytes // self.shape[0]
        return DeviceArray(self.device, self.pointer + index * one, (1, *self.shape[1:]), self.dtype, self._owner)

    def numpy(self) -> np.ndarray:
        """Returns a copy in host memory. The work that fills the array must be done."""
        with self.device.current():
            return self.device.download(self)

    def __repr__(self) -> str:
        return f"DeviceArray({self.shape}, {self.dtype}, {self.device.name})"


class Device:
    """A GPU. It uses the GPU's primary context, as PyTorch and CUDA's runtime library do."""

    def __init__(self, ordinal: int = 0):
        """Opens a GPU.

        ordinal: its number, from 0. Raises InputError where pycuda or the driver is missing or there is no such GPU.
        """
        self._driver = _pycuda("driver")
        try:
            self._driver.init()
            count = self._driver.Device.count()
            if not 0 <= ordinal < count:
                raise InputError(f"there is no GPU {ordinal}; this machine has {count}, counted from cuda:0")
            found = self._driver.Device(ordinal)
            self._context = found.retain_primary_context()
        except self._driver.Error as error:
            raise InputError(
                f"CUDA cannot start here: {reason(error)}; it needs an NVIDIA GPU and its driver (nvidia-smi shows "
                "both), or use device cpu"
            ) from error
        self.ordinal, self.name = ordinal, found.name()
        major, minor = found.compute_capability()
        self.sm = 10 * major + minor
        self._library = _driver_library()
        self._modules: dict[str, object] = {}

    def __str__(self) -> str:
        return f"{self.name} (SM {self.sm})"

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Makes the GPU's context current in this thread and turns CUDA's errors into FaceInsightErrors of one line."""
        self._context.push()
        try:
            yield
        except self._driver.MemoryError as error:
            raise OutOfMemoryError(f"{self} is out of memory: {reason(error)}; {self._advice()}") from error
        except self._driver.Error as error:
            raise FaceInsightError(
                f"CUDA failed on {self}: {reason(error)}; if the next call fails too, start the process again"
            ) from error
        finally:
            self._driver.Context.pop()

    def _advice(self) -> str:
        """Returns how much memory is free and how to free more, for an error message."""
        try:
            free, whole = (n >> 20 for n in self._driver.mem_get_info())
        except self._driver.Error:
            return "end other programs on the GPU"
        return f"{free} of {whole} MiB are free: end other programs on the GPU, or build with a smaller --max-faces"

    def holds(self, pointer: int) -> bool:
        """Tells whether an address is in the memory of this GPU."""
        found = ctypes.c_int(-1)
        asked = self._library.cuPointerGetAttribute(ctypes.byref(found), _POINTER_ORDINAL, ctypes.c_uint64(pointer))
        return asked == 0 and found.value == self.ordinal

    def stream(self) -> Stream:
        """Makes a stream."""
        return Stream(self)

    def event(self) -> Event:
        """Makes an event."""
        return Event(self)

    def empty(self, shape: tuple[int, ...], dtype) -> DeviceArray:
        """Allocates an array in device memory, with undefined content."""
        memory = self._driver.mem_alloc(max(1, math.prod(shape) * np.dtype(dtype).itemsize))
        return DeviceArray(self, int(memory), shape, dtype, memory)

    def pinned(self, shape: tuple[int, ...], dtype) -> np.ndarray:
        """Allocates an array in pinned host memory, which `Stream.copy` needs for its host side."""
        return self._driver.pagelocked_empty(shape, dtype)

    def download(self, array: DeviceArray) -> np.ndarray:
        """Returns a copy of an array in host memory; inside of `current`, `DeviceArray.numpy` elsewhere."""
        found = np.empty(array.shape, array.dtype)
        self._driver.memcpy_dtoh(found, array.pointer)
        return found

    def kernel(self, source: Path, name: str):
        """Returns a kernel of a CUDA source file, for `Stream.launch`.

        nvcc compiles the file once; pycuda keeps the result on disk. name: of the kernel. Raises FaceInsightError if
        nvcc is missing or fails.
        """
        key = str(source)
        if key not in self._modules:
            compiler = _pycuda("compiler")
            try:
                text = source.read_text(encoding="utf-8")
                self._modules[key] = compiler.SourceModule(text, no_extern_c=True, arch=f"sm_{self.sm}")
            except (OSError, self._driver.CompileError) as error:
                said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
                raise FaceInsightError(
                    f"nvcc cannot compile {source.name} for {self}: {said[-1] if said else error!r}; put the CUDA "
                    "toolkit's bin directory on PATH"
                ) from error
        return self._modules[key].get_function(name)

    def check(self, result: int, call: str) -> None:
        """Raises FaceInsightError if a call to the driver's library failed.

        result: what the call returned. call: name of the driver's function.
        """
        if result:
            text = ctypes.c_char_p()
            self._library.cuGetErrorString(result, ctypes.byref(text))
            said = text.value.decode() if text.value else f"error {result}"
            raise FaceInsightError(f"CUDA failed on {self}: {call}: {said}")


class Event:
    """A point in the work of a stream."""

    def __init__(self, device: Device):
        self.device, self.handle = device, ctypes.c_void_p()
        device.check(device._library.cuEventCreate(ctypes.byref(self.handle), 0), "cuEventCreate")

    def ms_since(self, earlier: Event) -> float:
        """Returns the time in ms between two events. The work before both must be done."""
        found = ctypes.c_float()
        read = self.device._library.cuEventElapsedTime(ctypes.byref(found), earlier.handle, self.handle)
        self.device.check(read, "cuEventElapsedTime")
        return found.value


class Stream:
    """A queue of work for the GPU, done in the order of the calls. Only `synchronize` waits; all other calls return at
    once.
    """

    def __init__(self, device: Device):
        self.device = device
        # non-blocking: it does not wait for work on the default stream, such as PyTorch's
        self._stream = device._driver.Stream(_NON_BLOCKING)
        self.handle: int = self._stream.handle
        self._pointer = ctypes.c_void_p(self.handle)
        self._capturing = False

    def copy(self, target: DeviceArray | np.ndarray, source: DeviceArray | np.ndarray) -> None:
        """Copies an array. Both sides have the same number of bytes.

        An array in host memory must be pinned, and must not change before the copy is done.
        """
        driver = self.device._driver
        if target.nbytes != source.nbytes:
            raise ValueError(f"copying {source.nbytes} bytes into {target.nbytes}")
        if isinstance(source, np.ndarray):
            driver.memcpy_htod_async(target.pointer, source, self._stream)
        elif isinstance(target, np.ndarray):
            driver.memcpy_dtoh_async(target, source.pointer, self._stream)
        else:
            driver.memcpy_dtod_async(target.pointer, source.pointer, source.nbytes, self._stream)

    def zero(self, array: DeviceArray) -> None:
        """Fills an array with zeros."""
        self.device._driver.memset_d8_async(array.pointer, 0, array.nbytes, self._stream)

    def launch(self, kernel, grid: tuple[int, int, int], block: tuple[int, int, int], *arguments) -> None:
        """Runs a kernel. arguments: DeviceArrays, which it takes as pointers, and ints, which it takes as int."""
        values = [np.uint64(a.pointer) if isinstance(a, DeviceArray) else np.int32(a) for a in arguments]
        kernel(*values, grid=grid, block=block, stream=self._stream)

    def record(self, event: Event) -> None:
        """Marks this point of the stream with an event, for `wait`."""
        recorded = self.device._library.cuEventRecord(event.handle, self._pointer)
        self.device.check(recorded, "cuEventRecord")

    def record_time(self, event: Event) -> None:
        """Marks this point of the stream with an event for `Event.ms_since`. It also works inside of a graph."""
        if not self._capturing:
            return self.record(event)
        recorded = self.device._library.cuEventRecordWithFlags(event.handle, self._pointer, _RECORD_EXTERNAL)
        self.device.check(recorded, "cuEventRecordWithFlags")

    def wait(self, event: Event) -> None:
        """Makes the work that follows on this stream begin after an event."""
        waited = self.device._library.cuStreamWaitEvent(self._pointer, event.handle, 0)
        self.device.check(waited, "cuStreamWaitEvent")

    def wait_for(self, handle: int, event: Event) -> None:
        """Makes the work that follows on this stream begin after the work so far on a stream of another library.

        handle: of that stream, a CUstream. event: is recorded on it; any event of the caller that nobody else needs.
        """
        recorded = self.device._library.cuEventRecord(event.handle, ctypes.c_void_p(handle))
        self.device.check(recorded, "cuEventRecord")
        self.wait(event)

    def synchronize(self) -> None:
        """Waits until all work of this stream is done."""
        self._stream.synchronize()

    @contextlib.contextmanager
    def capture(self, *others: Stream) -> Iterator[Graph]:
        """Captures the work that the block enqueues as a graph instead of doing it.

        others: further streams that the work uses. Each of them must begin with a wait for an event of this stream, and
        this stream must wait for their last event. Raises FaceInsightError if the work cannot be captured.
        """
        library, template, graph = self.device._library, ctypes.c_void_p(), Graph(self.device)
        begun = library.cuStreamBeginCapture_v2(self._pointer, _CAPTURE_THREAD_LOCAL)
        self.device.check(begun, "cuStreamBeginCapture")
        for stream in (self, *others):
            stream._capturing = True
        whole = False
        try:
            yield graph
            whole = True
        except self.device._driver.Error as error:
            raise FaceInsightError(f"CUDA failed on {self.device} while capturing: {reason(error)}") from error
        finally:
            for stream in (self, *others):
                stream._capturing = False
            ended = library.cuStreamEndCapture(self._pointer, ctypes.byref(template))
            if whole:
                self.device.check(ended, "cuStreamEndCapture")
                made = library.cuGraphInstantiateWithFlags(ctypes.byref(graph.handle), template, ctypes.c_ulonglong(0))
                self.device.check(made, "cuGraphInstantiate")
            if template:
                library.cuGraphDestroy(template)


class Graph:
    """Captured work that can be done again and again, on the same addresses."""

    def __init__(self, device: Device):
        self.device, self.handle = device, ctypes.c_void_p()

    def __del__(self):
        if self.handle:
            self.device._library.cuGraphExecDestroy(self.handle)

    def launch(self, stream: Stream) -> None:
        """Enqueues the work on a stream."""
        launched = self.device._library.cuGraphLaunch(self.handle, stream._pointer)
        self.device.check(launched, "cuGraphLaunch")


class Pool:
    """A pool of buffers, or of other items that are expensive to make. It may be used by several threads."""

    def __init__(self, make: Callable[[], object]):
        """make: makes a new item. It is called when no item is free."""
        self._make, self._free = make, []

    def lease(self, wrap: Callable[[object], object]) -> object:
        """Lends an item. The item is free again as soon as nobody holds the returned object any more.

        wrap: makes the returned object from the item. It must be a new object, and the item must not refer to it.
        """
        try:
            item = self._free.pop()
        except IndexError:
            item = self._make()
        lent = wrap(item)
        weakref.finalize(lent, self._free.append, item)
        return lent


def _pycuda(module: str):
    try:
        return importlib.import_module(f"pycuda.{module}")
    except ImportError as error:
        raise InputError(
            f"a GPU needs pycuda, which cannot be loaded here ({reason(error)}); install it with pip install "
            "'faceinsight[gpu]' where the CUDA toolkit is (CUDA_ROOT names its directory), or use device cpu"
        ) from error


def _driver_library():
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    return ctypes.CDLL(name)
