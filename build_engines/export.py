"""Exports every stage but the language model from PyTorch to a float32 ONNX graph (see language.py for that one).

The same weights always give the same bytes, so a file's SHA-256 says which model is in it.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

import onnx
import onnxslim
import torch
from onnx import inliner
from torch import Tensor

from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.runtime.manifest import PERCEPTION_STAGES
from faceinsight.runtime.progress import ProgressBar

# the lowest with Gelu as an operator, and the highest that TensorRT 10.3's parser reads
OPSET = 20
TENSOR_NAMES = {
    "detector": (["pixels"], ["faces"]),
    "refiner": (["pixels"], ["placement"]),
    "parser": (["pixels"], ["parse_map"]),
    "vision": (["pixels"], ["features"]),
    "fusion": (["features", "parse_map"], ["visual_tokens", "probabilities"]),
}
"""Stage -> names of its graph's inputs, and of its outputs."""


def export_stages(model: FaceInsightModel) -> dict[str, onnx.ModelProto]:
    """Exports every stage of PERCEPTION_STAGES: stage -> its graph, see `export_stage`."""
    graphs = {}
    with ProgressBar("export", len(PERCEPTION_STAGES)) as advance:
        for stage in PERCEPTION_STAGES:
            graphs[stage] = export_stage(model, stage)
            advance({})
    return graphs


def export_stage(model: FaceInsightModel, stage: str) -> onnx.ModelProto:
    """Exports one stage with its weights; the size of the batch is dynamic.

    detector: pixels [B, S, S, 3] uint8 -> faces [B, cells, 15] float32.
    refiner: pixels [B, S, S, 3] uint8 -> placement [B, 3] float32.
    parser: pixels [B, S, S, 3] uint8 -> parse_map [B, S, S] uint8.
    vision: pixels [B, S, S, 3] uint8 -> features [B, N, C] float32.
    fusion: features, parse_map -> visual_tokens [B, N + M, W] float32, probabilities [B, L] float32.
    """
    module = getattr(model, stage)
    inputs, outputs = TENSOR_NAMES[stage]
    training = module.training
    with _quiet(), torch.no_grad():
        # only in eval mode is BatchNorm a constant affine map, which the exporter folds into the Conv before it
        module.eval()
        try:
            program = torch.onnx.export(
                module,
                _example(model, stage),
                dynamo=True,
                opset_version=OPSET,
                input_names=inputs,
                output_names=outputs,
                dynamic_shapes=tuple({0: torch.export.Dim("batch")} for _ in inputs),
                external_data=False,
                verbose=False,
            )
        finally:
            module.train(training)
    return _sanitise(onnxslim.slim(inliner.inline_local_functions(program.model_proto)), stage)


def _example(model: FaceInsightModel, stage: str) -> tuple[Tensor, ...]:
    """Zeros in the shapes of the stage's inputs. The batch is 2, because the exporter takes a 1 for a constant."""
    pixels = {name: torch.zeros(2, side, side, 3, dtype=torch.uint8) for name, side in model.config.sizes.items()}
    if stage == "fusion":
        return model.vision.eval()(pixels["vision"]), pixels["parser"][..., 0]
    return (pixels[stage],)


def _sanitise(graph: onnx.ModelProto, stage: str) -> onnx.ModelProto:
    """A copy with only what computes, so without the places, times and source lines that the exporter writes."""
    clean = onnx.helper.make_model(
        graph.graph, producer_name="faceinsight", opset_imports=graph.opset_import, ir_version=10
    )
    body = clean.graph
    body.name = stage
    body.doc_string = ""
    for part in (body, *body.node, *body.initializer, *body.input, *body.output, *body.value_info):
        part.doc_string = ""
        del part.metadata_props[:]
    # shapes are inferred again by whoever reads the graph; the exporter's hold its internal symbols
    del body.value_info[:]
    _rename(body)
    onnx.checker.check_model(clean, full_check=True)
    return clean


def _rename(body: onnx.GraphProto) -> None:
    """Names nodes and tensors after their operator and position: `Conv_7`, and `Conv_7.1` for its second output."""
    fixed = {value.name for value in (*body.input, *body.output)}
    weights = {weight.name for weight in body.initializer}
    new: dict[str, str] = {}
    for position, node in enumerate(body.node):
        node.name = f"{node.op_type}_{position}"
        for place, name in enumerate(node.output):
            if name and name not in fixed:
                new[name] = f"{node.name}.{place}" if place else node.name
        for names in (node.input, node.output):
            names[:] = [new.get(name, name) for name in names]
    if clash := weights & set(new.values()):
        raise ValueError(f"a weight is called like a node: {sorted(clash)}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the exporter, whose warnings about missing packages and its own internals tell a user nothing."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
