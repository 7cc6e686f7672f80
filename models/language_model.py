"""Causal language model that reads visual tokens among its text tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from .backbone import build
from .config import BackboneConfig


class LanguageModel(nn.Module):
    """Any Hugging Face causal LM (Llama, Qwen2, Qwen3). Ids from `vocab_size` up stand for visual tokens."""

    def __init__(self, config: BackboneConfig, weights: bool = True):
        super().__init__()
        self.backbone = build(AutoModelForCausalLM, config, weights)
        self.width = self.backbone.config.hidden_size
        self.vocab_size = self.backbone.get_input_embeddings().num_embeddings

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        config = self.backbone.config
        return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads

    def grow(self, vocab_size: int) -> None:
        """Adds rows to the embedding table and to the output layer; they begin near the mean of the others."""
        self.backbone.resize_token_embeddings(vocab_size)
        self.vocab_size = vocab_size

    def embed(self, ids: Tensor, visual_tokens: Tensor) -> Tensor:
        """ids: [B, T] int64, id >= vocab_size is row id - vocab_size of visual_tokens [B, N, width]. [B, T, width]."""
        visual = ids >= self.vocab_size
        text = self.backbone.get_input_embeddings()(ids.clamp(max=self.vocab_size - 1))
        rows = (ids - self.vocab_size).clamp(min=0).unsqueeze(-1).expand(-1, -1, self.width)
        return torch.where(visual.unsqueeze(-1), visual_tokens.gather(1, rows).to(text.dtype), text)

    def forward(self, ids: Tensor, visual_tokens: Tensor, **kwargs) -> Tensor:
        """Logits [B, T, vocab]. kwargs go to the Hugging Face model (attention_mask, position_ids, past_key_values)."""
        return self.backbone(inputs_embeds=self.embed(ids, visual_tokens), **kwargs).logits
