"""A model directory becomes a bundle: export, calibrate, quantise, verify every stage against PyTorch, write."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch

import faceinsight.models
from faceinsight.calibration.faces import read_crops
from faceinsight.calibration.ranges import Ranges, activation_ranges, load_ranges, save_ranges
from faceinsight.models.config import FaceInsightConfig
from faceinsight.models.data.augment import crop_pair, nominal_matrix
from faceinsight.models.data.synthetic import generate
from faceinsight.models.faceinsight import WEIGHTS, FaceInsightModel
from faceinsight.runtime.bundle import FORMAT_VERSION, check_replaceable, write_bundle
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.progress import ProgressBar
from faceinsight.runtime.rules import rules_for

from .language import language_graph
from .quantize import quantize_w8a8
from .tensorrt import MODULES, CompileError, Engines
from .verify import verify
from .vision import stage_graph

VISION_STAGES = ("refiner", "parser", "vision", "fusion")
TARGETS = ("cpu", *MODULES)
CHECKED_FACES = 16


def build_bundle(
    model_dir: str | Path | None,
    out: str | Path,
    target: str = "cpu",
    precision: str = "int8",
    calibration: str | Path | None = None,
    sm: Sequence[int] = (),
    max_faces: int = 4,
    workspace_mib: int | None = None,
) -> dict:
    """Builds the bundle of a model directory (the bundled nano if None) in `out`; returns its manifest.

    target: of TARGETS. precision: "int8" (W8A8 for VISION_STAGES, INT8 weights for the language model), or without
    quantisation "fp32" on the CPU, "fp16" for TensorRT. calibration: a folder of images or a scales file; nano's own
    scales file serves the bundled nano. sm, max_faces (of one batch), workspace_mib: of TensorRT engines, see
    `compile_engine`.
    Raises InputError for a missing calibration or one of another model.
    """
    if target not in TARGETS:
        raise InputError(f"unknown target {target!r}; this version builds: {', '.join(TARGETS)}")
    if target == "cpu" and (sm or workspace_mib):
        raise InputError(
            "compute capability and workspace are of TensorRT engines; leave them out, or change the target"
        )
    engines = None if target == "cpu" else Engines(target, tuple(dict.fromkeys(sm)), max_faces, workspace_mib)
    if precision not in ("int8", "fp16" if engines else "fp32"):
        raise InputError(f"target {target} is not built in {precision}; use int8 or {'fp16' if engines else 'fp32'}")
    check_replaceable(Path(out))
    model_dir = model_directory(model_dir)
    model = FaceInsightModel.from_pretrained(model_dir)
    digest = model_hash(model_dir)
    graphs = _exported(model)
    crops = _rendered_crops(model.config, CHECKED_FACES)
    if precision == "int8":
        ranges, crops = _ranges(model, model_dir, digest, graphs, calibration, crops)
        encoding = "tensorrt" if engines else "onnxruntime"
        graphs = {stage: quantize_w8a8(graph, ranges[stage], encoding) for stage, graph in graphs.items()}
    weights = "int8" if precision == "int8" else None
    graphs["language"] = language_graph(model.language, model.config.context, weights)
    contents = {stage: graph.SerializeToString(deterministic=True) for stage, graph in graphs.items()}
    checks = verify(model, contents, {name: items[:CHECKED_FACES] for name, items in crops.items()})
    if engines:
        graphs["language"] = language_graph(model.language, model.config.context, weights, half=True)
        contents, checks = _compiled(engines, graphs, checks)
    manifest = _manifest(model, digest, target, precision, contents, checks, engines)
    files = {entry["file"]: contents[stage] for stage, entry in manifest["stages"].items()}
    files[manifest["tokenizer"]["file"]] = model.tokenizer_json.encode("utf-8")
    write_bundle(out, manifest, files)
    return manifest


def _compiled(engines: Engines, graphs: dict[str, onnx.ModelProto], checks: dict[str, dict]):
    """Each stage's engine, and its entry of the manifest: the error is that of its graph in ONNX Runtime, in float32
    but for what is INT8; how long it takes is not known before it runs."""
    contents, found = {}, {}
    for stage, graph in graphs.items():
        plan = engines.compile(stage, graph)
        contents[stage] = plan.content
        error = checks[stage]["error"]
        error = error | {"measure": f"{error['measure']} (graph in ONNX Runtime, float32 in the place of float16)"}
        found[stage] = plan.interface | {"error": error, "latency_ms": None, "layers": plan.layers}
        if plan.float32:
            raise CompileError(f"{stage} would compute in float32: {', '.join(plan.float32)}")
    return contents, found


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
    import onnxruntime as ort

    sessions = {
        stage: ort.InferenceSession(graphs[stage].SerializeToString(), providers=["CPUExecutionProvider"])
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


def _ranges(model, model_dir, digest, graphs, calibration, rendered):
    """The ranges and the crops to verify on: calibration images if there are any, rendered faces otherwise."""
    source = Path(calibration) if calibration else model_dir / "scales.json"
    if source.is_dir():
        crops = read_crops(source, model.config.sizes, 256, _refine(model))
        return measure_ranges(graphs, crops), crops
    if not source.is_file():
        raise InputError(
            f"int8 needs calibration, and {source} does not exist: give --calibration a folder of images with faces "
            "or a scales file from `faceinsight calibrate`, or build without it (--precision fp32, of TensorRT fp16)"
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
    return ranges, rendered


def _rendered_crops(config: FaceInsightConfig, count: int) -> dict[str, np.ndarray]:
    """Crops of synthetic faces; what a build without images is verified on."""
    images = [generate(seed).image for seed in range(count)]
    return {
        name: np.stack([crop_pair(i, None, nominal_matrix(i.shape[:2], size), False, size)[0] for i in images])
        for name, size in config.sizes.items()
    }


def _manifest(model, digest, target, precision, contents, checks, engines: Engines | None) -> dict:
    import onnxruntime as ort

    kind, version = ("onnxruntime", ort.__version__) if engines is None else (target, engines.version)
    backbone = model.language.backbone.config
    head_dim = getattr(backbone, "head_dim", None) or backbone.hidden_size // backbone.num_attention_heads
    labels = {
        "refiner": "W8A8",
        "parser": "W8A8",
        "vision": "W8A8",
        "fusion": "W8A8",
        "language": "W8, FP16" if engines else "W8, activations rounded to 8 bits by the kernel",
    }
    stages = {
        stage: {
            "file": f"{stage}.{'onnx' if engines is None else 'plan'}",
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            "precision": labels[stage] if precision == "int8" else precision.upper(),
            **checks[stage],
        }
        for stage, content in contents.items()
    }
    tokenizer, names = model.tokenizer_json.encode("utf-8"), model.config.attributes.names
    return {
        "format_version": FORMAT_VERSION,
        "name": "faceinsight",
        "target": target,
        "model_hash": digest,
        "engine": {"kind": kind, "version": version},
        "built_with": {"torch": torch.__version__, "onnx": onnx.__version__},
        "device": engines and {"compute_capabilities": list(engines.sm) or "any", "max_faces": engines.max_faces},
        "stages": stages,
        "tokenizer": {"file": "tokenizer.json", "sha256": hashlib.sha256(tokenizer).hexdigest()},
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
