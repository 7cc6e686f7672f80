"""Calibration: the policy of INT8, the distribution of activations, and the scales file."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from faceinsight.calibration.histogram import Histogram
from faceinsight.calibration.policy import POLICIES, Policy, integer_operators, observed_tensors
from faceinsight.calibration.ranges import activation_ranges
from faceinsight.calibration.scales import read_scales, scales_of_model, write_scales
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.manifest import PERCEPTION_STAGES
from faceinsight.runtime.targets import TARGETS


def convolutions(*channels: int) -> onnx.ModelProto:
    """A chain of convolutions: image, [3, S, S], to channels[0] and so on."""
    value = onnx.helper.make_tensor_value_info
    nodes, weights, before, name = [], [], 3, "image"
    for i, after in enumerate(channels):
        nodes.append(onnx.helper.make_node("Conv", [name, f"w{i}"], [f"y{i}"], f"conv{i}"))
        weights.append(onnx.numpy_helper.from_array(np.ones((after, before, 1, 1), np.float32), f"w{i}"))
        before, name = after, f"y{i}"
    ends = [value("image", onnx.TensorProto.FLOAT, ["n", 3, 8, 8])], [value(name, onnx.TensorProto.FLOAT, None)]
    return onnx.helper.make_model(onnx.helper.make_graph(nodes, "chain", *ends, weights))


def test_every_target_has_a_policy():
    assert {target.engine for target in TARGETS.values()} == set(POLICIES)


def test_each_kind_of_engine_may_have_a_policy_of_its_own(monkeypatch):
    """One calibration serves them all."""
    graph = convolutions(16, 64, 64)
    assert [item.node for item in integer_operators(graph, "onnxruntime")] == ["conv1", "conv2"]
    monkeypatch.setitem(POLICIES, "onnxruntime", Policy(dense_channels=64))
    assert [item.node for item in integer_operators(graph, "onnxruntime")] == ["conv2"]
    assert [item.node for item in integer_operators(graph, "tensorrt")] == ["conv1", "conv2"]
    assert set(observed_tensors(graph)) == {"y0", "y1", "y2"}


def test_a_range_clips_what_is_rare():
    values = np.linspace(-1, 1, 100_000, dtype=np.float32)
    seen = Histogram()
    seen.add(values)
    seen.add(np.array([50], np.float32))
    assert seen.range(100) == (-1, 50)
    assert seen.range(99.99) == pytest.approx((-1, 1), abs=0.05)
    with pytest.raises(ValueError, match="not finite"):
        seen.add(np.array([np.nan], np.float32))


def test_a_graph_too_small_for_int8_needs_no_ranges():
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 4]) for name in ("x", "y")]
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    graph = onnx.helper.make_model(onnx.helper.make_graph([node], "small", value[:1], value[1:]))
    assert activation_ranges(graph, [{"x": np.ones((2, 4), np.float32)}]) == {}


def test_ranges_file_round_trip(tmp_path):
    ranges = {"vision": {"Relu_5": (0.0, 1.25)}, "parser": {"Conv_4": (-0.1, 1 / 3)}}
    metadata = {"model_sha256": "ab" * 32, "images": 12, "percentile": 99.99}
    write_scales(tmp_path / "scales.json", ranges, metadata)
    assert read_scales(tmp_path / "scales.json") == (ranges, metadata)
    assert [path.name for path in tmp_path.iterdir()] == ["scales.json"]


@pytest.mark.parametrize(
    ("stages", "digest", "message"),
    [
        (PERCEPTION_STAGES, "cd" * 32, "another model .*calibrate"),
        (PERCEPTION_STAGES[1:], "ab" * 32, "has no ranges of detector; .*calibrate"),
    ],
)
def test_scales_that_do_not_fit_a_model_are_refused(tmp_path, stages, digest, message):
    ranges = {stage: {"Conv_1": (0.0, 1.0)} for stage in stages}
    write_scales(tmp_path / "scales.json", ranges, {"model_sha256": "ab" * 32, "images": 8, "percentile": 99.99})
    with pytest.raises(InputError, match=message):
        scales_of_model(tmp_path / "scales.json", digest)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "damaged: it is not JSON"),
        (lambda text: text.replace("faceinsight-ranges", "other"), "not a FaceInsight scales file"),
        (lambda text: text.replace('"version": 1', '"version": 9'), "has version 9, expected 1"),
        (lambda text: text.replace("1.25", '"x"'), "damaged"),
        (lambda text: text.replace("1.25", "-3"), "not a range"),
        (lambda text: text.replace("1.25", "NaN"), "not a range"),
        (lambda text: text.replace('"ranges"', '"rages"'), "damaged"),
        (lambda text: text.replace("model_sha256", "sha"), "metadata without model_sha256"),
    ],
)
def test_damaged_ranges_file(tmp_path, change, message):
    path = tmp_path / "scales.json"
    write_scales(path, {"vision": {"Relu_5": (0.0, 1.25)}}, {"model_sha256": "", "images": 1, "percentile": 100})
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=message):
        read_scales(path)
    path.unlink()
    with pytest.raises(InputError, match=r"cannot be read.*calibrate"):
        read_scales(path)


def test_on_a_cpu_what_stands_beside_a_depthwise_convolution_stays_in_float():
    """Its conversions cost more than the product gains; TensorRT fuses them."""

    def conv(name, given, weight, groups=1):
        return helper.make_node("Conv", [given, weight], [name], name=name, group=groups, pads=[1, 1, 1, 1])

    shapes = {"dense": (16, 16, 3, 3), "deep": (16, 1, 3, 3)}
    nodes = [
        conv("alone", "pixels", "dense"), conv("before", "alone", "dense"),
        helper.make_node("Relu", ["before"], ["active"], name="active"), conv("depthwise", "active", "deep", 16),
        conv("after", "depthwise", "dense"), conv("last", "after", "dense"),
    ]  # fmt: skip
    weights = [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in shapes.items()]
    ends = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 16, 8, 8]) for n in ("pixels", "last")]
    graph = helper.make_model(helper.make_graph(nodes, "block", ends[:1], ends[1:], weights))
    assert [found.node for found in integer_operators(graph, "onnxruntime")] == ["alone", "last"]
    assert [found.node for found in integer_operators(graph, "tensorrt")] == ["alone", "before", "after", "last"]
