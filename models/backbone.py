"""Makes a Hugging Face model from a BackboneConfig, and turns raw pixels into its input."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from transformers import AutoConfig

from faceinsight.runtime.errors import InputError, reason

from .config import BackboneConfig

_NOT_OURS = ("model_type", "dtype", "torch_dtype")
"""Of a Hugging Face config: said elsewhere, or of the file that the weights came from (ours are float32)."""


def build(auto_class, config: BackboneConfig, weights: bool) -> nn.Module:
    """auto_class: AutoModel, AutoModelForCausalLM, ...

    weights: load those of `config.name` (a local directory or a hub id); False builds the architecture alone,
    because the weights come from our own checkpoint. Raises InputError when they cannot be had.
    """
    with _loading(config.name or f"of type {config.model_type}"):
        if config.name and weights:
            return auto_class.from_pretrained(config.name, dtype=torch.float32)
        return auto_class.from_config(AutoConfig.for_model(config.model_type, **config.config), dtype=torch.float32)


@contextlib.contextmanager
def _loading(name: str) -> Iterator[None]:
    """transformers raises nearly anything for a directory or an id that it cannot load."""
    try:
        yield
    except Exception as error:
        raise InputError(
            f"the backbone {name} cannot be loaded ({reason(error)}); give a model directory or a hub id that can be "
            "reached, and settings that it knows"
        ) from error


def resolve(config: BackboneConfig) -> BackboneConfig:
    """The same backbone with its whole Hugging Face config written out, so that a checkpoint needs no other source."""
    if config.config or not config.name:
        return config
    with _loading(config.name):
        found = AutoConfig.from_pretrained(config.name)
    written = {key: value for key, value in found.to_diff_dict().items() if key not in _NOT_OURS}
    return dataclasses.replace(config, model_type=found.model_type, config=written)


class Normalize(nn.Module):
    """uint8 pixels [B, S, S, 3] RGB -> normalised float32 [B, 3, S, S]; part of the model: engines take raw bytes."""

    def __init__(self, mean, std):
        super().__init__()
        scale = 1 / (255 * torch.tensor(std, dtype=torch.float32))
        self.register_buffer("scale", scale.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", (torch.tensor(mean) * 255 * scale).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.permute(0, 3, 1, 2).float() * self.scale - self.shift
