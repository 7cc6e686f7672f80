"""Writes the decoder with the operators that ONNX Runtime and TensorRT both have a kernel for.

They are RMSNormalization, RotaryEmbedding, TensorScatter, which updates the KV cache in place, and Attention. One graph
serves for prefill and for decoding.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import torch
from torch import nn

from faceinsight.models.language_model import LanguageModel
from faceinsight.runtime.errors import InputError

from .weights import BLOCK, int4_blocks, int8_rows

# nothing newer is needed; the other stages are written in the same
IR_VERSION = 10
# the shapes that the ONNX checker computes with are constants of at most this size, so they have to be in the graph
_SMALL_BYTES = 1024

KeysValues = tuple[gs.Tensor, gs.Tensor]
"""Keys and values of a layer, [B, N_kv, S, D] each."""
Rope = tuple[gs.Tensor, gs.Tensor]
"""Cosines and sines of every token's rotation, [B, T, D / 2] each."""


class DecoderWriter:
    """Appends the nodes of the decoder to a graph, in the order of the architecture.

    A method takes tensors and returns the tensor that its nodes compute. A tensor is named after its node, such as
    layers.0/attention/q_proj. In the shapes B is the batch, T tokens, H the hidden width, N heads, N_kv key-value
    heads, D the width of a head, S the context, V the vocabulary.
    """

    # the first opset with TensorScatter
    opset = 24

    def __init__(self, model: LanguageModel, context: int, quantize: str | None, dtype: type):
        """Prepares an empty graph. dtype: np.float16 or np.float32, for all that is not quantised.

        For the other arguments see `language_graph`.
        """
        config = model.backbone.config
        self.dtype = dtype
        self.model, self.decoder = model, model.backbone.model
        self.context, self.quantize = context, quantize
        self.theta, self.epsilon = config.rope_parameters["rope_theta"], config.rms_norm_eps
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = model.head_dim
        # a tied parameter is listed once, under the table's name
        self.parameter_names = {id(parameter): name for name, parameter in model.backbone.named_parameters()}
        self.weights: dict[int, tuple[gs.Tensor, np.ndarray | None]] = {}
        self.large: list[tuple[gs.Variable, np.ndarray]] = []
        self.graph = gs.Graph(name="language", opset=self.opset)

    def write(self) -> onnx.ModelProto:
        """Writes the whole decoder, once."""
        ids = self.input("input_ids", np.int64, "batch", "tokens")
        visual_tokens = self.input("visual_tokens", self.dtype, "batch", "visual", self.model.width)
        position = self.input("position", np.int64, "batch")
        positions = self.positions(ids, position)
        rope, mask, slots = self.rope(positions), self.mask(positions), self.slots(position, positions)
        hidden = self.embed(ids, visual_tokens)
        caches = []
        for index, layer in enumerate(self.decoder.layers):
            name = f"layers.{index}"
            normed = self.norm(f"{name}/input_norm", hidden, layer.input_layernorm)
            cache = self.cache(index, layer.self_attn, normed, slots, rope)
            if index == len(self.decoder.layers) - 1:
                # only the last token is asked for; the others would take a fifth of nano's prefill
                hidden, normed, mask = self.last(hidden), self.last(normed), self.last(mask)
                rope = self.last(rope[0]), self.last(rope[1])
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
        """Computes the place of every token in the sequence: [B, T] int64."""
        count = self.node("Shape", "positions/count", ids, start=1, end=2)
        scalar = self.node("Squeeze", "positions/count_scalar", count)
        steps = self.node("Range", "positions/range", np.array(0), scalar, np.array(1))
        return self.node("Add", "positions", self.node("Unsqueeze", "positions/start", position, np.array([1])), steps)

    def embed(self, ids: gs.Tensor, visual_tokens: gs.Tensor) -> gs.Tensor:
        """Looks up every token's embedding, in the table or in visual_tokens: [B, T, H].

        It takes two small gathers and a choice. For a single gather, the table would be copied to join visual_tokens.
        """
        first, last = np.array(self.model.vocab_size), np.array(self.model.vocab_size - 1)
        is_visual = self.node("GreaterOrEqual", "embed/is_visual", ids, first)
        text_ids = self.node("Min", "embed/text_ids", ids, last)
        rows = self.node("Max", "embed/rows", self.node("Sub", "embed/offset", ids, first), np.array(0))
        rows = self.node("Unsqueeze", "embed/rows_index", rows, np.array([2]))
        visual = self.node("GatherND", "embed/visual", visual_tokens, rows, batch_dims=1)
        chosen = self.node("Unsqueeze", "embed/choice", is_visual, np.array([2]))
        return self.node("Where", "embed", chosen, visual, self.table_rows(text_ids))

    def cache(self, index: int, attention: nn.Module, x: gs.Tensor, slots: gs.Tensor, rope: Rope) -> KeysValues:
        """Writes the keys and values of x [B, T, H] to their slots of the layer's cache, which is returned."""
        name = f"layers.{index}/attention"
        k = self.rotate(f"{name}/k_rope", self.split(f"{name}/k", attention, x, self.kv_heads), rope)
        v = self.split(f"{name}/v", attention, x, self.kv_heads)
        past_k = self.input(f"past_key_{index}", self.dtype, *self.cache_shape)
        past_v = self.input(f"past_value_{index}", self.dtype, *self.cache_shape)
        return (
            self.store(f"present_key_{index}", past_k, k, slots),
            self.store(f"present_value_{index}", past_v, v, slots),
        )

    def attention(
        self, name: str, attention: nn.Module, x: gs.Tensor, cache: KeysValues, rope: Rope, mask: gs.Tensor
    ) -> gs.Tensor:
        """Computes the attention of the tokens x [B, T, H] over the cache: [B, T, H]."""
        q = self.rotate(f"{name}/q_rope", self.split(f"{name}/q", attention, x, self.heads), rope)
        mixed = self.mix(f"{name}/mix", q, cache, mask)
        mixed = self.node("Transpose", f"{name}/mix_tokens", mixed, perm=[0, 2, 1, 3])
        mixed = self.node("Reshape", f"{name}/merged", mixed, np.array([0, 0, self.heads * self.head_dim]))
        return self.linear(f"{name}/o_proj", mixed, attention.o_proj)

    def split(self, name: str, attention: nn.Module, x: gs.Tensor, heads: int) -> gs.Tensor:
        """Projects x [B, T, H] to heads [B, heads, T, D], and normalises each head in Qwen3.

        name: ends in q, k or v, which says which projection it is.
        """
        kind = name[-1]
        projected = self.linear(f"{name}_proj", x, getattr(attention, f"{kind}_proj"))
        split = self.node("Reshape", f"{name}_split", projected, np.array([0, 0, heads, self.head_dim]))
        norm = getattr(attention, f"{kind}_norm", None)
        if norm is not None:
            split = self.norm(f"{name}_norm", split, norm)
        return self.node("Transpose", f"{name}_heads", split, perm=[0, 2, 1, 3])

    def mlp(self, name: str, mlp: nn.Module, x: gs.Tensor) -> gs.Tensor:
        """Computes the gated MLP with SiLU of x [B, T, H]: [B, T, H]."""
        gate = self.linear(f"{name}/gate_proj", x, mlp.gate_proj)
        gate = self.node("Mul", f"{name}/silu", gate, self.node("Sigmoid", f"{name}/sigmoid", gate))
        up = self.node("Mul", f"{name}/gated", gate, self.linear(f"{name}/up_proj", x, mlp.up_proj))
        return self.linear(f"{name}/down_proj", up, mlp.down_proj)

    def logits(self, hidden: gs.Tensor) -> gs.Tensor:
        """Computes the logits [B, V] from the last token's hidden state [B, 1, H]."""
        row = self.node("Squeeze", "last_token", hidden, np.array([1]))
        return self.linear("logits", self.norm("norm", row, self.decoder.norm), self.model.backbone.lm_head)

    def last(self, x: gs.Tensor) -> gs.Tensor:
        """Takes the last token of x [..., T, width]: [..., 1, width]."""
        return self.slice(f"{x.name}/last", x, -1, np.iinfo(np.int64).max, axis=-2)

    # the parts that `PrimitiveWriter` writes with other operators

    def rope(self, positions: gs.Tensor) -> Rope:
        """Looks up every token's rotation by its place [B, T]."""
        cos, sin = self.rotations()
        return self.node("Gather", "rope/cos", cos, positions), self.node("Gather", "rope/sin", sin, positions)

    def rotations(self) -> tuple[np.ndarray, np.ndarray]:
        """The cosines and the sines of every place, [S, D / 2] each."""
        frequencies = self.theta ** -(np.arange(0, self.head_dim, 2) / self.head_dim)
        angles = np.arange(self.context)[:, None] * frequencies
        return np.cos(angles).astype(self.dtype), np.sin(angles).astype(self.dtype)

    def mask(self, positions: gs.Tensor) -> gs.Tensor:
        """Computes what every token sees: [B, 1, T, S] bool.

        The token at place p sees the cache's slots 0 to p, so the content of the others does not matter.
        """
        places = self.node("Unsqueeze", "mask/places", positions, np.array([1, 3]))
        return self.node("LessOrEqual", "mask", np.arange(self.context), places)

    def slots(self, position: gs.Tensor, positions: gs.Tensor) -> gs.Tensor:
        """What `store` needs to know where to write; it writes from slot `position` [B] on."""
        return position

    def norm(self, name: str, x: gs.Tensor, norm: nn.Module) -> gs.Tensor:
        """Computes RMSNorm over the last axis of x."""
        return self.node("RMSNormalization", name, x, self.values(norm.weight), axis=-1, epsilon=self.epsilon)

    def rotate(self, name: str, x: gs.Tensor, rope: Rope) -> gs.Tensor:
        """Rotates the heads x [B, heads, T, D] by their tokens' places; the shape stays."""
        return self.node("RotaryEmbedding", name, x, *rope)

    def store(self, name: str, past: gs.Tensor, new: gs.Tensor, slots: gs.Tensor) -> gs.Tensor:
        """Writes new [B, N_kv, T, D] into past [B, N_kv, S, D], which is returned."""
        return self.node("TensorScatter", name, past, new, slots, axis=-2)

    def mix(self, name: str, q: gs.Tensor, cache: KeysValues, mask: gs.Tensor) -> gs.Tensor:
        """Computes what each query q [B, N, T, D] takes from the cache: [B, N, T, D]."""
        # not is_causal: TensorRT rejects it beside a mask, and its own causal mask is wrong for decoding
        return self.node("Attention", name, q, *cache, mask, scale=self.head_dim**-0.5)

    # weights

    def linear(self, name: str, x: gs.Tensor, layer: nn.Linear) -> gs.Tensor:
        """Applies a linear layer to x [..., in]: [..., out]."""
        if self.quantize == "int4" and layer is not self.model.backbone.lm_head:
            weight = self.int4(name, layer)
        else:
            weight = self.transposed(name, layer)
        if layer.bias is None:
            return self.node("MatMul", name, x, weight)
        return self.node("Add", name, self.node("MatMul", f"{name}/product", x, weight), self.values(layer.bias))

    def transposed(self, name: str, layer: nn.Linear) -> gs.Tensor:
        """The layer's weight as [in, out].

        It is stored [out, in] as in PyTorch, so that a tied table is stored once. ONNX Runtime transposes it when it
        loads the graph, and fuses the INT8 form into one MatMulNBits.
        """
        weight, steps = self.weight(layer.weight)
        if steps is not None:
            # the steps are a constant of this layer alone: ONNX Runtime does not fuse steps that the embedding reads
            # too, and decoding would take twice as long
            weight = self.node("DequantizeLinear", f"{name}/weight", weight, steps, axis=0)
        return self.node("Transpose", f"{name}/weight_in_out", weight, perm=[1, 0])

    def int4(self, name: str, layer: nn.Linear) -> gs.Tensor:
        """The layer's weight as [in, out] in INT4.

        It is stored [in, out], because ONNX Runtime fuses blocks into MatMulNBits along the first axis only.
        """
        if layer.in_features % BLOCK:
            raise InputError(
                f"{name} has {layer.in_features} inputs, no multiple of the {BLOCK} that share a step in INT4; use int8"
            )
        values, steps = int4_blocks(_values(layer.weight), self.dtype)
        weight = self.constant(self.parameter_names[id(layer.weight)], values)
        return self.node("DequantizeLinear", f"{name}/weight", weight, steps, axis=0, block_size=BLOCK)

    def table_rows(self, ids: gs.Tensor) -> gs.Tensor:
        """Looks up rows of the embedding table by ids [B, T]: [B, T, H]. Only these rows are dequantised."""
        table = self.model.backbone.get_input_embeddings().weight
        if self.quantize and self.dtype == np.float16:
            return self.node("Gather", "embed/text", self.values(table), ids)
        weight, steps = self.weight(table)
        rows = self.node("Gather", "embed/text", weight, ids)
        if steps is None:
            return rows
        scale = self.node("Unsqueeze", "embed/text_scale", self.node("Gather", "embed/step", steps, ids), np.array([2]))
        return self.node("Mul", "embed/text_float", self.node("Cast", "embed/cast", rows, to=np.float32), scale)

    def weight(self, parameter: nn.Parameter) -> tuple[gs.Tensor, np.ndarray | None]:
        """The matrix [out, in] and, if it is int8, its steps [out]; a tied parameter gives the same tensor again."""
        if id(parameter) not in self.weights:
            values, steps = self.values(parameter), None
            if self.quantize:
                values, steps = int8_rows(_values(parameter), self.dtype)
            self.weights[id(parameter)] = self.constant(self.parameter_names[id(parameter)], values), steps
        return self.weights[id(parameter)]

    def values(self, parameter: torch.Tensor) -> np.ndarray:
        """The parameter in the graph's own dtype."""
        return _values(parameter, torch.float16 if self.dtype == np.float16 else torch.float32)

    # the graph

    @property
    def cache_shape(self) -> tuple[str | int, ...]:
        """The shape of a layer's keys and of its values."""
        return "batch", self.kv_heads, self.context, self.head_dim

    def input(self, name: str, dtype: type, *shape: str | int) -> gs.Tensor:
        """Appends an input of the graph. shape: numbers, and names of dynamic dimensions."""
        self.graph.inputs.append(gs.Variable(name, dtype, shape))
        return self.graph.inputs[-1]

    def node(self, op: str, name: str, *inputs: gs.Tensor | np.ndarray, **attributes) -> gs.Tensor:
        """Appends one node and returns its output; an array among its inputs becomes a constant of the node."""
        tensors = [self.constant(f"{name}.{i}", x) if isinstance(x, np.ndarray) else x for i, x in enumerate(inputs)]
        output = gs.Variable(name)
        self.graph.nodes.append(gs.Node(op, name, attributes, tensors, [output]))
        return output

    def slice(self, name: str, x: gs.Tensor, start: int, end: int, axis: int) -> gs.Tensor:
        """Takes x[start:end] along an axis."""
        return self.node("Slice", name, x, np.array([start]), np.array([end]), np.array([axis]))

    def constant(self, name: str, values: np.ndarray) -> gs.Tensor:
        """Makes a constant; a large one gets its values in `export`."""
        if values.nbytes <= _SMALL_BYTES:
            return gs.Constant(name, values)
        variable = gs.Variable(name, values.dtype, values.shape)
        self.large.append((variable, values))
        return variable

    @staticmethod
    def typed(tensor: gs.Variable, dtype: type, *shape: str | int) -> gs.Variable:
        tensor.dtype, tensor.shape = dtype, shape
        return tensor

    def export(self) -> onnx.ModelProto:
        """Makes the ONNX model from the graph, and checks it.

        Large constants are inputs while it is checked, because the checker takes at most 2 GiB. They move into the
        model one by one, so that none is held twice.
        """
        inputs = len(self.graph.inputs)
        self.graph.inputs += [variable for variable, _ in self.large]
        model = gs.export_onnx(self.graph)
        model.ir_version, model.producer_name = IR_VERSION, "faceinsight"
        onnx.checker.check_model(model, full_check=True)
        del model.graph.input[inputs:]
        while self.large:
            variable, values = self.large.pop(0)
            model.graph.initializer.append(onnx.numpy_helper.from_array(values, variable.name))
        return model


def _values(parameter: torch.Tensor, dtype: torch.dtype = torch.float32) -> np.ndarray:
    return parameter.detach().to("cpu", dtype).numpy()
