"""Activation ranges, from which INT8 steps are made: a float graph is run over images and its activations observed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnx
import onnxruntime as ort

from faceinsight.runtime.errors import InputError
from faceinsight.runtime.manifest import PERCEPTION_STAGES
from faceinsight.runtime.progress import ProgressBar

from .histogram import Histogram
from .policy import PERCENTILE, observed_tensors

Ranges = dict[str, tuple[float, float]]
"""Name of a tensor -> its (low, high)."""
BATCH = 16


def activation_ranges(
    graph: onnx.ModelProto, batches: Iterable[dict[str, np.ndarray]], percentile: float = PERCENTILE
) -> Ranges:
    """Measures the range of every tensor that quantisation needs.

    graph: a stage in float. batches: its inputs by name, batch first. percentile: see PERCENTILE; 100 takes minimum
    and maximum. Returns name -> (low, high). Raises InputError if there is no batch.
    """
    names = observed_tensors(graph)
    if not names:  # the stage is too small for INT8 to pay anywhere
        return {}
    session = _observing(graph, names)
    histograms = {name: Histogram() for name in names}
    seen = False
    for batch in batches:
        for name, values in zip(names, session.run(names, batch), strict=True):
            histograms[name].add(values)
        seen = True
    if not seen:
        raise InputError("no calibration image was given; at least one is needed, 100 or more are sensible")
    return {name: histogram.range(percentile) for name, histogram in histograms.items()}


def measure_ranges(graphs: dict[str, onnx.ModelProto], crops: dict[str, np.ndarray]) -> dict[str, Ranges]:
    """Measures the ranges of all PERCEPTION_STAGES; fusion is fed with what the float parser and vision encoder give.

    graphs: stage -> its float graph. crops: stage -> [n, S, S, 3] uint8, see `read_crops`. Returns stage -> ranges.
    """
    sessions = {
        stage: ort.InferenceSession(graphs[stage].SerializeToString(), providers=["CPUExecutionProvider"])
        for stage in ("parser", "vision")
    }

    def pixels(stage: str) -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, len(crops[stage]), BATCH):
            yield {"pixels": crops[stage][start : start + BATCH]}

    def encoded() -> Iterator[dict[str, np.ndarray]]:
        for seen, parsed in zip(pixels("vision"), pixels("parser"), strict=True):
            yield {
                "features": sessions["vision"].run(None, seen)[0],
                "parse_map": sessions["parser"].run(None, parsed)[0],
            }

    batches = {stage: pixels(stage) for stage in crops} | {"fusion": encoded()}
    ranges = {}
    with ProgressBar("calibrate", len(PERCEPTION_STAGES)) as advance:
        for stage in PERCEPTION_STAGES:
            ranges[stage] = activation_ranges(graphs[stage], batches[stage])
            advance({})
    return ranges


def _observing(graph: onnx.ModelProto, names: list[str]) -> ort.InferenceSession:
    """A session on `graph` that also returns the tensors `names`."""
    probe = onnx.ModelProto()
    probe.CopyFrom(graph)
    known = {value.name for value in probe.graph.output}
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
