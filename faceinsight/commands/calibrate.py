"""The verb `calibrate` measures activation ranges, which an INT8 build needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .loading import needs
from .options import ModelDir


def calibrate(
    images: Annotated[Path, typer.Option(help="Folder of images with faces.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Scales file to write, for build --calibration.", show_default=False)],
    model: ModelDir = None,
    limit: Annotated[int, typer.Option(min=8, help="Most images to use.")] = 256,
) -> None:
    """Measure on images how large a model's activations get, and write the ranges to a scales file.

    An INT8 build needs them. It can also measure them itself: build --calibration FOLDER.
    """
    needs("build", "torch", "onnx", "onnx_graphsurgeon", "onnxslim")
    from faceinsight.build_engines.export import export_stages
    from faceinsight.calibration.calibrate import calibrate_model

    count = calibrate_model(model, images, out, export_stages, limit)
    print(f"wrote {out}: ranges from {count} faces")
