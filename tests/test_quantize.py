"""Stage export, calibration and W8A8: small random models, ONNX Runtime on the CPU against PyTorch."""

from __future__ import annotations

import collections
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from faceinsight.build_engines.export import TENSOR_NAMES, export_stage
from faceinsight.build_engines.quantize import quantize_w8a8
from faceinsight.calibration.policy import integer_operators, observed_tensors
from faceinsight.calibration.ranges import activation_ranges
from faceinsight.models.config import (
    AttributeConfig,
    BackboneConfig,
    DetectorConfig,
    FaceInsightConfig,
    SegmentationConfig,
)
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.runtime.engine import OnnxEngine
from faceinsight.runtime.errors import InputError

pytestmark = pytest.mark.slow

SIZE = 64
CONFIG = FaceInsightConfig(
    detector=DetectorConfig(size=SIZE, widths=(8, 16, 24, 32, 32), depth=1, neck=24),
    parser=BackboneConfig("segformer", {
        "num_encoder_blocks": 2, "depths": [1, 1], "hidden_sizes": [32, 64], "num_attention_heads": [1, 2],
        "sr_ratios": [4, 2], "strides": [4, 2], "patch_sizes": [7, 3], "mlp_ratios": [4, 4],
        "decoder_hidden_size": 64, "num_labels": 19, "classifier_dropout_prob": 0.0,
    }, size=SIZE),
    vision=BackboneConfig("regnet", {
        "embedding_size": 16, "hidden_sizes": [32, 64], "depths": [2, 2], "groups_width": 16, "layer_type": "x",
    }, size=SIZE),
    segmentation=SegmentationConfig(size=SIZE, cell=8, patch=4, hidden=64, layers=1, heads=2),
    attributes=AttributeConfig(width=32, text_width=64),
    language=BackboneConfig("llama", {
        "vocab_size": 64, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1,
    }),
)  # fmt: skip


def random_model() -> FaceInsightModel:
    """The same weights at every call, in every process; norms and biases are not the trivial initial ones."""
    torch.manual_seed(0)
    model = FaceInsightModel(CONFIG)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data.normal_(0, 0.1)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.7, 1.3)
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.6, 1.4)
    model.fusion.head.set_text_features(torch.randn_like(model.fusion.head.text_features))
    return model


def digest(graph: onnx.ModelProto) -> str:
    return hashlib.sha256(graph.SerializeToString()).hexdigest()


@pytest.fixture(scope="module")
def model() -> FaceInsightModel:
    return random_model().eval()


@pytest.fixture(scope="module")
def graphs(model) -> dict[str, onnx.ModelProto]:
    return {stage: export_stage(model, stage) for stage in TENSOR_NAMES}


def feed(stage: str, batch: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Blocks of colour or class, not noise: noise averages out and leaves the deeper layers nearly constant."""
    draw = np.random.default_rng(seed)
    block = np.ones((1, 8, 8), np.uint8)
    if stage == "fusion":
        features = draw.gamma(1, 1, (batch, (SIZE // 8) ** 2, 64)).astype(np.float32)
        return {"features": features, "parse_map": np.kron(draw.integers(0, 19, (batch, 8, 8), np.uint8), block)}
    return {"pixels": np.kron(draw.integers(0, 256, (batch, 8, 8, 3), np.uint8), block[..., None])}


def run(graph: onnx.ModelProto, inputs: dict, optimise: bool = True) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.x64quantprecision", "1")  # as runtime/engine.py does
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(graph.SerializeToString(), options).run(None, inputs)


def calibrated(graphs, stage: str, percentile: float = 100):
    batches = [feed(stage, 4, seed) for seed in range(3)]
    return activation_ranges(graphs[stage], batches, percentile)


def optimised_kinds(graph: onnx.ModelProto, folder: Path) -> collections.Counter:
    """Operators after ONNX Runtime's own fusions."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    ort.InferenceSession(graph.SerializeToString(), options)
    return collections.Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("stage", TENSOR_NAMES)
def test_graph_agrees_with_pytorch(model, graphs, stage, batch):
    inputs = feed(stage, batch)
    with torch.no_grad():
        expected = getattr(model, stage)(*(torch.tensor(value) for value in inputs.values()))
    for one, other in zip(expected if stage == "fusion" else [expected], run(graphs[stage], inputs), strict=True):
        assert other.shape == one.shape
        if stage == "parser":
            assert other.dtype == np.uint8
            assert np.mean(other == one.numpy()) > 0.999
        else:
            assert np.abs(other - one.numpy()).max() <= 1e-3 * np.abs(one.numpy()).max()


@pytest.mark.parametrize("stage", TENSOR_NAMES)
def test_graph_is_clean(graphs, stage):
    graph = graphs[stage]
    assert "BatchNormalization" not in {node.op_type for node in graph.graph.node}
    assert not graph.functions and not graph.metadata_props and not graph.doc_string
    assert graph.producer_name == "faceinsight"
    assert {node.domain for node in graph.graph.node} <= {""}
    text = str(graph.SerializeToString())
    assert "site-packages" not in text and str(Path.cwd()) not in text and "pkg." not in text
    inputs, outputs = TENSOR_NAMES[stage]
    assert [value.name for value in graph.graph.input] == inputs
    assert [value.name for value in graph.graph.output] == outputs


def test_same_weights_same_bytes_here_and_in_another_process(model, graphs):
    assert digest(export_stage(model, "vision")) == digest(graphs["vision"])
    code = (
        "import test_quantize as t; model = t.random_model(); "
        "print(*(t.digest(t.export_stage(model, stage)) for stage in t.TENSOR_NAMES))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"}
    command, folder = [sys.executable, "-c", code], Path(__file__).parent
    found = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[-1].split() == [digest(graphs[stage]) for stage in TENSOR_NAMES]


@pytest.mark.parametrize("stage", TENSOR_NAMES)
def test_both_encodings_are_the_same_numbers(graphs, stage):
    # a little wider: rounding moves a value of the integer graph past the float graph's maximum
    ranges = {name: (1.1 * low, 1.1 * high) for name, (low, high) in calibrated(graphs, stage).items()}
    inputs = feed(stage, 2, seed=1)
    here, there = ({op.node for op in integer_operators(graphs[stage], e)} for e in ("onnxruntime", "tensorrt"))
    for one, other in zip(
        run(quantize_w8a8(graphs[stage], ranges, "onnxruntime"), inputs, optimise=False),
        run(quantize_w8a8(graphs[stage], ranges, "tensorrt", there - here), inputs, optimise=False),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


def test_tensorrt_encoding_is_symmetric_int8(graphs):
    graph = quantize_w8a8(graphs["vision"], calibrated(graphs, "vision"), "tensorrt")
    weights = {weight.name: onnx.numpy_helper.to_array(weight) for weight in graph.graph.initializer}
    pairs = [node for node in graph.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert pairs
    for node in pairs:
        zero = weights[node.input[2]]
        assert zero.dtype == np.int8 and not zero.any()


@pytest.mark.parametrize(("stage", "bounds"), [("vision", [0.06]), ("fusion", [0.04, 0.02])])
def test_error_is_bounded(graphs, stage, bounds):
    inputs = feed(stage, 4, seed=9)
    quantised = quantize_w8a8(graphs[stage], calibrated(graphs, stage, 99.99))
    for exact, close, bound in zip(run(graphs[stage], inputs), run(quantised, inputs), bounds, strict=True):
        assert 0 < np.sqrt(np.mean((exact - close) ** 2)) < bound * exact.std()


def test_parse_maps_agree(graphs):
    inputs = feed("parser", 4, seed=9)
    quantised = quantize_w8a8(graphs["parser"], calibrated(graphs, "parser", 99.99))
    assert np.mean(run(graphs["parser"], inputs)[0] == run(quantised, inputs)[0]) > 0.95


def test_onnxruntime_keeps_convolutions_integer(graphs, tmp_path):
    graph = quantize_w8a8(graphs["vision"], calibrated(graphs, "vision"))
    total = sum(node.op_type == "Conv" for node in graph.graph.node)
    kinds = optimised_kinds(graph, tmp_path)
    assert kinds["QLinearConv"] == total - 1 and kinds["Conv"] == 1
    # every residual but the last, whose sum is the stage's float output; every ReLU is inside an integer operator
    assert kinds["QLinearAdd"] == 3 and kinds["Relu"] <= 1
    kinds = optimised_kinds(quantize_w8a8(graphs["parser"], calibrated(graphs, "parser")), tmp_path)
    assert kinds["MatMulIntegerToFloat"] >= 8 and kinds["QLinearConv"] >= 5


def test_keep_leaves_nodes_in_float(graphs, tmp_path):
    ranges = calibrated(graphs, "vision")
    names = [item.node for item in integer_operators(graphs["vision"]) if item.node.startswith("Conv")]
    before = optimised_kinds(quantize_w8a8(graphs["vision"], ranges), tmp_path)
    after = optimised_kinds(quantize_w8a8(graphs["vision"], ranges, keep=names[-2:]), tmp_path)
    assert after["QLinearConv"] == before["QLinearConv"] - 2
    assert after["Conv"] == before["Conv"] + 2
    untouched = quantize_w8a8(graphs["vision"], {}, keep={node.name for node in graphs["vision"].graph.node})
    np.testing.assert_array_equal(*(run(g, feed("vision", 1))[0] for g in (graphs["vision"], untouched)))


def test_ranges_are_extremes_or_clipped(graphs):
    clipped = calibrated(graphs, "vision", 99.0)
    whole = calibrated(graphs, "vision")
    assert list(whole) == observed_tensors(graphs["vision"])
    for name, (low, high) in whole.items():
        assert low <= clipped[name][0] <= clipped[name][1] <= high
    assert sum(max(-low, high) for low, high in clipped.values()) < sum(max(-low, high) for low, high in whole.values())
    with pytest.raises(InputError, match="no calibration image"):
        activation_ranges(graphs["vision"], [])
    with pytest.raises(InputError, match="another graph"):
        quantize_w8a8(graphs["vision"], {"Conv_1": (0.0, 1.0)})


def test_a_weight_that_several_convolutions_share(tmp_path):
    """As the detector's head does for each level. ONNX Runtime cannot load integer convolutions that share constants on
    a CPU without VNNI."""
    shared = torch.nn.Conv2d(8, 8, 3, padding=1)

    class Twice(torch.nn.Module):
        def forward(self, pixels):
            return shared(torch.relu(shared(pixels)))

    given = torch.randn(2, 8, 16, 16)
    program = torch.onnx.export(Twice().eval(), (given,), dynamo=True, input_names=["pixels"], verbose=False)
    graph = program.model_proto
    for position, node in enumerate(graph.graph.node):
        node.name = f"{node.op_type}_{position}"
    quantised = quantize_w8a8(graph, activation_ranges(graph, [{"pixels": given.numpy()}]))
    (found,) = OnnxEngine(quantised.SerializeToString(), 1).run({"pixels": given.numpy()}).values()
    wanted = Twice()(given).detach().numpy()
    assert np.abs(found - wanted).mean() < 0.05 * np.abs(wanted).mean()
