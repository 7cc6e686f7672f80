"""Face parser: face crop -> parse map over CelebAMask-HQ's 19 classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForSemanticSegmentation

from faceinsight.runtime.errors import InputError
from faceinsight.runtime.parse_map import PARSE_CLASSES

from .backbone import Normalize, build
from .config import BackboneConfig


class FaceParser(nn.Module):
    """Any Hugging Face semantic segmentation model with the 19 classes; SegFormer by default."""

    def __init__(self, config: BackboneConfig, weights: bool = True):
        super().__init__()
        self.normalize = Normalize(config.mean, config.std)
        self.backbone = build(AutoModelForSemanticSegmentation, config, weights)
        if self.backbone.config.num_labels != len(PARSE_CLASSES):
            raise InputError(
                f"the parser has {self.backbone.config.num_labels} classes; it must have CelebAMask-HQ's "
                f"{len(PARSE_CLASSES)}, in its order"
            )

    def logits(self, pixels: Tensor) -> Tensor:
        """pixels: [B, S, S, 3] uint8 RGB. Returns [B, 19, S, S] float32."""
        logits = self.backbone(self.normalize(pixels)).logits
        return F.interpolate(logits.float(), size=pixels.shape[1:3], mode="bilinear", align_corners=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Returns the parse map [B, S, S] uint8."""
        return self.logits(pixels).argmax(1).to(torch.uint8)
