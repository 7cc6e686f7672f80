"""The stages that train what sees: refiner, vision, parser, alignment. Each is a loss, a batch and what it trains."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from faceinsight.models.attributes import AttributeHead
from faceinsight.models.data.augment import shows_both_eyes
from faceinsight.models.data.sampling import drawn_labels, told
from faceinsight.models.data.targets import split_targets, targets
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.models.metrics import IntersectionOverUnion
from faceinsight.models.parser import FaceParser
from faceinsight.models.refiner import BoxRefiner
from faceinsight.models.segmentation import SegmentationEncoder
from faceinsight.models.vision import VisionEncoder
from faceinsight.runtime.parse_map import IGNORE, PARSE_CLASSES
from faceinsight.runtime.vocabulary import Vocabulary

from .faces import EYEGLASSES, MOST_VALIDATED, FaceBatches, Faces, nominal_faces
from .gallery import Gallery, encode_faces, encode_nominal
from .losses import HeadLoss, calibrate_numbers, decision_odds, label_weights
from .metrics import head_scores, mean
from .trainer import Schedule, device, fit


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
        overlap = IntersectionOverUnion()
        overlap.add(predicted.numpy(), parse_maps.numpy())
        scores = overlap.scores()
        return mean("mIoU", scores) | {f"iou_{k}": v for k, v in scores.items()}

    fit("parser", parser, batches, loss, schedule, out, validate if val else None)


def prior(
    train: Faces | None, synthetic: float, glasses: float, vocabulary: Vocabulary, count: int = 8000
) -> np.ndarray:
    """Targets [n, A + 2 K] in the proportions of a mix of real and rendered faces, some of the real ones given glasses.

    vocabulary: that `train` was read with.
    """
    rng = np.random.default_rng(0)
    rendered = count if train is None else round(count * synthetic)
    mix = [targets([told(drawn_labels(rng), vocabulary) for _ in range(rendered)], vocabulary)] if rendered else []
    if train is not None:
        chosen = rng.integers(len(train.targets), size=count - rendered)
        real = train.targets[chosen]
        if EYEGLASSES in vocabulary.attribute_names:
            wearable = np.array([glasses > 0 and _wearable(train, index) for index in chosen.tolist()], bool)
            eyes = real[:, vocabulary.attribute_names.index(EYEGLASSES)]
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

    def losses(self, batch: dict[str, Tensor], of_head: HeadLoss, parsed: bool = True) -> tuple[Tensor, Tensor]:
        """Of the attribute head, and of the parse map if it is wanted (mean cross-entropy over its known pixels, 0
        where none is known)."""
        tokens = self.vision(batch["pixels"])
        of_labels = of_head(self.head(tokens, None), batch["targets"], self.head)
        if not parsed:
            return of_labels, of_labels.new_zeros(())
        side = round(tokens.shape[1] ** 0.5)
        grid = self.parts(tokens).transpose(1, 2).unflatten(2, (side, side))
        logits = F.pixel_shuffle(grid, self.CELL)
        wanted = F.interpolate(batch["parse_map"][:, None].float(), logits.shape[2:], mode="nearest-exact")[:, 0]
        total = F.cross_entropy(logits.float(), wanted.long(), ignore_index=IGNORE, reduction="sum")
        of_parts = total / (wanted != IGNORE).sum().clamp(min=1)
        return of_labels, of_parts


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
    pretrained: bool,
    frozen: int,
    numbers: float,
    tight: float,
    rare: float,
    out: Path,
) -> None:
    """Trains the vision encoder on attributes and parse maps (leave the stage out for one that comes with weights), and
    the attribute head with it, which the alignment then goes on from.

    logic, parse, numbers: weights of L_c, of the parse map's loss and of the numbers' likelihood beside L_bce.
    pretrained: start from ImageNet weights. frozen: how many of its first stages stay as they are. tight, rare: see
    `FaceBatches`.
    """
    size, vocabulary = model.config.vision.size, model.config.vocabulary
    if pretrained:
        model.vision.load_imagenet()
    model.vision.freeze(frozen)
    learner = VisionLearner(model.vision, model.fusion.head)
    batches = FaceBatches(
        train, schedule.batch, size, synthetic, schedule.seed, glasses=glasses, jitter=jitter, vocabulary=vocabulary,
        tight=tight, rare=rare,
    )  # fmt: skip
    table = prior(train, synthetic, glasses, vocabulary)
    of_head = HeadLoss(vocabulary, label_weights(split_targets(table, vocabulary)[0]), logic, numbers=numbers)
    model.fusion.head.set_labels(table)
    held_out = functools.cache(lambda: nominal_faces(val, size))

    def loss(batch):
        of_labels, of_parts = learner.losses(batch, of_head, parse > 0)
        return of_labels + parse * of_parts, {"parse_loss": round(float(of_parts.detach()), 4)}

    @torch.no_grad()
    def validate():
        pixels, _, wanted = held_out()
        logits = torch.cat([learner(part.to(device())).cpu() for part in pixels.split(50)])
        return head_scores(logits, wanted, vocabulary)

    fit("vision", learner, batches, loss, schedule, out, validate if val else None, pretrained=model.vision)
    model.vision.requires_grad_(True)


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
    vocabulary = model.config.vocabulary
    table = prior(train, synthetic, glasses, vocabulary)
    weights = label_weights(split_targets(table, vocabulary)[0])
    of_head = HeadLoss(vocabulary, weights, logic)
    if not parts_only:
        model.fusion.head.set_labels(table)
    head = model.fusion.head
    learner = AlignmentLearner(model.fusion.segmentation, head, blind, parts, decision_odds(weights, train, vocabulary))
    image_side = [*head.visual.parameters(), *head.text.parameters(), head.bias]
    for parameter in image_side:
        parameter.requires_grad_(not parts_only)

    def batch(number):
        return encoded()(number)

    def loss(batch):
        logits = learner(batch["features"], batch["parse_maps"])
        return of_head(logits, batch["targets"], head), {}

    @torch.no_grad()
    def validate():
        return head_scores(head_logits(held_out()), held_out().targets, vocabulary)

    @torch.no_grad()
    def head_logits(gallery: Gallery) -> Tensor:
        sides = zip(gallery.features.split(50), gallery.parse_maps.split(50), strict=True)
        return torch.cat([learner(*(part.to(device()) for part in side)).cpu() for side in sides])

    fit("alignment", learner, batch, loss, schedule, out, validate if val else None)
    if head.numbers is not None:
        learner.eval()
        calibrated_on = held_out() if val else encode_faces(model, None, 200, 1.0, schedule.seed + 8, occlude=False)
        calibrate_numbers(head, head_logits(calibrated_on), calibrated_on.targets)
    with torch.no_grad():
        head.segmentation.weight *= parts
        head.bias += learner.odds
    for parameter in image_side:
        parameter.requires_grad_(True)


@torch.no_grad()
def set_text_features(model: FaceInsightModel, encode) -> None:
    """T^0: the mean of the language model's input embeddings over each output's prompt. encode: text -> ids."""
    table = model.language.backbone.get_input_embeddings().weight
    prompts = model.fusion.head.prompts
    rows = [table[torch.tensor(encode(prompt), device=table.device)].mean(0) for prompt in prompts]
    model.fusion.head.set_text_features(torch.stack(rows))
