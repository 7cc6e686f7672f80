"""Compiles a stage's ONNX graph into a plan, with TensorRT (10.3 or newer) or TensorRT-RTX.

Networks are strongly typed, so the graph decides the precision: INT8 between its Q/DQ pairs, float16 elsewhere.
TensorRT-RTX needs no GPU, and compiles for any kind of GPU that it knows. TensorRT compiles for this machine's GPU.
"""

from __future__ import annotations

import collections
import functools
import json
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import onnx
import torch

from faceinsight.runtime import disk_cache, manifest
from faceinsight.runtime.cuda import Device
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.manifest import Gpu, Tensor
from faceinsight.runtime.progress import ProgressBar
from faceinsight.runtime.targets import TARGETS, Target
from faceinsight.runtime.tensorrt import error_log

from .errors import CompileError
from .interface import interface
from .large import readable
from .plan_cache import TimingCache, fingerprint, plan_path, timing_path

_NO_GPU = "cudaError 35"
"""These words are in what TensorRT-RTX logs as an error on a machine without a GPU, where it compiles all the same."""
LANGUAGE_PROFILES = ("prefill", "decode")
"""The optimisation profiles of the language model, in the engine's order."""

Shape = tuple[int, ...]
Profile = Mapping[str, tuple[Shape, Shape, Shape]]
"""Input -> its smallest, its usual and its largest shape."""


@dataclass(frozen=True)
class Plan:
    """A serialised engine.

    layers: kind -> number of them in the network. float32: names of the matrix multiplications and convolutions that
    compute in float32. tensors: the graph's inputs and outputs by name.
    """

    content: bytes
    layers: dict[str, int]
    float32: tuple[str, ...]
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class CompileOptions:
    """How the stages of a bundle are compiled.

    target: one that is compiled. sm, workspace_mib: see `compile_engine`. max_faces: the largest batch of the stages
    before the language model. cache: whether to use the plans and timings of earlier builds, and to keep them for later
    ones.
    """

    target: Target
    sm: tuple[int, ...] = ()
    max_faces: int = 4
    workspace_mib: int | None = None
    cache: bool = True

    def __post_init__(self) -> None:
        """Raises InputError for what the target, this machine or its library cannot do, before anything is exported."""
        if not self.target.compiled:
            known = " or ".join(name for name, target in TARGETS.items() if target.compiled)
            raise InputError(f"nothing is compiled for target {self.target.name}; use {known}")
        trt = self.target.library()
        if _numbers(trt) < self.target.oldest:
            oldest = ".".join(map(str, self.target.oldest))
            raise InputError(
                f"{self.target.name} is {trt.__version__} here and its engines need {oldest} or newer; "
                f"{self.target.install}"
            )
        _capabilities(trt, self.target, self.sm)
        _builder(trt, self.target, error_log(trt, _NO_GPU))
        _ = self.gpu

    @property
    def version(self) -> str:
        """The version of the library."""
        return self.target.library().__version__

    @property
    def composite(self) -> bool:
        """Whether the library has the language model's operators; otherwise they are written as primitive ones."""
        return _numbers(self.target.library()) >= self.target.composite

    @functools.cached_property
    def gpu(self) -> Gpu | None:
        """The GPU that the plans are tied to, None if they are not tied."""
        return gpu() if self.target.tied else None

    @property
    def device(self) -> manifest.Device:
        """What the plans run on, for the manifest."""
        return manifest.Device(self.gpu, (self.gpu.sm,) if self.gpu else self.sm or "any", self.max_faces)


def gpu() -> Gpu:
    """This machine's first GPU. Raises InputError if there is none."""
    if torch.cuda.is_available():
        found = torch.cuda.get_device_properties(0)
        return Gpu(found.name, 10 * found.major + found.minor)
    device = Device()  # PyTorch may be a build without CUDA
    return Gpu(device.name, device.sm)


def _tensors(graph: onnx.ModelProto) -> dict[str, Tensor]:
    """The inputs and outputs of a graph, by name."""
    inputs, outputs = interface(graph)
    return inputs | outputs


def _numbers(trt: ModuleType) -> tuple[int, ...]:
    return tuple(int(part) for part in trt.__version__.split(".")[:2])


def compile_stage(stage: str, graph: onnx.ModelProto, options: CompileOptions) -> Plan:
    """Compiles a stage, or finds its plan in the cache.

    graph: as `for_tensorrt` makes it, or the language model's in float16. Raises CompileError, also if a part of it
    would compute in float32.
    """
    target = options.target
    profiles = language_profiles(graph) if stage == "language" else [_face_profile(graph, options.max_faces)]
    of_gpu = (options.gpu.name, options.gpu.sm) if options.gpu else None
    circumstances = (profiles, target.name, options.version, options.sm, of_gpu, options.workspace_mib)
    path = plan_path(fingerprint(graph, *circumstances)) if options.cache else None
    if path and (known := disk_cache.read(path)):
        layers, content = known.split(b"\n", 1)
        with ProgressBar(f"compile {stage} (cached)", 1) as advance:
            advance({})
        return Plan(content, json.loads(layers), (), _tensors(graph))
    timings = timing_path(target.name, options.version, options.gpu) if options.cache and options.gpu else None
    plan = compile_engine(target, graph, profiles, stage, options.sm, options.workspace_mib, timings)
    if plan.float32:
        raise CompileError(f"{stage} would compute in float32: {', '.join(plan.float32)}")
    if path:
        disk_cache.write(path, json.dumps(plan.layers).encode() + b"\n" + plan.content)
    return plan


def _face_profile(graph: onnx.ModelProto, max_faces: int) -> Profile:
    """The shapes of a stage that sees faces, for 1 (the usual number) to max_faces of them."""
    return {
        value.name: tuple(_shape(value, {"batch": faces}) for faces in (1, 1, max_faces)) for value in graph.graph.input
    }


def language_profiles(graph: onnx.ModelProto) -> list[Profile]:
    """The shapes of one sequence, for each of LANGUAGE_PROFILES.

    "prefill" takes up to as many tokens as the context has, "decode" takes one; both take any number of visual tokens.
    """
    inputs = {value.name: value for value in graph.graph.input}
    context = inputs["past_key_0"].type.tensor_type.shape.dim[2].dim_value
    usual = max(1, context // 4)
    tokens = {"prefill": (1, usual, context), "decode": (1, 1, 1)}

    def profile(name: str) -> Profile:
        bounds = zip((1, 1, 1), tokens[name], (1, usual, context), strict=True)
        sizes = [dict(zip(("batch", "tokens", "visual"), bound, strict=True)) for bound in bounds]
        return {name: tuple(_shape(value, size) for size in sizes) for name, value in inputs.items()}

    return [profile(name) for name in LANGUAGE_PROFILES]


def _shape(value: onnx.ValueInfoProto, sizes: Mapping[str, int]) -> Shape:
    return tuple(sizes[dim.dim_param] if dim.dim_param else dim.dim_value for dim in value.type.tensor_type.shape.dim)


def compile_engine(
    target: Target,
    graph: onnx.ModelProto,
    profiles: Sequence[Profile],
    name: str = "engine",
    sm: Sequence[int] = (),
    workspace_mib: int | None = None,
    timings: Path | None = None,
) -> Plan:
    """Compiles a graph, with a progress bar; Ctrl-C ends it.

    target: TENSORRT or TENSORRT_RTX. profiles: the shapes that the engine takes, one optimisation profile each. name:
    what progress and errors call the graph. sm: the compute capabilities (89 for 8.9) that a TensorRT-RTX engine is
    for, none for a portable one; TensorRT takes none. workspace_mib: the most scratch memory in MiB; None leaves it to
    the library. timings: the file of a `TimingCache`. Raises InputError for a capability that the library does not
    know, CompileError with the library's words if it fails.
    """
    trt = target.library()
    log = error_log(trt, _NO_GPU)
    builder = _builder(trt, target, log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    with readable(graph) as model:
        parsed = parser.parse_from_file(model) if isinstance(model, str) else parser.parse(model)
    if not parsed:
        problems = [parser.get_error(i).desc() for i in range(parser.num_errors)]
        problem = _line(problems[-1] if problems else log.last)
        raise CompileError(f"{target.name} cannot read the graph of {name}: {problem}")
    config = builder.create_builder_config()
    for shapes in profiles:
        profile = builder.create_optimization_profile()
        for tensor, bounds in shapes.items():
            profile.set_shape(tensor, *bounds)
        if not profile or config.add_optimization_profile(profile) < 0:
            raise CompileError(f"{target.name} does not take the shapes of {name}: {log.last}")
    # the runtime gives an engine its scratch memory, so that it can be captured in CUDA graphs
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
        raise CompileError(f"{target.name} could not compile {name}: {log.last}")
    if known:
        known.save()
    return Plan(bytes(content), _kinds(network), _in_float32(trt, network), _tensors(graph))


def _builder(trt: ModuleType, target: Target, log):
    try:
        return trt.Builder(log)
    except TypeError as error:  # the binding raises it for a null pointer
        raise InputError(
            f"{target.name} {trt.__version__} cannot start: {log.last}; it needs an NVIDIA GPU and a driver that is "
            "new enough"
        ) from error


def _capabilities(trt: ModuleType, target: Target, sm: Sequence[int]) -> list:
    """The library's own values for compute capabilities. Raises InputError for one that it does not know."""
    if not sm:
        return []
    if not hasattr(trt, "ComputeCapability"):
        raise InputError(f"target {target.name} compiles for the GPU of this machine; leave --sm out")
    known = {
        int(member[2:]): value for member, value in trt.ComputeCapability.__members__.items() if member[2:].isdigit()
    }
    if unknown := [str(number) for number in sm if number not in known]:
        raise InputError(
            f"{target.name} does not know the compute capability {', '.join(unknown)}; known: {sorted(known)}"
        )
    return [known[number] for number in dict.fromkeys(sm)]


def _kinds(network) -> dict[str, int]:
    """Kind of layer -> number of them in the network."""
    kinds = collections.Counter(network.get_layer(i).type.name for i in range(network.num_layers))
    return dict(sorted(kinds.items()))


def _in_float32(trt: ModuleType, network) -> tuple[str, ...]:
    """Names of the convolutions and matrix multiplications that compute in float32."""
    layers = (network.get_layer(i) for i in range(network.num_layers))
    heavy = (trt.LayerType.CONVOLUTION, trt.LayerType.DECONVOLUTION, trt.LayerType.MATRIX_MULTIPLY)
    return tuple(
        layer.name for layer in layers if layer.type in heavy and layer.get_input(0).dtype == trt.DataType.FLOAT
    )


def _line(text: str) -> str:
    """The text on one line, cut off where it is too long for a message."""
    return " ".join(text.split())[:400]


class _Monitor:
    """Shows the library's outermost phase as a progress bar, and ends the build at an interrupt."""

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
        # Python lets only the main thread set a signal handler
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
