"""Activation ranges: what INT8 scales are made of, gathered by running a float graph over calibration images.

`sites` also decides which operators become integer, because their inputs and outputs are what has to be observed.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from faceinsight.runtime.errors import InputError

FORMAT = "faceinsight-ranges"
VERSION = 1
Ranges = dict[str, tuple[float, float]]
BINS = 4096


@dataclass(frozen=True)
class Site:
    """An operator that can run in INT8. inputs: its activations. output: tensor to quantise after it, or None."""

    node: str
    inputs: tuple[str, ...]
    output: str | None


def sites(graph: onnx.ModelProto, keep: Container[str] = ()) -> list[Site]:
    """Operators that pay in INT8, in topological order; `keep`: names of nodes to leave in float.

    Conv: integer in, integer out, after its ReLU if it has one. MatMul with constant weights: integer in, float out,
    because bias, GELU or LayerNorm follow. Add and its ReLU: when both inputs come from integer operators and an
    integer operator reads the result (a residual between convolutions). Never Gemm: the exporter writes it for 2-D
    inputs, one row an image, which gains nothing and makes the answer itself.
    """
    body = graph.graph
    weights = {weight.name: tuple(weight.dims) for weight in body.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in body.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    results = {value.name for value in body.output}

    def after_relu(name: str) -> str:
        following = readers.get(name, [])
        alone = len(following) == 1 and following[0].op_type == "Relu" and name not in results
        return following[0].output[0] if alone else name

    found: list[Site] = []
    integer: set[str] = set()
    for node in body.node:
        if node.name in keep:
            continue
        if node.op_type == "Conv" and _conv_pays(node, weights.get(node.input[1])):
            found.append(Site(node.name, (node.input[0],), after_relu(node.output[0])))
            integer.add(found[-1].output)
        elif node.op_type == "MatMul" and _product_pays(weights.get(node.input[1])):
            found.append(Site(node.name, (node.input[0],), None))
        elif node.op_type == "Add" and integer.issuperset(node.input):
            found.append(Site(node.name, tuple(node.input), after_relu(node.output[0])))
            integer.add(found[-1].output)
    read = {name for site in found for name in site.inputs}
    return [site for site in found if len(site.inputs) == 1 or site.output in read]


def _conv_pays(node: onnx.NodeProto, weight: tuple[int, ...] | None) -> bool:
    """weight: [out, in / groups, ...]. Measured with ONNX Runtime on x86 with VNNI, against its float kernels.

    A dense convolution runs up to 3 times as fast. Depthwise (one channel a group) and the first one (at most 4
    channels, pixels) run 1.3 to 1.7 times slower, and are also those that lose most by rounding.
    """
    return bool(weight) and weight[1] > (1 if _groups(node) > 1 else 4)


def _groups(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)


def _product_pays(weight: tuple[int, ...] | None) -> bool:
    """weight: 2-D. Under 4096 elements the time goes into quantising the input."""
    return weight is not None and len(weight) == 2 and math.prod(weight) >= 4096


def observed_tensors(graph: onnx.ModelProto) -> list[str]:
    """Names of the activations whose range quantisation needs, each once, in topological order."""
    return list(dict.fromkeys(name for site in sites(graph) for name in (*site.inputs, site.output) if name))


class Histogram:
    """Counts of |x| in BINS equal bins whose width doubles when a larger value comes, and the exact extremes."""

    def __init__(self) -> None:
        self.low, self.high, self.top = math.inf, -math.inf, 0.0
        self.counts = np.zeros(BINS, np.int64)

    def add(self, values: np.ndarray) -> None:
        """values: float32 of any shape."""
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("an activation is not finite: the float graph itself is broken")
        self.low, self.high = min(self.low, low), max(self.high, high)
        largest = max(-low, high, 1e-6)
        self.top = self.top or largest
        while largest > self.top:
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(1), np.zeros(BINS // 2, np.int64)])
            self.top *= 2
        bins = np.minimum((np.abs(values.ravel()) * (BINS / self.top)).astype(np.int32), BINS - 1)
        self.counts += np.bincount(bins, minlength=BINS)

    def range(self, percentile: float) -> tuple[float, float]:
        """Extremes, clipped to the |x| that `percentile` percent of the values do not exceed."""
        total = np.cumsum(self.counts)
        if percentile >= 100:
            return self.low, self.high
        limit = (int(np.searchsorted(total, percentile / 100 * total[-1])) + 1) * self.top / BINS
        return max(self.low, -limit), min(self.high, limit)


def activation_ranges(
    graph: onnx.ModelProto,
    batches: Iterable[dict[str, np.ndarray]],
    percentile: float = 99.99,
) -> Ranges:
    """Range of every observed tensor of the float `graph`: name -> (low, high).

    batches: the graph's inputs by name, batch first. percentile: 100 takes minimum and maximum; less clips rare large
    values, which buys a finer step for the rest (99.99 measured well on RegNet, SegFormer and ViT alike).
    """
    names = observed_tensors(graph)
    if not names:  # too small for INT8 to pay anywhere
        return {}
    session = _probe(graph, names)
    histograms = {name: Histogram() for name in names}
    seen = False
    for batch in batches:
        for name, values in zip(names, session.run(names, batch), strict=True):
            histograms[name].add(values)
        seen = True
    if not seen:
        raise InputError("no calibration image was given; at least one is needed, 100 or more are sensible")
    return {name: histogram.range(percentile) for name, histogram in histograms.items()}


def _probe(graph: onnx.ModelProto, names: list[str]) -> ort.InferenceSession:
    """A session on `graph` that also returns the tensors `names`."""
    probe = onnx.ModelProto()
    probe.CopyFrom(graph)
    known = {value.name for value in probe.graph.output}
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])


def save_ranges(path: str | Path, ranges: dict[str, Ranges], metadata: dict) -> None:
    """Writes the scales file. ranges: stage -> tensor -> (low, high).

    metadata: what they were measured on, at least model_sha256, images (a count) and percentile.
    Raises InputError if the file cannot be written.
    """
    path = Path(path)
    content = {"format": FORMAT, "version": VERSION, "metadata": metadata, "ranges": ranges}
    beside = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise InputError(f"cannot write the scales file {path}: {error.strerror}") from error


def load_ranges(path: str | Path) -> tuple[dict[str, Ranges], dict]:
    """Reads what `save_ranges` wrote: (stage -> tensor -> (low, high), metadata). Raises InputError."""
    path = Path(path)
    again = "make one with `faceinsight calibrate`"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"scales file {path} cannot be read ({error.strerror}); {again}") from error
    except ValueError as error:
        raise InputError(f"scales file {path} is damaged: it is not JSON ({error}); {again}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path} is not a FaceInsight scales file; {again}")
    if content.get("version") != VERSION:
        raise InputError(f"scales file {path} has version {content.get('version')}, expected {VERSION}; {again}")
    try:
        ranges = {stage: {n: _pair(v) for n, v in found.items()} for stage, found in content["ranges"].items()}
        metadata = {**content["metadata"]}
        missing = {"model_sha256", "images", "percentile"} - set(metadata)
        if missing:
            raise ValueError(f"metadata without {', '.join(sorted(missing))}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"scales file {path} is damaged: {error!r}; {again}") from error
    return ranges, metadata


def _pair(value: list) -> tuple[float, float]:
    low, high = map(float, value)
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"{value} is not a range [low, high]")
    return low, high
