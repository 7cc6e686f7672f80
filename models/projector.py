"""MLP adapter (projector): features of one modality -> tokens in the language model's space, as in LLaVA-1.5."""

from __future__ import annotations

from torch import Tensor, nn


class Projector(nn.Module):
    """Two linear layers with a GELU between. [B, N, in_width] -> [B, N, out_width]."""

    def __init__(self, in_width: int, out_width: int):
        super().__init__()
        self.norm = nn.LayerNorm(in_width)
        self.up = nn.Linear(in_width, out_width)
        self.down = nn.Linear(out_width, out_width)

    def forward(self, features: Tensor) -> Tensor:
        return self.down(nn.functional.gelu(self.up(self.norm(features))))
