"""What the attribute head is trained with: L_bce with balanced labels, the likelihood of numbers, and L_c."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from faceinsight.models.attributes import AttributeHead
from faceinsight.models.data.augment import is_toned
from faceinsight.models.data.targets import split_targets
from faceinsight.models.logic import logic_loss
from faceinsight.runtime.vocabulary import Vocabulary

from .faces import Faces

_FAR = 1e4
"""Stands for an infinite bound, in spreads."""


def label_weights(targets: np.ndarray, cap: float = 8.0) -> tuple[Tensor, Tensor]:
    """Weights that give the two values of each attribute the same say, at most `cap`.

    targets: [n, A], NaN where not known. Returns (weight where 1, weight where 0), each [A]; 1 for an attribute that is
    never known. With them the head's probabilities are those under equal priors, which is what balanced accuracy
    rewards, but for attributes so rare that the cap holds.
    """
    known = ~np.isnan(targets)
    positive = np.where(known, targets, 0).sum(0) / known.sum(0).clip(1)
    positive = np.where(known.any(0), positive, 0.5).clip(1e-3, 1 - 1e-3)
    return tuple(
        torch.from_numpy(np.minimum(0.5 / share, cap).astype(np.float32)) for share in (positive, 1 - positive)
    )


def natural_odds(weights: tuple[Tensor, Tensor], vocabulary: Vocabulary) -> Tensor:
    """What to add to logits that were trained with `label_weights`, [A].

    Of a choice only one value holds, so the likeliest is wanted, and the weights that favour rare values are undone
    there; 0 for other attributes.
    """
    competes = [name in vocabulary.competing for name in vocabulary.attribute_names]
    return (weights[1] / weights[0]).log() * torch.tensor(competes)


def decision_odds(weights: tuple[Tensor, Tensor], train: Faces | None, vocabulary: Vocabulary) -> Tensor:
    """What is added to the head's logits before they decide, [L]: as each choice's `odds` say (see `Label`).

    The natural odds of a choice are undone weights; those in "colour" are counted in photographs in colour alone, as
    cameras take them: in grey ones all dark hair is labelled black.
    """
    coloured = None if train is None else _in_colour(train, vocabulary)
    counted = weights if coloured is None or not len(coloured) else label_weights(coloured)
    odds = {"equal": 0 * weights[0], "natural": natural_odds(weights, vocabulary)}
    odds["colour"] = natural_odds(counted, vocabulary)
    of_label = [odds[label.odds] for label in vocabulary.labels for _ in label.attributes]
    chosen = [of[i] for i, of in enumerate(of_label)] + [torch.zeros(())] * len(vocabulary.numbers)
    return torch.stack(chosen)


def _in_colour(train: Faces, vocabulary: Vocabulary, most: int = 2000) -> np.ndarray:
    """Attribute targets [n, A] of those of at most `most` faces, spread evenly, whose photograph has several hues."""
    count = min(len(train), most)
    shown = (train.face(position * len(train) // count) for position in range(count))
    rows = [target for image, _, target in shown if not is_toned(image)]
    return split_targets(np.array(rows, np.float32).reshape(-1, train.targets.shape[1]), vocabulary)[0]


@dataclass(frozen=True)
class HeadLoss:
    """L_bce over the attributes that are known, plus `logic` times L_c over all of them (the paper's L has logic = 1),
    plus `numbers` times the negative log-likelihood of the numbers that are known.

    weights: see `label_weights`. smoothing: share of each target that is moved towards the other value.
    """

    vocabulary: Vocabulary
    weights: tuple[Tensor, Tensor]
    logic: float = 0.0
    smoothing: float = 0.02
    numbers: float = 1.0

    def __call__(self, logits: Tensor, targets: Tensor, head: AttributeHead) -> Tensor:
        """logits: [B, L] of the head. targets: [B, A + 2 K], see models/data/targets.py; attributes may be in 0..1."""
        wanted, bounds = split_targets(targets, self.vocabulary)
        count = wanted.shape[1]
        loss = logits.new_zeros(())
        if count:
            loss = self._attributes(logits[:, :count], wanted)
        if head.numbers is not None:
            spread = head.numbers.log_spread.exp()
            shares = logits[:, count:].float().sigmoid()
            of_numbers = interval_loss(shares, spread, bounds_as_shares(bounds, self.vocabulary))
            loss = loss + self.numbers * of_numbers
        return loss

    def _attributes(self, logits: Tensor, targets: Tensor) -> Tensor:
        known = ~targets.isnan()
        wanted = torch.where(known, targets, 0.0)
        when_held, when_not = (weight.to(logits.device) for weight in self.weights)
        weight = torch.lerp(when_not, when_held, wanted) * known
        wanted = wanted * (1 - 2 * self.smoothing) + self.smoothing
        loss = F.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none")
        loss = (loss * weight).sum() / known.sum().clamp(min=1)
        if not self.logic:
            return loss
        # the rules are about probabilities as they are, not as the weights make them
        natural = logits + natural_odds(self.weights, self.vocabulary).to(logits.device)
        return loss + self.logic * logic_loss(natural, self.vocabulary)


def bounds_as_shares(bounds: Tensor, vocabulary: Vocabulary) -> Tensor:
    """Bounds in units [B, K, 2] as shares of each number's range."""
    low, high = (bounds.new_tensor([label.bounds[i] for label in vocabulary.numbers])[:, None] for i in (0, 1))
    return (bounds - low) / (high - low)


def interval_loss(shares: Tensor, spread: Tensor, bounds: Tensor) -> Tensor:
    """Mean of -log P(low < x < high), x logistic around the predicted share: log P = log s(a) + log s(-b) + log(1 -
    exp(b - a)), with s the sigmoid, a = (high - share) / spread and b = (low - share) / spread.

    So one loss serves exact numbers, whose bounds lie half a step apart, and groups. A bound at an end of the range is
    none. shares: [B, K] in [0, 1]. spread: [K]. bounds: [B, K, 2] as shares, NaN where not known.
    """
    known = ~bounds.isnan().any(2)
    low, high = torch.where(known, bounds[..., 0], 0.0), torch.where(known, bounds[..., 1], 1.0)
    above = torch.where(high >= 1, torch.full_like(shares, _FAR), (high - shares) / spread)
    below = torch.where(low <= 0, torch.full_like(shares, -_FAR), (low - shares) / spread)
    gap = torch.log(-torch.expm1(below - above) + 1e-12)
    loss = -(F.logsigmoid(above) + F.logsigmoid(-below) + gap)
    return (loss * known).sum() / known.sum().clamp(min=1)


def calibrate_numbers(head: AttributeHead, logits: Tensor, targets: Tensor) -> None:
    """Sets slope, offset and spread of the head's numbers to those under which faces that it was not trained on are
    likeliest (Platt scaling, for numbers). A spread is found between a quarter of a step, since nobody tells numbers
    more exactly, and the whole range, since groups alone would widen that of an ignorant head without end.

    logits: [n, L] of the head; targets: [n, A + 2 K]; both in main memory, wherever the head is. A number that is known
    of fewer than 20 faces stays as it is.
    """
    count = head.attribute_count
    bounds = bounds_as_shares(split_targets(targets, head.vocabulary)[1], head.vocabulary)
    enough = (~bounds.isnan().any(2)).sum(0) >= 20
    raw = logits[:, count:].detach().float()
    slope, offset = torch.ones(raw.shape[1], requires_grad=True), torch.zeros(raw.shape[1], requires_grad=True)
    ranges = ((label.step, label.bounds[1] - label.bounds[0]) for label in head.vocabulary.numbers)
    least = torch.tensor([math.log(0.25 * step / length) for step, length in ranges])
    place = torch.zeros(raw.shape[1], requires_grad=True)  # between the least and 0, as a logit
    optimiser = torch.optim.LBFGS([slope, offset, place], max_iter=100, line_search_fn="strong_wolfe")

    def log_spread() -> Tensor:
        return least * place.sigmoid()

    def closure():
        optimiser.zero_grad()
        loss = interval_loss((raw * slope + offset).sigmoid(), log_spread().exp(), bounds)
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(closure)
    with torch.no_grad():
        found = enough & slope.isfinite() & offset.isfinite() & place.isfinite()
        slope, offset = torch.where(found, slope, 1.0), torch.where(found, offset, 0.0)
        head.numbers.offset.copy_(head.numbers.offset.cpu() * slope + offset)
        head.numbers.slope.copy_(head.numbers.slope.cpu() * slope)
        head.numbers.log_spread.copy_(torch.where(found, log_spread(), head.numbers.log_spread.cpu()))
