"""The ablation trains and scores what the names of its variants say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from faceinsight.benchmarks.ablation import VARIANTS, _learner, _train, ablate, markdown, score
from faceinsight.models.checkpoint import model_directory
from faceinsight.models.correlation import CorrelationConstraint
from faceinsight.models.data.portraits import Portraits, targets
from faceinsight.models.data.synthetic import generate
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.models.training.gallery import Gallery
from faceinsight.models.training.stages import label_weights
from faceinsight.models.training.trainer import Schedule
from faceinsight.runtime.labels import NAMES


def test_ablation_scores_by_hand():
    column = {name: i for i, name in enumerate(NAMES)}
    wanted = np.full((4, len(NAMES)), np.nan, np.float32)
    probabilities = np.full((4, len(NAMES)), 0.1)
    people = [(1, "Age_0_34", 0), (1, "Age_35_49", 1), (0, "Age_35_49", 0), (0, "Age_0_34", 0)]
    for row, (man, age, beard) in enumerate(people):
        for name in NAMES:
            if name.startswith("Age_"):
                wanted[row, column[name]] = probabilities[row, column[name]] = name == age
        wanted[row, column["Male"]] = man
        wanted[row, column["Beard"]] = beard
        probabilities[row, column["Male"]] = (0.9, 0.9, 0.1, 0.6)[row]
        probabilities[row, column["Beard"]] = (0.2, 0.8, 0.7, 0.1)[row]
        probabilities[row, column["Brown_Hair"]] = 0.9
    probabilities[0, column["Age_35_49"]] = 0.8  # a second group, less likely than the right one
    alone, together = (score(probabilities, wanted, logic) for logic in (False, True))
    # Male: one woman of two is taken for a man. Beard: right of both men, and said of a woman
    assert alone["balanced"] == pytest.approx((0.75 + (1 + 2 / 3) / 2) / 2)
    assert alone["age_exact"] == 3 / 4 and alone["contradictions"] == 2 / 4
    # with the rules the woman's beard is gone, and the likelier of two groups stays
    assert together["balanced"] == pytest.approx((0.75 + 1) / 2)
    assert together["age_exact"] == 1 and together["contradictions"] == 0


def test_every_variant_of_the_ablation_is_trained_and_scored():
    samples = [generate(seed) for seed in range(8)]
    faces = Portraits(
        [s.image for s in samples], [s.parse_map for s in samples], targets([s.labels for s in samples]),
        [str(i) for i in range(8)], {},
    )  # fmt: skip
    model = FaceInsightModel.from_pretrained(model_directory(None))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = ablate(model, faces, faces, seeds=2, steps=2, faces=50)
    assert list(found) == list(VARIANTS)
    assert all(len(values) == 2 for figures in found.values() for values in figures.values())
    assert found["full"]["contradictions"] == found["without CCM"]["contradictions"] == [0, 0]
    assert len({tuple(figures["balanced"]) for figures in found.values()}) > 1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    lines = markdown(found).splitlines()
    assert len(lines) == 2 + len(VARIANTS) and len({line.count("|") for line in lines}) == 1


def test_a_variant_leaves_out_what_its_name_says():
    model = FaceInsightModel.from_pretrained(model_directory(None))
    samples = [generate(seed).labels for seed in range(50)]
    for variant in VARIANTS.values():
        learner = _learner(model, variant, targets(samples), torch.zeros(len(NAMES)), seed=0)
        assert (learner.segmentation is not None) == variant.segmentation
        assert isinstance(learner.head.text, CorrelationConstraint) == variant.correlation
        if variant.correlation:
            assert learner.head.text.matrix.count_nonzero() > len(NAMES)


def test_the_logic_loss_is_part_of_the_variants_that_have_it(monkeypatch):
    model = FaceInsightModel.from_pretrained(model_directory(None))
    samples = targets([generate(seed).labels for seed in range(8)])
    features = torch.zeros(8, 16, model.vision.width).half()
    gallery = Gallery(features, torch.zeros(8, 160, 160).byte(), torch.tensor(samples))
    seen = []

    def spy(logits, names):
        seen.append(1)
        return logits.sum() * 0

    monkeypatch.setattr("faceinsight.models.training.stages.logic_loss", spy)
    for variant in VARIANTS.values():
        seen.clear()
        learner = _learner(model, variant, samples, torch.zeros(len(NAMES)), seed=0)
        _train(learner, variant, gallery.batches(4, 0), label_weights(samples), Schedule(2, warmup=1))
        assert len(seen) == 2 * variant.logic
