"""The decoder's ONNX graph: tiny random models, ONNX Runtime with in-place caches against PyTorch."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from faceinsight.build_engines.language import language_graph
from faceinsight.build_engines.tensorrt import compile_engine, language_profiles
from faceinsight.build_engines.weights import BLOCK, int4_blocks, int8_rows
from faceinsight.models.checkpoint import model_directory
from faceinsight.models.config import BackboneConfig
from faceinsight.models.data.augment import crop_pair, nominal_matrix
from faceinsight.models.data.synthetic import generate
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.models.language_model import LanguageModel
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.prompt import Prompter
from faceinsight.runtime.targets import TENSORRT_RTX

pytestmark = pytest.mark.slow

VOCAB, WIDTH, VISUAL, CONTEXT = 100, 64, 5, 32
TINY = {
    "vocab_size": VOCAB, "hidden_size": WIDTH, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.1, "tie_word_embeddings": False,
}  # fmt: skip
# name -> model type and what it does not share with TINY
MODELS = {
    "llama": ("llama", {}),
    "llama-tied": ("llama", {
        "tie_word_embeddings": True, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5},
    }),
    "llama-biased": ("llama", {"attention_bias": True, "mlp_bias": True, "rms_norm_eps": 1e-3}),
    "llama-multi-head": ("llama", {"num_key_value_heads": 4, "head_dim": 24}),
    "qwen2": ("qwen2", {}),
    "qwen2-tied": ("qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", {"head_dim": 32}),
    "qwen3-tied": ("qwen3", {"head_dim": 32, "tie_word_embeddings": True}),
}  # fmt: skip


# all linear layers take a multiple of the block that shares a step
IN_BLOCKS = {"intermediate_size": 2 * BLOCK}


def random_model(kind: str, **changes) -> LanguageModel:
    """The same weights at every call; norms and biases are not the trivial initial ones."""
    model_type, config = MODELS.get(kind, (kind, {}))
    torch.manual_seed(0)
    model = LanguageModel(BackboneConfig(model_type, TINY | config | changes)).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data.normal_(0, 0.3)
        elif "norm" in name:
            parameter.data.uniform_(0.5, 1.5)
    return model


class Session:
    """The graph with caches of its own, bound as input and as output. buffers: input name -> float32 array."""

    def __init__(self, graph: onnx.ModelProto, batch: int = 1, entries: dict[str, str] | None = None, **options):
        """entries, options: of ONNX Runtime's SessionOptions."""
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = 1
        for name, value in options.items():
            setattr(settings, name, value)
        for name, value in (entries or {}).items():
            settings.add_session_config_entry(name, value)
        self.session = ort.InferenceSession(graph.SerializeToString(), settings, providers=["CPUExecutionProvider"])
        shapes = {i.name: [batch, *i.shape[1:]] for i in self.session.get_inputs() if i.name.startswith("past_")}
        self.buffers = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}

    def step(self, ids: list[list[int]], position: list[int], visual: np.ndarray) -> np.ndarray:
        """Logits [B, V] of the last token. Checks next_token and that the caches stayed where they are."""
        binding = self.session.io_binding()
        feeds = {"input_ids": np.array(ids), "position": np.array(position), "visual_tokens": visual}
        for name, array in feeds.items():
            binding.bind_cpu_input(name, array)
        binding.bind_output("logits")
        binding.bind_output("next_token")
        for name, array in self.buffers.items():
            value = ort.OrtValue.ortvalue_from_numpy(array)
            binding.bind_ortvalue_input(name, value)
            binding.bind_ortvalue_output(name.replace("past", "present"), value)
        self.session.run_with_iobinding(binding)
        logits, token, *caches = binding.get_outputs()
        assert [c.data_ptr() for c in caches] == [array.ctypes.data for array in self.buffers.values()]
        assert (token.numpy() == logits.numpy().argmax(-1)).all()
        return logits.numpy()


def visual_tokens(batch: int = 1) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((batch, VISUAL, WIDTH)).astype(np.float32) * 0.1


def tokens(count: int, seed: int = 0) -> list[int]:
    """Text ids with all visual ids among them, if there is room."""
    ids = np.random.default_rng(seed).integers(0, VOCAB, count).tolist()
    if count > VISUAL + 2:
        ids[2 : 2 + VISUAL] = [VOCAB + row for row in reversed(range(VISUAL))]
    return ids


@torch.no_grad()
def reference(model: LanguageModel, ids: list[int], visual: np.ndarray) -> np.ndarray:
    """Logits [T, V] of the whole sequence, without a cache."""
    return model(torch.tensor([ids]), torch.from_numpy(visual))[0].numpy()


@pytest.mark.parametrize("kind", MODELS)
def test_prefill_and_decode_equal_pytorch(kind):
    model, visual = random_model(kind), visual_tokens()
    session = Session(language_graph(model, CONTEXT))
    ids = [*tokens(12), *tokens(5, seed=2), VOCAB + 3]  # a visual token may come alone, too
    wanted = reference(model, ids, visual)
    assert wanted.std() > 0.1
    np.testing.assert_allclose(session.step([ids[:12]], [0], visual)[0], wanted[11], atol=1e-4, rtol=0)
    for place in range(12, len(ids)):
        found = session.step([[ids[place]]], [place], visual)[0]
        np.testing.assert_allclose(found, wanted[place], atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", MODELS)
def test_int8_weights_stay_close(kind):
    """Root mean square error in % of the logits' standard deviation; 9 of 10 greedy tokens are the same.

    The rounding of the weights alone: <= 3 %. As ONNX Runtime runs it, which by default rounds the activations in
    front of INT8 weights to 8 bits as well (per token and block of 32): <= 4.5 %.
    """
    model, visual, ids = random_model(kind), visual_tokens(), tokens(CONTEXT)
    graph, wanted = language_graph(model, CONTEXT, "int8"), reference(model, ids, visual)
    float_activations = {"session.qdq_matmulnbits_accuracy_level": "1"}
    for session, bound in ((Session(graph, entries=float_activations), 0.03), (Session(graph), 0.045)):
        found = np.concatenate([session.step([[token]], [place], visual) for place, token in enumerate(ids)])
        assert np.sqrt(((found - wanted) ** 2).mean()) <= bound * wanted.std()
        assert (found.argmax(-1) == wanted.argmax(-1)).mean() >= 0.9


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_int4_is_within_half_a_step_of_what_it_does_not_clip(dtype):
    weights = np.random.default_rng(0).standard_normal((48, 3 * BLOCK)).astype(np.float32)
    weights[5, :BLOCK] = 0
    whole, steps = int4_blocks(weights, dtype)
    assert whole.shape == weights.T.shape and steps.shape == (3, len(weights)) and steps.dtype == dtype
    each = np.repeat(steps.astype(np.float32), BLOCK, 0)
    error, scaled = whole.astype(np.float32) * each - weights.T, weights.T / each
    clipped = (scaled < -8.5) | (scaled > 7.5)
    assert (np.abs(error) <= each * 0.5001)[~clipped].all() and 0 < clipped.mean() < 0.02
    assert not whole[:BLOCK, 5].any()
    # a step of a seventh of the block's largest weight clips nothing
    plain = np.repeat(np.abs(weights.T).reshape(3, BLOCK, -1).max(1) / 7 + 1e-9, BLOCK, 0)
    assert np.linalg.norm(error) < 0.9 * np.linalg.norm(np.rint(weights.T / plain) * plain - weights.T)


@pytest.mark.parametrize("kind", ["llama-biased", "qwen2-tied", "qwen3"])
def test_the_int4_decoder_is_pytorchs_with_rounded_weights(kind):
    model, visual, ids = random_model(kind, **IN_BLOCKS), visual_tokens(), tokens(12)
    graph = language_graph(model, CONTEXT, "int4")
    head, table = model.backbone.lm_head, model.backbone.get_input_embeddings()
    for layer in (table, *(module for module in model.modules() if isinstance(module, torch.nn.Linear))):
        matrix = layer.weight.detach().numpy()
        if layer in (head, table):
            whole, steps = int8_rows(matrix, np.float32)
            rounded = whole * steps[:, None]
        else:
            whole, steps = int4_blocks(matrix, np.float32)
            rounded = (whole.astype(np.float32) * np.repeat(steps, BLOCK, 0)).T
        layer.weight.data.copy_(torch.from_numpy(rounded))
    session = Session(graph, entries={"session.qdq_matmulnbits_accuracy_level": "1"})
    np.testing.assert_allclose(session.step([ids], [0], visual)[0], reference(model, ids, visual)[-1], atol=1e-4)


@torch.no_grad()
def test_nano_in_int4_says_the_same():
    """Root mean square error of the logits <= 6 % of their standard deviation, and 99 of 100 greedy tokens."""
    nano = FaceInsightModel.from_pretrained(model_directory(None)).eval()
    image = generate(0).image
    pixels = {
        name: torch.from_numpy(crop_pair(image, None, nominal_matrix(image.shape[:2], size), False, size)[0][None])
        for name, size in nano.config.sizes.items()
    }
    visual, probabilities = (
        x.numpy() for x in nano.fusion(nano.vision(pixels["vision"]), nano.parser(pixels["parser"]))
    )
    vocabulary = nano.config.vocabulary
    prompter = Prompter(nano.tokenizer_json, nano.config.prompt, nano.language.vocab_size, vocabulary)
    context = nano.config.context
    full, small = (Session(language_graph(nano.language, context, quantize)) for quantize in (None, "int4"))
    prefix = prompter.prefix(vocabulary.decide(*vocabulary.outputs(probabilities[0])), visual.shape[1])
    wanted, found = [], []
    for question in ("is the person wearing glasses?", "what colour is the hair?", "describe this face"):
        ids, position = [*prefix, *prompter.question(question, 64)], 0
        while ids[-1] != prompter.stop_id and position < context - 1:
            wanted.append(full.step([ids], [position], visual)[0])
            found.append(small.step([ids], [position], visual)[0])
            position, ids = position + len(ids), [int(wanted[-1].argmax())]
    wanted, found = np.array(wanted), np.array(found)
    assert len(wanted) > 20
    assert np.sqrt(((found - wanted) ** 2).mean()) <= 0.06 * wanted.std()
    assert (found.argmax(-1) == wanted.argmax(-1)).mean() >= 0.99


def test_a_layer_that_int4_blocks_do_not_divide_is_named():
    with pytest.raises(InputError, match=r"layers\.0/mlp/down_proj has 96 inputs, no multiple of the 64 .* use int8"):
        language_graph(random_model("llama"), CONTEXT, "int4")


@pytest.mark.parametrize("kind", ["llama", "qwen2-tied"])
def test_int4_is_half_as_large_and_runs_on_integer_kernels(kind, tmp_path):
    model, optimised = random_model(kind, **IN_BLOCKS), tmp_path / "optimised.onnx"
    graph = language_graph(model, CONTEXT, "int4")
    Session(graph, optimized_model_filepath=str(optimised), log_severity_level=3)
    nodes = onnx.load(optimised).graph.node
    bits = [a.i for node in nodes if node.op_type == "MatMulNBits" for a in node.attribute if a.name == "bits"]
    assert sorted(bits) == [4] * 14 + [8]
    assert not {"DequantizeLinear", "MatMul"} & {node.op_type for node in nodes}
    linear = sum(layer.weight.numel() for layer in model.modules() if isinstance(layer, torch.nn.Linear))
    linear -= model.backbone.lm_head.weight.numel()
    saved = language_graph(model, CONTEXT, "int8").ByteSize() - graph.ByteSize()
    # a float32 step for each block
    assert saved > 0.8 * linear * (1 / 2 - 4 / BLOCK)


@pytest.mark.parametrize("kind", ["llama", "qwen2-tied"])
def test_int8_is_smaller_and_runs_on_integer_kernels(kind, tmp_path):
    model = random_model(kind)
    full, small = language_graph(model, CONTEXT), language_graph(model, CONTEXT, "int8")
    optimised = tmp_path / "optimised.onnx"
    Session(small, optimized_model_filepath=str(optimised), log_severity_level=3)
    operators = [node.op_type for node in onnx.load(optimised).graph.node]
    assert operators.count("MatMulNBits") == 2 * 7 + 1  # all linear layers and the head
    assert not {"DequantizeLinear", "MatMul"} & set(operators)
    assert small.ByteSize() < 0.45 * full.ByteSize()
    floats = [w for w in small.graph.initializer if w.data_type == onnx.TensorProto.FLOAT]
    assert max(np.prod(w.dims) for w in floats) <= CONTEXT * WIDTH


def test_tied_table_is_stored_once():
    for quantize, bytes_each in ((None, 4), ("int8", 1)):
        tied, untied = (random_model("llama", tie_word_embeddings=tie) for tie in (True, False))
        small, large = (language_graph(model, CONTEXT, quantize).ByteSize() for model in (tied, untied))
        assert large - small >= VOCAB * WIDTH * bytes_each


def test_caches_are_updated_in_place():
    session = Session(language_graph(random_model("llama"), CONTEXT))
    session.step([tokens(6)], [0], visual_tokens())
    before = {name: array.copy() for name, array in session.buffers.items()}
    session.step([tokens(3, seed=1)], [6], visual_tokens())
    for name, array in session.buffers.items():
        assert np.array_equal(array[:, :, :6], before[name][:, :, :6]), "the prefix must not change"
        assert (array[:, :, 6:9] != 0).all() and (array[:, :, 9:] == 0).all()


def test_rows_of_a_batch_have_positions_and_visual_tokens_of_their_own():
    model, visual = random_model("qwen3"), visual_tokens(2)
    session = Session(language_graph(model, CONTEXT), batch=2)
    rows = [tokens(10, seed=3), tokens(10, seed=4)]
    session.step(rows, [0, 0], visual)
    added, position = [tokens(3, seed=5), tokens(3, seed=6)], [7, 10]
    found = session.step(added, position, visual)
    for row in range(2):
        wanted = reference(model, rows[row][: position[row]] + added[row], visual[row : row + 1])[-1]
        np.testing.assert_allclose(found[row], wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_a_prefix_serves_a_second_question(quantize):
    """Position moved back to the prefix: what the first answer left in the cache is not seen."""
    graph, visual = language_graph(random_model("qwen2"), CONTEXT, quantize), visual_tokens()
    prefix, long, short = tokens(9), tokens(8, seed=7), tokens(4, seed=8)
    used, fresh = Session(graph), Session(graph)
    for session in (used, fresh):
        session.step([prefix], [0], visual)
    for place, token in enumerate(long, len(prefix)):
        used.step([[token]], [place], visual)
    np.testing.assert_array_equal(used.step([short], [len(prefix)], visual), fresh.step([short], [len(prefix)], visual))


def test_the_whole_context_is_usable_and_its_end_is_an_error():
    model, visual, ids = random_model("llama"), visual_tokens(), tokens(CONTEXT)
    session = Session(language_graph(model, CONTEXT), log_severity_level=4)
    session.step([ids[:-1]], [0], visual)
    found = session.step([ids[-1:]], [CONTEXT - 1], visual)[0]
    np.testing.assert_allclose(found, reference(model, ids, visual)[-1], atol=1e-4, rtol=0)
    with pytest.raises(Exception, match="indices"):
        session.step([[1]], [CONTEXT], visual)


@pytest.mark.parametrize("quantize", [None, "int8", "int4"])
def test_same_weights_same_bytes_and_nothing_but_the_model(quantize):
    first, second = (language_graph(random_model("qwen3-tied", **IN_BLOCKS), CONTEXT, quantize) for _ in range(2))
    onnx.checker.check_model(first, full_check=True)
    assert first.SerializeToString() == second.SerializeToString()
    assert first.producer_name == "faceinsight"
    assert not first.metadata_props and not first.functions
    graph = first.graph
    for part in (first, graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        assert not part.doc_string
    names = [node.name for node in graph.node]
    assert len(set(names)) == len(names)
    assert {"layers.0/attention/q_proj", "layers.1/mlp/down_proj", "logits"} <= set(names)


def test_a_graph_may_be_larger_than_the_checker_takes(monkeypatch):
    model = random_model("llama")
    whole = language_graph(model, CONTEXT)
    monkeypatch.setattr(onnx.checker, "MAXIMUM_PROTOBUF", whole.ByteSize() // 2)
    with pytest.raises(ValueError, match="too large"):
        onnx.checker.check_model(whole)
    assert language_graph(model, CONTEXT) == whole


def test_inputs_and_outputs_are_the_decoders():
    graph = language_graph(random_model("qwen3"), CONTEXT).graph
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    cache = ["batch", 2, CONTEXT, 32]
    assert shapes == {
        "input_ids": ["batch", "tokens"],
        "visual_tokens": ["batch", "visual", WIDTH],
        "position": ["batch"],
        "logits": ["batch", VOCAB],
        "next_token": ["batch"],
        **{f"{when}_{kind}_{i}": cache for when in ("past", "present") for kind in ("key", "value") for i in (0, 1)},
    }
    assert [value.name for value in graph.output[:2]] == ["logits", "next_token"]


@pytest.mark.parametrize(
    "kind, changes, message",
    [
        ("mistral", {}, "'mistral'.*llama, qwen2, qwen3"),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, "rope_type"),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}, "use_sliding_window"),
        ("llama", {"hidden_act": "gelu"}, "'gelu'.*silu"),
    ],
)
def test_what_it_cannot_build_is_refused(kind, changes, message):
    with pytest.raises(InputError, match=message):
        language_graph(random_model(kind, **changes), CONTEXT)


def test_unknown_options_are_refused():
    with pytest.raises(InputError, match=r"'int3'.*int8.*int4"):
        language_graph(random_model("llama"), CONTEXT, "int3")
    with pytest.raises(InputError, match="context is 0"):
        language_graph(random_model("llama"), 0)


@pytest.mark.parametrize("quantize", [None, "int8"])
@pytest.mark.parametrize("kind", MODELS)
def test_tensorrt_compiles_it_with_fused_attention(kind, quantize):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    model = random_model(kind, **({"head_dim": 32} if kind == "llama-multi-head" else {}))
    graph = language_graph(model, 64, quantize, half=True)
    plan = compile_engine(TENSORRT_RTX, graph, language_profiles(graph), kind, sm=(89,))
    layers = len(model.backbone.model.layers)
    assert plan.layers["ATTENTION_INPUT"] == layers
    assert plan.layers["KV_CACHE_UPDATE"] == plan.layers["ROTARY_EMBEDDING"] == 2 * layers
    assert plan.layers.get("DEQUANTIZE", 0) == (7 * layers + 1) * (quantize == "int8")
    assert plan.float32 == ()


@pytest.mark.parametrize("kind", ["llama-biased", "qwen2-tied", "qwen3"])
def test_tensorrt_compiles_int4(kind):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    graph = language_graph(random_model(kind, **IN_BLOCKS), 64, "int4", half=True)
    plan = compile_engine(TENSORRT_RTX, graph, language_profiles(graph), kind, sm=(80, 89))
    assert plan.layers["ATTENTION_INPUT"] == 2 and plan.layers["DEQUANTIZE"] == 7 * 2 + 1
    assert plan.float32 == ()


@pytest.mark.parametrize("quantize", [None, "int8"])
@pytest.mark.parametrize("kind", ["llama-biased", "qwen2-tied", "qwen3"])
def test_the_half_decoder_is_pytorchs(kind, quantize):
    model, visual, ids = random_model(kind), visual_tokens(), tokens(12)
    graph = language_graph(model, CONTEXT, quantize, half=True)
    caches = {
        value.name: np.zeros([d.dim_value or 1 for d in value.type.tensor_type.shape.dim], np.float16)
        for value in graph.graph.input
        if value.name.startswith("past_")
    }
    feed = {"input_ids": np.array([ids]), "position": np.array([0]), "visual_tokens": visual.astype(np.float16)}
    options = ort.SessionOptions()
    options.log_severity_level = 3  # it warns that it has no float16 kernel and casts
    session = ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (found,) = session.run(["logits"], feed | caches)
    wanted = reference(model, ids, visual)[-1]
    error = np.sqrt(np.mean((found[0] - wanted) ** 2)) / wanted.std()
    assert found.dtype == np.float16 and error < (0.045 if quantize else 0.01)


@pytest.mark.parametrize("changes", [{"num_attention_heads": 2}, {"head_dim": 24}, {"head_dim": 320}])
def test_attention_that_tensorrt_has_no_kernel_for_is_refused(changes):
    model = random_model("llama", **changes)
    assert language_graph(model, CONTEXT)
    with pytest.raises(InputError, match="no fused attention for"):
        language_graph(model, CONTEXT, half=True)


def test_a_row_of_zeros_and_one_of_small_weights_keep_their_steps_in_half():
    model = random_model("llama")
    head = model.backbone.lm_head.weight
    head.data[3], head.data[4] = 0, head.data[4] * (1e-4 / head.data[4].abs().max())
    graph = language_graph(model, CONTEXT, "int8", half=True)
    found = {weight.name: onnx.numpy_helper.to_array(weight) for weight in graph.graph.initializer}
    whole, steps = found["lm_head.weight"], found["logits/weight.1"]
    assert steps.dtype == np.float16 and (steps > 0).all() and not whole[3].any()
    weights = head.detach().numpy()
    # half a step, which is 1/127 of the row's greatest weight, and what float16 cannot tell of so small a step
    np.testing.assert_allclose(whole[4] * steps[4].astype(np.float32), weights[4], atol=np.abs(weights[4]).max() / 60)
