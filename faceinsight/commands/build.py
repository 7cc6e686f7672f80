"""The verb `build` writes the bundle of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from faceinsight.runtime.targets import TARGETS

from .loading import needs
from .options import AsJson, Capabilities, ModelDir
from .output import print_json, print_table


def build(
    out: Annotated[Path, typer.Option(help="Bundle directory to write.", show_default=False)],
    model: ModelDir = None,
    target: Annotated[str, typer.Option(help="What the bundle runs on.", metavar="|".join(TARGETS))] = "cpu",
    precision: Annotated[
        str | None,
        typer.Option(
            help="int8 (cpu, TensorRT) is smaller and faster than fp32 (cpu, cuda) and fp16 (cuda, TensorRT); auto "
            "builds every stage in both, compares them with PyTorch and keeps the better.",
            metavar="int8|fp16|fp32|auto",
            show_default="int8; for cuda fp16",
        ),
    ] = None,
    language_weights: Annotated[
        str | None,
        typer.Option(
            help="Weights of the language model, whatever the precision of the other stages.",
            metavar="int8|int4",
            show_default="as --precision says",
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="For int8: a folder of images with faces, or a scales file of `faceinsight calibrate`; the bundled "
            "nano has its own."
        ),
    ] = None,
    sm: Capabilities = None,
    max_faces: Annotated[
        int | None, typer.Option(min=1, help="TensorRT: most faces of one frame.", show_default="4")
    ] = None,
    workspace_mib: Annotated[
        int | None, typer.Option(min=1, help="TensorRT: most memory that a layer may use while it runs, in MiB.")
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="TensorRT: do not use, or keep, what earlier builds have compiled.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Export, quantise and verify a model, and write its bundle."""
    needs("build", "torch", "onnx", "onnx_graphsurgeon", "onnxslim", "filelock")
    from faceinsight.build_engines.build import build_bundle

    compiling = {
        "sm": tuple(dict.fromkeys(sm or ())),
        "max_faces": max_faces,
        "workspace_mib": workspace_mib,
        "cache": False if no_cache else None,
    }
    compiling = {name: value for name, value in compiling.items() if value not in (None, ())}
    manifest = build_bundle(model, out, target, precision, calibration, language_weights, **compiling)
    if as_json:
        print_json({"out": str(out), "stages": manifest.to_json()["stages"]})
        return
    print_table(
        f"bundle {out}",
        ("stage", "precision", "kB", "error", "ms", "choice"),
        [
            (name, s.precision, f"{s.bytes / 1e3:.0f}", f"{s.error.value:.2g} {s.error.measure}",
             f"{s.latency_ms.p50:.2f}" if s.latency_ms else "-", s.choice)
            for name, s in manifest.stages.items()
        ],
    )  # fmt: skip
