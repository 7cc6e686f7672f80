"""What the model can reach on devices that we do not have: predicted from operations and bytes, held against what
others have measured on them and against this CPU.

A stage takes the longer of moving its bytes and doing its operations, each at an achievable share of the device's peak,
and a while for every kernel. Those numbers are fitted on some of the published points and tested on the others; peaks
and points are in devices.py. `faceinsight roofline` shows the result.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import torch

from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.models.presets import EDGE
from faceinsight.runtime.bundle import Bundle
from faceinsight.runtime.engine import OnnxEngine
from faceinsight.runtime.targets import CPU

from .devices import DEVICES, INT4, POINTS, Point
from .limits import Shares, Work, best, of_bundle, on_cpu, this_cpu, time_ms
from .shapes import QWEN25_05, QWEN25_15, SEGFORMER_B0, SIGLIP_B, SIGLIP_B_ENCODER, Decoder, counted

SHOWN = ("Orin Nano 8GB", "Orin NX 16GB", "AGX Orin 64GB", "AGX Thor", "H100", "H200")
TEXT_TOKENS = 96
"""Of facts, question and what a chat format adds, beside the visual tokens; of which a second question has QUESTION."""
QUESTION = 16
READING = 4
"""Tokens that are written before the first one that is shown."""
LANGUAGES = {
    "edge": (QWEN25_05, 1),
    "edge-int4": (QWEN25_05, INT4),
    "edge-1.5b": (QWEN25_15, 1),
    "edge-1.5b-int4": (QWEN25_15, INT4),
}
"""Shape -> its language model and the bytes of a weight in its layers; the output layer is INT8."""
SHAPES = ("nano", *LANGUAGES)


def fit(points: Iterable[Point]) -> Shares:
    """Bandwidth and launch on the points for "memory", then arithmetic, then the launch of discrete cards: the least
    sum of squared logarithms of predicted over measured, on a grid."""
    grids = {
        "memory": {"bandwidth": np.arange(0.4, 1.001, 0.01), "launch_us": np.arange(0, 15.01, 0.25)},
        "compute": {"compute": np.arange(0.1, 1.001, 0.01)},
        "discrete": {"discrete_launch_us": np.arange(0, 30.01, 0.25)},
    }
    points, shares = list(points), Shares(compute=0.5)
    for name, grid in grids.items():
        chosen = [point for point in points if point.fits == name]
        axes = np.meshgrid(*grid.values())
        candidates = [
            replace(shares, **dict(zip(grid, map(float, values), strict=True)))
            for values in zip(*(axis.ravel() for axis in axes), strict=True)
        ]
        shares = min(candidates, key=lambda some: sum(math.log(ratio(point, some)) ** 2 for point in chosen))
    return shares


def ratio(point: Point, shares: Shares) -> float:
    """Predicted over measured."""
    return time_ms(point.work, DEVICES[point.device], shares) / point.ms


def works(shape: str, bundle: Bundle) -> dict[str, Work]:
    """Stage -> its work for one face, see `limits.of_bundle`. shape: of SHAPES; the bundle is "nano"."""
    if shape == "nano":
        visual = bundle.manifest.stages["fusion"].outputs["visual_tokens"].shape[1]
        return of_bundle(bundle, visual + TEXT_TOKENS, QUESTION)
    language, weight_bytes = LANGUAGES[shape]
    tiny = language.config | {"num_hidden_layers": 1}
    config = replace(EDGE, parser=SEGFORMER_B0, vision=SIGLIP_B, language=replace(language, config=tiny))
    config = replace(config, attributes=replace(config.attributes, text_width=language.config["hidden_size"]))
    with torch.device("meta"):
        model = FaceInsightModel(config, weights=False).eval()
        pixels = {stage: torch.zeros(1, side, side, 3, dtype=torch.uint8) for stage, side in config.sizes.items()}
        features = torch.zeros(1, SIGLIP_B_ENCODER.tokens, model.vision.width)
        parse_map = pixels["parser"][..., 0]
        tokens, _ = model.fusion(features, parse_map)
        found = {stage: counted(getattr(model, stage), pixels[stage]) for stage in ("detector", "refiner", "parser")}
        found |= {"vision": SIGLIP_B_ENCODER.run(int8=True), "fusion": counted(model.fusion, features, parse_map)}
    decoder, prompt = Decoder.of(language), tokens.shape[1] + TEXT_TOKENS
    for name, new in (("prefill", prompt), ("question", QUESTION), ("token", 1)):
        found[name] = decoder.run(new, prompt, weight_bytes, head_bytes=1)
    return found


def predict(stages: dict[str, Work], device: str, shares: Shares) -> dict[str, float]:
    """Milliseconds of each stage and of what a user waits for; on a GPU the encoders run one after the other."""
    ms = {stage: time_ms(work, DEVICES[device], shares) for stage, work in stages.items()}
    perceive = sum(ms[stage] for stage in ("refiner", "parser", "vision", "fusion"))
    reading = READING * ms["token"]
    return {f"{stage}_ms": value for stage, value in ms.items()} | {
        "perceive_ms": perceive,
        "ttft_ms": perceive + ms["prefill"] + reading,
        "second_question_ms": ms["question"] + reading,
        "tokens_per_s": 1e3 / ms["token"],
    }


def on_this_cpu(bundle: Bundle) -> dict[str, dict[str, float]]:
    """Stage -> {"limit_ms", "measured_ms"} with one thread, alone on zeros; fastest of what 0.4 seconds allow."""
    if bundle.target is not CPU:
        return {}
    stages = bundle.manifest.stages
    prompt = stages["fusion"].outputs["visual_tokens"].shape[1] + TEXT_TOKENS
    device = this_cpu(1, sum(entry.bytes for entry in stages.values()))
    runs = {}
    for stage, content in bundle.files.items():
        if stage in stages and stage != "language":
            feeds = {name: np.zeros([1, *given.shape[1:]], _DTYPES[given.dtype])
                     for name, given in stages[stage].inputs.items()}  # fmt: skip
            runs[stage] = partial(OnnxEngine(content, 1).run, feeds)
    runs |= _language_runs(bundle, {"prefill": (0, prompt), "question": (prompt, QUESTION), "token": (prompt, 1)})
    return {
        stage: {"limit_ms": time_ms(on_cpu(work, stage, bundle), device), "measured_ms": best(runs[stage], 0.4) * 1e3}
        for stage, work in of_bundle(bundle, prompt, QUESTION).items()
    }


def _language_runs(bundle: Bundle, steps: dict[str, tuple[int, int]]) -> dict[str, Callable[[], object]]:
    """steps: name -> tokens in the cache, new tokens."""
    visual = bundle.manifest.stages["fusion"].outputs["visual_tokens"]
    engine = OnnxEngine(bundle.files["language"], 1, w8a8=False)
    shape = bundle.manifest.language.cache
    buffers = engine.allocate(shape.tensors())
    tokens = np.zeros([1, *visual.shape[1:]], np.float32)
    feeds = {
        name: {"input_ids": np.zeros((1, count), np.int64), "visual_tokens": tokens, "position": np.array([start])}
        for name, (start, count) in steps.items()
    }
    return {name: partial(engine.run_in_place, feed, buffers, ("next_token",)) for name, feed in feeds.items()}


_DTYPES = {"uint8": np.uint8, "float": np.float32}


def roofline(bundle: Bundle, shapes: Sequence[str] = SHAPES) -> dict:
    """Returns {"shares", "points": each with "predicted_ms" and "ratio", "tested": of those that nothing is fitted on,
    "cpu": see `on_this_cpu`, empty for a bundle of another target,
    "predictions": {shape: {device: see `predict`}}}."""
    shares = fit(POINTS)
    points = []
    for point in POINTS:
        entry = {key: value for key, value in asdict(point).items() if key != "work"}
        points.append(entry | {"predicted_ms": point.ms * ratio(point, shares), "ratio": ratio(point, shares)})
    free = [entry["ratio"] for entry in points if entry["fits"] is None]
    tested = {
        "points": len(free),
        "median_ratio": statistics.median(free),
        "within_25_percent": sum(0.8 <= found <= 1.25 for found in free),
    }
    predictions = {}
    for shape in shapes:
        stages = works(shape, bundle)
        predictions[shape] = {device: predict(stages, device, shares) for device in SHOWN}
    measured = {"shares": asdict(shares), "points": points, "tested": tested, "cpu": on_this_cpu(bundle)}
    return measured | {"predictions": predictions}


def show(result: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120)
    shares = result["shares"]
    console.print(
        f"reached of the peak: {shares['bandwidth']:.0%} of the bandwidth, {shares['compute']:.0%} of the arithmetic; "
        f"a kernel costs {shares['launch_us']:.2f} µs on Jetson, {shares['discrete_launch_us']:.2f} µs on a card"
    )
    table = Table("published", "device", "measured ms", "predicted", "ratio", "", title="What others have measured")
    for point in result["points"]:
        numbers = (f"{point[name]:.2f}" for name in ("ms", "predicted_ms", "ratio"))
        table.add_row(point["name"], point["device"], *numbers, f"fits {point['fits']}" if point["fits"] else "")
    console.print(table)
    tested = result["tested"]
    console.print(
        f"of the {tested['points']} that nothing is fitted on {tested['within_25_percent']} are predicted within 25 %; "
        f"median ratio {tested['median_ratio']:.2f}"
    )
    table = Table("stage", "measured ms", "limit ms", "ratio", title="This CPU, one thread, the bundle")
    for stage, found in result["cpu"].items():
        limit, measured = found["limit_ms"], found["measured_ms"]
        table.add_row(stage, f"{measured:.3f}", f"{limit:.3f}", f"{limit / measured:.2f}")
    console.print(table)
    for shape, devices in result["predictions"].items():
        table = Table("ms", *devices, title=f"Predicted: {shape}")
        for name in next(iter(devices.values())):
            table.add_row(name.replace("_ms", ""), *(f"{figures[name]:.4g}" for figures in devices.values()))
        console.print(table)
