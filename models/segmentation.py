"""Segmentation encoder: the parse map as a second image modality, a small ViT over it gives F_s."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import ViTConfig, ViTModel

from faceinsight.runtime.parse_map import PARSE_CLASSES

from .config import SegmentationConfig


class SegmentationEncoder(nn.Module):
    """ViT whose input channels are the fractions of each class in cells of `config.cell` pixels."""

    def __init__(self, config: SegmentationConfig):
        super().__init__()
        self.config = config
        self.width = config.hidden
        self.backbone = ViTModel(
            ViTConfig(
                hidden_size=config.hidden,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                intermediate_size=2 * config.hidden,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
                image_size=config.size // config.cell,
                patch_size=config.patch,
                num_channels=len(PARSE_CLASSES),
            ),
            add_pooling_layer=False,
        )

    def forward(self, parse_map: Tensor) -> Tensor:
        """parse_map: [B, H, W] uint8, values 0..18, H = W a multiple of the cell. Returns F_s: [B, M, hidden]."""
        classes = torch.arange(len(PARSE_CLASSES), device=parse_map.device)
        one_hot = (parse_map.long().unsqueeze(1) == classes.view(1, -1, 1, 1)).float()
        # the parser may see a larger crop than this encoder was configured for
        cell = parse_map.shape[-1] // (self.config.size // self.config.cell)
        side = parse_map.shape[-1] // cell
        fractions = one_hot.unflatten(3, (side, cell)).unflatten(2, (side, cell)).mean((3, 5))
        return self.backbone(fractions).last_hidden_state[:, 1:]
