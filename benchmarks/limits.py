"""The roofline: the least time that work can take on a device, and what this machine's CPU or GPU can do."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from faceinsight.runtime.bundle import Bundle

if TYPE_CHECKING:  # a runtime without the build's packages has no limits, but still a benchmark
    import onnx


@dataclass(frozen=True)
class Work:
    """One run. half, integer: operations in float16 (on a CPU float32) and in INT8, two a multiply-add. bytes: moved to
    and from memory. kernels: operators that multiply matrices; what stands between them is taken as fused."""

    half: int
    integer: int
    bytes: int
    kernels: int


@dataclass(frozen=True)
class Device:
    """gb_s: memory bandwidth, 10^9 bytes a second. half, integer: dense rates, 10^12 operations a second, in float16
    and INT8 on matrix units. discrete: a card with memory of its own."""

    name: str
    gb_s: float
    half: float
    integer: float
    source: str
    discrete: bool = False


@dataclass(frozen=True)
class Shares:
    """Of a device's peak, what is reached; what a kernel costs beside its work. The defaults are the limit itself."""

    bandwidth: float = 1.0
    compute: float = 1.0
    launch_us: float = 0.0
    discrete_launch_us: float = 0.0


def time_ms(work: Work, device: Device, shares: Shares = Shares()) -> float:
    """Memory and arithmetic overlap, so the slower one counts; kernels begin one after the other."""
    moving = work.bytes / (device.gb_s * 1e9 * shares.bandwidth)
    computing = (work.half / (device.half * 1e12) + work.integer / (device.integer * 1e12)) / shares.compute
    launching = work.kernels * (shares.discrete_launch_us if device.discrete else shares.launch_us) * 1e-6
    return (max(moving, computing) + launching) * 1e3


def of_graph(graph: onnx.ModelProto, sizes: dict[str, int]) -> Work:
    from faceinsight.build_engines.work import work

    return _work(work(graph, sizes))


def _work(found: dict[str, int]) -> Work:
    """found: what build_engines/work.py returns."""
    moved = sum(found[name] for name in ("weight_bytes", "activation_bytes", "cache_bytes"))
    return Work(found["operations"] - found["integer_operations"], found["integer_operations"], moved, found["kernels"])


def of_bundle(bundle: Bundle, prompt: int, question: int) -> dict[str, Work]:
    """Reads the work of every stage for one face from the manifest.

    prompt, question: tokens. The language model has three entries: "prefill" of the prompt, "question" behind a prefix
    that is known, and "token".
    """
    stages = bundle.manifest.stages
    works = {stage: _work(entry.work) for stage, entry in stages.items() if stage != "language"}
    known = {int(name.split("_")[1]): _work(found) for name, found in stages["language"].work.items()}
    (few, less), (many, more) = sorted(known.items())
    for name, tokens in (("prefill", prompt), ("question", question), ("token", 1)):
        share = (tokens - few) / (many - few)
        figures = {f: round(getattr(less, f) + share * (getattr(more, f) - getattr(less, f))) for f in _LINEAR}
        works[name] = replace(less, **figures)
    return works


_LINEAR = ("half", "integer", "bytes")


def of_this_machine(bundle: Bundle, prompt: int, question: int, threads: int, device: str = "cpu") -> dict[str, float]:
    """Milliseconds that the figures of `latency.measure_runtime` cannot fall below on this device: {"parser_ms": ...},
    of the questions only until the first token that the model writes. Empty for a GPU whose data sheet is not known."""
    works = of_bundle(bundle, prompt, question)
    size = sum(entry.bytes for entry in bundle.manifest.stages.values())
    if device == "cpu":
        shared = max(1, threads // 2)  # parser and vision encoder run side by side
        counts = {"refiner": 1, "parser": shared, "vision": shared}
        devices = {count: this_cpu(count, size) for count in {1, shared, threads}}
        limits = {
            stage: time_ms(on_cpu(work, stage, bundle), devices[counts.get(stage, threads)])
            for stage, work in works.items()
        }
    elif (gpu := this_gpu(device, size)) is None:
        return {}
    else:
        limits = {stage: time_ms(work, gpu) for stage, work in works.items()}
    encoders = limits["parser"], limits["vision"]
    perceive = limits["refiner"] + limits["fusion"] + (max(encoders) if threads > 1 else sum(encoders))
    found = {f"{stage}_ms": limits[stage] for stage in ("refiner", "parser", "vision", "fusion", "token")}
    found["detect_ms"] = limits["detector"]
    found |= {"first_question_ms": limits["prefill"], "second_question_ms": limits["question"]}
    return found | {"perceive_ms": perceive}


def gpu_name(device: str) -> str:
    """device: "cuda:0". Empty where PyTorch does not see it."""
    import torch

    return torch.cuda.get_device_name(device) if torch.cuda.is_available() else ""


def this_gpu(device: str, size: int) -> Device | None:
    """Measured by PyTorch: copying `size` bytes (small weights stay in a cache, large ones do not), and multiplying
    8192 x 8192 matrices in float16 and in INT8. None where PyTorch does not see the GPU."""
    import torch

    if not torch.cuda.is_available():
        return None
    side, calls = 8192, 8
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    half = torch.ones(side, side, dtype=torch.float16, device=device)
    whole = torch.ones(side, side, dtype=torch.int8, device=device)

    def seconds(call: Callable[[], object]) -> float:
        def several() -> None:
            for _ in range(calls):
                call()
            torch.cuda.synchronize(device)

        return best(several) / calls

    return Device(
        gpu_name(device),
        2 * source.nbytes / seconds(lambda: target.copy_(source)) / 1e9,
        2 * side**3 / seconds(lambda: half @ half) / 1e12,
        # the only layout of INT8 products that every cuBLAS has
        2 * side**3 / seconds(lambda: torch._int_mm(whole, whole.t())) / 1e12,
        "measured: copying, and PyTorch's matrix multiplication",
        discrete=True,
    )


def on_cpu(work: Work, stage: str, bundle: Bundle) -> Work:
    """ONNX Runtime rounds what enters INT8 weights to 8 bits, so the language model's products are integer, too."""
    if stage in bundle.manifest.stages or bundle.manifest.stages["language"].precision == "FP32":
        return work
    return replace(work, half=0, integer=work.half + work.integer)


def this_cpu(threads: int, size: int) -> Device:
    """Measured in half a second: copying `size` bytes (small weights stay in a cache, large ones do not), and ONNX
    Runtime's multiplication of 512 x 1024 x 1024 matrices in float32 and in INT8."""
    operations = 2 * 512 * 1024 * 1024
    return Device(
        f"this CPU, {threads} threads",
        2 * size / best(_copier(size, threads)) / 1e9,
        operations / best(_product(threads, False)) / 1e12,
        operations / best(_product(threads, True)) / 1e12,
        "measured: copying, and ONNX Runtime's matrix multiplication",
    )


def best(call: Callable[[], object], seconds: float = 0.15) -> float:
    """Seconds of the fastest call: a limit is what the machine can do when nobody disturbs it."""
    call()
    fastest, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest


def _copier(size: int, threads: int) -> Callable[[], object]:
    parts = [(np.ones(size // threads, np.uint8), np.zeros(size // threads, np.uint8)) for _ in range(threads)]
    if threads == 1:
        return lambda: np.copyto(parts[0][1], parts[0][0])
    pool = ThreadPoolExecutor(threads)
    return lambda: list(pool.map(lambda part: np.copyto(part[1], part[0]), parts))


def _product(threads: int, integer: bool) -> Callable[[], object]:
    """ONNX Runtime on [512, 1024] times a constant [1024, 1024]."""
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    given = TensorProto.UINT8 if integer else TensorProto.FLOAT
    made = TensorProto.INT32 if integer else TensorProto.FLOAT
    weights = np.ones((1024, 1024), np.int8 if integer else np.float32)
    body = helper.make_graph(
        [helper.make_node("MatMulInteger" if integer else "MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", given, [512, 1024])],
        [helper.make_tensor_value_info("y", made, [512, 1024])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {"x": np.ones((512, 1024), np.uint8 if integer else np.float32)}
    return lambda: session.run(None, feed)
