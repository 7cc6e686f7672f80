"""`--precision auto`: every stage in both precisions, compared with PyTorch and with each other."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import pytest

from faceinsight.build_engines import candidates, choice, timing
from faceinsight.build_engines.build import build_bundle
from faceinsight.build_engines.candidates import INNER, StageBuilder
from faceinsight.build_engines.choice import BUDGETS, choose, language_precisions, precisions
from faceinsight.build_engines.errors import CompileError
from faceinsight.build_engines.export import export_stages
from faceinsight.build_engines.half import for_tensorrt
from faceinsight.build_engines.interface import interface
from faceinsight.build_engines.language import language_graph
from faceinsight.build_engines.tensorrt import CompileOptions, Plan
from faceinsight.build_engines.verify import Reference
from faceinsight.calibration.faces import rendered_crops
from faceinsight.calibration.policy import first_and_last, integer_operators
from faceinsight.calibration.scales import read_scales
from faceinsight.models.checkpoint import model_directory
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.runtime.bundle import read_bundle
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.manifest import STAGES, Candidate, Error, Latency, Tensor
from faceinsight.runtime.targets import CPU, CUDA, TENSORRT, TENSORRT_RTX

from . import simulated_gpu

pytestmark = pytest.mark.slow


def candidate(error: float, p50: float | None = None) -> Candidate:
    return Candidate(Error("", error), p50 and Latency(p50, p50))


@pytest.mark.parametrize(
    ("int8", "fp32", "chosen", "why"),
    [
        (candidate(0.01, 1.0), candidate(0, 2.0), "int8", "errs by 0.01, less than its budget of 0.08, and takes 1 ms"),
        (candidate(0.01, 2.0), candidate(0, 1.0), "fp32", "int8 does not pay: it takes 2 ms, fp32 1 ms"),
        (candidate(0.01, 1.0), candidate(0, 1.01), "fp32", "int8 does not pay: it takes 1 ms, fp32 1.01 ms"),
        (candidate(0.2, 1.0), candidate(0, 2.0), "fp32", "int8 errs by 0.2, its budget is 0.08"),
        (candidate(0.01), candidate(0), "int8", "less than its budget of 0.08; not timed"),
        (Candidate(refused="no such kernel"), candidate(0), "fp32", "int8 cannot be built: no such kernel"),
    ],
)
def test_int8_is_taken_where_it_is_close_enough_and_faster(int8, fp32, chosen, why):
    name, said = choose("vision", {"int8": int8, "fp32": fp32})
    assert name == chosen and why in said


def test_a_single_precision_is_what_was_asked_for():
    assert choose("vision", {"int8": candidate(9.0)}) == ("int8", "asked for")


@pytest.mark.parametrize(
    ("target", "asked", "weights", "vision", "language"),
    [
        (CPU, None, None, ("int8",), ("int8",)),
        (CUDA, None, None, ("fp16",), ("fp16",)),
        (CUDA, "auto", None, ("fp16", "fp32"), ("fp16", "fp32")),
        (TENSORRT, "auto", "int4", ("int8", "fp16"), ("int4", "fp16")),
        (TENSORRT_RTX, "fp16", "int4", ("fp16",), ("int4",)),
        (CPU, "int8", "int4", ("int8",), ("int4",)),
    ],
)
def test_what_a_target_is_built_in(target, asked, weights, vision, language):
    usual = precisions(target, asked)
    assert (usual, language_precisions(target, usual, weights)) == (vision, language)


@pytest.mark.parametrize(
    ("target", "asked", "weights", "message"),
    [
        (CPU, "fp16", None, "target cpu is not built in fp16; use int8, fp32 or auto"),
        (CUDA, "int8", None, "no INT8 kernels for these stages on target cuda; use --precision fp16"),
        (CPU, None, "int3", "unknown weights 'int3' of the language model; use int8 or int4"),
    ],
)
def test_what_is_not_known_is_refused(target, asked, weights, message):
    with pytest.raises(InputError, match=message):
        language_precisions(target, precisions(target, asked), weights)


@pytest.fixture(scope="module")
def parts():
    """Model, float graphs, ranges and what PyTorch makes of four faces: all that `StageBuilder` needs."""
    model = FaceInsightModel.from_pretrained(model_directory(None))
    exported = export_stages(model)
    ranges, _ = read_scales(model_directory(None) / "scales.json")
    return model, exported, ranges, Reference(model, rendered_crops(model.config.sizes, 4))


@pytest.fixture(scope="module")
def automatic(parts):
    """Stage -> its entry of the manifest, for the CPU."""
    maker = StageBuilder(*parts, CPU, None)
    return {stage: maker.build(stage, precisions(CPU, "auto"))[0] for stage in STAGES}


def test_auto_says_what_it_compared(automatic):
    for stage, entry in automatic.items():
        found = entry.candidates
        assert list(found) == ["int8", "fp32"] and found["int8"].error.value < BUDGETS[stage]
        assert found["fp32"].error.value < 1e-5 and found["int8"].error.measure
        assert all(times.latency_ms.p50 > 0 for times in found.values())
        taken = "fp32" if entry.precision == "FP32" else "int8"
        assert (entry.error, entry.latency_ms) == (found[taken].error, found[taken].latency_ms)
        assert "takes" in entry.choice and (taken == "int8") == ("less than its budget" in entry.choice)


def test_without_a_budget_everything_is_float(parts, monkeypatch):
    monkeypatch.setattr(choice, "BUDGETS", dict.fromkeys(BUDGETS, 0.0))
    maker = StageBuilder(*parts, CPU, None)
    for stage in STAGES:
        entry, content = maker.build(stage, precisions(CPU, "auto"))
        operators = {node.op_type for node in onnx.load_from_string(content).graph.node}
        assert entry.precision == "FP32" and "QuantizeLinear" not in operators
        assert "int8 errs by" in entry.choice and "its budget is 0" in entry.choice
        assert list(entry.candidates) == ["int8", *([INNER] if stage != "language" else []), "fp32"]


def test_where_int8_errs_too_much_its_ends_are_kept_in_float(parts, monkeypatch):
    """A budget between the two errors of the vision encoder."""
    exported = parts[1]
    maker = StageBuilder(*parts, CPU, None)
    monkeypatch.setattr(choice, "BUDGETS", BUDGETS | {"vision": 0.0})
    monkeypatch.setattr(choice, "GAIN", 0.0)
    found = maker.build("vision", precisions(CPU, "auto"))[0].candidates
    whole, inner = (found[name].error.value for name in ("int8", INNER))
    assert inner < whole
    monkeypatch.setattr(choice, "BUDGETS", BUDGETS | {"vision": (whole + inner) / 2})
    entry, content = maker.build("vision", precisions(CPU, "auto"))
    assert entry.precision == "W8A8, first and last layer in float" and entry.error.value == inner
    kept = first_and_last(exported["vision"])
    chosen = integer_operators(exported["vision"])
    assert kept == {chosen[0].node, chosen[-1].node}
    nodes = {node.name: node for node in onnx.load_from_string(content).graph.node}
    readers = {name for node in nodes.values() if node.op_type == "DequantizeLinear" for name in node.output}
    assert not any(nodes[name].input[1] in readers for name in kept)


@pytest.fixture(scope="module")
def options():
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    return CompileOptions(TENSORRT_RTX, (89,))


@pytest.mark.parametrize(("budget", "taken"), [(BUDGETS["refiner"], "W8A8"), (0.0, "FP16")])
def test_auto_compiles_both_and_goes_by_the_error_where_nothing_can_be_timed(
    parts, options, monkeypatch, budget, taken
):
    monkeypatch.setattr(choice, "BUDGETS", BUDGETS | {"refiner": budget})
    entry, content = StageBuilder(*parts, TENSORRT_RTX, options).build("refiner", precisions(TENSORRT_RTX, "auto"))
    assert entry.precision == taken and entry.bytes == len(content) and entry.file == "refiner.plan"
    found = entry.candidates
    assert 0 < found["fp16"].error.value < found["int8"].error.value < BUDGETS["refiner"]
    assert found["int8"].latency_ms is None and ("not timed" in entry.choice) == (taken == "W8A8")


def test_where_the_engine_could_be_timed_the_faster_one_is_taken(parts, options, monkeypatch):
    times = iter([2.0, 1.0])
    monkeypatch.setattr(candidates, "measure", lambda *_: Latency(next(times), 3.0))
    entry, _ = StageBuilder(*parts, TENSORRT_RTX, options).build("refiner", precisions(TENSORRT_RTX, "auto"))
    assert entry.precision == "FP16" and entry.choice == "int8 does not pay: it takes 2 ms, fp16 1 ms"


@pytest.fixture
def gpu(monkeypatch):
    """A simulated GPU, which computes a plan that is an ONNX graph; every run takes 0.25 ms."""
    device = simulated_gpu.Device()
    monkeypatch.setattr(timing, "Device", lambda: device)
    library = simulated_gpu.TensorRT("1.7.1", device)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", library)
    return library


def tensors(graph: onnx.ModelProto) -> dict[str, Tensor]:
    inputs, outputs = interface(graph)
    return inputs | outputs


@pytest.mark.parametrize("composite", [True, False])
def test_an_engine_is_timed_where_there_is_a_gpu(parts, gpu, composite):
    graph = language_graph(parts[0].language, 64, half=True, composite=composite)
    layers = {"KV_CACHE_UPDATE": 8} if composite else {}
    plan = Plan(graph.SerializeToString(), layers, (), tensors(graph))
    assert timing.measure(TENSORRT_RTX, "language", plan) == Latency(0.25, 0.25)
    graph = for_tensorrt(parts[1]["fusion"])
    plan = Plan(graph.SerializeToString(), {}, (), tensors(graph))
    assert timing.measure(TENSORRT_RTX, "fusion", plan) == Latency(0.25, 0.25)
    gpu.foreign = True
    assert timing.measure(TENSORRT_RTX, "fusion", plan) is None


def test_an_engine_is_not_timed_without_a_gpu(monkeypatch):
    def no_gpu():
        raise InputError("CUDA cannot start here")

    monkeypatch.setattr(timing, "Device", no_gpu)
    assert timing.measure(TENSORRT_RTX, "fusion", Plan(b"", {}, (), {})) is None


@pytest.fixture
def too_large(monkeypatch):
    """The refiner's numbers do not fit float16."""

    def check_range(stage, *_):
        if stage == "refiner":
            raise CompileError("refiner cannot be built in float16: Conv_7 reaches 1e+05")

    monkeypatch.setattr(candidates, "check_range", check_range)


def test_for_cuda_auto_is_half_unless_the_numbers_do_not_fit(parts, too_large):
    maker = StageBuilder(*parts, CUDA, None)
    refiner, parser = (maker.build(stage, precisions(CUDA, "auto"))[0] for stage in ("refiner", "parser"))
    assert (refiner.precision, parser.precision) == ("FP32", "FP16")
    assert refiner.candidates["fp16"] == Candidate(refused="refiner cannot be built in float16: Conv_7 reaches 1e+05")
    assert refiner.choice.startswith("fp16 cannot be built: ")
    assert refiner.inputs["pixels"].dtype == "uint8" and refiner.outputs["placement"].dtype == "float"


@pytest.mark.parametrize(("target", "asked"), [(CUDA, "fp16"), (TENSORRT_RTX, "auto"), (TENSORRT_RTX, "int8")])
def test_what_needs_half_is_refused_where_the_numbers_do_not_fit(parts, options, too_large, target, asked):
    maker = StageBuilder(*parts, target, options if target.compiled else None)
    with pytest.raises(CompileError, match="Conv_7 reaches"):
        maker.build("refiner", precisions(target, asked))


def test_a_bundle_of_four_bit_weights_answers(tmp_path):
    """The whole way, with the language model's weights by themselves."""
    build_bundle(None, tmp_path / "bundle", precision="auto", language_weights="int4")
    entries = read_bundle(tmp_path / "bundle").manifest.stages
    assert list(entries["language"].candidates) == ["int4", "fp32"]
    assert list(entries["vision"].candidates) == ["int8", "fp32"]
    assert entries["language"].precision.startswith("W4 (blocks), ") == (
        "int4" not in entries["language"].choice.split()[0]
    )
    int4, fp32 = (entries["language"].candidates[name].error.value for name in ("int4", "fp32"))
    assert fp32 == 0 <= int4 < 0.1


def test_a_verified_language_model_is_the_one_that_is_written(parts):
    """In half, its caches too: the engine's graph, not a float32 one in its place."""
    entry, content = StageBuilder(*parts, CUDA, None).build("language", ("fp16",))
    assert entry.error.value == 0 and entry.in_place
    kinds = {value.name: value.type.tensor_type.elem_type for value in onnx.load_from_string(content).graph.input}
    assert kinds["past_key_0"] == kinds["visual_tokens"] == onnx.TensorProto.FLOAT16
    assert np.dtype(np.float16) == onnx.helper.tensor_dtype_to_np_dtype(kinds["past_value_0"])
