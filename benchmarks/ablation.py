"""Ablation of the paper's three ideas on a data folder: segmentation as a modality, CCM, LCM.

The encoders stay as they are in a finished model; what differs is trained on top of them: segmentation encoder and
attribute head, from scratch, on the same augmented faces. `faceinsight ablate --data DIR`.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from faceinsight.models.faceinsight import FaceInsightModel, Fusion
from faceinsight.models.training.faces import Faces
from faceinsight.models.training.gallery import encode_faces, encode_nominal
from faceinsight.models.training.stages import AlignmentLearner, attribute_loss, decision_odds, label_weights, prior
from faceinsight.models.training.trainer import Schedule, device, fit
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.labels import EXCLUSIVE, NAMES
from faceinsight.runtime.rules import RULES, consistent_assignment

SYNTHETIC, GLASSES, JITTER, BLIND, PARTS = 0.25, 0.15, 0.4, 0.0, 1.0
"""See `train_alignment`. As in nano's recipe, but for the drawn glasses, which its vision stage has, and that both
modalities are taught together and simply added: nano's image side is not taught anew."""
DEPTH = 2
"""Graph convolutions of the variants with CCM."""


@dataclass(frozen=True)
class Variant:
    """Which of the three ideas are in it. logic: the rules, in the loss and in the decision."""

    segmentation: bool = True
    correlation: bool = True
    logic: bool = True


VARIANTS = {
    "full": Variant(),
    "without segmentation": Variant(segmentation=False),
    "without CCM": Variant(correlation=False),
    "without LCM": Variant(logic=False),
    "without all three": Variant(False, False, False),
}


def ablate(model: FaceInsightModel, train: Faces, val: Faces, seeds: int, steps: int, faces: int) -> dict:
    """Every variant with every seed. Returns {variant: {figure: [one a seed]}}; for the figures see `score`.

    Raises InputError for a model with labels of its own.
    """
    if model.config.attributes.also:
        raise InputError("the ablation scores the labels of every model; give one that has no others")
    held_out, table = encode_nominal(model, val), prior(train, SYNTHETIC, GLASSES)
    odds = decision_odds(label_weights(table), train)
    found: dict[str, dict[str, list[float]]] = {name: {} for name in VARIANTS}
    for seed in range(seeds):
        gallery = encode_faces(model, train, faces, SYNTHETIC, seed, occlude=True, glasses=GLASSES, jitter=JITTER)
        for name, variant in VARIANTS.items():
            learner = _learner(model, variant, table, odds, seed)
            _train(
                learner, variant, gallery.batches(64, seed), label_weights(table), Schedule(steps, seed=seed, **_RATE)
            )
            probabilities = _probabilities(learner, held_out)
            for figure, value in score(probabilities, held_out.targets.numpy(), variant.logic).items():
                found[name].setdefault(figure, []).append(value)
            print(json.dumps({"variant": name, "seed": seed} | {k: v[-1] for k, v in found[name].items()}), flush=True)
    return found


_RATE = {"rate": 1.5e-3, "warmup": 50, "ema": 0.99, "checkpoint_every": 10**6}


def _learner(model: FaceInsightModel, variant: Variant, table: np.ndarray, odds: Tensor, seed: int) -> AlignmentLearner:
    torch.manual_seed(seed)
    attributes = dataclasses.replace(model.config.attributes, depth=DEPTH if variant.correlation else 0)
    config = dataclasses.replace(model.config, attributes=attributes)
    fusion = Fusion(config, model.vision.width, model.language.width)
    fusion.head.text_features.copy_(model.fusion.head.text_features)
    fusion.head.set_labels(table)
    segmentation = fusion.segmentation if variant.segmentation else None
    return AlignmentLearner(segmentation, fusion.head, BLIND, PARTS, odds)


def _train(learner: AlignmentLearner, variant: Variant, batches, weights, schedule: Schedule) -> None:
    def loss(batch):
        logits = learner(batch["features"], batch["parse_maps"])
        return attribute_loss(logits, batch["targets"], weights, logic=float(variant.logic)), {}

    with tempfile.TemporaryDirectory() as out:
        fit("alignment", learner, batches, loss, schedule, Path(out))


@torch.no_grad()
def _probabilities(learner: AlignmentLearner, gallery) -> np.ndarray:
    sides = zip(gallery.features.split(50), gallery.parse_maps.split(50), strict=True)
    logits: list[Tensor] = [learner(*(part.to(device()) for part in side)).cpu() for side in sides]
    return torch.cat(logits).sigmoid().numpy()


def score(probabilities: np.ndarray, targets: np.ndarray, logic: bool) -> dict[str, float]:
    """probabilities: [n, L]; targets: [n, L], NaN where not known. logic: decide on the most probable assignment that
    obeys the rules; else each attribute on its own, at 0.5.

    balanced: mean balanced accuracy of the attributes that compete with no other. exact: share of the faces whose age
    group, and hair colour, is the one that is stated and no other. contradictions: share of faces that break a rule.
    """
    rows = [dict(zip(NAMES, row, strict=True)) for row in probabilities.tolist()]
    decided = [consistent_assignment(row) if logic else {name: p > 0.5 for name, p in row.items()} for row in rows]
    said = np.array([[held[name] for name in NAMES] for held in decided])
    rates = []
    for i, name in enumerate(NAMES):
        positive, negative = targets[:, i] == 1, targets[:, i] == 0
        if name not in EXCLUSIVE and positive.any() and negative.any():
            rates.append((said[positive, i].mean() + 1 - said[negative, i].mean()) / 2)
    groups = {}
    for prefix, figure in (("Age_", "age_exact"), ("_Hair", "hair_exact")):
        columns = [i for i, name in enumerate(NAMES) if name in EXCLUSIVE and prefix in name]
        known = ~np.isnan(targets[:, columns]).any(1)
        if known.any():
            groups[figure] = float((said[known][:, columns] == targets[known][:, columns]).all(1).mean())
    broken = [not all(rule.holds(held) for rule in RULES) for held in decided]
    return {"balanced": float(np.mean(rates))} | groups | {"contradictions": float(np.mean(broken))}


def markdown(found: dict) -> str:
    """The figures as Markdown: mean and, in brackets, least and most over the seeds."""
    figures = list(next(iter(found.values())))
    lines = ["| | " + " | ".join(figures) + " |", "|---" * (len(figures) + 1) + "|"]
    for name, values in found.items():
        cells = [f"{np.mean(v):.3f} ({min(v):.3f} to {max(v):.3f})" for v in (values[f] for f in figures)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
