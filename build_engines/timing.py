"""How long a compiled engine takes, where there is a GPU to run it."""

from __future__ import annotations

import numpy as np

from faceinsight.runtime.cuda import Device, DeviceArray
from faceinsight.runtime.errors import FaceInsightError
from faceinsight.runtime.tensorrt import DECODE, Executor, Library

from .tensorrt import Plan

WARM_UP, ROUNDS = 5, 50


def measure(target: str, stage: str, plan: Plan) -> dict[str, float] | None:
    """{"p50", "p90"} in ms on the GPU that is here, without copies: of one face, of the language model a decode step.

    None where it cannot run: there is no GPU, too little room on it, or the plan is for another one.
    """
    try:
        device = Device()
        executor = Library(target, device).load(stage, plan.content)
        with device.current():
            times = _times(device, executor, _arrays(device, executor, plan), DECODE if stage == "language" else 0)
    except FaceInsightError:
        return None
    return {"p50": round(float(np.percentile(times, 50)), 3), "p90": round(float(np.percentile(times, 90)), 3)}


def _arrays(device: Device, executor: Executor, plan: Plan) -> dict[str, DeviceArray]:
    """An array for every input and output, of one face and one token."""
    arrays = {}
    for name, value in (plan.interface["inputs"] | plan.interface["outputs"]).items():
        past = name.replace("present_", "past_", 1)
        if past != name and "KV_CACHE_UPDATE" in plan.layers:
            arrays[name] = arrays[past]  # updated in place
        else:
            shape = tuple(side if isinstance(side, int) else 1 for side in value["shape"])
            arrays[name] = device.empty(shape, executor.dtypes[name])
    return arrays


def _times(device: Device, executor: Executor, arrays: dict[str, DeviceArray], profile: int) -> list[float]:
    stream, before, after = device.stream(), device.event(), device.event()
    for array in arrays.values():
        stream.zero(array)
    context = executor.context(stream, profile).prepare(arrays)
    for _ in range(WARM_UP):
        context.execute(stream)
    stream.synchronize()
    graph = None
    if context.capturable(stream):  # as the runtime does it: small engines take longer to enqueue than to run
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
