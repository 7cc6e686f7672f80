"""Engines are compiled by TensorRT-RTX, which needs no GPU for that; running them needs one."""

from __future__ import annotations

import collections
import signal
import sys

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
import torch
from typer.testing import CliRunner

from faceinsight import FaceInsight
from faceinsight.build_engines import tensorrt
from faceinsight.build_engines.build import build_bundle
from faceinsight.build_engines.errors import CompileError
from faceinsight.build_engines.export import export_stages
from faceinsight.build_engines.half import cast_first, for_tensorrt
from faceinsight.build_engines.language import language_graph
from faceinsight.build_engines.quantize import quantize_w8a8
from faceinsight.build_engines.tensorrt import CompileOptions, compile_engine, compile_stage
from faceinsight.build_engines.verify import UnoptimisedEngine
from faceinsight.calibration.scales import read_scales
from faceinsight.commands.app import app
from faceinsight.models.checkpoint import model_directory
from faceinsight.models.data.augment import crop_pair, nominal_matrix
from faceinsight.models.data.synthetic import generate
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.runtime import tensorrt as runtime_tensorrt
from faceinsight.runtime.bundle import read_bundle
from faceinsight.runtime.errors import BundleError, InputError
from faceinsight.runtime.manifest import PERCEPTION_STAGES, Candidate, Device, Engine, Gpu
from faceinsight.runtime.targets import TENSORRT, TENSORRT_RTX

from . import simulated_gpu

pytestmark = pytest.mark.slow

pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
GPUS = (80, 86, 89, 120)
ORIN = Gpu("Orin", 87)


@pytest.fixture(scope="module")
def nano():
    return FaceInsightModel.from_pretrained(model_directory(None))


@pytest.fixture(scope="module")
def graphs(nano):
    """Stage -> its graph with Q/DQ as TensorRT reads them."""
    ranges, _ = read_scales(model_directory(None) / "scales.json")
    return {stage: quantize_w8a8(graph, ranges[stage], "tensorrt") for stage, graph in export_stages(nano).items()}


@pytest.mark.parametrize("stage", PERCEPTION_STAGES)
def test_an_int8_stage_compiles_and_multiplies_nothing_in_float32(graphs, stage):
    plan = compile_stage(stage, for_tensorrt(graphs[stage]), CompileOptions(TENSORRT_RTX, GPUS, max_faces=8))
    assert plan.float32 == () and len(plan.content) > 100_000
    kinds = collections.Counter(node.op_type for node in graphs[stage].graph.node)
    assert plan.layers["QUANTIZE"] == kinds["QuantizeLinear"] >= 4
    assert plan.layers["DEQUANTIZE"] == kinds["DequantizeLinear"]
    assert {value.dtype for value in plan.tensors.values()} <= {"uint8", "int32", "float16"}


def test_what_stays_in_float32_is_found(graphs):
    names = [value.name for value in graphs["refiner"].graph.input]
    size = 64
    graph = onnx.ModelProto.FromString(graphs["refiner"].SerializeToString())
    copy = gs.import_onnx(graph)
    cast_first(copy, copy.inputs[0])
    profile = {names[0]: ((1, size, size, 3),) * 3}
    plan = compile_engine(TENSORRT_RTX, gs.export_onnx(copy.cleanup().toposort()), [profile])
    assert plan.float32


@pytest.mark.parametrize("stage", ["vision", "parser"])
def test_the_half_graph_computes_the_same(nano, graphs, stage):
    """On rendered faces: float16 in the float parts moves nothing that INT8 has not moved already."""
    size = nano.config.sizes[stage]
    images = [generate(seed).image for seed in range(4)]
    crops = np.stack([crop_pair(i, None, nominal_matrix(i.shape[:2], size), False, size)[0] for i in images])
    name = graphs[stage].graph.output[0].name
    whole, half = (
        UnoptimisedEngine(graph).run({"pixels": crops})[name] for graph in (graphs[stage], for_tensorrt(graphs[stage]))
    )
    if stage == "parser":
        assert half.dtype == np.int32 and (whole != half).mean() < 0.02
    else:
        assert np.linalg.norm(whole - half) < 0.05 * np.linalg.norm(whole)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    out = tmp_path_factory.mktemp("rtx") / "bundle"
    assert build_bundle(None, out, "tensorrt-rtx", sm=GPUS, max_faces=2).target == "tensorrt-rtx"
    return out


def test_a_bundle_says_what_it_was_compiled_for(bundle):
    manifest = read_bundle(bundle).manifest
    assert manifest.engine == Engine("tensorrt-rtx", CompileOptions(TENSORRT_RTX).version)
    assert manifest.device == Device(None, GPUS, max_faces=2)
    for stage, entry in manifest.stages.items():
        assert entry.file == f"{stage}.plan" and (bundle / entry.file).stat().st_size == entry.bytes
        assert entry.latency_ms is None and entry.layers["CONSTANT"] > 0
        assert entry.candidates == {"int8": Candidate(entry.error)}
        assert "its graph on the CPU, unoptimised" in entry.error.measure
    language = manifest.stages["language"]
    assert language.inputs["past_key_0"].dtype == "float16" and language.error.value < 0.02
    assert language.in_place is True and language.profiles == ("prefill", "decode")
    assert 0 < manifest.stages["vision"].error.value < 0.2


class Library:
    """TensorRT-RTX under TensorRT's name and another version."""

    def __init__(self, version: str):
        self.__version__ = version

    def __getattr__(self, name):
        import tensorrt_rtx

        return getattr(tensorrt_rtx, name)


@pytest.mark.parametrize(
    ("version", "composite"), [("10.3.0", False), ("10.13.2.6", False), ("10.15.1", True), ("10.16.2", True)]
)
def test_versions_without_attention_layers_get_primitive_ones(monkeypatch, version, composite):
    monkeypatch.setitem(sys.modules, "tensorrt", Library(version))
    monkeypatch.setattr(tensorrt, "gpu", lambda: ORIN)
    assert CompileOptions(TENSORRT).composite is composite
    assert CompileOptions(TENSORRT).device.compute_capabilities == (87,)


def test_a_bundle_for_jetpack_6(tmp_path, monkeypatch):
    """TensorRT 10.3's whole path, but that TensorRT-RTX compiles it."""
    monkeypatch.setitem(sys.modules, "tensorrt", Library("10.3.0"))
    monkeypatch.setattr(tensorrt, "gpu", lambda: ORIN)
    manifest = build_bundle(None, tmp_path / "bundle", "tensorrt", workspace_mib=512)
    assert manifest.engine == Engine("tensorrt", "10.3.0")
    assert manifest.device == Device(ORIN, (87,), max_faces=4)
    language = manifest.stages["language"]
    assert language.in_place is False and language.error.value < 0.02
    assert not {"ATTENTION_INPUT", "KV_CACHE_UPDATE", "ROTARY_EMBEDDING"} & set(language.layers)
    with pytest.raises(InputError, match=r"INT4 weights need TensorRT 10\.15 or newer, this is 10\.3\.0"):
        build_bundle(None, tmp_path / "other", "tensorrt", language_weights="int4")


def test_four_bit_weights_compile(nano):
    graph = language_graph(nano.language, 64, "int4", half=True)
    plan = compile_stage("language", graph, CompileOptions(TENSORRT_RTX, (89,)))
    assert plan.layers["DEQUANTIZE"] > 0 and plan.float32 == ()


def test_without_a_driver_the_runtime_says_so_in_one_line(bundle):
    """The library's own words, for a plan that is whole."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    library = runtime_tensorrt.Library(TENSORRT_RTX, simulated_gpu.Device())
    with pytest.raises(BundleError, match=r"tensorrt-rtx .* refuses the plan of refiner: .*rebuild") as caught:
        library.load("refiner", (bundle / "refiner.plan").read_bytes())
    assert "\n" not in str(caught.value)


def test_a_cpu_does_not_take_it(bundle):
    with pytest.raises(BundleError, match=r"built for the target 'tensorrt-rtx' .* --target cpu"):
        FaceInsight.load(bundle)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sm": (87,)}, "does not know the compute capability 87; known: .*89"),
        ({"precision": "fp32"}, "is not built in fp32; use int8, fp16 or auto"),
        ({"target": "tensorrt"}, "needs the module tensorrt, .*JetPack"),
        ({"target": "npu"}, "unknown target 'npu'"),
        ({"target": "cpu", "precision": "fp8"}, "is not built in fp8; use int8, fp32 or auto"),
        ({"target": "cpu", "sm": (89,)}, "sm: options of TensorRT engines; leave them out with target cpu"),
    ],
)
def test_what_cannot_be_built_is_one_line_before_anything_is_done(tmp_path, monkeypatch, options, message):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr("faceinsight.build_engines.build.FaceInsightModel.from_pretrained", None)
    with pytest.raises(InputError, match=message) as caught:
        build_bundle(None, tmp_path / "out", **{"target": "tensorrt-rtx"} | options)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_a_graph_that_it_cannot_take_is_one_line(graphs):
    with pytest.raises(CompileError, match=r"cannot read the graph of raw: .*UInt8") as caught:
        compile_engine(TENSORRT_RTX, graphs["refiner"], [], "raw")
    assert "\n" not in str(caught.value)
    graph = for_tensorrt(graphs["refiner"])
    with pytest.raises(CompileError, match=r"could not compile wrong: .*Dimension mismatch"):
        compile_engine(TENSORRT_RTX, graph, [{"pixels": ((1, 9, 9, 3),) * 3}], "wrong")


def test_an_interrupt_ends_the_build(graphs, monkeypatch):
    """Ctrl-C at the first step that the library reports."""
    steps = []

    class Bar(tensorrt.ProgressBar):
        def advance(self, record):
            steps.append(record)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(tensorrt, "ProgressBar", Bar)
    before, graph = signal.getsignal(signal.SIGINT), for_tensorrt(graphs["parser"])
    side = graph.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    with pytest.raises(KeyboardInterrupt):
        compile_engine(TENSORRT_RTX, graph, [{"pixels": ((1, side, side, 3),) * 3}], "parser")
    assert len(steps) == 1 and signal.getsignal(signal.SIGINT) is before


class Old:
    __version__ = "8.6.2"


class NoGpu:
    __version__ = "10.16.2"

    class ILogger:
        pass

    @staticmethod
    def Builder(logger):
        raise TypeError("pybind11::init(): factory function returned nullptr")


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Old, r"tensorrt is 8\.6\.2 here and its engines need 10\.3 or newer; it comes with JetPack 6\.1"),
        (NoGpu, "cannot start: .* needs an NVIDIA GPU"),
    ],
)
def test_a_library_that_cannot_do_it_is_one_line(monkeypatch, module, message):
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    with pytest.raises(InputError, match=message):
        CompileOptions(TENSORRT)


def test_the_command_line_passes_its_options_on(tmp_path):
    options = ["--target", "tensorrt-rtx", "--sm", "75", "--sm", "87", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, ["build", *options])
    assert isinstance(done.exception, InputError) and "compute capability 87" in str(done.exception)
