"""The verb `roofline` predicts latency on devices that are not here."""

from __future__ import annotations

from typing import Annotated

import typer

from .loading import needs
from .options import BundleDir, chosen
from .output import print_last_line


def roofline(
    bundle: BundleDir = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            help="Model size to predict; may be given several times, all by default.",
            metavar="nano|edge|edge-int4|edge-1.5b|edge-1.5b-int4",
        ),
    ] = None,
) -> None:
    """Predict latency on Jetsons and datacenter GPUs from operations, bytes and each device's peak.

    It compares the same kind of prediction with figures that others have published, and with the bundle on this CPU.
    The last line is one JSON document.
    """
    needs("build", "torch", "transformers")
    from faceinsight.benchmarks.roofline import SHAPES, show
    from faceinsight.benchmarks.roofline import roofline as run
    from faceinsight.runtime.bundle import NANO, read_bundle

    shapes = chosen("--shape", shape, SHAPES)
    result = run(read_bundle(bundle or NANO), shapes)
    show(result)
    print_last_line(result)
