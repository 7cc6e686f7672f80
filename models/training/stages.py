"""The stages that train what sees: refiner, vision, parser, alignment. Each is a loss, a batch and what it trains."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from faceinsight.models.attributes import AttributeHead
from faceinsight.models.data.augment import is_toned, shows_both_eyes
from faceinsight.models.data.portraits import targets
from faceinsight.models.data.synthetic import sample_labels
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.models.logic import logic_loss
from faceinsight.models.parser import FaceParser
from faceinsight.models.refiner import BoxRefiner
from faceinsight.models.segmentation import SegmentationEncoder
from faceinsight.models.vision import VisionEncoder
from faceinsight.runtime.labels import EXCLUSIVE, GROUPS, IGNORE, NAMES, PARSE_CLASSES, all_attributes

from .faces import MOST_VALIDATED, FaceBatches, Faces, nominal_faces
from .gallery import encode_faces, encode_nominal
from .trainer import Schedule, device, fit


def label_weights(targets: np.ndarray, cap: float = 8.0) -> tuple[Tensor, Tensor]:
    """Weights that give the two values of each label the same say, at most `cap`. targets: [n, L], NaN unknown.

    Returns (weight where 1, weight where 0), each [L]; 1 for a label that is never known. With them the head's
    probabilities are those under equal priors, which is what balanced accuracy rewards, but for labels so rare that
    the cap holds.
    """
    known = ~np.isnan(targets)
    positive = np.where(known, targets, 0).sum(0) / known.sum(0).clip(1)
    positive = np.where(known.any(0), positive, 0.5).clip(1e-3, 1 - 1e-3)
    return tuple(
        torch.from_numpy(np.minimum(0.5 / share, cap).astype(np.float32)) for share in (positive, 1 - positive)
    )


def natural_odds(weights: tuple[Tensor, Tensor], names: Sequence[str] = NAMES) -> Tensor:
    """What to add to logits trained with `label_weights`, [L]: of a group only one value holds, so the likeliest is
    wanted, and the weights that favour rare values are undone there; 0 for other attributes."""
    return (weights[1] / weights[0]).log() * torch.tensor([name in EXCLUSIVE for name in names])


def decision_odds(weights: tuple[Tensor, Tensor], train: Faces | None, names: Sequence[str] = NAMES) -> Tensor:
    """What is added to the logits that decide, [L]: of hair colours their natural odds, counted in photographs in
    colour alone, as cameras take them (in grey ones all dark hair is labelled black). 0 for all others: ages are told
    no less exactly at equal odds, and the rare ones far more often."""
    coloured = None if train is None else _in_colour(train)
    counted = weights if coloured is None or not len(coloured) else label_weights(coloured)
    hair = torch.tensor([name in GROUPS["Hair_Color"].values() for name in names])
    return natural_odds(counted, names) * hair


def _in_colour(train: Faces, most: int = 2000) -> np.ndarray:
    """Targets [n, L] of those of at most `most` faces, spread evenly, whose photograph has more than one hue."""
    count = min(len(train), most)
    shown = (train.face(position * len(train) // count) for position in range(count))
    rows = [target for image, _, target in shown if not is_toned(image)]
    return np.array(rows, np.float32).reshape(-1, train.targets.shape[1])


def attribute_loss(
    logits: Tensor,
    targets: Tensor,
    weights: tuple[Tensor, Tensor],
    logic: float = 0.0,
    names: Sequence[str] = NAMES,
    smoothing: float = 0.02,
) -> Tensor:
    """L_bce over the labels that are known, plus `logic` times L_c over all of them (the paper's L has logic = 1).

    logits, targets: [B, L], targets in 0..1, NaN where not known. weights: see `label_weights`. names: of the L.
    """
    known = ~targets.isnan()
    wanted = torch.where(known, targets, 0.0)
    when_held, when_not = (weight.to(logits.device) for weight in weights)
    weight = torch.lerp(when_not, when_held, wanted) * known
    wanted = wanted * (1 - 2 * smoothing) + smoothing
    loss = F.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none")
    loss = (loss * weight).sum() / known.sum().clamp(min=1)
    # the rules are about probabilities as they are, not as the weights make them
    return loss + logic * logic_loss(logits + natural_odds(weights, names).to(logits.device), names) if logic else loss


def balanced_accuracy(logits: Tensor, targets: np.ndarray, names: Sequence[str] = NAMES) -> dict[str, float]:
    """Per attribute of `names`, at threshold 0.5; attributes with one value only in `targets` are left out."""
    predicted = (logits > 0).numpy()
    scores = {}
    for i, name in enumerate(names):
        positive, negative = targets[:, i] == 1, targets[:, i] == 0
        if positive.any() and negative.any():
            scores[name] = float((predicted[positive, i].mean() + 1 - predicted[negative, i].mean()) / 2)
    return scores


def train_refiner(
    refiner: BoxRefiner,
    train: Faces | None,
    val: Faces | None,
    schedule: Schedule,
    synthetic: float,
    jitter: float,
    out: Path,
    size: int,
) -> None:
    """Smooth L1 on where the nominal crop lies in crops that are off by chance; needs no labels."""
    batches = FaceBatches(train, schedule.batch, size, synthetic, schedule.seed, jitter=jitter)
    count = min(len(val), MOST_VALIDATED) if val else 0
    checked = FaceBatches(val, count, size, 0.0, schedule.seed, occlude=False, jitter=1.0)

    def loss(batch):
        return F.smooth_l1_loss(refiner(batch["pixels"]), batch["placement"], beta=0.02), {}

    @torch.no_grad()
    def validate():
        batch = checked(0)
        left = (refiner(batch["pixels"].to(device())).cpu() - batch["placement"]).abs().mean(0).tolist()
        given = batch["placement"].abs().mean(0).tolist()
        scores = {"val_loss": sum(left) / len(left)}
        for name, before, after in zip(("right", "down", "scale"), given, left, strict=True):
            scores |= {f"{name}_given": round(before, 4), f"{name}_left": round(after, 4)}
        return scores

    fit("refiner", refiner, batches, loss, schedule, out, validate if val else None)


def train_parser(
    parser: FaceParser,
    train: Faces | None,
    val: Faces | None,
    schedule: Schedule,
    synthetic: float,
    glasses: float,
    jitter: float,
    out: Path,
    size: int,
) -> None:
    """Cross-entropy over the known pixels of the parse maps."""
    batches = FaceBatches(
        train, schedule.batch, size, synthetic, schedule.seed, occlude=False, glasses=glasses, jitter=jitter
    )
    weights = torch.ones(len(PARSE_CLASSES))
    weights[
        [PARSE_CLASSES.index(n) for n in ("eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "u_lip", "l_lip", "mouth")]
    ] = 1.5

    def loss(batch):
        logits = parser.logits(batch["pixels"]).float()
        wanted, weight = batch["parse_map"].long(), weights.to(logits.device)
        total = F.cross_entropy(logits, wanted, weight, ignore_index=IGNORE, reduction="sum")
        return total / weight[wanted[wanted != IGNORE]].sum().clamp(min=1), {}

    held_out = functools.cache(lambda: nominal_faces(val, size))

    @torch.no_grad()
    def validate():
        pixels, parse_maps, _ = held_out()
        predicted = torch.cat([parser(part.to(device())).cpu() for part in pixels.split(50)])
        scores = intersection_over_union(predicted.numpy(), parse_maps.numpy())
        return _mean("mIoU", scores) | {f"iou_{k}": v for k, v in scores.items()}

    fit("parser", parser, batches, loss, schedule, out, validate if val else None)


def _mean(name: str, scores: dict[str, float]) -> dict[str, float]:
    """Their mean under that name; nothing where nothing could be scored."""
    return {name: float(np.mean(list(scores.values())))} if scores else {}


def intersection_over_union(predicted: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """Per class present in `wanted`, over all pixels that are not IGNORE. Both: [n, H, W] uint8."""
    known = wanted != IGNORE
    scores = {}
    for index, name in enumerate(PARSE_CLASSES):
        a, b = (predicted == index) & known, wanted == index
        if b.any():
            scores[name] = float((a & b).sum() / (a | b).sum())
    return scores


def prior(
    train: Faces | None, synthetic: float, glasses: float, names: Sequence[str] = NAMES, count: int = 8000
) -> np.ndarray:
    """[n, L] targets in the proportions of a mix of real and rendered faces, some of the real ones given glasses.

    names: their attributes, those that `train` was read with.
    """
    rng = np.random.default_rng(0)
    rendered = count if train is None else round(count * synthetic)
    mix = [targets([sample_labels(rng) for _ in range(rendered)], names)] if rendered else []
    if train is not None:
        chosen = rng.integers(len(train.targets), size=count - rendered)
        real = train.targets[chosen]
        wearable = np.array([glasses > 0 and _wearable(train, index) for index in chosen.tolist()], bool)
        eyes = real[:, NAMES.index("Eyeglasses")]
        eyes[(eyes == 0) & wearable & (rng.random(len(eyes)) < glasses)] = 1
        mix.append(real)
    return np.concatenate(mix)


@functools.lru_cache(maxsize=100_000)
def _wearable(faces: Faces, index: int) -> bool:
    return faces.masked and shows_both_eyes(faces.face(index)[1])


class VisionLearner(nn.Module):
    """Vision encoder and attribute head, without the parse map, and what makes the encoder know where things are: every
    token also tells the parse classes of its cell, in CELL x CELL parts. That layer is left behind after training."""

    CELL = 4

    def __init__(self, vision: VisionEncoder, head: AttributeHead):
        super().__init__()
        self.vision, self.head = vision, head
        self.parts = nn.Linear(vision.width, len(PARSE_CLASSES) * self.CELL**2)

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels: [B, S, S, 3] uint8. Attribute logits [B, L]."""
        return self.head(self.vision(pixels), None)

    def losses(
        self,
        batch: dict[str, Tensor],
        weights: tuple[Tensor, Tensor],
        logic: float = 0.0,
        names: Sequence[str] = NAMES,
    ) -> tuple[Tensor, Tensor]:
        """Of the attributes (`attribute_loss`), and of the parse map (mean cross-entropy over its known pixels, 0 where
        none is known)."""
        tokens = self.vision(batch["pixels"])
        side = round(tokens.shape[1] ** 0.5)
        grid = self.parts(tokens).transpose(1, 2).unflatten(2, (side, side))
        logits = F.pixel_shuffle(grid, self.CELL)
        wanted = F.interpolate(batch["parse_map"][:, None].float(), logits.shape[2:], mode="nearest-exact")[:, 0]
        total = F.cross_entropy(logits.float(), wanted.long(), ignore_index=IGNORE, reduction="sum")
        of_parts = total / (wanted != IGNORE).sum().clamp(min=1)
        return attribute_loss(self.head(tokens, None), batch["targets"], weights, logic, names), of_parts


def train_vision(
    model: FaceInsightModel,
    train: Faces | None,
    val: Faces | None,
    schedule: Schedule,
    synthetic: float,
    glasses: float,
    jitter: float,
    logic: float,
    parse: float,
    out: Path,
) -> None:
    """Trains a small vision encoder from scratch on attributes and parse maps (leave the stage out for one that comes
    with weights), and the attribute head with it, which the alignment then goes on from.

    logic, parse: weights of L_c and of the parse map's loss beside L_bce.
    """
    size, names = model.config.vision.size, model.config.attributes.names
    learner = VisionLearner(model.vision, model.fusion.head)
    batches = FaceBatches(
        train, schedule.batch, size, synthetic, schedule.seed, glasses=glasses, jitter=jitter, names=names
    )
    table = prior(train, synthetic, glasses, names)
    weights = label_weights(table)
    model.fusion.head.set_labels(table)
    held_out = functools.cache(lambda: nominal_faces(val, size))

    def loss(batch):
        of_attributes, of_parts = learner.losses(batch, weights, logic, names)
        return of_attributes + parse * of_parts, {"parse_loss": round(float(of_parts.detach()), 4)}

    @torch.no_grad()
    def validate():
        pixels, _, wanted = held_out()
        logits = torch.cat([learner(part.to(device())).cpu() for part in pixels.split(50)])
        scores = balanced_accuracy(logits, wanted.numpy(), names)
        return _mean("balanced", scores) | {k: round(v, 4) for k, v in scores.items()}

    fit("vision", learner, batches, loss, schedule, out, validate if val else None)


class AlignmentLearner(nn.Module):
    """Segmentation encoder (None: the image alone decides) and attribute head.

    blind: share of the faces in training whose image features are withheld. The vision encoder was trained on these
    faces and knows them by heart; without this the head would not learn to look at the parse map.
    parts: weight of the segmentation side beside the image's, after training. odds: [L], added to the logits after
    training.
    """

    def __init__(
        self, segmentation: SegmentationEncoder | None, head: AttributeHead, blind: float, parts: float, odds: Tensor
    ):
        super().__init__()
        self.segmentation, self.head = segmentation, head
        self.blind, self.parts = blind, parts
        self.register_buffer("odds", odds)

    def forward(self, features: Tensor, parse_maps: Tensor) -> Tensor:
        """features: F_v [B, N, C] float16; parse_maps: [B, P, P] uint8. Attribute logits [B, L]."""
        features = features.float()
        if self.segmentation is None:
            return self.head(features, None) + (0 if self.training else self.odds)
        parts = self.segmentation(parse_maps)
        if self.training:
            return self.head(features * (torch.rand(len(features), 1, 1, device=features.device) >= self.blind), parts)
        return self.head(features, parts * self.parts) + self.odds


def train_alignment(
    model: FaceInsightModel,
    train: Faces | None,
    val: Faces | None,
    schedule: Schedule,
    synthetic: float,
    glasses: float,
    jitter: float,
    logic: float,
    faces: int,
    blind: float,
    parts_only: bool,
    parts: float,
    out: Path,
) -> None:
    """L_bce plus `logic` times L_c over both modalities, on `faces` augmented faces that the frozen encoders see once.

    parts_only: the head's image side stays as the vision stage left it; only the segmentation side learns.
    parts: the segmentation side's weight beside the image's, afterwards: each was taught to explain the labels alone,
    and their plain sum counts the same evidence twice.
    """
    # a stage that is finished encodes nothing
    encoded = functools.cache(
        lambda: encode_faces(
            model, train, faces, synthetic, schedule.seed + 7, occlude=True, glasses=glasses, jitter=jitter
        ).batches(schedule.batch, schedule.seed)
    )
    held_out = functools.cache(lambda: encode_nominal(model, val))
    names = model.config.attributes.names
    table = prior(train, synthetic, glasses, names)
    weights = label_weights(table)
    if not parts_only:
        model.fusion.head.set_labels(table)
    head = model.fusion.head
    learner = AlignmentLearner(model.fusion.segmentation, head, blind, parts, decision_odds(weights, train, names))
    image_side = [*head.visual.parameters(), *head.text.parameters(), head.bias]
    for parameter in image_side:
        parameter.requires_grad_(not parts_only)

    def batch(number):
        return encoded()(number)

    def loss(batch):
        logits = learner(batch["features"], batch["parse_maps"])
        return attribute_loss(logits, batch["targets"], weights, logic, names), {}

    @torch.no_grad()
    def validate():
        sides = zip(held_out().features.split(50), held_out().parse_maps.split(50), strict=True)
        logits = [learner(*(part.to(device()) for part in side)).cpu() for side in sides]
        scores = balanced_accuracy(torch.cat(logits), held_out().targets.numpy(), names)
        return _mean("balanced", scores) | {k: round(v, 4) for k, v in scores.items()}

    fit("alignment", learner, batch, loss, schedule, out, validate if val else None)
    with torch.no_grad():
        head.segmentation.weight *= parts
        head.bias += learner.odds
    for parameter in image_side:
        parameter.requires_grad_(True)


@torch.no_grad()
def set_text_features(model: FaceInsightModel, encode) -> None:
    """T^0: the mean of the language model's input embeddings over each label's prompt. encode: text -> ids."""
    table = model.language.backbone.get_input_embeddings().weight
    prompts = [attribute.prompt for attribute in all_attributes(model.config.attributes.also)]
    rows = [table[torch.tensor(encode(prompt), device=table.device)].mean(0) for prompt in prompts]
    model.fusion.head.set_text_features(torch.stack(rows))
