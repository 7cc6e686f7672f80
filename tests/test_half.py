"""Float16: the conversion, numbers that do not fit it, graphs over 2 GiB, and the bundle for ONNX Runtime's CUDA."""

from __future__ import annotations

import copy
import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from faceinsight.build_engines import large
from faceinsight.build_engines.build import build_bundle
from faceinsight.build_engines.errors import CompileError
from faceinsight.build_engines.export import export_stages
from faceinsight.build_engines.half import check_range, for_tensorrt, half_graph
from faceinsight.build_engines.language import language_graph
from faceinsight.build_engines.plan_cache import fingerprint
from faceinsight.build_engines.tensorrt import compile_engine
from faceinsight.build_engines.verify import UnoptimisedEngine
from faceinsight.models.checkpoint import model_directory
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.manifest import STAGES
from faceinsight.runtime.targets import TENSORRT_RTX

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def nano():
    return FaceInsightModel.from_pretrained(model_directory(None))


@pytest.fixture(scope="module")
def graphs(nano):
    return export_stages(nano)


def pixels(graph: onnx.ModelProto, faces: int = 2) -> dict[str, np.ndarray]:
    side = graph.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    return {"pixels": np.random.default_rng(0).integers(0, 255, (faces, side, side, 3), np.uint8)}


def types_within(graph: onnx.ModelProto) -> dict[str, str]:
    """Type of every tensor that a node computes, as ONNX Runtime infers it."""
    whole = copy.deepcopy(graph)
    known = {value.name for value in whole.graph.output}
    names = (name for node in whole.graph.node for name in node.output if name and name not in known)
    whole.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(whole.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return {value.name: value.type for value in session.get_outputs()}


@pytest.mark.parametrize("stage", ["refiner", "parser"])
def test_half_graphs_keep_integers_as_they_are_but_for_tensorrt(graphs, stage):
    before = graphs[stage].SerializeToString()
    for graph, parse_map in ((half_graph(graphs[stage]), "uint8"), (for_tensorrt(graphs[stage]), "int32")):
        engine = UnoptimisedEngine(graph)
        found = engine.run(pixels(graph))
        assert "tensor(float)" not in {kind for name, kind in types_within(graph).items() if "/float" not in name}
        assert all(value.dtype == (parse_map if name == "parse_map" else np.float32) for name, value in found.items())
    assert graphs[stage].SerializeToString() == before


def test_numbers_that_float16_cannot_hold_are_found(nano, graphs):
    feed = pixels(graphs["refiner"])
    check_range("refiner", graphs["refiner"], [feed])
    before = graphs["refiner"].SerializeToString()
    scaled = onnx.ModelProto.FromString(before)
    weights = {weight.name: weight for weight in scaled.graph.initializer}
    node = next(node for node in scaled.graph.node if node.op_type == "Conv")
    values = onnx.numpy_helper.to_array(weights[node.input[1]])
    weights[node.input[1]].CopyFrom(onnx.numpy_helper.from_array(values * np.float32(3e5), node.input[1]))
    with pytest.raises(CompileError, match=rf"refiner cannot be built in float16: {node.input[1]} reaches") as caught:
        check_range("refiner", scaled, [feed])
    assert "\n" not in str(caught.value)
    # large only once they are multiplied: no weight is, ONNX Runtime on the CPU computes it, a GPU would not
    weights[node.input[1]].CopyFrom(onnx.numpy_helper.from_array(values * np.float32(3e4), node.input[1]))
    with pytest.raises(CompileError, match=r"refiner cannot be built in float16: (Conv|Relu)_\d+ reaches"):
        check_range("refiner", scaled, [feed])
    assert np.isfinite(UnoptimisedEngine(half_graph(scaled)).run(feed)["placement"]).all()
    assert graphs["refiner"].SerializeToString() == before


def test_a_language_models_numbers_are_looked_at_too(nano):
    graph = language_graph(nano.language, nano.config.context)
    feed = {
        "input_ids": np.array([[5, 6, 7]]),
        "position": np.array([0]),
        "visual_tokens": np.zeros((1, 1, nano.language.width), np.float32),
    }
    check_range("language", graph, [feed])
    norms = [weight for weight in graph.graph.initializer if weight.name.endswith("_norm.1")]
    assert norms
    for norm in norms:
        norm.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(norm) * np.float32(1e4), norm.name))
    with pytest.raises(CompileError, match=r"language cannot be built in float16: layers\.0/"):
        check_range("language", graph, [feed])


def test_a_graph_over_two_gib_is_read_from_a_file(graphs, monkeypatch):
    graph, feed = half_graph(graphs["refiner"]), pixels(graphs["refiner"])
    before, key, wanted = graph.SerializeToString(), fingerprint(graph), UnoptimisedEngine(graph).run(feed)
    monkeypatch.setattr(large, "LIMIT", 1000)
    with large.readable(graph) as path:
        assert isinstance(path, str) and onnx.load(path).SerializeToString() != b""
    found = UnoptimisedEngine(graph).run(feed)
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
    assert graph.SerializeToString() == before and fingerprint(graph) == key
    check_range("refiner", graphs["refiner"], [feed])
    with pytest.raises(CompileError, match="exceeds 2 GiB, the most that an ONNX file holds"):
        large.serialised(graph)


def test_tensorrt_parses_a_graph_over_two_gib(graphs, monkeypatch):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    graph = for_tensorrt(graphs["refiner"])
    side = graph.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    profile = {"pixels": ((1, side, side, 3),) * 3}
    small = compile_engine(TENSORRT_RTX, graph, [profile], sm=(89,))
    monkeypatch.setattr(large, "LIMIT", 1000)
    plan = compile_engine(TENSORRT_RTX, graph, [profile], sm=(89,))
    assert plan.layers == small.layers and abs(len(plan.content) - len(small.content)) < 0.01 * len(small.content)


@pytest.fixture
def bundle(cuda_bundle):
    return cuda_bundle


def test_a_bundle_for_cuda_is_half_graphs(bundle):
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert (manifest["target"], manifest["engine"]["kind"], manifest["device"]) == ("cuda", "onnxruntime", None)
    for stage, entry in manifest["stages"].items():
        graph = onnx.load(bundle / entry["file"])
        assert entry["precision"] == "FP16" and entry["latency_ms"] is None and entry["choice"] == "asked for"
        assert entry["error"]["value"] < 0.003 and "unoptimised" in entry["error"]["measure"], stage
        assert "tensor(float)" not in types_within(graph).values(), stage
    assert manifest["stages"]["parser"]["inputs"]["pixels"]["dtype"] == "uint8"
    assert manifest["stages"]["fusion"]["inputs"]["parse_map"]["dtype"] == "uint8"
    language = manifest["stages"]["language"]
    assert language["in_place"] and language["inputs"]["past_key_0"]["dtype"] == "float16"
    assert set(manifest["stages"]) == set(STAGES)


@pytest.mark.parametrize("options", [{"precision": "int8"}, {"language_weights": "int4"}])
def test_cuda_has_no_int8(tmp_path, options):
    with pytest.raises(InputError, match=r"INT8 kernels .* use --precision fp16|in float; leave --language-weights"):
        build_bundle(None, tmp_path / "out", "cuda", **options)
