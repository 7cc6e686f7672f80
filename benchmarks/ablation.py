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

from faceinsight.models.data.targets import split_targets
from faceinsight.models.faceinsight import FaceInsightModel, Fusion
from faceinsight.models.training.faces import Faces
from faceinsight.models.training.gallery import encode_faces, encode_nominal
from faceinsight.models.training.losses import HeadLoss, decision_odds, label_weights
from faceinsight.models.training.metrics import balanced_accuracies, mean_errors
from faceinsight.models.training.stages import AlignmentLearner, prior
from faceinsight.models.training.trainer import Schedule, device, fit
from faceinsight.runtime.rules import consistent_assignment
from faceinsight.runtime.vocabulary import Vocabulary

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
    """Trains and scores every variant with every seed.

    train, val: read with the model's vocabulary. Returns {variant: {figure: [one a seed]}}, see `score`.
    """
    vocabulary = model.config.vocabulary
    held_out, table = encode_nominal(model, val), prior(train, SYNTHETIC, GLASSES, vocabulary)
    weights = label_weights(split_targets(table, vocabulary)[0])
    odds = decision_odds(weights, train, vocabulary)
    found: dict[str, dict[str, list[float]]] = {name: {} for name in VARIANTS}
    for seed in range(seeds):
        gallery = encode_faces(model, train, faces, SYNTHETIC, seed, occlude=True, glasses=GLASSES, jitter=JITTER)
        for name, variant in VARIANTS.items():
            learner = _learner(model, variant, table, odds, seed)
            loss = HeadLoss(vocabulary, weights, logic=float(variant.logic))
            _train(learner, loss, gallery.batches(64, seed), Schedule(steps, seed=seed, **_RATE))
            figures = score(_logits(learner, held_out), held_out.targets.numpy(), vocabulary, variant.logic)
            for figure, value in figures.items():
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


def _train(learner: AlignmentLearner, of_head: HeadLoss, batches, schedule: Schedule) -> None:
    def loss(batch):
        return of_head(learner(batch["features"], batch["parse_maps"]), batch["targets"], learner.head), {}

    with tempfile.TemporaryDirectory() as out:
        fit("alignment", learner, batches, loss, schedule, Path(out))


@torch.no_grad()
def _logits(learner: AlignmentLearner, gallery) -> np.ndarray:
    sides = zip(gallery.features.split(50), gallery.parse_maps.split(50), strict=True)
    logits: list[Tensor] = [learner(*(part.to(device()) for part in side)).cpu() for side in sides]
    return torch.cat(logits).numpy()


def score(logits: np.ndarray, targets: np.ndarray, vocabulary: Vocabulary, logic: bool) -> dict[str, float]:
    """Scores the attribute head.

    logits: [n, L]. targets: see models/data/targets.py. logic: decides on the most probable assignment that obeys the
    rules; else each attribute on its own, at 0.5.

    Returns "balanced", the mean balanced accuracy of the attributes that compete with no other; for each choice whose
    values compete "<label>_exact", the share of faces whose value is stated and no other; for each number
    "<label>_mae"; and "contradictions", the share of faces that break a rule.
    """
    names = vocabulary.attribute_names
    probabilities = 1 / (1 + np.exp(-logits[:, : len(names)]))
    rows = [dict(zip(names, row, strict=True)) for row in probabilities.tolist()]
    decided = [
        consistent_assignment(row, vocabulary.rules) if logic else {name: p > 0.5 for name, p in row.items()}
        for row in rows
    ]
    said = np.array([[held[name] for name in names] for held in decided])
    wanted, _ = split_targets(targets, vocabulary)
    rates = balanced_accuracies(said - 0.5, targets, vocabulary)
    free = [rate for name, rate in rates.items() if name not in vocabulary.competing]
    figures = {"balanced": float(np.mean(free))} if free else {}
    for label in vocabulary:
        columns = [names.index(attribute.name) for attribute in label.attributes]
        known = ~np.isnan(wanted[:, columns]).any(1)
        if known.any() and vocabulary.competing.issuperset(label.outputs):
            exact = (said[known][:, columns] == wanted[known][:, columns]).all(1).mean()
            figures[f"{label.name}_exact"] = float(exact)
    figures |= {f"{name}_mae": error for name, error in mean_errors(logits, targets, vocabulary).items()}
    broken = [not all(rule.holds(held) for rule in vocabulary.rules) for held in decided]
    return figures | {"contradictions": float(np.mean(broken))}


def markdown(found: dict) -> str:
    """The figures as Markdown: mean and, in brackets, least and most over the seeds."""
    figures = list(next(iter(found.values())))
    lines = ["| | " + " | ".join(figures) + " |", "|---" * (len(figures) + 1) + "|"]
    for name, values in found.items():
        cells = [f"{np.mean(v):.3f} ({min(v):.3f} to {max(v):.3f})" for v in (values[f] for f in figures)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
