"""What a graph computes and moves, against counts by hand and PyTorch's own counter."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from faceinsight.build_engines.language import language_graph
from faceinsight.build_engines.work import work
from faceinsight.models.checkpoint import model_directory
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.runtime.bundle import NANO


def graph(nodes, inputs, outputs, weights=(), opset=24) -> onnx.ModelProto:
    """inputs, outputs: name -> (kind, shape). weights: name -> array or TensorProto."""
    values = [[helper.make_tensor_value_info(name, *kind) for name, kind in side.items()] for side in (inputs, outputs)]
    constants = [
        w if isinstance(w, TensorProto) else numpy_helper.from_array(w, name) for name, w in dict(weights).items()
    ]
    body = helper.make_graph(nodes, "g", *values, constants)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


F32 = TensorProto.FLOAT


def test_a_convolution_by_hand():
    """3 -> 8 channels, 3x3, stride 2: 10x10 -> 5x5."""
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1])
    weights = {"w": np.zeros((8, 3, 3, 3), np.float32), "b": np.zeros(8, np.float32)}
    found = work(
        graph([node], {"x": (F32, ["batch", 3, 10, 10])}, {"y": (F32, ["batch", 8, 5, 5])}, weights), {"batch": 2}
    )
    moved = 2 * 4 * (3 * 10 * 10 + 8 * 5 * 5)
    assert found == {
        "operations": 2 * 2 * 8 * 5 * 5 * 3 * 3 * 3,
        "integer_operations": 0,
        "weight_bytes": 4 * (8 * 3 * 3 * 3 + 8),
        "activation_bytes": 2 * moved,  # by the operator, and as the graph's own input and output
        "cache_bytes": 0,
        "kernels": 1,
    }


def test_a_grouped_convolution_reads_its_group_only():
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=8, pads=[1, 1, 1, 1])
    weights = {"w": np.zeros((8, 1, 3, 3), np.float32)}
    found = work(graph([node], {"x": (F32, [1, 8, 6, 6])}, {"y": (F32, [1, 8, 6, 6])}, weights), {})
    assert found["operations"] == 2 * 8 * 6 * 6 * 9


def test_int8_and_int4_weights_count_as_they_are_stored():
    steps, four = np.ones((16, 1), np.float32), helper.make_tensor("w", TensorProto.INT4, [16, 32], [0] * 512)
    for weight, size in ((np.zeros((16, 32), np.int8), 512), (four, 256)):
        nodes = [
            helper.make_node("DequantizeLinear", ["w", "steps"], ["wf"], axis=1, block_size=32),
            helper.make_node("Transpose", ["wf"], ["wt"], perm=[1, 0]),
            helper.make_node("MatMul", ["x", "wt"], ["y"]),
        ]
        if size == 512:
            nodes[0] = helper.make_node("DequantizeLinear", ["w", "row"], ["wf"], axis=0)
        weights = {"w": weight, "steps": steps} if size == 256 else {"w": weight, "row": steps[:, 0]}
        ends = {"x": (F32, ["batch", "tokens", 32])}, {"y": (F32, ["batch", "tokens", 16])}
        found = work(graph(nodes, *ends, weights), {"batch": 1, "tokens": 5})
        assert found["operations"] == 2 * 5 * 32 * 16
        assert found["weight_bytes"] == size + 4 * 16
        assert found["activation_bytes"] == 2 * 4 * 5 * (32 + 16)


def test_activations_between_integer_operators_are_bytes():
    """x -> q -> dq -> Conv -> Relu -> q -> dq -> y: the convolution reads and writes bytes."""
    one, zero = np.float32(0.1), np.uint8(0)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("Conv", ["xd", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("QuantizeLinear", ["r", "s", "z"], ["rq"]),
        helper.make_node("DequantizeLinear", ["rq", "s", "z"], ["y"]),
    ]
    weights = {"s": one, "z": zero, "w": np.zeros((4, 4, 1, 1), np.float32)}
    ends = {"x": (F32, [1, 4, 3, 3])}, {"y": (F32, [1, 4, 3, 3])}
    found = work(graph(nodes, *ends, weights), {})
    assert found["activation_bytes"] == (4 + 4) * 9 + 2 * 4 * 36
    assert found["operations"] == 2 * 9 * 4 * 4 and found["integer_operations"] == 0  # for the weights are floats
    nodes.insert(0, helper.make_node("DequantizeLinear", ["wq", "s", "wz"], ["w"]))
    weights |= {"wq": np.zeros((4, 4, 1, 1), np.int8), "wz": np.int8(0)}
    del weights["w"]
    found = work(graph(nodes, *ends, weights), {})
    assert found["integer_operations"] == found["operations"] and found["weight_bytes"] == 16 + 4 + 1 + 1


def test_attention_and_its_cache_by_hand():
    """Four query heads on two of the cache, three new tokens, sixteen slots."""
    heads, kv, new, slots, width = 4, 2, 3, 16, 8
    nodes = [
        helper.make_node("TensorScatter", ["past_k", "k", "position"], ["present_k"], axis=-2),
        helper.make_node("TensorScatter", ["past_v", "v", "position"], ["present_v"], axis=-2),
        helper.make_node("Attention", ["q", "present_k", "present_v"], ["y"]),
    ]
    cache = (F32, ["batch", kv, slots, width])
    inputs = {"q": (F32, ["batch", heads, "tokens", width]), "position": (TensorProto.INT64, ["batch"])}
    inputs |= {name: (F32, ["batch", kv, "tokens", width]) for name in "kv"} | {"past_k": cache, "past_v": cache}
    outputs = {"y": (F32, ["batch", heads, "tokens", width]), "present_k": cache, "present_v": cache}
    found = work(graph(nodes, inputs, outputs), {"batch": 1, "tokens": new})
    assert found["operations"] == 2 * 2 * heads * new * slots * width
    assert found["cache_bytes"] == 2 * 4 * kv * width * (slots + new)
    queries, keys = 4 * heads * new * width, 4 * kv * new * width
    # query and result by the operator; both, new keys and values, and the position as the graph's ends
    assert found["activation_bytes"] == 2 * queries + 2 * queries + 2 * keys + 8


def test_a_table_counts_the_rows_that_are_looked_up():
    node = helper.make_node("Gather", ["table", "ids"], ["y"])
    ends = {"ids": (TensorProto.INT64, ["batch", "tokens"])}, {"y": (TensorProto.FLOAT16, ["batch", "tokens", 8])}
    found = work(graph([node], *ends, {"table": np.zeros((1000, 8), np.float16)}), {"batch": 1, "tokens": 3})
    assert found["weight_bytes"] == 3 * 8 * 2


@pytest.fixture(scope="module")
def network() -> FaceInsightModel:
    return FaceInsightModel.from_pretrained(model_directory(None))


def counted(module, *inputs, **options) -> int:
    # its counter does not know the fused attention of the CPU
    with sdpa_kernel(SDPBackend.MATH), torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(*inputs, **options)
    return counter.get_total_flops()


@pytest.mark.parametrize("stage", ["refiner", "parser", "vision", "fusion"])
def test_the_bundled_stages_compute_what_pytorch_does(network, stage):
    sizes = network.config.sizes

    def inputs(faces: int):
        if stage == "fusion":
            side = sizes["parser"]
            return torch.zeros(faces, 25, network.vision.width), torch.zeros(faces, side, side, dtype=torch.uint8)
        return (torch.zeros(faces, sizes[stage], sizes[stage], 3, dtype=torch.uint8),)

    # a second face costs what a face does; the labels' text features do not depend on it, and a bundle holds the result
    a_face = counted(getattr(network, stage), *inputs(2)) - counted(getattr(network, stage), *inputs(1))
    bundled = onnx.load(NANO / f"{stage}.onnx")
    assert work(bundled, {"batch": 1})["operations"] == a_face
    assert work(bundled, {"batch": 3})["operations"] == 3 * a_face


@pytest.mark.parametrize("quantize", [None, "int8", "int4"])
def test_a_decode_step_is_what_pytorch_counts_and_reads_its_weights_once(network, quantize):
    decoder = language_graph(network.language, 1, quantize)
    found = work(decoder, {"batch": 1, "tokens": 1, "visual": 4})
    visual = torch.zeros(1, 4, network.language.width)
    assert found["operations"] == counted(network.language, torch.zeros(1, 1, dtype=torch.long), visual)
    count = sum(parameter.numel() for parameter in network.language.parameters())
    bytes_each = {None: 4, "int8": 1, "int4": 0.5}[quantize]
    # beside the numbers themselves come steps and norms, and with INT4 the table that stays in INT8
    assert bytes_each * count < found["weight_bytes"] < bytes_each * count * 1.35


def test_sizes_are_asked_for():
    ends = {"x": (F32, ["batch", 4])}, {"y": (F32, ["batch", 4])}
    with pytest.raises(ValueError, match="batch"):
        work(graph([helper.make_node("Relu", ["x"], ["y"])], *ends), {})
