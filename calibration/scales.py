"""The scales file: a model's activation ranges, which `faceinsight calibrate` writes and `faceinsight build` reads."""

from __future__ import annotations

import json
import math
from pathlib import Path

from faceinsight.runtime.errors import InputError
from faceinsight.runtime.files import replacing_file
from faceinsight.runtime.manifest import PERCEPTION_STAGES

from .ranges import Ranges

FORMAT = "faceinsight-ranges"
VERSION = 1


def write_scales(path: str | Path, ranges: dict[str, Ranges], metadata: dict) -> None:
    """Writes the scales file, whole or not at all.

    ranges: stage -> tensor -> (low, high). metadata: what they were measured on, at least model_sha256, images (a
    count) and percentile. Raises InputError if the file cannot be written.
    """
    path = Path(path)
    content = {"format": FORMAT, "version": VERSION, "metadata": metadata, "ranges": ranges}
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(path) as beside:
            beside.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write the scales file {path}: {error.strerror}; give --out another file") from error


def read_scales(path: str | Path) -> tuple[dict[str, Ranges], dict]:
    """Reads a scales file. Returns stage -> tensor -> (low, high), and the metadata. Raises InputError."""
    path = Path(path)
    again = "make one with `faceinsight calibrate`"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"scales file {path} cannot be read ({error.strerror}); {again}") from error
    except ValueError as error:
        raise InputError(f"scales file {path} is damaged: it is not JSON ({error}); {again}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path} is not a FaceInsight scales file; {again}")
    if content.get("version") != VERSION:
        raise InputError(f"scales file {path} has version {content.get('version')}, expected {VERSION}; {again}")
    try:
        ranges = {stage: {n: _pair(v) for n, v in found.items()} for stage, found in content["ranges"].items()}
        metadata = {**content["metadata"]}
        missing = {"model_sha256", "images", "percentile"} - set(metadata)
        if missing:
            raise ValueError(f"metadata without {', '.join(sorted(missing))}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"scales file {path} is damaged: {error!r}; {again}") from error
    return ranges, metadata


def scales_of_model(path: str | Path, model_sha256: str) -> dict[str, Ranges]:
    """Reads the ranges that were measured on one model. model_sha256: see `model_hash`.

    Returns stage -> tensor -> (low, high). Raises InputError if the file is of another model or lacks a stage.
    """
    ranges, metadata = read_scales(path)
    if missing := [stage for stage in PERCEPTION_STAGES if stage not in ranges]:
        raise InputError(f"{path} has no ranges of {', '.join(missing)}; run `faceinsight calibrate` again")
    if metadata["model_sha256"] != model_sha256:
        raise InputError(
            f"{path} was measured on another model ({metadata['model_sha256'][:12]}..., this is {model_sha256[:12]}"
            "...); run `faceinsight calibrate` for this one"
        )
    return ranges


def _pair(value: list) -> tuple[float, float]:
    low, high = map(float, value)
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"{value} is not a range [low, high]")
    return low, high
