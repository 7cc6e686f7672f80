"""Builds a bundle from a model directory: exports, quantises and verifies every stage, and writes the files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import torch

from faceinsight.calibration.faces import read_crops, rendered_crops
from faceinsight.calibration.ranges import Ranges, measure_ranges
from faceinsight.calibration.scales import scales_of_model
from faceinsight.models.checkpoint import model_directory, model_hash
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.runtime import manifest
from faceinsight.runtime.bundle import TOKENIZER, check_replaceable, write_bundle
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.manifest import PERCEPTION_STAGES, STAGES, Manifest
from faceinsight.runtime.targets import Target, find_target

from .candidates import StageBuilder
from .choice import language_precisions, precisions
from .export import export_stages
from .tensorrt import CompileOptions
from .verify import Reference

CHECKED_FACES = 16


def build_bundle(
    model_dir: str | Path | None,
    out: str | Path,
    target: str = "cpu",
    precision: str | None = None,
    calibration: str | Path | None = None,
    language_weights: str | None = None,
    **compiling,
) -> Manifest:
    """Builds the bundle of a model and writes it.

    model_dir: the bundled nano if None. out: the bundle's directory. target: a name of TARGETS. precision: one of the
    target's, its first if None. "int8" is W8A8, and INT8 weights for the language model; "auto" builds every stage in
    all of them and chooses by error and time. calibration: for int8, a folder of images or a scales file; if None, the
    scales file in model_dir. language_weights: "int8" or "int4", whatever the precision of the other stages.
    compiling: fields of `CompileOptions`, for a TensorRT target. Returns the manifest. Raises InputError for options
    that do not go together and for a missing calibration or one of another model; CompileError for a model that cannot
    be built so.
    """
    platform = find_target(target)
    usual = precisions(platform, precision)
    asked = dict.fromkeys(PERCEPTION_STAGES, usual)
    asked["language"] = language_precisions(platform, usual, language_weights)
    options = _compile_options(platform, compiling)
    if options and language_weights == "int4" and not options.composite:
        needed = ".".join(map(str, platform.composite))
        raise InputError(f"INT4 weights need TensorRT {needed} or newer, this is {options.version}; use int8")
    check_replaceable(Path(out))
    model_dir = model_directory(model_dir)
    model = FaceInsightModel.from_pretrained(model_dir)
    digest = model_hash(model_dir)
    ranges, crops = {}, None
    if "int8" in usual:
        source = Path(calibration) if calibration else model_dir / "scales.json"
        ranges, crops = _calibration(source, model, digest, platform)
    crops = crops or rendered_crops(model.config.sizes, CHECKED_FACES)
    exported = export_stages(model)
    if "int8" in usual and not ranges:
        ranges = measure_ranges(exported, crops)
    reference = Reference(model, {name: items[:CHECKED_FACES] for name, items in crops.items()})
    builder = StageBuilder(model, exported, ranges, reference, platform, options)
    stages, files = {}, {TOKENIZER: model.tokenizer_json.encode("utf-8")}
    for stage in STAGES:
        stages[stage], content = builder.build(stage, asked[stage])
        files[stages[stage].file] = content
    written = _manifest(model, digest, platform, stages, options)
    write_bundle(out, written, files)
    return written


def _compile_options(target: Target, compiling: dict) -> CompileOptions | None:
    """Makes the options from their fields; None for a target that runs ONNX graphs, which has no such options."""
    if target.compiled:
        return CompileOptions(target, **compiling)
    if compiling:
        raise InputError(
            f"{', '.join(compiling)}: options of TensorRT engines; leave them out with target {target.name}, or build "
            "for a tensorrt target"
        )
    return None


def _calibration(
    source: Path, model: FaceInsightModel, digest: str, target: Target
) -> tuple[dict[str, Ranges], dict[str, np.ndarray] | None]:
    """Reads what INT8 is calibrated with: the ranges of a scales file, or the crops that they will be measured on."""
    if source.is_dir():
        return {}, read_crops(source, model)
    if not source.is_file():
        raise InputError(
            f"int8 needs calibration, and {source} does not exist: give --calibration a folder of images with faces "
            "or a scales file from `faceinsight calibrate`, or build without it (--precision "
            f"{target.precisions[-1]})"
        )
    return scales_of_model(source, digest), None


def _manifest(
    model: FaceInsightModel,
    digest: str,
    target: Target,
    stages: dict[str, manifest.Stage],
    options: CompileOptions | None,
) -> Manifest:
    backbone = model.language.backbone.config
    tokenizer = model.tokenizer_json.encode("utf-8")
    return Manifest(
        target=target.name,
        model_hash=digest,
        engine=manifest.Engine(target.engine, target.library().__version__),
        built_with={"torch": torch.__version__, "onnx": onnx.__version__},
        device=options and options.device,
        stages=stages,
        tokenizer=manifest.File(TOKENIZER, hashlib.sha256(tokenizer).hexdigest()),
        sizes=model.config.sizes,
        min_score=model.config.detector.least,
        vocabulary=model.config.vocabulary,
        prompt=model.config.prompt,
        language=manifest.Language(
            layers=backbone.num_hidden_layers,
            kv_heads=backbone.num_key_value_heads,
            head_dim=model.language.head_dim,
            vocab_size=model.language.vocab_size,
            context=model.config.context,
        ),
    )
