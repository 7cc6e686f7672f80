"""Compiles the real sizes with random weights: how long the export and the compiler take, how much memory, how large
the engine becomes. Nothing is run, so no GPU is needed; every size has a process of its own, for its peak memory. The
last line is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import onnx
import torch

from faceinsight.build_engines.export import export_stage
from faceinsight.build_engines.half import for_tensorrt
from faceinsight.build_engines.language import language_graph
from faceinsight.build_engines.quantize import quantize_w8a8
from faceinsight.build_engines.tensorrt import CompileOptions, compile_stage
from faceinsight.calibration.ranges import activation_ranges
from faceinsight.models.config import BackboneConfig
from faceinsight.models.language_model import LanguageModel
from faceinsight.models.parser import FaceParser
from faceinsight.models.presets import EDGE
from faceinsight.models.vision import VisionEncoder
from faceinsight.runtime.errors import FaceInsightError
from faceinsight.runtime.targets import TARGETS, TENSORRT_RTX

from .latency import peak_memory
from .shapes import CLIP_L, QWEN3_06, QWEN25_05, QWEN25_15, SEGFORMER_B0, SIGLIP_B

SIZES = {
    "SegFormer-B0 512": ("parser", SEGFORMER_B0),
    "SigLIP-B/16-384": ("vision", SIGLIP_B),
    "CLIP ViT-L/14-336": ("vision", CLIP_L),
    "Qwen2.5-0.5B": ("language", QWEN25_05),
    "Qwen3-0.6B": ("language", QWEN3_06),
    "Qwen2.5-1.5B": ("language", QWEN25_15),
}
PRECISIONS = ("int8", "fp16")
"""W8A8, or INT8 weights of a language model; everything else is float16."""
CALIBRATED = 4
"""Random images that the INT8 ranges come from: what they are does not matter to the compiler."""


def compile_size(name: str, precision: str, options: CompileOptions) -> dict:
    """name: of SIZES. Returns {"export_s": from the PyTorch module to the graph that is compiled, "build_s", "peak_mb",
    of them "export_peak_mb", "plan_mb", "layers": of attention and of the KV cache}."""
    stage, config = SIZES[name]
    torch.manual_seed(0)
    start = time.perf_counter()
    graph = language(config, precision) if stage == "language" else pixels(stage, config, precision)
    exported, export_peak = time.perf_counter(), peak_memory()
    plan = compile_stage(stage, graph, options)
    layers = {kind: count for kind, count in plan.layers.items() if "ATTENTION" in kind or "KV_CACHE" in kind}
    return {
        "export_s": exported - start,
        "build_s": time.perf_counter() - exported,
        "export_peak_mb": export_peak,
        "peak_mb": peak_memory(),
        "plan_mb": len(plan.content) / 2**20,
        "layers": layers,
    }


def language(config: BackboneConfig, precision: str) -> onnx.ModelProto:
    model = LanguageModel(config, weights=False).eval()
    return language_graph(model, EDGE.context, "int8" if precision == "int8" else None, half=True)


def pixels(stage: str, config: BackboneConfig, precision: str) -> onnx.ModelProto:
    module = (FaceParser if stage == "parser" else VisionEncoder)(config, weights=False)
    graph = export_stage(SimpleNamespace(**{stage: module}, config=SimpleNamespace(sizes={stage: config.size})), stage)
    if precision == "int8":
        chance = np.random.default_rng(0)
        images = (chance.integers(0, 256, (1, config.size, config.size, 3), np.uint8) for _ in range(CALIBRATED))
        graph = quantize_w8a8(graph, activation_ranges(graph, ({"pixels": image} for image in images)), "tensorrt")
    return for_tensorrt(graph)


def main(arguments: Sequence[str] | None = None) -> None:
    about = __doc__.split("\n\n")[0]
    parser = argparse.ArgumentParser(prog="python -m faceinsight.benchmarks.real_sizes", description=about)
    parser.add_argument(
        "--target", choices=[name for name, target in TARGETS.items() if target.compiled], default=TENSORRT_RTX.name
    )
    parser.add_argument("--sm", type=int, nargs="*", default=[], help="compute capability, such as 89")
    parser.add_argument("--only", nargs="+", choices=SIZES, default=tuple(SIZES), metavar="NAME", help=", ".join(SIZES))
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--here", action="store_true", help="in this process, which is then not the size's own")
    given = parser.parse_args(arguments)
    try:
        options = CompileOptions(TARGETS[given.target], tuple(given.sm), cache=False)
        measure = compile_size if given.here else _apart
        found = [
            {"size": name, "precision": precision} | measure(name, precision, options)
            for name in given.only
            for precision in given.precision
        ]
    except FaceInsightError as error:
        print(f"real_sizes: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    versions = {"torch": torch.__version__, "onnx": onnx.__version__, given.target: options.version}
    show(found, versions)
    print(json.dumps({"sm": given.sm, "versions": versions, "context": EDGE.context, "sizes": found}))


def _apart(name: str, precision: str, options: CompileOptions) -> dict:
    """A failure, such as too little memory, is that of one size: {"error": its last line}."""
    command = [sys.executable, "-m", "faceinsight.benchmarks.real_sizes", "--here", "--only", name]
    command += ["--precision", precision, "--target", options.target.name, "--sm", *map(str, options.sm)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"ended by signal {-done.returncode}"]
        return {"error": lines[-1]}
    return json.loads(done.stdout.splitlines()[-1])["sizes"][0]


def show(found: Sequence[dict], versions: dict[str, str]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("size", "precision", "export s", "build s", "peak MB", "plan MB", "layers",
                  title=", ".join(f"{name} {version}" for name, version in versions.items()))  # fmt: skip
    for entry in found:
        if "error" in entry:
            table.add_row(entry["size"], entry["precision"], "", "", "", "", entry["error"])
            continue
        layers = ", ".join(f"{count} {kind.lower()}" for kind, count in entry["layers"].items())
        figures = (f"{entry['export_s']:.1f}", f"{entry['build_s']:.1f}", f"{entry['peak_mb']:.0f}")
        table.add_row(entry["size"], entry["precision"], *figures, f"{entry['plan_mb']:.0f}", layers)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    main()
