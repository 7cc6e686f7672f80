"""Writes the language model's decoder as one ONNX graph, from its weights and without the exporter.

One graph prefills and decodes. It uses the operators that ONNX Runtime and TensorRT both have a kernel for
(RMSNormalization, RotaryEmbedding, TensorScatter, Attention), and its KV cache is updated in place.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import torch
from torch import nn

from faceinsight.models.language_model import LanguageModel
from faceinsight.runtime.errors import InputError

# the first with TensorScatter
OPSET = 24
# nothing newer is needed; the vision stages are written in the same
IR_VERSION = 10
FAMILIES = ("llama", "qwen2", "qwen3")

Cache = tuple[gs.Tensor, gs.Tensor]  # keys and values, [B, N_kv, S, D]
Rope = tuple[gs.Tensor, gs.Tensor]  # cosines and sines, [B, T, D / 2]


def language_graph(
    model: LanguageModel, context: int, quantize: Literal[None, "int8"] = None, half: bool = False
) -> onnx.ModelProto:
    """The decoder as ONNX; batch B, tokens T and visual tokens N dynamic, context S fixed, weights inside.

    Inputs
      input_ids [B, T] int64: an id >= vocab_size is row id - vocab_size of visual_tokens.
      visual_tokens [B, N, H] float32.
      position [B] int64: tokens already in the cache; position + T <= S. Moving it back forgets what comes after.
      past_key_i, past_value_i [B, N_kv, S, D] float32, for each layer i.
    Outputs
      logits [B, V] float32 and next_token [B] int64 (their argmax), of the last token only.
      present_key_i, present_value_i: like past_*; bind them to the same memory and the cache is updated in place.

    half: float16 in the place of every float32 above, and within: what TensorRT has fused attention for.
    quantize: None is float32; "int8" stores the embedding table and every linear layer in INT8 (symmetric, one step
    per row of the table or output channel); activations, biases, norms and the cache are float32 in the graph. ONNX
    Runtime rounds the input of an INT8 layer to 8 bits for its integer kernel, unless the session's
    `session.qdq_matmulnbits_accuracy_level` is 1. With `half` the embedding
    table stays float16, for TensorRT gathers no INT8.
    Raises InputError for an architecture or an option that this graph does not cover.
    """
    if quantize not in (None, "int8"):
        raise InputError(f"unknown weight format {quantize!r} for the language model; use None or 'int8'")
    if context < 1:
        raise InputError(f"context is {context}; the KV cache needs room for at least one token")
    _check(model.backbone.config, half)
    return _Writer(model, context, quantize == "int8", np.float16 if half else np.float32).write()


def _check(config, half: bool) -> None:
    """config: the Hugging Face config. Raises InputError for what `_Writer` would silently compute wrong, and with
    `half` for what TensorRT has no fused attention for."""
    if config.model_type not in FAMILIES:
        raise InputError(f"language model type {config.model_type!r} cannot be built; use one of {', '.join(FAMILIES)}")
    rope = config.rope_parameters
    if rope.get("rope_type", "default") != "default" or rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise InputError(f"RoPE {rope} cannot be built; only rope_type 'default' over the whole head can")
    if "sliding_attention" in (getattr(config, "layer_types", None) or ()):
        raise InputError("sliding-window attention cannot be built; set use_sliding_window to false in the config")
    if config.hidden_act not in ("silu", "swish"):
        raise InputError(f"activation {config.hidden_act!r} cannot be built; only silu can")
    if config.num_attention_heads % config.num_key_value_heads:
        raise InputError(
            f"{config.num_attention_heads} attention heads cannot share {config.num_key_value_heads} key-value heads; "
            "the first must be a multiple of the second"
        )

    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = config.num_attention_heads
    if half and (heads < 4 or head_dim > 256 or head_dim % 16):
        raise InputError(
            f"TensorRT has no fused attention for {heads} heads of {head_dim}; it takes 4 or more, of a multiple of "
            "16 up to 256"
        )


class _Writer:
    """Appends nodes in the order of the architecture. A method takes tensors and returns the tensor it computes.

    A tensor is named after its node: layers.0/attention/q_proj.
    """

    def __init__(self, model: LanguageModel, context: int, int8: bool, dtype: type):
        config = model.backbone.config
        self.dtype = dtype
        self.model, self.decoder = model, model.backbone.model
        self.context, self.int8 = context, int8
        self.theta, self.epsilon = config.rope_parameters["rope_theta"], config.rms_norm_eps
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        # a tied parameter is listed once, under the table's name
        self.parameter_names = {id(parameter): name for name, parameter in model.backbone.named_parameters()}
        self.weights: dict[int, tuple[gs.Constant, gs.Constant | None]] = {}
        self.graph = gs.Graph(name="language", opset=OPSET)

    def write(self) -> onnx.ModelProto:
        ids = self.input("input_ids", np.int64, "batch", "tokens")
        visual_tokens = self.input("visual_tokens", self.dtype, "batch", "visual", self.model.width)
        position = self.input("position", np.int64, "batch")
        positions = self.positions(ids, position)
        rope, mask = self.rope(positions), self.mask(positions)
        hidden = self.embed(ids, visual_tokens)
        caches = []
        for index, layer in enumerate(self.decoder.layers):
            name = f"layers.{index}"
            normed = self.norm(f"{name}/input_norm", hidden, layer.input_layernorm)
            cache = self.cache(index, layer.self_attn, normed, position, rope)
            if index == len(self.decoder.layers) - 1:
                # the top layer's other tokens would be computed for nothing (a fifth of nano's prefill)
                hidden, normed, mask = self.last(hidden, 1), self.last(normed, 1), self.last(mask, 2)
                rope = self.last(rope[0], 1), self.last(rope[1], 1)
            mixed = self.attention(f"{name}/attention", layer.self_attn, normed, cache, rope, mask)
            hidden = self.node("Add", f"{name}/attention/residual", hidden, mixed)
            normed = self.norm(f"{name}/post_attention_norm", hidden, layer.post_attention_layernorm)
            hidden = self.node("Add", f"{name}/mlp/residual", hidden, self.mlp(f"{name}/mlp", layer.mlp, normed))
            caches += cache
        logits = self.logits(hidden)
        token = self.node("ArgMax", "next_token", logits, axis=-1, keepdims=0)
        self.graph.outputs = [
            self.typed(logits, self.dtype, "batch", self.model.vocab_size),
            self.typed(token, np.int64, "batch"),
            *(self.typed(cache, self.dtype, *self.cache_shape) for cache in caches),
        ]
        return self.export()

    # the architecture

    def positions(self, ids: gs.Tensor, position: gs.Tensor) -> gs.Tensor:
        """Place of every token in the sequence: [B, T] int64."""
        count = self.node("Shape", "positions/count", ids, start=1, end=2)
        scalar = self.node("Squeeze", "positions/count_scalar", count)
        steps = self.node("Range", "positions/range", np.array(0), scalar, np.array(1))
        return self.node("Add", "positions", self.node("Unsqueeze", "positions/start", position, np.array([1])), steps)

    def mask(self, positions: gs.Tensor) -> gs.Tensor:
        """[B, 1, T, S] bool: the token at place p sees cache slots 0..p, so what is in the others does not matter."""
        places = self.node("Unsqueeze", "mask/places", positions, np.array([1, 3]))
        return self.node("LessOrEqual", "mask", np.arange(self.context), places)

    def rope(self, positions: gs.Tensor) -> Rope:
        """Every token's rotation, looked up by its place."""
        frequencies = self.theta ** -(np.arange(0, self.head_dim, 2) / self.head_dim)
        angles = np.arange(self.context)[:, None] * frequencies
        cos, sin = np.cos(angles).astype(self.dtype), np.sin(angles).astype(self.dtype)
        return self.node("Gather", "rope/cos", cos, positions), self.node("Gather", "rope/sin", sin, positions)

    def embed(self, ids: gs.Tensor, visual_tokens: gs.Tensor) -> gs.Tensor:
        """[B, T, H]. Two small gathers and a choice: a table joined to visual_tokens would be copied."""
        first, last = np.array(self.model.vocab_size), np.array(self.model.vocab_size - 1)
        is_visual = self.node("GreaterOrEqual", "embed/is_visual", ids, first)
        text_ids = self.node("Min", "embed/text_ids", ids, last)
        rows = self.node("Max", "embed/rows", self.node("Sub", "embed/offset", ids, first), np.array(0))
        rows = self.node("Unsqueeze", "embed/rows_index", rows, np.array([2]))
        visual = self.node("GatherND", "embed/visual", visual_tokens, rows, batch_dims=1)
        chosen = self.node("Unsqueeze", "embed/choice", is_visual, np.array([2]))
        return self.node("Where", "embed", chosen, visual, self.table_rows(text_ids))

    def cache(self, index: int, attention: nn.Module, x: gs.Tensor, position: gs.Tensor, rope: Rope) -> Cache:
        """The layer's keys and values after x [B, T, H] is written from slot `position` on."""
        name = f"layers.{index}/attention"
        k = self.node("RotaryEmbedding", f"{name}/k_rope", self.split(f"{name}/k", attention, x, self.kv_heads), *rope)
        v = self.split(f"{name}/v", attention, x, self.kv_heads)
        past_k = self.input(f"past_key_{index}", self.dtype, *self.cache_shape)
        past_v = self.input(f"past_value_{index}", self.dtype, *self.cache_shape)
        return (
            self.node("TensorScatter", f"present_key_{index}", past_k, k, position, axis=-2),
            self.node("TensorScatter", f"present_value_{index}", past_v, v, position, axis=-2),
        )

    def attention(
        self, name: str, attention: nn.Module, x: gs.Tensor, cache: Cache, rope: Rope, mask: gs.Tensor
    ) -> gs.Tensor:
        """x: the tokens that ask, [B, T, H]. [B, T, H]."""
        q = self.node("RotaryEmbedding", f"{name}/q_rope", self.split(f"{name}/q", attention, x, self.heads), *rope)
        # never is_causal beside the mask: TensorRT rejects it, and its causal is wrong for decoding
        mixed = self.node("Attention", f"{name}/mix", q, *cache, mask, scale=self.head_dim**-0.5)
        mixed = self.node("Transpose", f"{name}/mix_tokens", mixed, perm=[0, 2, 1, 3])
        mixed = self.node("Reshape", f"{name}/merged", mixed, np.array([0, 0, self.heads * self.head_dim]))
        return self.linear(f"{name}/o_proj", mixed, attention.o_proj)

    def split(self, name: str, attention: nn.Module, x: gs.Tensor, heads: int) -> gs.Tensor:
        """Projects x [B, T, H] to heads [B, heads, T, D]; Qwen3 normalises each head. name: ends in q, k or v."""
        kind = name[-1]
        projected = self.linear(f"{name}_proj", x, getattr(attention, f"{kind}_proj"))
        split = self.node("Reshape", f"{name}_split", projected, np.array([0, 0, heads, self.head_dim]))
        norm = getattr(attention, f"{kind}_norm", None)
        if norm is not None:
            split = self.norm(f"{name}_norm", split, norm)
        return self.node("Transpose", f"{name}_heads", split, perm=[0, 2, 1, 3])

    def mlp(self, name: str, mlp: nn.Module, x: gs.Tensor) -> gs.Tensor:
        gate = self.linear(f"{name}/gate_proj", x, mlp.gate_proj)
        gate = self.node("Mul", f"{name}/silu", gate, self.node("Sigmoid", f"{name}/sigmoid", gate))
        up = self.node("Mul", f"{name}/gated", gate, self.linear(f"{name}/up_proj", x, mlp.up_proj))
        return self.linear(f"{name}/down_proj", up, mlp.down_proj)

    def logits(self, hidden: gs.Tensor) -> gs.Tensor:
        """hidden: the last token, [B, 1, H]. [B, V]."""
        row = self.node("Squeeze", "last_token", hidden, np.array([1]))
        return self.linear("logits", self.norm("norm", row, self.decoder.norm), self.model.backbone.lm_head)

    # layers

    def last(self, x: gs.Tensor, axis: int) -> gs.Tensor:
        """The last entry along the axis of tokens, as an axis of length 1."""
        end = np.array([np.iinfo(np.int64).max])
        return self.node("Slice", f"{x.name}/last", x, np.array([-1]), end, np.array([axis]))

    def norm(self, name: str, x: gs.Tensor, norm: nn.Module) -> gs.Tensor:
        return self.node("RMSNormalization", name, x, self.values(norm.weight), axis=-1, epsilon=self.epsilon)

    def linear(self, name: str, x: gs.Tensor, layer: nn.Linear) -> gs.Tensor:
        """x: [..., in]. [..., out]. Weights stay [out, in] as in PyTorch, so that a tied table is stored once.

        ONNX Runtime transposes them when it loads the graph, and fuses the INT8 form into one MatMulNBits.
        """
        weight, steps = self.weight(layer.weight)
        if steps is not None:
            # a constant of its own: ONNX Runtime does not fuse steps that the embedding reads too (decode 2x slower)
            weight = self.node("DequantizeLinear", f"{name}/weight", weight, steps.values, axis=0)
        weight = self.node("Transpose", f"{name}/weight_in_out", weight, perm=[1, 0])
        if layer.bias is None:
            return self.node("MatMul", name, x, weight)
        return self.node("Add", name, self.node("MatMul", f"{name}/product", x, weight), self.values(layer.bias))

    def table_rows(self, ids: gs.Tensor) -> gs.Tensor:
        """Rows of the embedding table: [B, T, H]. Only the rows gathered are dequantised."""
        table = self.model.backbone.get_input_embeddings().weight
        if self.int8 and self.dtype == np.float16:
            return self.node("Gather", "embed/text", self.values(table), ids)
        weight, steps = self.weight(table)
        rows = self.node("Gather", "embed/text", weight, ids)
        if steps is None:
            return rows
        scale = self.node("Unsqueeze", "embed/text_scale", self.node("Gather", "embed/step", steps, ids), np.array([2]))
        return self.node("Mul", "embed/text_float", self.node("Cast", "embed/cast", rows, to=np.float32), scale)

    def weight(self, parameter: nn.Parameter) -> tuple[gs.Constant, gs.Constant | None]:
        """The matrix [out, in] and, if it is int8, its steps [out]; the same tensors for a tied parameter."""
        if id(parameter) not in self.weights:
            name, steps = self.parameter_names[id(parameter)], None
            if self.int8:
                values, found = _quantized(_values(parameter), self.dtype)
                steps = gs.Constant(f"{name}.step", found)
            else:
                values = self.values(parameter)
            self.weights[id(parameter)] = gs.Constant(name, values), steps
        return self.weights[id(parameter)]

    def values(self, parameter: torch.Tensor) -> np.ndarray:
        return _values(parameter).astype(self.dtype)

    # the graph

    @property
    def cache_shape(self) -> tuple[str | int, ...]:
        return "batch", self.kv_heads, self.context, self.head_dim

    def input(self, name: str, dtype: type, *shape: str | int) -> gs.Tensor:
        self.graph.inputs.append(gs.Variable(name, dtype, shape))
        return self.graph.inputs[-1]

    def node(self, op: str, name: str, *inputs: gs.Tensor | np.ndarray, **attributes) -> gs.Tensor:
        """Appends one node; an array among its inputs becomes a constant of the node."""
        tensors = [gs.Constant(f"{name}.{i}", x) if isinstance(x, np.ndarray) else x for i, x in enumerate(inputs)]
        output = gs.Variable(name)
        self.graph.nodes.append(gs.Node(op, name, attributes, tensors, [output]))
        return output

    @staticmethod
    def typed(tensor: gs.Variable, dtype: type, *shape: str | int) -> gs.Variable:
        tensor.dtype, tensor.shape = dtype, shape
        return tensor

    def export(self) -> onnx.ModelProto:
        model = gs.export_onnx(self.graph)
        model.ir_version, model.producer_name = IR_VERSION, "faceinsight"
        onnx.checker.check_model(model, full_check=True)
        return model


def _values(parameter: torch.Tensor) -> np.ndarray:
    return parameter.detach().float().cpu().numpy()


def _quantized(matrix: np.ndarray, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """matrix: [out, in]. Integers [out, in] int8 and their steps [out] of that dtype."""
    # a row of zeros still needs a step
    steps = np.maximum(np.abs(matrix).max(1), 1e-6).astype(np.float32) / np.float32(127)
    steps = np.maximum(steps.astype(dtype), np.finfo(dtype).smallest_subnormal)
    return np.rint(matrix / steps[:, None].astype(np.float32)).clip(-127, 127).astype(np.int8), steps
