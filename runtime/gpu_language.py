"""The language model on a GPU: its KV caches, prefill and the decode step."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .cuda import Device, DeviceArray, Graph, Pool, Stream
from .engine import CacheEngine
from .errors import FaceInsightError
from .tensorrt import DECODE, PREFILL, Context, Executor


@dataclass
class _Slot:
    """Memory of one face's sequence. sides: the KV cache, and a second one where the engine cannot write in place;
    they swap. contexts, graphs: of the decode step, one for each side. tokens: the visual tokens, whose is
    `tokens_of`."""

    sides: list[dict[str, DeviceArray]]
    tokens: DeviceArray
    side: int = 0
    contexts: dict[int, Context] = field(default_factory=dict)
    graphs: dict[int, Graph] = field(default_factory=dict)
    tokens_of: object = None


class _Lease(dict):
    """The buffers of a slot by name, as the generator holds them."""

    def __init__(self, slot: _Slot):
        super().__init__(slot.sides[0])
        self.slot = slot


class GpuLanguage(CacheEngine):
    """The language model on its own stream: prefill of any length, and a decode step that is one CUDA graph, from the
    token's id in to the next one's out."""

    def __init__(self, executor: Executor, device: Device, visual: tuple[int, int], vocabulary: int, in_place: bool):
        """visual: tokens and width of a face. vocabulary: V. in_place: the engine's cache outputs are its inputs."""
        self._executor, self._device, self._in_place = executor, device, in_place
        self._visual, self._pool = (1, *visual), None
        self._lock = threading.Lock()
        self._capture = True
        with device.current():
            self._stream = device.stream()
            self._position = self._pair((1,), np.int64)
            self._next = self._pair((1,), np.int64)
            self._logits = self._pair((1, vocabulary), executor.dtypes["logits"])
            self._prefill = executor.context(self._stream, PREFILL)

    def _pair(self, shape, dtype) -> tuple[np.ndarray, DeviceArray]:
        return self._device.pinned(shape, dtype), self._device.empty(shape, dtype)

    def allocate(self, shapes):
        # not while another thread captures a step: what is enqueued meanwhile would be part of it
        with self._lock, self._device.current():
            if self._pool is None:
                self._ids = self._pair((1, next(iter(shapes.values()))[2]), np.int64)
                sides = 1 if self._in_place else 2
                arguments = self._executor.dtypes, self._device, self._stream, shapes, self._visual, sides
                self._pool = Pool(lambda: _slot(*arguments))
            return self._pool.lease(_Lease)

    def run_in_place(self, feeds, buffers, outputs):
        slot, ids = buffers.slot, feeds["input_ids"]
        count = ids.shape[1]
        with self._lock, self._device.current():
            self._ids[0][:, :count] = ids
            self._position[0][:] = feeds["position"]
            if slot.tokens_of is not feeds["visual_tokens"]:
                self._stream.copy(slot.tokens, feeds["visual_tokens"])
                slot.tokens_of = feeds["visual_tokens"]
            if count == 1:
                self._decode(slot)
            else:
                self._step(self._prefill.prepare(self._bindings(slot, count)), count)
            if not self._in_place:
                slot.side ^= 1
            if "logits" in outputs:
                self._stream.copy(*self._logits)
            self._stream.synchronize()
            found = {"next_token": self._next[0], "logits": self._logits[0]}
            return {name: found[name].copy() for name in outputs}

    def _decode(self, slot: _Slot) -> None:
        side = slot.side
        if side not in slot.contexts:
            # call by call, for a library must have worked on a shape before it is captured
            context = self._executor.context(self._stream, DECODE).prepare(self._bindings(slot, 1))
            self._step(context, 1)
            slot.contexts[side] = context
            return
        context = slot.contexts[side]
        if side not in slot.graphs and self._capture and context.capturable(self._stream):
            try:
                with self._stream.capture() as graph:
                    self._step(context, 1)
                slot.graphs[side] = graph
            except FaceInsightError:
                self._capture = False  # this library's kernels cannot be captured; enqueueing them costs little more
        if side in slot.graphs:
            slot.graphs[side].launch(self._stream)
        else:
            self._step(context, 1)

    def _bindings(self, slot: _Slot, count: int) -> dict[str, DeviceArray]:
        past, present = slot.sides[slot.side], slot.sides[slot.side if self._in_place else 1 - slot.side]
        ids = DeviceArray(self._device, self._ids[1].pointer, (1, count), np.int64)
        arrays = {"input_ids": ids, "position": self._position[1], "visual_tokens": slot.tokens, **past}
        arrays |= {name.replace("past_", "present_", 1): array for name, array in present.items()}
        return arrays | {"next_token": self._next[1], "logits": self._logits[1]}

    def _step(self, context: Context, count: int) -> None:
        ids = DeviceArray(self._device, self._ids[1].pointer, (1, count), np.int64)
        self._stream.copy(ids, self._ids[0][:, :count])
        self._stream.copy(self._position[1], self._position[0])
        context.execute(self._stream)
        self._stream.copy(*self._next)


def _slot(dtypes, device: Device, stream: Stream, shapes: Mapping[str, tuple[int, ...]], visual, sides: int) -> _Slot:
    """shapes: of the cache's arrays. visual: shape of the visual tokens. sides: caches, one or two."""
    caches = [{name: device.empty(shape, dtypes[name]) for name, shape in shapes.items()} for _ in range(sides)]
    for arrays in caches:
        for array in arrays.values():
            stream.zero(array)  # what the mask hides must still be finite
    return _Slot(caches, device.empty(visual, dtypes["visual_tokens"]))
