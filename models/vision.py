"""Vision encoder: face crop -> patch features F_v (LLaVA: penultimate layer, no class token)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import AutoModel

from faceinsight.runtime.errors import InputError

from .backbone import Normalize, build
from .config import BackboneConfig
from .efficientnet import EFFICIENTNET, EfficientNetLite0


class VisionEncoder(nn.Module):
    """Any Hugging Face image backbone.

    A transformer (CLIP, SigLIP, DINOv2, ViT) gives the tokens of its penultimate layer without the class token; a
    convolutional backbone gives its last feature map, one token a cell.

    mirrored: after training, every token is the mean of the crop's and of its mirror image's at the same place. A face
    is nearly symmetric, and what the two views disagree about is mostly noise.
    """

    def __init__(self, config: BackboneConfig, weights: bool = True, mirrored: bool = False):
        super().__init__()
        self.mirrored = mirrored
        self.normalize = Normalize(config.mean, config.std)
        if config.model_type == EFFICIENTNET:
            self.backbone = EfficientNetLite0()
            self.convolutional, self.width = True, self.backbone.WIDTH
            return
        model = build(AutoModel, config, weights)
        self.backbone = getattr(model, "vision_model", model)
        hf = self.backbone.config
        self.convolutional = not hasattr(hf, "num_hidden_layers")
        self.width = self._channels() if self.convolutional else hf.hidden_size

    def load_imagenet(self) -> None:
        """Takes the ImageNet weights. Raises InputError for a backbone whose weights come from elsewhere."""
        if not isinstance(self.backbone, EfficientNetLite0):
            raise InputError(f"only {EFFICIENTNET} starts from ImageNet weights; give another backbone by its name")
        self.backbone.load_imagenet()

    def freeze(self, stages: int) -> None:
        """Keeps the first stages as they are. Raises InputError for a backbone that has no such stages."""
        if stages and not isinstance(self.backbone, EfficientNetLite0):
            raise InputError(f"only {EFFICIENTNET} has stages to freeze; leave frozen at 0")
        if stages:
            self.backbone.freeze(stages)

    @torch.no_grad()
    def _channels(self) -> int:
        """Of the last feature map; convolutional configs name it differently, so it is looked at."""
        self.backbone.eval()
        return self.backbone(torch.zeros(1, 3, 64, 64)).last_hidden_state.shape[1]

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels: [B, S, S, 3] uint8 RGB. Returns F_v: [B, N, width] float32."""
        if self.training or not self.mirrored:
            return self._tokens(pixels)
        straight, mirror = self._tokens(torch.cat([pixels, pixels.flip(2)])).unflatten(0, (2, -1))
        side = round(mirror.shape[1] ** 0.5)
        return (straight + mirror.unflatten(1, (side, side)).flip(2).flatten(1, 2)) / 2

    def _tokens(self, pixels: Tensor) -> Tensor:
        pixel_values = self.normalize(pixels)
        if self.convolutional:
            found = self.backbone(pixel_values)
            return getattr(found, "last_hidden_state", found).flatten(2).transpose(1, 2)
        tokens = self.backbone(pixel_values, output_hidden_states=True).hidden_states[-2]
        size, patch = pixels.shape[1], self.backbone.config.patch_size
        return tokens[:, tokens.shape[1] - (size // patch) ** 2 :]
