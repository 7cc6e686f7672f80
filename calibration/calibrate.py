"""Calibration of a model: from a folder of images to the scales file that an INT8 build reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx

from faceinsight.models.checkpoint import model_directory, model_hash
from faceinsight.models.faceinsight import FaceInsightModel

from .faces import read_crops
from .policy import PERCENTILE
from .ranges import measure_ranges
from .scales import write_scales

Export = Callable[[FaceInsightModel], dict[str, onnx.ModelProto]]


def calibrate_model(
    model_dir: str | Path | None, images: str | Path, out: str | Path, export: Export, limit: int = 256
) -> int:
    """Measures a model's activation ranges on images and writes them to a scales file.

    model_dir: the bundled nano if None. images: a folder. out: the file. export: makes the float graph of every stage
    but the language model, as `build_engines.export.export_stages` does. limit: the most images to use. Returns the
    number of faces. Raises InputError for a folder with too few faces and a file that cannot be written.
    """
    model_dir = model_directory(model_dir)
    model = FaceInsightModel.from_pretrained(model_dir)
    crops = read_crops(images, model, limit)
    ranges = measure_ranges(export(model), crops)
    count = len(crops["vision"])
    write_scales(out, ranges, {"model_sha256": model_hash(model_dir), "images": count, "percentile": PERCENTILE})
    return count
