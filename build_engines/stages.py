"""A stage in every precision that is asked for: its graph, its error, its file; and which one is taken."""

from __future__ import annotations

import hashlib

import onnx

from faceinsight.calibration.ranges import Ranges
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.runtime.engine import OnnxEngine
from faceinsight.runtime.progress import ProgressBar

from .choice import choose, within_budget
from .errors import CompileError
from .half import check_range, for_tensorrt, half_graph
from .interface import interface
from .language import language_graph
from .large import serialised
from .quantize import ends, quantize_w8a8
from .tensorrt import LANGUAGE_PROFILES, Engines
from .timing import measure
from .verify import Reference, UnoptimisedEngine
from .work import work

INNER = "int8-inner"
"""INT8 but for the first and the last layer that would be: what is tried where INT8 errs too much."""
WORK_TOKENS = 1, 64
"""The language model's work is told for so many tokens; between and beyond them it is a straight line."""


class Stages:
    """The stages of a model, for one target."""

    def __init__(
        self,
        model: FaceInsightModel,
        exported: dict[str, onnx.ModelProto],
        ranges: dict[str, Ranges],
        reference: Reference,
        target: str,
        engines: Engines | None,
    ):
        """exported: float32 graphs of all stages but the language model. ranges: for int8, else empty. engines: of a
        TensorRT target, else None."""
        self._model, self._exported, self._ranges, self._reference = model, exported, ranges, reference
        self._target, self._engines = target, engines
        self._fit_half: set[str] = set()

    def build(self, stage: str, precisions: tuple[str, ...]) -> tuple[dict, bytes]:
        """The stage's entry of the manifest (see `write_bundle`) and its file, in one of `precisions`: see `choose`.

        Raises CompileError if it cannot be built in the last of them.
        """
        found: dict[str, dict] = {}
        files: dict[str, bytes] = {}
        pending = list(precisions)
        while pending:
            name = pending.pop(0)
            try:
                found[name], files[name] = self._candidate(stage, name)
            except CompileError as error:
                if not pending:
                    raise
                found[name] = {"refused": str(error)}
                continue
            if name == "int8" and stage != "language" and pending and not within_budget(stage, found[name]):
                pending.insert(0, INNER)
        name, why = choose(stage, found)
        content = files[name]
        entry = {
            "file": f"{stage}.{'plan' if self._engines else 'onnx'}",
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            "precision": self._label(stage, name),
            **found[name],
            "candidates": {
                other: {key: entry[key] for key in ("error", "latency_ms", "refused") if key in entry}
                for other, entry in found.items()
            },
            "choice": why,
        }
        return entry, content

    def _candidate(self, stage: str, name: str) -> tuple[dict, bytes]:
        """The stage in one precision: what the manifest says of it, and its file."""
        with ProgressBar(f"verify {stage} {name}", 1) as advance:
            graph = self._graph(stage, name)
            entry = interface(graph) | self._verified(stage, graph)
            advance({})
        entry["work"] = self._work(stage, graph)
        if stage == "language":
            entry["in_place"] = any(node.op_type == "TensorScatter" for node in graph.graph.node)
        if self._engines is None:
            return entry, serialised(graph)
        plan = self._engines.compile(stage, graph)
        if stage == "language":
            entry["profiles"] = list(LANGUAGE_PROFILES)
        entry |= {"layers": plan.layers, "latency_ms": measure(self._target, stage, plan)}
        return entry, plan.content

    def _work(self, stage: str, graph: onnx.ModelProto) -> dict:
        if stage != "language":
            return work(graph, {"batch": 1})
        visual = interface(self._exported["fusion"])["outputs"]["visual_tokens"]["shape"][1]
        return {f"tokens_{n}": work(graph, {"batch": 1, "tokens": n, "visual": visual}) for n in WORK_TOKENS}

    def _verified(self, stage: str, graph: onnx.ModelProto) -> dict:
        """Error and latency: on the CPU of what runs there, else of the graph as it is written."""
        if self._target == "cpu":
            engine = OnnxEngine(serialised(graph), 1, w8a8=stage != "language")
            return {"error": self._reference.error(stage, engine), "latency_ms": self._reference.latency(stage, engine)}
        error = self._reference.error(stage, UnoptimisedEngine(graph))
        words = f"{error['measure']} (its graph on the CPU, unoptimised)"
        return {"error": error | {"measure": words}, "latency_ms": None}

    def _graph(self, stage: str, name: str) -> onnx.ModelProto:
        """As the target takes it. Raises CompileError where float16 cannot hold the model's numbers."""
        half = self._engines is not None or name == "fp16"
        if half and stage not in self._fit_half:
            self._check_range(stage)
        if stage == "language":
            weights = name if name in ("int8", "int4") else None
            composite = self._engines is None or self._engines.composite
            return language_graph(self._model.language, self._model.config.context, weights, half, composite)
        graph = self._exported[stage]
        if name in ("int8", INNER):
            encoding = "tensorrt" if self._engines else "onnxruntime"
            graph = quantize_w8a8(graph, self._ranges[stage], encoding, ends(graph) if name == INNER else ())
        if self._engines:
            return for_tensorrt(graph)
        return half_graph(graph) if half else graph

    def _check_range(self, stage: str) -> None:
        if stage == "language":
            graph = language_graph(self._model.language, self._model.config.context)
        else:
            graph = self._exported[stage]
        check_range(stage, graph, self._reference.single_faces(stage))
        self._fit_half.add(stage)

    def _label(self, stage: str, name: str) -> str:
        """The precision in the manifest's words."""
        if stage != "language":
            return {"int8": "W8A8", INNER: "W8A8, first and last layer in float"}.get(name, name.upper())
        weights = {"int8": "W8", "int4": "W4 (blocks)"}.get(name)
        if weights is None:
            return name.upper()
        return f"{weights}, {'FP16' if self._engines else 'activations rounded to 8 bits by the kernel'}"
