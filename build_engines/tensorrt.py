"""Compiles a stage's ONNX graph into an engine, with TensorRT (10.3 or newer) or TensorRT-RTX: one builder path.

Networks are strongly typed, so precision is what the graph says: INT8 between its Q/DQ pairs, float16 elsewhere.
TensorRT-RTX compiles without a GPU, for any that it knows; TensorRT compiles for the one that is there.
"""

from __future__ import annotations

import collections
import functools
import importlib
import json
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import onnx
import torch

from faceinsight.runtime import cache
from faceinsight.runtime.cuda import Device
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.progress import ProgressBar
from faceinsight.runtime.tensorrt import MODULES, error_log

from .cache import TimingCache, fingerprint, plan_path, timing_path
from .errors import CompileError
from .interface import interface
from .large import readable

_WHERE = {
    "tensorrt": "it comes with JetPack 6.1 and newer (a virtual environment sees it with --system-site-packages), "
    "NVIDIA's containers or pip install tensorrt",
    "tensorrt-rtx": "install it with pip install 'faceinsight[tensorrt-rtx]'",
}
_NO_GPU = "cudaError 35"
"""In what TensorRT-RTX logs where it compiles without one, which is no error."""
FIRST = (10, 3)
"""The first TensorRT that is built for: JetPack 6.1's."""
COMPOSITE = (10, 15)
"""The first TensorRT with layers for attention, rotary embedding and KV cache."""
LANGUAGE_PROFILES = ("prefill", "decode")

Shape = tuple[int, ...]
Profile = Mapping[str, tuple[Shape, Shape, Shape]]
"""Input -> least, usual and largest shape."""


@dataclass(frozen=True)
class Plan:
    """A serialised engine. layers: kind -> how many the network had. float32: its matrix multiplications and
    convolutions that compute in float32, by name. interface: see `interface`."""

    content: bytes
    layers: dict[str, int]
    float32: tuple[str, ...]
    interface: dict[str, dict]


@dataclass(frozen=True)
class Engines:
    """How all stages of a bundle are compiled; for sm and workspace_mib see `compile_engine`.

    max_faces: of one batch of the stages before the language model. max_batch: sequences that the language model
    reads at once. cache: whether plans and timings of earlier builds are used, and kept for later ones.
    """

    target: str
    sm: tuple[int, ...] = ()
    max_faces: int = 4
    max_batch: int = 1
    workspace_mib: int | None = None
    cache: bool = True

    def __post_init__(self) -> None:
        """Raises InputError now, not after the export."""
        trt = library(self.target)
        if self.target == "tensorrt" and _numbers(trt) < FIRST:
            raise InputError(
                f"TensorRT is {trt.__version__} here; these engines need {'.'.join(map(str, FIRST))} or newer, as in "
                "JetPack 6.1"
            )
        _capabilities(trt, self.target, self.sm)
        _builder(trt, self.target, error_log(trt, _NO_GPU))
        if self.tied:
            _ = self.gpu

    @property
    def version(self) -> str:
        return library(self.target).__version__

    @property
    def composite(self) -> bool:
        """Whether the library has the language model's operators, or needs them as primitive ones."""
        return self.target == "tensorrt-rtx" or _numbers(library(self.target)) >= COMPOSITE

    @property
    def tied(self) -> bool:
        """To the GPU that is here."""
        return self.target == "tensorrt"

    @functools.cached_property
    def gpu(self) -> dict | None:
        return gpu() if self.tied else None

    @property
    def device(self) -> dict:
        """What the engines are for, as the manifest has it."""
        capabilities = [self.gpu["sm"]] if self.tied else list(self.sm) or "any"
        return {
            "gpu": self.gpu,
            "compute_capabilities": capabilities,
            "max_faces": self.max_faces,
            "max_batch": self.max_batch,
        }

    def compile(self, stage: str, graph: onnx.ModelProto) -> Plan:
        """A stage's graph as it comes from `for_tensorrt`, or the language model's in float16, as an engine.

        Raises CompileError also where float32 is left in it.
        """
        profiles = self._profiles(stage, graph)
        circumstances = (profiles, self.target, self.version, self.sm, self.gpu, self.workspace_mib)
        path = plan_path(fingerprint(graph, *circumstances)) if self.cache else None
        if path and (known := cache.read(path)):
            layers, content = known.split(b"\n", 1)
            with ProgressBar(f"compile {stage} (cached)", 1) as advance:
                advance({})
            return Plan(content, json.loads(layers), (), interface(graph))
        timings = timing_path(self.target, self.version, self.gpu) if self.cache and self.tied else None
        plan = compile_engine(self.target, graph, profiles, stage, self.sm, self.workspace_mib, timings)
        if plan.float32:
            raise CompileError(f"{stage} would compute in float32: {', '.join(plan.float32)}")
        if path:
            cache.write(path, json.dumps(plan.layers).encode() + b"\n" + plan.content)
        return plan

    def _profiles(self, stage: str, graph: onnx.ModelProto) -> list[Profile]:
        if stage == "language":
            return language_profiles(graph, self.max_batch)
        return [
            {value.name: tuple(_shape(value, {"batch": faces}) for faces in (1, 1, self.max_faces))
             for value in graph.graph.input}
        ]  # fmt: skip


def library(target: str) -> ModuleType:
    """The module of MODULES. Raises InputError for another target, and where it is not installed."""
    if target not in MODULES:
        raise InputError(f"{target!r} is not compiled by TensorRT; use {' or '.join(MODULES)}")
    try:
        return importlib.import_module(MODULES[target])
    except ImportError as error:
        raise InputError(f"target {target} needs the module {MODULES[target]} ({error}); {_WHERE[target]}") from error


def gpu() -> dict:
    """{"name", "sm"} of the GPU that is compiled for. Raises InputError where there is none."""
    if torch.cuda.is_available():
        found = torch.cuda.get_device_properties(0)
        return {"name": found.name, "sm": 10 * found.major + found.minor}
    device = Device()  # PyTorch may be a build without CUDA
    return {"name": device.name, "sm": device.sm}


def _numbers(trt: ModuleType) -> tuple[int, ...]:
    return tuple(int(part) for part in trt.__version__.split(".")[:2])


def language_profiles(graph: onnx.ModelProto, max_batch: int = 1) -> list[Profile]:
    """LANGUAGE_PROFILES: up to the whole context, and one token; of up to max_batch sequences (usually one), with any
    number of visual tokens."""
    inputs = {value.name: value for value in graph.graph.input}
    context = inputs["past_key_0"].type.tensor_type.shape.dim[2].dim_value
    usual = max(1, context // 4)
    tokens = {"prefill": (1, usual, context), "decode": (1, 1, 1)}

    def profile(name: str) -> Profile:
        bounds = zip((1, 1, max_batch), tokens[name], (1, usual, context), strict=True)
        sizes = [dict(zip(("batch", "tokens", "visual"), bound, strict=True)) for bound in bounds]
        return {name: tuple(_shape(value, size) for size in sizes) for name, value in inputs.items()}

    return [profile(name) for name in LANGUAGE_PROFILES]


def _shape(value: onnx.ValueInfoProto, sizes: Mapping[str, int]) -> Shape:
    return tuple(sizes[dim.dim_param] if dim.dim_param else dim.dim_value for dim in value.type.tensor_type.shape.dim)


def compile_engine(
    target: str,
    graph: onnx.ModelProto,
    profiles: Sequence[Profile],
    name: str = "engine",
    sm: Sequence[int] = (),
    workspace_mib: int | None = None,
    timings: Path | None = None,
) -> Plan:
    """Compiles a graph, with a progress bar; Ctrl-C ends it.

    target: of MODULES. profiles: the shapes that the engine takes, an optimisation profile each. sm: compute
    capabilities (89 for 8.9) that a TensorRT-RTX engine is for; none makes a portable one; TensorRT has none to choose.
    workspace_mib: most scratch memory; the library's own choice if None. timings: file of a `TimingCache`. Raises
    InputError for a capability that the library does not know, CompileError with its words when it fails.
    """
    trt = library(target)
    log = error_log(trt, _NO_GPU)
    builder = _builder(trt, target, log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    with readable(graph) as model:
        parsed = parser.parse_from_file(model) if isinstance(model, str) else parser.parse(model)
    if not parsed:
        problems = [parser.get_error(i).desc() for i in range(parser.num_errors)]
        raise CompileError(f"{target} cannot read the graph of {name}: {_line(problems[-1] if problems else log.last)}")
    config = builder.create_builder_config()
    for shapes in profiles:
        profile = builder.create_optimization_profile()
        for tensor, bounds in shapes.items():
            profile.set_shape(tensor, *bounds)
        if not profile or config.add_optimization_profile(profile) < 0:
            raise CompileError(f"{target} does not take the shapes of {name}: {log.last}")
    # the runtime gives an engine the memory that it works in, so that it can be captured in CUDA graphs
    if hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    if workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mib << 20)
    if chosen := _capabilities(trt, target, sm):
        config.num_compute_capabilities = len(chosen)
        for index, capability in enumerate(chosen):
            config.set_compute_capability(capability, index)
    known = timings and TimingCache(timings, config)
    with _Monitor(trt, name) as monitor:
        config.progress_monitor = monitor.attached
        content = builder.build_serialized_network(network, config)
    if content is None:
        raise CompileError(f"{target} could not compile {name}: {log.last}")
    if known:
        known.save()
    return Plan(bytes(content), _kinds(network), _in_float32(trt, network), interface(graph))


def _builder(trt: ModuleType, target: str, log):
    try:
        return trt.Builder(log)
    except TypeError as error:  # what the binding makes of a null pointer
        raise InputError(
            f"{target} {trt.__version__} cannot start: {log.last}; it needs an NVIDIA GPU, and a driver that is new "
            "enough"
        ) from error


def _capabilities(trt: ModuleType, target: str, sm: Sequence[int]) -> list:
    """The library's own names of them. Raises InputError for what it does not know."""
    if not sm:
        return []
    if not hasattr(trt, "ComputeCapability"):
        raise InputError(f"target {target} compiles for the GPU that is there; leave the compute capability out")
    known = {
        int(member[2:]): value for member, value in trt.ComputeCapability.__members__.items() if member[2:].isdigit()
    }
    if unknown := [str(number) for number in sm if number not in known]:
        raise InputError(f"{target} does not know the compute capability {', '.join(unknown)}; known: {sorted(known)}")
    return [known[number] for number in dict.fromkeys(sm)]


def _kinds(network) -> dict[str, int]:
    kinds = collections.Counter(network.get_layer(i).type.name for i in range(network.num_layers))
    return dict(sorted(kinds.items()))


def _in_float32(trt: ModuleType, network) -> tuple[str, ...]:
    layers = (network.get_layer(i) for i in range(network.num_layers))
    heavy = (trt.LayerType.CONVOLUTION, trt.LayerType.DECONVOLUTION, trt.LayerType.MATRIX_MULTIPLY)
    return tuple(
        layer.name for layer in layers if layer.type in heavy and layer.get_input(0).dtype == trt.DataType.FLOAT
    )


def _line(text: str) -> str:
    return " ".join(text.split())[:400]


class _Monitor:
    """A progress bar over the library's outermost phase; an interrupt ends the build."""

    def __init__(self, trt: ModuleType, name: str):
        self.interrupted = False
        outer, self.name, self.bar, self.advance = self, name, None, None

        class Monitor(trt.IProgressMonitor):
            def __init__(self):
                trt.IProgressMonitor.__init__(self)

            def phase_start(self, phase_name, parent_phase, num_steps):
                if parent_phase is None and outer.bar is None and num_steps:
                    outer.bar = ProgressBar(f"compile {outer.name}", num_steps)
                    outer.phase, outer.advance = phase_name, outer.bar.__enter__()

            def phase_finish(self, phase_name):
                if outer.bar is not None and phase_name == outer.phase:
                    outer.close()

            def step_complete(self, phase_name, step):
                if outer.advance is not None and phase_name == outer.phase:
                    outer.advance({})
                return not outer.interrupted

        self.attached = Monitor()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.__exit__(None, None, None)
            self.advance = None

    def __enter__(self) -> _Monitor:
        # the handler runs in the main thread alone, and only there can it be set
        self.in_main = threading.current_thread() is threading.main_thread()
        if self.in_main:
            self.before = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def _interrupt(self, *_) -> None:
        self.interrupted = True

    def __exit__(self, kind, *_) -> None:
        self.close()
        if self.in_main:
            signal.signal(signal.SIGINT, self.before)
        if self.interrupted and kind is None:
            raise KeyboardInterrupt
