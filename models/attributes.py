"""Attribute head: the labels' text features against the pooled visual feature."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from faceinsight.runtime.errors import InputError
from faceinsight.runtime.vocabulary import Vocabulary

from .config import AttributeConfig
from .correlation import CorrelationConstraint


class AttributeHead(nn.Module):
    """logit_i = <v, t_i> / sqrt(width) + bias_i, v the projected visual feature, t_i the projected text of output i.

    The inner product is ML-GCN's (Chen et al. 2019, section 3): with a cosine all labels share one unit of length, and
    those that rest on few pixels, eyeglasses above all, lose.

    Of the L outputs the first A are the vocabulary's attributes, whose sigmoid is a probability; the others are its K
    numbers, whose sigmoid is the number's share of its range. `text_features` is T^0: [L, text_width], the mean of the
    language model's input embeddings over each output's prompt, computed once (`set_text_features`). The text reaches
    the shared space through the correlation constraint, or through one linear layer if the config's depth is 0.
    """

    def __init__(self, config: AttributeConfig, vocabulary: Vocabulary, vision_width: int, segmentation_width: int):
        super().__init__()
        self.vocabulary = vocabulary
        self.attribute_count = len(vocabulary.attributes)
        count = self.attribute_count + len(vocabulary.numbers)
        self.places = nn.Parameter(torch.ones(config.places, vision_width)) if config.places else None
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
        self.numbers = NumberScale(len(vocabulary.numbers)) if vocabulary.numbers else None

    @property
    def prompts(self) -> list[str]:
        """The text of every output, in their order."""
        numbers = [label.prompt for label in self.vocabulary.numbers]
        return [attribute.prompt for attribute in self.vocabulary.attributes] + numbers

    def set_text_features(self, features: Tensor) -> None:
        """Takes T^0, brought to the same scale for every backbone. features: [L, text_width]."""
        count = len(features)
        # not all of the mean: centred features of two outputs are each other's opposite, and so would their logits be
        features = features - features.mean(0) * (count - 1) / count
        self.text_features.copy_(features / features.std())

    def set_labels(self, targets: np.ndarray) -> None:
        """Counts the attributes that occur together. targets: of the training set, see models/data/targets.py."""
        if isinstance(self.text, CorrelationConstraint):
            self.text.set_labels(targets[:, : self.attribute_count])

    def label_features(self) -> Tensor:
        """T^l: [L, width], constant at inference."""
        return self.text(self.text_features)

    def forward(self, visual: Tensor, segmentation: Tensor | None) -> Tensor:
        """visual: F_v [B, N, vision_width]; segmentation: F_s [B, M, segmentation_width] or None.

        Returns logits [B, L] float32. Raises InputError for another number of image tokens than the config's places.
        """
        if self.places is not None and visual.shape[1] != len(self.places):
            raise InputError(
                f"attributes.places is {len(self.places)}; the vision encoder gives {visual.shape[1]} tokens"
            )
        pooled = self.visual((visual if self.places is None else visual * self.places).mean(1))
        if segmentation is not None:
            pooled = pooled + self.segmentation(segmentation.mean(1))
        logits = pooled @ self.label_features().T * self.visual.out_features**-0.5 + self.bias
        if self.numbers is None:
            return logits
        attributes, numbers = logits.split([self.attribute_count, len(self.vocabulary.numbers)], dim=1)
        return torch.cat([attributes, self.numbers(numbers)], dim=1)


class NumberScale(nn.Module):
    """What is particular to numbers: a slope and an offset of each one's logit, which calibration sets, and the spread
    of its error, as a share of its range, which is learnt."""

    def __init__(self, count: int):
        super().__init__()
        self.register_buffer("slope", torch.ones(count))
        self.register_buffer("offset", torch.zeros(count))
        self.log_spread = nn.Parameter(torch.full((count,), 0.1).log())

    def forward(self, logits: Tensor) -> Tensor:
        """[B, K] -> [B, K]."""
        return logits * self.slope + self.offset
