"""Attribute head: the labels' text features against the pooled visual feature."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from .config import AttributeConfig
from .correlation import CorrelationConstraint


class AttributeHead(nn.Module):
    """logit_i = <v, t_i> / sqrt(width) + bias_i, v the projected visual feature, t_i the projected text of label i.

    The inner product is ML-GCN's (Chen et al. 2019, section 3): with a cosine all labels share one unit of length, and
    those that rest on few pixels, eyeglasses above all, lose.

    `text_features` is T^0: [L, text_width], the mean of the language model's input embeddings over each label's
    prompt, computed once (`set_text_features`). The labels' text reaches the shared space through the correlation
    constraint, or through one linear layer if the config's depth is 0.
    """

    def __init__(self, config: AttributeConfig, vision_width: int, segmentation_width: int):
        super().__init__()
        count = len(config.names)
        self.visual = nn.Linear(vision_width, config.width)
        self.segmentation = nn.Linear(segmentation_width, config.width, bias=False)
        if config.depth:
            self.text = CorrelationConstraint(
                count, config.text_width, config.width, config.tau, config.omega, config.depth
            )
        else:
            self.text = nn.Linear(config.text_width, config.width)
        self.bias = nn.Parameter(torch.zeros(count))
        self.register_buffer("text_features", torch.zeros(count, config.text_width))

    def set_text_features(self, features: Tensor) -> None:
        """features: [L, text_width]; standardised so that every backbone starts at the same scale."""
        features = features - features.mean(0)
        self.text_features.copy_(features / features.std())

    def set_labels(self, targets: np.ndarray) -> None:
        """Counts the labels that occur together. targets: [n, L] of the training set, NaN where not known."""
        if isinstance(self.text, CorrelationConstraint):
            self.text.set_labels(targets)

    def label_features(self) -> Tensor:
        """T^l: [L, width], constant at inference."""
        return self.text(self.text_features)

    def forward(self, visual: Tensor, segmentation: Tensor | None) -> Tensor:
        """visual: F_v [B, N, vision_width]; segmentation: F_s [B, M, segmentation_width] or None.

        Returns logits [B, L] float32.
        """
        pooled = self.visual(visual.mean(1))
        if segmentation is not None:
            pooled = pooled + self.segmentation(segmentation.mean(1))
        return pooled @ self.label_features().T * self.visual.out_features**-0.5 + self.bias
