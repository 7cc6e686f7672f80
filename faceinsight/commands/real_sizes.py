"""The verb `real-sizes` compiles published architectures, to see what a build of them takes."""

from __future__ import annotations

from typing import Annotated

import typer

from faceinsight.runtime.targets import TARGETS, find_target

from .loading import needs
from .options import Capabilities, chosen
from .output import print_last_line

COMPILED = [name for name, target in TARGETS.items() if target.compiled]


def real_sizes(
    size: Annotated[
        list[str] | None,
        typer.Option(
            help="Architecture to compile, such as Qwen3-0.6B; may be given several times, all by default.",
            metavar="NAME",
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(help="Precision; may be given several times, both by default.", metavar="int8|fp16"),
    ] = None,
    target: Annotated[str, typer.Option(help="Library that compiles.", metavar="|".join(COMPILED))] = "tensorrt-rtx",
    sm: Capabilities = None,
) -> None:
    """Compile published architectures with random weights: how long it takes, how much memory, how large the engine is.

    Nothing is run, so TensorRT-RTX needs no GPU for it.
    The last line is one JSON document.
    """
    needs("build", "torch", "onnx", "onnx_graphsurgeon", "onnxslim", "filelock")
    from faceinsight.benchmarks.real_sizes import PRECISIONS, SIZES, compile_sizes, show
    from faceinsight.build_engines.tensorrt import CompileOptions

    sizes, precisions = chosen("--size", size, SIZES), chosen("--precision", precision, PRECISIONS)
    found = compile_sizes(
        sizes, precisions, CompileOptions(find_target(target), tuple(dict.fromkeys(sm or ())), cache=False)
    )
    show(found)
    print_last_line(found)
