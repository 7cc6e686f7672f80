"""Writes the language model's decoder as one ONNX graph, from its weights and without PyTorch's exporter."""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx

from faceinsight.models.language_model import LanguageModel
from faceinsight.runtime.errors import InputError

from .decoder import DecoderWriter
from .primitive import PrimitiveWriter

FAMILIES = ("llama", "qwen2", "qwen3")


def language_graph(
    model: LanguageModel,
    context: int,
    quantize: Literal[None, "int8", "int4"] = None,
    half: bool = False,
    composite: bool = True,
) -> onnx.ModelProto:
    """Writes the decoder with its weights. Batch B, tokens T and visual tokens N are dynamic, the context S is fixed.

    The graph of a large model exceeds 2 GiB, which protobuf can hold but not serialise, see large.py.

    Inputs
      input_ids [B, T] int64: an id >= vocab_size stands for row id - vocab_size of visual_tokens.
      visual_tokens [B, N, H] float32.
      position [B] int64: tokens already in the cache; position + T <= S. Moving it back forgets the later ones.
      past_key_i, past_value_i [B, N_kv, S, D] float32, for each layer i.
    Outputs
      logits [B, V] float32 and next_token [B] int64 (their argmax), of the last token only.
      present_key_i, present_value_i: like past_*; bind them to the same memory and the cache is updated in place.

    quantize: None keeps the weights in float. "int8" stores the embedding table and every linear layer in INT8,
    symmetric, with one step for each row of the table or output channel; activations, biases, norms and the cache stay
    float. "int4" stores the linear layers inside the decoder's layers in INT4, where 64 inputs share a step; the output
    layer stays INT8, because it alone would add a third to the error of nano's logits. GPUs take INT4 from compute
    capability 8.0 on. ONNX Runtime rounds the input of a quantised layer to 8 bits for its integer kernel, unless the
    session's `session.qdq_matmulnbits_accuracy_level` is 1.
    half: float16 takes the place of every float32, which TensorRT's fused attention needs. The embedding table then
    stays float16 too, because TensorRT does not gather INT8.
    composite: whether the graph may use single operators for attention, rotary embedding, norm and cache. False is for
    TensorRT before 10.15, see `PrimitiveWriter`; its present_* need memory of their own, so two sets of caches change
    places at every step.
    Raises InputError for an architecture or an option that this graph does not cover.
    """
    if quantize not in (None, "int8", "int4"):
        raise InputError(f"unknown weight format {quantize!r} for the language model; use None, 'int8' or 'int4'")
    if quantize == "int4" and not composite:
        raise InputError("INT4 weights need TensorRT 10.15 or newer, as in JetPack 7.2; use int8 for an older one")
    if context < 1:
        raise InputError(f"context is {context}; the KV cache needs room for at least one token")
    _check(model, half and composite)
    writer = DecoderWriter if composite else PrimitiveWriter
    return writer(model, context, quantize, np.float16 if half else np.float32).write()


def _check(model: LanguageModel, fused: bool) -> None:
    """Raises InputError for an architecture that `DecoderWriter` would compute wrongly.

    fused: also raises for heads that TensorRT has no fused attention for.
    """
    config = model.backbone.config
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
    heads, head_dim = config.num_attention_heads, model.head_dim
    if fused and (heads < 4 or head_dim > 256 or head_dim % 16):
        raise InputError(
            f"TensorRT has no fused attention for {heads} heads of {head_dim}; it takes 4 or more, of a multiple of "
            "16 up to 256"
        )
