"""The decoder for older TensorRT: its operators written out, against the graph that has them."""

from __future__ import annotations

import collections

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx.reference import ReferenceEvaluator

from faceinsight.build_engines.language import language_graph
from faceinsight.build_engines.tensorrt import compile_engine, language_profiles
from faceinsight.models.checkpoint import model_directory
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.targets import TENSORRT_RTX

from .test_build_language import CONTEXT, MODELS, random_model, reference, tokens, visual_tokens

pytestmark = pytest.mark.slow

COMPOSITE = {"RMSNormalization", "RotaryEmbedding", "TensorScatter", "Attention"}


class Session:
    """The graph with caches that an output replaces after every step."""

    def __init__(self, graph: onnx.ModelProto, batch: int):
        options = ort.SessionOptions()
        options.log_severity_level = 3  # it warns of float16, which it casts
        # activations rounded to 8 bits would turn the last bit of a float into a step
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
        self.session = ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
        inputs = {value.name: value for value in self.session.get_inputs()}
        self.dtype = np.float16 if inputs["visual_tokens"].type == "tensor(float16)" else np.float32
        self.caches = {
            name: np.zeros([batch, *value.shape[1:]], self.dtype)
            for name, value in inputs.items()
            if name.startswith("past_")
        }

    def step(self, ids: list[list[int]], position: list[int], visual: np.ndarray) -> np.ndarray:
        feed = {"input_ids": np.array(ids), "position": np.array(position), "visual_tokens": visual.astype(self.dtype)}
        logits, _, *caches = self.session.run(None, feed | self.caches)
        self.caches = dict(zip(self.caches, caches, strict=True))
        return logits.astype(np.float32)


def assert_equal(model, context: int, visual: np.ndarray, ids, quantize, half: bool, atol: float) -> None:
    """Prefill, decode, and position moved back by another number of tokens in each of two rows. ids: count -> ids."""
    options = [(context, quantize, half, composite) for composite in (True, False)]
    whole, primitive = (Session(language_graph(model, *option), 2) for option in options)
    for count, position in ((10, (0, 0)), (1, (10, 10)), (3, (11, 11)), (4, (5, 8)), (1, (9, 12)), (12, (20, 20))):
        rows = [ids(count, seed=count), ids(count, seed=count + 1)]
        wanted, found = (session.step(rows, list(position), visual) for session in (whole, primitive))
        np.testing.assert_allclose(found, wanted, atol=atol, rtol=0)
    for name, cache in whole.caches.items():
        np.testing.assert_allclose(primitive.caches[name], cache, atol=atol, rtol=0)


@pytest.mark.parametrize("quantize", [None, "int8"])
@pytest.mark.parametrize("kind", MODELS)
def test_logits_are_those_of_the_operators(kind, quantize):
    assert_equal(random_model(kind), CONTEXT, visual_tokens(2), tokens, quantize, half=False, atol=1e-5)


@pytest.mark.parametrize("quantize", [None, "int8"])
@pytest.mark.parametrize("kind", ["llama-biased", "qwen2-tied", "qwen3"])
def test_logits_are_those_of_the_operators_in_half(kind, quantize):
    """Up to a few steps of float16, for logits of about 1."""
    assert_equal(random_model(kind), CONTEXT, visual_tokens(2), tokens, quantize, half=True, atol=1e-2)


def test_nano_is_the_same():
    nano = FaceInsightModel.from_pretrained(model_directory(None))
    visual = np.random.default_rng(0).standard_normal((2, 20, nano.language.width)).astype(np.float32)

    def ids(count: int, seed: int) -> list[int]:
        return np.random.default_rng(seed).integers(0, nano.language.vocab_size + 20, count).tolist()

    # of logits up to 50
    assert_equal(nano.language, nano.config.context, visual, ids, None, half=False, atol=1e-4)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("quantize", [None, "int8"])
def test_every_operator_is_one_of_the_opset(quantize, half):
    graph = language_graph(random_model("qwen3"), CONTEXT, quantize, half, composite=False)
    onnx.checker.check_model(graph, full_check=True)
    assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", 20)] and not graph.functions
    kinds = {node.op_type for node in graph.graph.node}
    for kind in kinds:
        assert not onnx.defs.get_schema(kind, 20).deprecated
    # keys and values are not repeated for the query heads that share them
    assert not kinds & (COMPOSITE | {"Expand", "Tile"})
    assert language_graph(random_model("qwen3"), CONTEXT, quantize, half, composite=False) == graph


def test_half_sums_in_float32():
    """In float16 arithmetic (ONNX's reference implementation), with activations whose squares exceed float16."""
    model, visual, ids = random_model("qwen3"), visual_tokens(), [3, 7, 11, 2, 90, 41]
    model.backbone.get_input_embeddings().weight.data *= 3000
    assert model.backbone.get_input_embeddings().weight[ids].abs().max() > 400
    graph = language_graph(model, CONTEXT, half=True, composite=False)
    feed = {"input_ids": np.array([ids]), "position": np.array([0]), "visual_tokens": visual.astype(np.float16)}
    for value in graph.graph.input:
        if value.name.startswith("past_"):
            feed[value.name] = np.zeros([d.dim_value or 1 for d in value.type.tensor_type.shape.dim], np.float16)
    found = ReferenceEvaluator(graph).run(["logits"], feed)[0]
    wanted = reference(model, ids, visual)[-1]
    assert found.dtype == np.float16 and np.sqrt(np.mean((found[0] - wanted) ** 2)) < 0.01 * wanted.std()


@pytest.mark.parametrize("quantize", [None, "int8"])
@pytest.mark.parametrize("kind", MODELS)
def test_tensorrt_compiles_it(kind, quantize):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    model = random_model(kind)
    graph = language_graph(model, 64, quantize, half=True, composite=False)
    plan = compile_engine(TENSORRT_RTX, graph, language_profiles(graph), kind, sm=(89,))
    layers = len(model.backbone.model.layers)
    assert plan.layers["SCATTER"] == 2 * layers and plan.layers["SOFTMAX"] == layers
    assert plan.layers.get("DEQUANTIZE", 0) == (7 * layers + 1) * (quantize == "int8")
    assert not {"ATTENTION_INPUT", "KV_CACHE_UPDATE", "ROTARY_EMBEDDING", "NORMALIZATION"} & set(plan.layers)
    assert plan.float32 == ()


def test_heads_without_fused_attention_are_taken():
    model = random_model("llama", num_attention_heads=2)
    kinds = collections.Counter(node.op_type for node in language_graph(model, CONTEXT, None, True, False).graph.node)
    assert kinds["Softmax"] == 2


def test_int4_needs_a_newer_tensorrt():
    with pytest.raises(InputError, match=r"INT4 weights need TensorRT 10\.15 .* use int8"):
        language_graph(random_model("llama"), CONTEXT, "int4", half=True, composite=False)


def test_what_is_in_slots_not_seen_does_not_matter():
    model, visual = random_model("llama"), visual_tokens()
    session = Session(language_graph(model, CONTEXT, composite=False), 1)
    session.caches = {name: np.full_like(cache, 1e4) for name, cache in session.caches.items()}
    ids = tokens(12)
    wanted = reference(model, ids, visual)
    np.testing.assert_allclose(session.step([ids], [0], visual)[0], wanted[-1], atol=1e-4, rtol=0)
