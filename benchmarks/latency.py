"""Measures the latency of a bundle on this machine, per stage and end to end, beside the same model in PyTorch.

Perception and prefill are bound by arithmetic, decoding by the bytes of the weights; the limit beside a figure is the
least time that this machine needs for them (see limits.py). Everything is warmed up first. The runtime and its peers
take turns, so that a noisy machine is noisy for all. On a GPU the stages' times come from CUDA events, all others from
the clock. The last line is one JSON document.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

from faceinsight.runtime.backend import cpu_count
from faceinsight.runtime.bundle import NANO
from faceinsight.runtime.pipeline import FaceInsight
from faceinsight.runtime.progress import ProgressBar

from .limits import of_this_machine

FIRST, SECOND = "is the person wearing eyeglasses?", "what colour is the hair?"
DESCRIBE = "describe this face"
WARM_UP = 5
PERCENTILES = (50, 90, 99)
PEERS = {"pytorch": "PyTorch", "compiled": "torch.compile"}


def bench(
    bundle: Path | None = None,
    model: Path | None = None,
    threads: int | None = None,
    rounds: int = 50,
    peer: bool = True,
    device: str = "cpu",
    compiled: bool = False,
) -> dict:
    """Times a bundle, prints tables and a last line of JSON, and returns that document.

    bundle: its directory, the bundled nano's by default. model: that it was built from, for PyTorch, likewise. threads:
    of the CPU, all by default. rounds: how often everything is timed. peer: also times PyTorch eager; compiled: also
    torch.compile; both on the same device. Raises InputError where a peer cannot run.
    """
    threads = threads or cpu_count()
    runtime = FaceInsight.load(bundle, device, threads)
    frame, box = _frame(runtime)
    sides = {"runtime": lambda: measure_runtime(runtime, frame, box)}
    if peer or compiled:
        from .pytorch_peer import PytorchPeer

        for name in [name for name, wanted in (("pytorch", peer), ("compiled", compiled)) if wanted]:
            one = PytorchPeer(model, runtime, threads, device, compiled=name == "compiled")
            sides[name] = partial(one.measure, frame, box)
    samples: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    with ProgressBar("bench", rounds + WARM_UP) as advance:
        for turn in range(rounds + WARM_UP):
            for name, measure in sides.items():
                found = measure()
                if turn >= WARM_UP:
                    samples[name].append(found)
            advance({})
    result = {
        "device": _cpu_name() if device == "cpu" else f"{device} {_gpu_name(device)}",
        "threads": threads,
        "rounds": rounds,
        "frame": list(frame.shape),
        "engine": dataclasses.asdict(runtime.bundle.manifest.engine),
        "stages": {name: stage.precision for name, stage in runtime.bundle.manifest.stages.items()},
        **{name: _summary(found) for name, found in samples.items()},
        "limits": _limits(runtime, frame, box, threads, device),
        "process": process_figures(bundle, threads, device),
    }
    result["ratios"] = _ratios(result)
    _print(result)
    print(json.dumps(result))
    return result


def measure_runtime(runtime: FaceInsight, frame: np.ndarray, box) -> dict[str, float]:
    """Sends one frame through the runtime and asks three questions.

    Returns {figure: milliseconds}: of the detector, of each stage that the device can time, to the first token of the
    first and of the second question, and of one token.
    """
    figures: dict[str, float] = {}
    start = time.perf_counter()
    runtime.detect(frame)
    figures["detect_ms"] = (time.perf_counter() - start) * 1e3
    start = time.perf_counter()
    face = runtime.perceive(frame, box)
    figures["perceive_ms"] = (time.perf_counter() - start) * 1e3
    # in the order of the chain; not every device can time each of them
    stages = ("refiner_ms", "crop_ms", "parser_ms", "vision_ms", "fusion_ms")
    figures |= {name: face.timings[name] for name in stages if name in face.timings}
    figures["first_question_ms"] = runtime.ask(face, FIRST, max_tokens=1).timings["ttft_ms"]
    figures["ttft_ms"] = figures["perceive_ms"] + figures["first_question_ms"]
    figures["ttft_with_detection_ms"] = figures["ttft_ms"] + figures["detect_ms"]
    figures["second_question_ms"] = runtime.ask(face, SECOND, max_tokens=1).timings["ttft_ms"]
    answer = runtime.ask(face, DESCRIBE)
    figures["token_ms"] = answer.timings["decode_ms"] / max(1, answer.tokens)
    return figures


def _limits(runtime: FaceInsight, frame: np.ndarray, box, threads: int, device: str) -> dict[str, float]:
    """Computes the least milliseconds of the figures above, where they can be known: see `of_this_machine`."""
    face, prompter = runtime.perceive(frame, box), runtime.bundle.prompter
    prefix = prompter.prefix(face.labels, face.visual_tokens.shape[1])
    tokens, steps = [], []
    for question in (FIRST, SECOND):
        tokens.append(len(prompter.question(question, 64)))
        # a step for each token of the reading and the one behind it, of which the first comes with the prefill
        steps.append(runtime.ask(face, question, max_tokens=1).reading_tokens)
    limits = of_this_machine(runtime.bundle, len(prefix) + tokens[0], tokens[1], threads, device)
    for name, count in zip(("first_question_ms", "second_question_ms"), steps, strict=True):
        if name in limits:
            limits[name] += count * limits["token_ms"]
    if "perceive_ms" in limits:
        limits["ttft_ms"] = limits["perceive_ms"] + limits["first_question_ms"]
    return {name: round(value, 3) for name, value in limits.items()}


def _frame(runtime: FaceInsight):
    """Returns skimage's astronaut where scikit-image is installed, else a rendered face; and the box of its face."""
    try:
        from skimage.data import astronaut

        frame = astronaut()
    except ImportError:
        from faceinsight.models.data.synthetic import generate

        frame = generate(3).image
    return frame, runtime.perceive(frame).box


def process_figures(bundle: Path | None, threads: int, device: str = "cpu") -> dict[str, float]:
    """Starts a process that only loads the runtime and answers once.

    Returns {"import_s", "load_s", "peak_mb"}: seconds of import and of loading, and peak memory in MiB.
    """
    script = (
        "import json,sys,time; a=time.perf_counter(); from faceinsight import FaceInsight; "
        "b=time.perf_counter(); import numpy as np; m=FaceInsight.load(sys.argv[1], sys.argv[3], int(sys.argv[2])); "
        "c=time.perf_counter(); m.ask(np.full((256,256,3),90,np.uint8), 'is he bald?', box=(60,60,160,190)); "
        "from faceinsight.benchmarks.latency import peak_memory; "
        "print(json.dumps({'import_s': b-a, 'load_s': c-b, 'peak_mb': peak_memory()}))"
    )
    command = [sys.executable, "-c", script, str(bundle or NANO), str(threads), device]
    subprocess.run(command, check=True, capture_output=True)  # a first import may compile bytecode
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak_memory() -> float:
    """Returns this process's largest resident set in MiB.

    Where there is a /proc it is read there: ru_maxrss of a child begins with what its parent had at the fork.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    except (OSError, StopIteration):
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used / 2**20 if sys.platform == "darwin" else used / 2**10


def _summary(samples: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    return {
        name: {f"p{p}": round(float(np.percentile([s[name] for s in samples], p)), 3) for p in PERCENTILES}
        for name in samples[0]
    }


def _ratios(result: dict) -> dict[str, float]:
    own = result["runtime"]
    ratios = {"first_over_second_question": own["ttft_ms"]["p50"] / own["second_question_ms"]["p50"]}
    for peer in PEERS:
        shared = [name for name in result.get(peer, {}) if name in own]
        ratios |= {f"{peer}_over_runtime_{name}": result[peer][name]["p50"] / own[name]["p50"] for name in shared}
    return {name: round(value, 2) for name, value in ratios.items()}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _gpu_name(device: str) -> str:
    """Returns the GPU's name where pycuda or PyTorch know it."""
    from .limits import gpu_name

    return gpu_name(device)


def _print(result: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120)
    peers, limits = [peer for peer in PEERS if peer in result], result["limits"]
    columns = [column for peer in peers for column in (f"{PEERS[peer]} p50", "ratio")]
    table = Table("", "p50", "p90", "p99", "limit", *columns, title=f"{result['device']}, {result['threads']} threads")
    for name, figures in result["runtime"].items():
        cells = [f"{figures[f'p{p}']:.2f}" for p in PERCENTILES]
        cells.append(f"{limits[name]:.2f}" if name in limits else "")
        for peer in peers:
            found = result[peer].get(name)
            cells += (
                [f"{found['p50']:.2f}", f"{result['ratios'][f'{peer}_over_runtime_{name}']:.1f}x"]
                if found
                else ["", ""]
            )
        table.add_row(name, *cells)
    console.print(table)
    tokens = 1e3 / result["runtime"]["token_ms"]["p50"]
    process = result["process"]
    sooner = result["ratios"]["first_over_second_question"]
    console.print(
        f"{tokens:.0f} tokens/s; the second question's first token comes {sooner:.1f} times sooner than the first's\n"
        f"import {process['import_s']:.2f} s, load {process['load_s']:.2f} s, peak memory {process['peak_mb']:.0f} MB"
    )
