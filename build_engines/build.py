"""A model directory becomes a bundle: export, calibrate, quantise, verify every stage against PyTorch, write."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

import faceinsight.models
from faceinsight.calibration.faces import read_crops
from faceinsight.calibration.ranges import Ranges, activation_ranges, load_ranges, save_ranges
from faceinsight.models.config import FaceInsightConfig
from faceinsight.models.data.augment import crop_pair, nominal_matrix
from faceinsight.models.data.synthetic import generate
from faceinsight.models.faceinsight import WEIGHTS, FaceInsightModel
from faceinsight.runtime.bundle import FORMAT_VERSION, STAGES, TOKENIZER, check_replaceable, write_bundle
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.progress import ProgressBar
from faceinsight.runtime.rules import rules_for

from .choice import PRECISIONS, language_precisions, precisions
from .stages import Stages
from .tensorrt import MODULES, Engines
from .verify import Reference
from .vision import stage_graph

VISION_STAGES = ("refiner", "parser", "vision", "fusion")
CHECKED_FACES = 16


def build_bundle(
    model_dir: str | Path | None,
    out: str | Path,
    target: str = "cpu",
    precision: str | None = None,
    calibration: str | Path | None = None,
    language_weights: str | None = None,
    **compiling,
) -> dict:
    """Builds the bundle of a model directory (the bundled nano if None) in `out`; returns its manifest.

    target: of choice.PRECISIONS. precision: one of the target's; None is its first. "int8" is W8A8 for VISION_STAGES
    and INT8 weights for the language model. "auto" builds every stage in all of them and chooses by error and time.
    calibration: for int8, a folder of images or a scales file; nano's own scales file serves the bundled nano.
    language_weights: "int8" or "int4", whatever the precision of the others. compiling: of a TensorRT target, see
    `Engines`.
    Raises InputError for options that do not go together, a missing calibration or one of another model; CompileError.
    """
    usual = precisions(target, precision)
    asked = dict.fromkeys(VISION_STAGES, usual) | {"language": language_precisions(target, usual, language_weights)}
    engines = _engines(target, compiling)
    if engines and language_weights == "int4" and not engines.composite:
        raise InputError(f"INT4 weights need TensorRT 10.15 or newer, this is {engines.version}; use int8")
    check_replaceable(Path(out))
    model_dir = model_directory(model_dir)
    model = FaceInsightModel.from_pretrained(model_dir)
    digest = model_hash(model_dir)
    ranges, crops = {}, _rendered_crops(model.config, CHECKED_FACES)
    if "int8" in usual:
        ranges, photographed = _calibration(model, model_dir, digest, calibration, PRECISIONS[target][-1])
        crops = crops if photographed is None else photographed
    exported = _exported(model)
    if "int8" in usual and not ranges:
        ranges = measure_ranges(exported, crops)
    reference = Reference(model, {name: items[:CHECKED_FACES] for name, items in crops.items()})
    maker = Stages(model, exported, ranges, reference, target, engines)
    stages, files = {}, {TOKENIZER: model.tokenizer_json.encode("utf-8")}
    for stage in STAGES:
        stages[stage], content = maker.build(stage, asked[stage])
        files[stages[stage]["file"]] = content
    manifest = _manifest(model, digest, target, stages, engines)
    write_bundle(out, manifest, files)
    return manifest


def _engines(target: str, compiling: dict) -> Engines | None:
    """compiling: fields of `Engines`. None for a target that runs ONNX graphs."""
    if target in MODULES:
        return Engines(target, **compiling)
    if compiling:
        raise InputError(
            f"{', '.join(compiling)}: options of TensorRT engines; leave them out with target {target}, or build for a "
            "tensorrt target"
        )
    return None


def calibrate_model(model_dir: str | Path | None, images: str | Path, out: str | Path, limit: int = 256) -> int:
    """Measures activation ranges on a folder of images and writes the scales file; returns the number of faces."""
    model_dir = model_directory(model_dir)
    model = FaceInsightModel.from_pretrained(model_dir)
    crops = read_crops(images, model.config.sizes, limit, _refine(model))
    graphs = _exported(model)
    ranges = measure_ranges(graphs, crops)
    count = len(crops["vision"])
    save_ranges(out, ranges, {"model_sha256": model_hash(model_dir), "images": count, "percentile": PERCENTILE})
    return count


PERCENTILE = 99.99


def measure_ranges(graphs: dict[str, onnx.ModelProto], crops: dict[str, np.ndarray]) -> dict[str, Ranges]:
    """Stage -> tensor -> (low, high), each stage fed with the float stages before it. crops: see `read_crops`."""
    sessions = {
        stage: onnxruntime.InferenceSession(graphs[stage].SerializeToString(), providers=["CPUExecutionProvider"])
        for stage in ("parser", "vision")
    }

    def pixels(stage: str) -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, len(crops[stage]), 16):
            yield {"pixels": crops[stage][start : start + 16]}

    def fused() -> Iterator[dict[str, np.ndarray]]:
        for seen, parsed in zip(pixels("vision"), pixels("parser"), strict=True):
            yield {
                "features": sessions["vision"].run(None, seen)[0],
                "parse_map": sessions["parser"].run(None, parsed)[0],
            }

    batches = {stage: pixels(stage) for stage in crops} | {"fusion": fused()}
    ranges = {}
    with ProgressBar("calibrate", len(VISION_STAGES)) as advance:
        for stage in VISION_STAGES:
            ranges[stage] = activation_ranges(graphs[stage], batches[stage], PERCENTILE)
            advance({})
    return ranges


def _exported(model: FaceInsightModel) -> dict[str, onnx.ModelProto]:
    """The float graphs of VISION_STAGES."""
    graphs = {}
    with ProgressBar("export", len(VISION_STAGES)) as advance:
        for stage in VISION_STAGES:
            graphs[stage] = stage_graph(model, stage)
            advance({})
    return graphs


def model_hash(model_dir: str | Path) -> str:
    """SHA-256 over config, weights and tokenizer."""
    digest = hashlib.sha256()
    for name in ("config.json", WEIGHTS, "tokenizer.json"):
        digest.update((Path(model_dir) / name).read_bytes())
    return digest.hexdigest()


def model_directory(given: str | Path | None) -> Path:
    """The directory given, or the bundled nano checkpoint."""
    return Path(given) if given else Path(faceinsight.models.__file__).parent / "nano"


def _refine(model: FaceInsightModel) -> Callable[[np.ndarray], np.ndarray]:
    """The refiner on one crop [S, S, 3] uint8: its placement [3]."""

    @torch.no_grad()
    def refine(crop: np.ndarray) -> np.ndarray:
        return model.refiner(torch.from_numpy(crop[None]))[0].numpy()

    return refine


def _calibration(
    model: FaceInsightModel, model_dir: Path, digest: str, given: str | Path | None, instead: str
) -> tuple[dict[str, Ranges], dict[str, np.ndarray] | None]:
    """The ranges of a scales file, or the crops to measure them on. instead: a precision that needs neither."""
    source = Path(given) if given else model_dir / "scales.json"
    if source.is_dir():
        return {}, read_crops(source, model.config.sizes, 256, _refine(model))
    if not source.is_file():
        raise InputError(
            f"int8 needs calibration, and {source} does not exist: give --calibration a folder of images with faces "
            f"or a scales file from `faceinsight calibrate`, or build without it (--precision {instead})"
        )
    ranges, metadata = load_ranges(source)
    missing = [stage for stage in VISION_STAGES if stage not in ranges]
    if missing:
        raise InputError(f"{source} has no ranges of {', '.join(missing)}; run `faceinsight calibrate` again")
    if metadata["model_sha256"] != digest:
        raise InputError(
            f"{source} was measured on another model ({metadata['model_sha256'][:12]}..., this is {digest[:12]}...); "
            "run `faceinsight calibrate` for this one"
        )
    return ranges, None


def _rendered_crops(config: FaceInsightConfig, count: int) -> dict[str, np.ndarray]:
    """Crops of synthetic faces; what a build without images is verified on."""
    images = [generate(seed).image for seed in range(count)]
    return {
        name: np.stack([crop_pair(i, None, nominal_matrix(i.shape[:2], size), False, size)[0] for i in images])
        for name, size in config.sizes.items()
    }


def _manifest(
    model: FaceInsightModel, digest: str, target: str, stages: dict[str, dict], engines: Engines | None
) -> dict:
    kind, version = (target, engines.version) if engines else ("onnxruntime", onnxruntime.__version__)
    backbone = model.language.backbone.config
    head_dim = getattr(backbone, "head_dim", None) or backbone.hidden_size // backbone.num_attention_heads
    tokenizer, names = model.tokenizer_json.encode("utf-8"), model.config.attributes.names
    return {
        "format_version": FORMAT_VERSION,
        "name": "faceinsight",
        "target": target,
        "model_hash": digest,
        "engine": {"kind": kind, "version": version},
        "built_with": {"torch": torch.__version__, "onnx": onnx.__version__},
        "device": engines and engines.device,
        "stages": stages,
        "tokenizer": {"file": TOKENIZER, "sha256": hashlib.sha256(tokenizer).hexdigest()},
        "sizes": model.config.sizes,
        "attributes": list(names),
        "rules": [{"kind": rule.kind, "names": list(rule.names)} for rule in rules_for(names)],
        "prompt": dataclasses.asdict(model.config.prompt),
        "language": {
            "layers": backbone.num_hidden_layers,
            "kv_heads": backbone.num_key_value_heads,
            "head_dim": head_dim,
            "vocab_size": model.language.vocab_size,
            "context": model.config.context,
        },
    }
