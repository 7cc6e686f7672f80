"""The real sizes: published architectures by their configs, and what one run of each computes and moves.

No weights are needed: transformers are counted by formula, everything else by running the module without data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from faceinsight.models.config import BackboneConfig
from faceinsight.runtime.parse_map import PARSE_CLASSES

from .limits import Work

SEGFORMER_B0 = BackboneConfig(
    "segformer", {"num_labels": len(PARSE_CLASSES)}, size=512
)  # the class's defaults are B0's
SIGLIP_B = BackboneConfig(
    "siglip_vision_model",
    {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
     "image_size": 384, "patch_size": 16, "vision_use_head": False},
    size=384,
)  # fmt: skip
CLIP_L = BackboneConfig(
    "clip_vision_model",
    {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
     "image_size": 336, "patch_size": 14},
    size=336,
)  # fmt: skip


def _decoder(kind: str, hidden: int, inner: int, layers: int, heads: int, kv_heads: int, **more) -> BackboneConfig:
    config = {
        "vocab_size": 151936, "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
    }  # fmt: skip
    return BackboneConfig(kind, config | more)


QWEN25_05 = _decoder("qwen2", 896, 4864, 24, 14, 2)
QWEN25_15 = _decoder("qwen2", 1536, 8960, 28, 12, 2)
QWEN3_06 = _decoder("qwen3", 1024, 3072, 28, 16, 8, head_dim=128)
QWEN3_17 = _decoder("qwen3", 2048, 6144, 28, 16, 8, head_dim=128)
LLAMA31_8 = _decoder("llama", 4096, 14336, 32, 32, 8, vocab_size=128256, tie_word_embeddings=False)


Matrix = tuple[int, int]  # in, out


@dataclass(frozen=True)
class Decoder:
    """layers: (how many, their matrices). attending: layers that have a KV cache."""

    layers: tuple[tuple[int, tuple[Matrix, ...]], ...]
    attending: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    vocab: int

    @classmethod
    def of(cls, backbone: BackboneConfig) -> Decoder:
        config = backbone.config
        hidden, heads, inner = config["hidden_size"], config["num_attention_heads"], config["intermediate_size"]
        head_dim, kv_heads = config.get("head_dim", hidden // heads), config["num_key_value_heads"]
        q, kv, count = heads * head_dim, kv_heads * head_dim, config["num_hidden_layers"]
        matrices = ((hidden, q), (hidden, kv), (hidden, kv), (q, hidden), *_mlp(hidden, inner))
        return cls(((count, matrices),), count, heads, kv_heads, head_dim, hidden, config["vocab_size"])

    @property
    def weights(self) -> int:
        """Numbers in the layers' matrices."""
        return sum(count * sum(map(math.prod, matrices)) for count, matrices in self.layers)

    def run(self, tokens: int, cached: int, weight_bytes: float, head_bytes: float = 2) -> Work:
        """tokens: new ones, of which the last gets logits. cached: tokens there are then. weight_bytes: of a number in
        the layers; activations, cache and products are float16. head_bytes: of a number in the output layer."""
        head = self.hidden * self.vocab
        attention = 4 * tokens * cached * self.heads * self.head_dim * self.attending
        cache = 2 * 2 * self.kv_heads * self.head_dim * self.attending * (cached + tokens)
        ends = sum(count * sum(map(sum, matrices)) for count, matrices in self.layers)
        return Work(
            half=2 * tokens * self.weights + attention + 2 * head,
            integer=0,
            bytes=round(self.weights * weight_bytes + head * head_bytes + 2 * tokens * ends + cache),
            kernels=sum(count * len(matrices) for count, matrices in self.layers) + self.attending + 1,
        )


def _mlp(hidden: int, inner: int) -> tuple[Matrix, ...]:
    return (hidden, inner), (hidden, inner), (inner, hidden)


# its model card: 24 layers, every fourth with gated attention (8 heads of 256 on 2), the others Gated DeltaNet (16
# heads of 128 for keys and for values), whose state is small beside the weights
QWEN35_08 = Decoder(
    (
        (6, ((1024, 4096), (1024, 512), (1024, 512), (2048, 1024), *_mlp(1024, 3584))),
        (18, ((1024, 6144), (1024, 2048), (2048, 1024), *_mlp(1024, 3584))),
    ),
    attending=6, heads=8, kv_heads=2, head_dim=256, hidden=1024, vocab=248320,
)  # fmt: skip


@dataclass(frozen=True)
class Encoder:
    """A vision transformer; tokens: patches, and the class token where there is one."""

    layers: int
    hidden: int
    inner: int
    tokens: int
    patch: int = 16

    def run(self, int8: bool, batch: int = 1) -> Work:
        """int8: the layers' matrices and what enters them; attention stays in float16."""
        weights = self.layers * (4 * self.hidden**2 + 2 * self.hidden * self.inner)
        embedding = 3 * self.patch**2 * self.hidden
        tokens = batch * self.tokens
        products = 2 * tokens * weights
        other = 2 * tokens * embedding + 4 * tokens * self.tokens * self.hidden * self.layers
        ends = tokens * self.layers * (10 * self.hidden + 2 * self.inner)  # what enters and leaves the six matrices
        return Work(
            half=other if int8 else other + products,
            integer=products if int8 else 0,
            bytes=weights * (1 if int8 else 2) + 2 * embedding + 2 * ends,
            kernels=8 * self.layers + 1,
        )


# LLaVA reads the layer before the last, so the last one is not built
SIGLIP_B_ENCODER = Encoder(11, 768, 3072, (384 // 16) ** 2)


def counted(module: nn.Module, *inputs: torch.Tensor) -> Work:
    """A module's run in INT8, with float16 attention; module and inputs on the meta device."""
    products = moved = kernels = 0

    def hook(layer: nn.Module, given: tuple[torch.Tensor, ...], made: torch.Tensor) -> None:
        nonlocal products, moved, kernels
        depth = layer.weight.numel() // layer.weight.shape[0]
        products += 2 * made.numel() * depth
        moved += layer.weight.numel() + given[0].numel() + 2 * made.numel()
        kernels += 1

    layers = [m for m in module.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    handles = [layer.register_forward_hook(hook) for layer in layers]
    # fused attention is not counted on every device
    with sdpa_kernel(SDPBackend.MATH), torch.no_grad(), FlopCounterMode(display=False) as counter:
        module.eval()(*inputs)
    for handle in handles:
        handle.remove()
    return Work(counter.get_total_flops() - products, products, moved, kernels)
