"""Compiles the real sizes with random weights: how long the export and the compiler take, how much memory, how large
the engine becomes. Nothing is run, so no GPU is needed; every size has a process of its own, for its peak memory.
`faceinsight real-sizes` shows the result.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
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
from faceinsight.runtime.errors import reason

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


def compile_apart(name: str, precision: str, options: CompileOptions) -> dict:
    """`compile_size` in a process of its own, so that peak memory is that of this size alone.

    Returns {"error": one line} for a size that fails, so that the others are still compiled.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        try:
            return process.submit(compile_size, name, precision, options).result()
        except Exception as error:  # whatever it is, such as too little memory, it is that of one size
            return {"error": reason(error)}


def compile_sizes(names: Sequence[str], precisions: Sequence[str], options: CompileOptions) -> dict:
    """Compiles every size in every precision.

    names: of SIZES. precisions: of PRECISIONS.
    Returns {"sm", "versions": of the libraries, "context": tokens, "sizes": one entry each, with "size", "precision"
    and what `compile_apart` returns}.
    """
    sizes = [
        {"size": name, "precision": precision} | compile_apart(name, precision, options)
        for name in names
        for precision in precisions
    ]
    versions = {"torch": torch.__version__, "onnx": onnx.__version__, options.target.name: options.version}
    return {"sm": list(options.sm), "versions": versions, "context": EDGE.context, "sizes": sizes}


def show(result: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("size", "precision", "export s", "build s", "peak MB", "plan MB", "layers",
                  title=", ".join(f"{name} {version}" for name, version in result["versions"].items()))  # fmt: skip
    for entry in result["sizes"]:
        if "error" in entry:
            table.add_row(entry["size"], entry["precision"], "", "", "", "", entry["error"])
            continue
        layers = ", ".join(f"{count} {kind.lower()}" for kind, count in entry["layers"].items())
        figures = (f"{entry['export_s']:.1f}", f"{entry['build_s']:.1f}", f"{entry['peak_mb']:.0f}")
        table.add_row(entry["size"], entry["precision"], *figures, f"{entry['plan_mb']:.0f}", layers)
    Console(width=None if sys.stdout.isatty() else 120).print(table)
