"""Times a compiled engine, if this machine has a GPU that can run it."""

from __future__ import annotations

from faceinsight.runtime.cuda import Device, DeviceArray
from faceinsight.runtime.errors import FaceInsightError
from faceinsight.runtime.manifest import Latency
from faceinsight.runtime.targets import Target
from faceinsight.runtime.tensorrt import DECODE, Executor, Library

from .tensorrt import Plan

WARM_UP, ROUNDS = 5, 50


def measure(target: Target, stage: str, plan: Plan) -> Latency | None:
    """Times a plan on this machine's GPU, without copies: on one face, or for one decode step of the language model.

    Returns None if it cannot run: there is no GPU, too little memory on it, or the plan is for another GPU.
    """
    try:
        device = Device()
        executor = Library(target, device).load(stage, plan.content)
        with device.current():
            times = _times(device, executor, _arrays(device, executor, plan), DECODE if stage == "language" else 0)
    except FaceInsightError:
        return None
    return Latency.of(times)


def _arrays(device: Device, executor: Executor, plan: Plan) -> dict[str, DeviceArray]:
    """Allocates an array for every input and output, in the shapes of one face and one token."""
    arrays = {}
    for name, value in plan.tensors.items():
        past = name.replace("present_", "past_", 1)
        if past != name and "KV_CACHE_UPDATE" in plan.layers:
            arrays[name] = arrays[past]  # the cache is updated in place
        else:
            shape = tuple(side if isinstance(side, int) else 1 for side in value.shape)
            arrays[name] = device.empty(shape, executor.dtypes[name])
    return arrays


def _times(device: Device, executor: Executor, arrays: dict[str, DeviceArray], profile: int) -> list[float]:
    """Runs the engine ROUNDS times; returns the time of each run in ms."""
    stream, before, after = device.stream(), device.event(), device.event()
    for array in arrays.values():
        stream.zero(array)
    context = executor.context(stream, profile).prepare(arrays)
    for _ in range(WARM_UP):
        context.execute(stream)
    stream.synchronize()
    graph = None
    if context.capturable(stream):  # as the runtime does, because a small engine takes longer to enqueue than to run
        with stream.capture() as graph:
            context.execute(stream)
    times = []
    for _ in range(ROUNDS):
        stream.record(before)
        if graph:
            graph.launch(stream)
        else:
            context.execute(stream)
        stream.record(after)
        stream.synchronize()
        times.append(after.ms_since(before))
    return times
