"""The language model's decoder as one ONNX graph, from its weights and without the exporter."""

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
    """The decoder as ONNX; batch B, tokens T and visual tokens N dynamic, context S fixed, weights inside. Of a large
    model it exceeds 2 GiB, which protobuf holds but does not serialise.

    Inputs
      input_ids [B, T] int64: an id >= vocab_size is row id - vocab_size of visual_tokens.
      visual_tokens [B, N, H] float32.
      position [B] int64: tokens already in the cache; position + T <= S. Moving it back forgets what comes after.
      past_key_i, past_value_i [B, N_kv, S, D] float32, for each layer i.
    Outputs
      logits [B, V] float32 and next_token [B] int64 (their argmax), of the last token only.
      present_key_i, present_value_i: like past_*; bind them to the same memory and the cache is updated in place.

    half: float16 in the place of every float32 above, and within: what TensorRT has fused attention for.
    quantize: None is float32; "int8" stores the embedding table and every linear layer in INT8 (symmetric, one step per
    row of the table or output channel); activations, biases, norms and the cache are float32 in the graph. "int4"
    differs in the linear layers of each layer: blocks of 64 inputs share a step. The output layer stays INT8, for it
    alone would add a third to the error of nano's logits; GPUs take INT4 from compute capability 8.0 on. ONNX Runtime
    rounds the input of a quantised layer to 8 bits for its integer kernel, unless the session's
    `session.qdq_matmulnbits_accuracy_level` is 1. With `half` the embedding table stays float16, for TensorRT gathers
    no INT8.
    composite: False is for TensorRT before 10.15, see `PrimitiveWriter`: the present_* then need memory of their own,
    so two sets of caches change places at every step.
    Raises InputError for an architecture or an option that this graph does not cover.
    """
    if quantize not in (None, "int8", "int4"):
        raise InputError(f"unknown weight format {quantize!r} for the language model; use None, 'int8' or 'int4'")
    if quantize == "int4" and not composite:
        raise InputError("INT4 weights need TensorRT 10.15 or newer, as in JetPack 7.2; use int8 for an older one")
    if context < 1:
        raise InputError(f"context is {context}; the KV cache needs room for at least one token")
    _check(model.backbone.config, half and composite)
    writer = DecoderWriter if composite else PrimitiveWriter
    return writer(model, context, quantize, np.float16 if half else np.float32).write()


def _check(config, fused: bool) -> None:
    """config: the Hugging Face config. Raises InputError for what `DecoderWriter` would silently compute wrong, and
    with `fused` for what TensorRT has no fused attention for."""
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
    if fused and (heads < 4 or head_dim > 256 or head_dim % 16):
        raise InputError(
            f"TensorRT has no fused attention for {heads} heads of {head_dim}; it takes 4 or more, of a multiple of "
            "16 up to 256"
        )
