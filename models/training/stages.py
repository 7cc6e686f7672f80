"""The stages of training, in order: parser, vision, alignment, instruct. Each is a loss, a batch and what it trains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from faceinsight.models.attributes import AttributeHead
from faceinsight.models.data.portraits import Portraits
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.models.parser import FaceParser
from faceinsight.models.vision import VisionEncoder
from faceinsight.runtime.labels import IGNORE, NAMES, PARSE_CLASSES

from .faces import FaceBatches, nominal_pixels
from .trainer import Schedule, fit


def label_weights(targets: np.ndarray, cap: float = 8.0) -> tuple[Tensor, Tensor]:
    """Weights that give the two values of each label the same say, at most `cap`. targets: [n, L], NaN unknown.

    Returns (weight where 1, weight where 0), each [L]. With them the head's probabilities are those under equal
    priors, which is what balanced accuracy rewards.
    """
    positive = np.nanmean(targets, axis=0).clip(1e-3, 1 - 1e-3)
    return tuple(
        torch.from_numpy(np.minimum(0.5 / share, cap).astype(np.float32)) for share in (positive, 1 - positive)
    )


def attribute_loss(logits: Tensor, targets: Tensor, weights: tuple[Tensor, Tensor], smoothing: float = 0.02) -> Tensor:
    """L_bce over the labels that are known. logits, targets: [B, L], NaN where not known."""
    known = ~targets.isnan()
    wanted = torch.where(known, targets, 0.0)
    weight = torch.where(wanted > 0.5, weights[0], weights[1]) * known
    wanted = wanted * (1 - 2 * smoothing) + smoothing
    loss = F.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none")
    return (loss * weight).sum() / known.sum()


def balanced_accuracy(logits: Tensor, targets: np.ndarray) -> dict[str, float]:
    """Per attribute, at threshold 0.5; attributes with one value only in `targets` are left out."""
    predicted = (logits > 0).numpy()
    scores = {}
    for i, name in enumerate(NAMES):
        positive, negative = targets[:, i] == 1, targets[:, i] == 0
        if positive.any() and negative.any():
            scores[name] = float((predicted[positive, i].mean() + 1 - predicted[negative, i].mean()) / 2)
    return scores


def train_parser(
    parser: FaceParser,
    train: Portraits | None,
    val: Portraits | None,
    schedule: Schedule,
    synthetic: float,
    out: Path,
    size: int,
) -> None:
    """Cross-entropy over the known pixels of the parse maps."""
    batches = FaceBatches(train, schedule.batch, size, synthetic, schedule.seed, occlude=False)
    weights = torch.ones(len(PARSE_CLASSES))
    weights[
        [PARSE_CLASSES.index(n) for n in ("eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "u_lip", "l_lip", "mouth")]
    ] = 2.0

    def loss(batch):
        logits = parser.logits(batch["pixels"]).float()
        value = F.cross_entropy(logits, batch["parse_map"].long(), weights.to(logits.device), ignore_index=IGNORE)
        return value, {}

    held_out = nominal_pixels(val, size) if val else None

    @torch.no_grad()
    def validate():
        predicted = torch.cat([parser(part) for part in held_out[0].split(50)])
        scores = intersection_over_union(predicted.numpy(), held_out[1].numpy())
        return {"mIoU": float(np.mean(list(scores.values())))} | {f"iou_{k}": v for k, v in scores.items()}

    fit("parser", parser, batches, loss, schedule, out, validate if val else None)


def intersection_over_union(predicted: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """Per class present in `wanted`, over all pixels that are not IGNORE. Both: [n, H, W] uint8."""
    known = wanted != IGNORE
    scores = {}
    for index, name in enumerate(PARSE_CLASSES):
        a, b = (predicted == index) & known, wanted == index
        if b.any():
            scores[name] = float((a & b).sum() / (a | b).sum())
    return scores


class VisionLearner(nn.Module):
    """Vision encoder and attribute head without the parse map: what a small encoder is first trained with."""

    def __init__(self, vision: VisionEncoder, head: AttributeHead):
        super().__init__()
        self.vision, self.head = vision, head

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.vision(pixels), None)


def train_vision(
    vision: VisionEncoder,
    head: AttributeHead,
    train: Portraits | None,
    val: Portraits | None,
    schedule: Schedule,
    synthetic: float,
    out: Path,
    size: int,
) -> None:
    """Trains a vision encoder from scratch on the attributes (skipped for one that comes with weights)."""
    learner = VisionLearner(vision, head)
    batches = FaceBatches(train, schedule.batch, size, synthetic, schedule.seed)
    weights = label_weights(batches(0)["targets"].numpy() if train is None else train.targets)
    held_out = nominal_pixels(val, size)[0] if val else None

    def loss(batch):
        return attribute_loss(learner(batch["pixels"]), batch["targets"], weights), {}

    @torch.no_grad()
    def validate():
        logits = torch.cat([learner(part) for part in held_out.split(50)])
        scores = balanced_accuracy(logits, val.targets)
        return {"balanced": float(np.mean(list(scores.values())))} | {k: round(v, 4) for k, v in scores.items()}

    fit("vision", learner, batches, loss, schedule, out, validate if val else None)


class AlignmentLearner(nn.Module):
    """Vision encoder, segmentation encoder and attribute head; the parser only looks."""

    def __init__(self, model: FaceInsightModel, tune_vision: bool):
        super().__init__()
        self.vision, self.segmentation, self.head = model.vision, model.fusion.segmentation, model.fusion.head
        self.tune_vision = tune_vision

    def train(self, mode: bool = True) -> AlignmentLearner:
        """A frozen encoder stays in evaluation mode, or its batch norms would go on learning."""
        super().train(mode)
        self.vision.train(mode and self.tune_vision)
        return self

    def forward(self, pixels: Tensor, parse_map: Tensor) -> Tensor:
        return self.head(self.vision(pixels), self.segmentation(parse_map))


def train_alignment(
    model: FaceInsightModel,
    train: Portraits | None,
    val: Portraits | None,
    schedule: Schedule,
    synthetic: float,
    out: Path,
    tune_vision: bool,
) -> None:
    """L_bce over both modalities: trains the segmentation encoder and the attribute head.

    tune_vision: also trains the vision encoder (a small one that has just been trained itself); else it is frozen.
    """
    size, parser_size = model.config.vision.size, model.config.parser.size
    learner = AlignmentLearner(model, tune_vision)
    model.vision.requires_grad_(tune_vision)
    batches = FaceBatches(train, schedule.batch, size, synthetic, schedule.seed + 7, parser_size=parser_size)
    weights = label_weights(batches(0)["targets"].numpy() if train is None else train.targets)
    held_out = (nominal_pixels(val, size)[0], nominal_pixels(val, parser_size)[0]) if val else None

    def loss(batch):
        with torch.no_grad():
            parse_map = model.parser(batch["parser_pixels"])
        return attribute_loss(learner(batch["pixels"], parse_map), batch["targets"], weights), {}

    @torch.no_grad()
    def validate():
        pairs = zip(*(side.split(50) for side in held_out), strict=True)
        logits = torch.cat([learner(pixels, model.parser(parser_pixels)) for pixels, parser_pixels in pairs])
        scores = balanced_accuracy(logits, val.targets)
        return {"balanced": float(np.mean(list(scores.values())))} | {k: round(v, 4) for k, v in scores.items()}

    model.parser.eval()
    fit("alignment", learner, batches, loss, schedule, out, validate if val else None)
    model.vision.requires_grad_(True)


@torch.no_grad()
def set_text_features(model: FaceInsightModel, encode) -> None:
    """T^0: the mean of the language model's input embeddings over each label's prompt. encode: text -> ids."""
    table = model.language.backbone.get_input_embeddings().weight
    rows = [table[torch.tensor(encode(prompt))].mean(0) for prompt in model.config.attributes.prompts]
    model.fusion.head.set_text_features(torch.stack(rows))
