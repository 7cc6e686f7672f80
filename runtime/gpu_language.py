"""Runs the language model on a GPU: its KV caches, the prefill and the decode step."""

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
class _Sequence:
    """The device memory of one sequence, and the decode steps that are bound to it."""

    caches: list[dict[str, DeviceArray]]
    """The KV cache as input name -> array. There are two if the engine cannot write in place: each step reads one and
    writes the other."""
    visual_tokens: DeviceArray
    visual_source: object = None
    """The array that `visual_tokens` is a copy of."""
    current: int = 0
    """Index of the cache that the next step reads."""
    contexts: dict[int, Context] = field(default_factory=dict)
    """Value of `current` -> context of the decode step."""
    graphs: dict[int, Graph | None] = field(default_factory=dict)
    """Value of `current` -> graph of the decode step; None if its capture failed."""


class _Lease:
    """What a KV cache holds of a sequence. With the lease gone, the sequence goes back to the pool."""

    def __init__(self, sequence: _Sequence):
        self.sequence = sequence


class GpuLanguage(CacheEngine):
    """The language model on a stream of its own.

    The prefill takes any number of tokens. The decode step takes one and is a CUDA graph, from the copy of the token's
    id to the GPU to the copy of the next token's id back to the host.

    use_graphs: with False the decode step is enqueued call by call, so that a profiler shows its parts.
    """

    def __init__(self, executor: Executor, device: Device, visual: tuple[int, int], vocab_size: int, in_place: bool):
        """executor: the loaded plan. visual: number and width of a face's visual tokens. vocab_size: how many tokens
        the model knows. in_place: whether the plan writes the KV cache in place, see `manifest.Stage`.
        """
        self._executor, self._device, self._in_place = executor, device, in_place
        self._visual, self._pool = (1, *visual), None
        self._lock = threading.Lock()
        self.use_graphs = True
        with device.current():
            self._stream = device.stream()
            # pairs (host, device)
            self._position = self._pair((1,), np.int64)
            self._next = self._pair((1,), np.int64)
            self._logits = self._pair((1, vocab_size), executor.dtypes["logits"])
            self._prefill = executor.context(self._stream, PREFILL)

    def _pair(self, shape: tuple[int, ...], dtype) -> tuple[np.ndarray, DeviceArray]:
        return self._device.pinned(shape, dtype), self._device.empty(shape, dtype)

    def allocate(self, shapes):
        # with the lock: what is enqueued while another thread captures a step would become a part of the graph
        with self._lock, self._device.current():
            if self._pool is None:
                context = next(iter(shapes.values()))[2]
                self._ids = self._pair((1, context), np.int64)
                # without self: the pool would keep this object, and this object keeps the pool
                dtypes, device, stream = self._executor.dtypes, self._device, self._stream
                visual, count = self._visual, 1 if self._in_place else 2
                self._pool = Pool(lambda: _new_sequence(dtypes, device, stream, shapes, visual, count))
            return self._pool.lease(_Lease)

    def run_in_place(self, feeds, buffers, outputs):
        sequence, ids = buffers.sequence, feeds["input_ids"]
        count = ids.shape[1]
        with self._lock, self._device.current():
            self._ids[0][:, :count] = ids
            self._position[0][:] = feeds["position"]
            if sequence.visual_source is not feeds["visual_tokens"]:
                self._stream.copy(sequence.visual_tokens, feeds["visual_tokens"])
                sequence.visual_source = feeds["visual_tokens"]
            if count == 1:
                self._decode(sequence)
            else:
                self._enqueue(self._prefill.prepare(self._bindings(sequence, count)), count)
            if not self._in_place:
                sequence.current = 1 - sequence.current
            if "logits" in outputs:
                self._stream.copy(*self._logits)
            self._stream.synchronize()
            found = {"next_token": self._next[0], "logits": self._logits[0]}
            return {name: found[name].copy() for name in outputs}

    def _decode(self, sequence: _Sequence) -> None:
        """Enqueues a decode step: the first time call by call, because a library must have run with a shape before its
        work can be captured, and then as a graph."""
        current = sequence.current
        if current not in sequence.contexts:
            context = self._executor.context(self._stream, DECODE).prepare(self._bindings(sequence, 1))
            self._enqueue(context, 1)
            sequence.contexts[current] = context
            return
        context = sequence.contexts[current]
        if self.use_graphs and current not in sequence.graphs and context.capturable(self._stream):
            sequence.graphs[current] = self._captured(context)
        graph = sequence.graphs.get(current) if self.use_graphs else None
        if graph:
            graph.launch(self._stream)
        else:
            self._enqueue(context, 1)

    def _captured(self, context: Context) -> Graph | None:
        """Captures a decode step. Returns None if that fails; to enqueue the step's calls takes little longer."""
        try:
            with self._stream.capture() as graph:
                self._enqueue(context, 1)
            return graph
        except FaceInsightError:
            return None

    def _bindings(self, sequence: _Sequence, count: int) -> dict[str, DeviceArray]:
        """Returns the arrays of a step that takes so many tokens, by the engine's names."""
        past = sequence.caches[sequence.current]
        present = past if self._in_place else sequence.caches[1 - sequence.current]
        arrays = {"input_ids": self._ids_of(count), "position": self._position[1]}
        arrays |= {"visual_tokens": sequence.visual_tokens, **past}
        arrays |= {name.replace("past_", "present_", 1): array for name, array in present.items()}
        return arrays | {"next_token": self._next[1], "logits": self._logits[1]}

    def _ids_of(self, count: int) -> DeviceArray:
        return DeviceArray(self._device, self._ids[1].pointer, (1, count), np.int64)

    def _enqueue(self, context: Context, count: int) -> None:
        self._stream.copy(self._ids_of(count), self._ids[0][:, :count])
        self._stream.copy(self._position[1], self._position[0])
        context.execute(self._stream)
        self._stream.copy(*self._next)


def _new_sequence(
    dtypes: Mapping[str, np.dtype],
    device: Device,
    stream: Stream,
    shapes: Mapping[str, tuple[int, ...]],
    visual: tuple[int, ...],
    count: int,
) -> _Sequence:
    """Allocates a sequence.

    shapes: input name -> shape, of the KV cache. visual: shape of the visual tokens. count: number of caches, 1 or 2.
    """
    caches = [{name: device.empty(shape, dtypes[name]) for name, shape in shapes.items()} for _ in range(count)]
    for arrays in caches:
        for array in arrays.values():
            stream.zero(array)  # attention multiplies masked values with 0, so they must be finite
    return _Sequence(caches, device.empty(visual, dtypes["visual_tokens"]))
