"""Builds a stage in every precision that is asked for, compares these candidates and keeps the best one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import onnx

from faceinsight.calibration.policy import first_and_last
from faceinsight.calibration.ranges import Ranges
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.runtime.engine import OnnxEngine
from faceinsight.runtime.manifest import Candidate, Error, Latency, Stage
from faceinsight.runtime.progress import ProgressBar
from faceinsight.runtime.targets import Target

from .choice import choose, within_budget
from .errors import CompileError
from .half import check_range, for_tensorrt, half_graph
from .interface import interface
from .language import language_graph
from .large import serialised
from .quantize import quantize_w8a8
from .tensorrt import LANGUAGE_PROFILES, CompileOptions, compile_stage
from .timing import measure
from .verify import Reference, UnoptimisedEngine
from .work import work

INNER = "int8-inner"
"""INT8 with the first and the last integer layer kept in float; it is tried where plain INT8 errs too much."""
WORK_TOKENS = 1, 64
"""The numbers of tokens that the manifest gives the language model's work for. It grows linearly with the tokens, so
the work of any other number follows from these two."""


@dataclass(frozen=True)
class _Built:
    """A stage in one precision.

    graph: as the target takes it. content: of the stage's file. layers: kind -> number of them in a plan.
    """

    graph: onnx.ModelProto
    error: Error
    latency: Latency | None
    content: bytes
    layers: dict[str, int] | None = None


class StageBuilder:
    """Builds the stages of one model for one target."""

    def __init__(
        self,
        model: FaceInsightModel,
        exported: dict[str, onnx.ModelProto],
        ranges: dict[str, Ranges],
        reference: Reference,
        target: Target,
        options: CompileOptions | None,
    ):
        """Takes what all stages are built from.

        exported: see `export_stages`. ranges: stage -> its activation ranges, which INT8 needs; otherwise empty.
        options: how plans are compiled; None for a target that runs the graphs themselves.
        """
        self._model, self._exported, self._ranges, self._reference = model, exported, ranges, reference
        self._target, self._options = target, options
        self._fit_half: set[str] = set()

    def build(self, stage: str, precisions: tuple[str, ...]) -> tuple[Stage, bytes]:
        """Builds a stage and chooses among its precisions, see `choose`.

        precisions: the preferred first. Returns the stage's entry of the manifest and the content of its file. Raises
        CompileError if it cannot be built in the last precision.
        """
        found: dict[str, Candidate] = {}
        built: dict[str, _Built] = {}
        pending = list(precisions)
        while pending:
            name = pending.pop(0)
            try:
                built[name] = self._candidate(stage, name)
            except CompileError as error:
                if not pending:
                    raise
                found[name] = Candidate(refused=str(error))
                continue
            found[name] = Candidate(built[name].error, built[name].latency)
            if name == "int8" and stage != "language" and pending and not within_budget(stage, found[name]):
                pending.insert(0, INNER)
        name, why = choose(stage, found)
        return self._entry(stage, name, built[name], found, why), built[name].content

    def _entry(self, stage: str, name: str, built: _Built, found: dict[str, Candidate], why: str) -> Stage:
        """The manifest's entry of a stage. name: the precision that was chosen. why: the reason in words."""
        inputs, outputs = interface(built.graph)
        language = stage == "language"
        in_place = any(node.op_type == "TensorScatter" for node in built.graph.graph.node)
        return Stage(
            file=stage + self._target.suffix,
            sha256=hashlib.sha256(built.content).hexdigest(),
            bytes=len(built.content),
            precision=self._label(stage, name),
            inputs=inputs,
            outputs=outputs,
            error=built.error,
            latency_ms=built.latency,
            candidates=found,
            choice=why,
            work=self._work(stage, built.graph),
            layers=built.layers,
            in_place=in_place if language else None,
            profiles=LANGUAGE_PROFILES if language and self._target.compiled else None,
        )

    def _candidate(self, stage: str, name: str) -> _Built:
        """Builds the stage in one precision, and compares it with PyTorch."""
        with ProgressBar(f"verify {stage} {name}", 1) as advance:
            graph = self._graph(stage, name)
            error, latency = self._verified(stage, graph)
            advance({})
        if self._options is None:
            return _Built(graph, error, latency, serialised(graph))
        plan = compile_stage(stage, graph, self._options)
        return _Built(graph, error, measure(self._target, stage, plan), plan.content, plan.layers)

    def _work(self, stage: str, graph: onnx.ModelProto) -> dict:
        """Counts the work of one face, see `work`; of the language model {"tokens_1": ..., "tokens_64": ...}."""
        if stage != "language":
            return work(graph, {"batch": 1})
        _, outputs = interface(self._exported["fusion"])
        visual = outputs["visual_tokens"].shape[1]
        return {f"tokens_{n}": work(graph, {"batch": 1, "tokens": n, "visual": visual}) for n in WORK_TOKENS}

    def _verified(self, stage: str, graph: onnx.ModelProto) -> tuple[Error, Latency | None]:
        """Compares the stage with PyTorch.

        For the target cpu that is the engine itself, and it is timed. For others it is the graph as it is written, run
        on the CPU without a time.
        """
        if self._target.device == "cpu":
            engine = OnnxEngine(serialised(graph), 1, w8a8=stage != "language")
            return self._reference.error(stage, engine), self._reference.latency(stage, engine)
        error = self._reference.error(stage, UnoptimisedEngine(graph))
        return Error(f"{error.measure} (its graph on the CPU, unoptimised)", error.value), None

    def _graph(self, stage: str, name: str) -> onnx.ModelProto:
        """Makes the graph that the target takes. Raises CompileError if float16 cannot hold the model's numbers."""
        half = self._target.compiled or name == "fp16"
        if half and stage not in self._fit_half:
            self._check_range(stage)
        if stage == "language":
            weights = name if name in ("int8", "int4") else None
            composite = self._options is None or self._options.composite
            return language_graph(self._model.language, self._model.config.context, weights, half, composite)
        graph = self._exported[stage]
        if name in ("int8", INNER):
            engine = self._target.engine
            keep = first_and_last(graph, engine) if name == INNER else ()
            graph = quantize_w8a8(graph, self._ranges[stage], engine, keep)
        if self._target.compiled:
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
        """The precision in the words of the manifest."""
        if stage != "language":
            return {"int8": "W8A8", INNER: "W8A8, first and last layer in float"}.get(name, name.upper())
        weights = {"int8": "W8", "int4": "W4 (blocks)"}.get(name)
        if weights is None:
            return name.upper()
        return f"{weights}, {'FP16' if self._target.compiled else 'activations rounded to 8 bits by the kernel'}"
