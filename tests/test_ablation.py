"""The ablation trains and scores what the names of its variants say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from faceinsight.benchmarks import ablation
from faceinsight.benchmarks.ablation import VARIANTS, ablate, markdown, score
from faceinsight.models.checkpoint import model_directory
from faceinsight.models.correlation import CorrelationConstraint
from faceinsight.models.data.portraits import Portraits
from faceinsight.models.data.synthetic import generate
from faceinsight.models.data.targets import targets
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.models.vocabulary import load_vocabulary
from faceinsight.runtime.vocabulary import Vocabulary

NANO = load_vocabulary("nano")


def log_odds(probabilities) -> np.ndarray:
    return np.log(probabilities) - np.log1p(-np.asarray(probabilities))


def test_scores_by_hand():
    names = NANO.attribute_names
    column = {name: i for i, name in enumerate(names)}
    known = np.full((4, len(names)), np.nan, np.float32)
    found = np.full((4, len(names)), 0.1)
    people = [(1, "Age_0_34", 0), (1, "Age_35_49", 1), (0, "Age_35_49", 0), (0, "Age_0_34", 0)]
    for row, (man, age, beard) in enumerate(people):
        for name in NANO["Age"].outputs:
            known[row, column[name]] = found[row, column[name]] = name == age
        known[row, column["Male"]] = man
        known[row, column["Beard"]] = beard
        found[row, column["Male"]] = (0.9, 0.9, 0.1, 0.6)[row]
        found[row, column["Beard"]] = (0.2, 0.8, 0.7, 0.1)[row]
        found[row, column["Brown_Hair"]] = 0.9
    found[0, column["Age_35_49"]] = 0.8  # a second group, less likely than the right one
    logits = log_odds(found.clip(1e-6, 1 - 1e-6))
    alone, together = (score(logits, known, NANO, logic) for logic in (False, True))
    # Male: one woman of two is taken for a man. Beard: right of both men, and said of a woman
    assert alone["balanced"] == pytest.approx((0.75 + (1 + 2 / 3) / 2) / 2)
    assert alone["Age_exact"] == 3 / 4 and alone["contradictions"] == 2 / 4
    # with the rules the woman's beard is gone, and the likelier of two groups stays
    assert together["balanced"] == pytest.approx((0.75 + 1) / 2)
    assert together["Age_exact"] == 1 and together["contradictions"] == 0
    assert "Hair_Color_exact" not in alone  # nobody knows it


def test_a_number_is_scored_by_its_error():
    entry = {"kind": "number", "prompt": "a face of some age", "unit": "years", "range": [0, 100]}
    ages = Vocabulary.from_json({"labels": {"Age_Years": entry}})
    known = targets([{"Age_Years": 40}, {"Age_Years": (20.0, 30.0)}, {}], ages)
    figures = score(log_odds([[0.45], [0.25], [0.9]]), known, ages, logic=True)
    assert figures == {"Age_Years_mae": pytest.approx(2.5), "contradictions": 0}


@pytest.mark.slow
def test_every_variant_leaves_out_what_its_name_says(monkeypatch):
    losses, learners = [], []

    class Loss(ablation.HeadLoss):
        def __init__(self, vocabulary, weights, logic):
            super().__init__(vocabulary, weights, logic)
            losses.append(logic)

    class Learner(ablation.AlignmentLearner):
        def __init__(self, segmentation, head, *rest):
            super().__init__(segmentation, head, *rest)
            learners.append((segmentation is not None, isinstance(head.text, CorrelationConstraint)))

    monkeypatch.setattr(ablation, "HeadLoss", Loss)
    monkeypatch.setattr(ablation, "AlignmentLearner", Learner)
    samples = [generate(seed) for seed in range(8)]
    faces = Portraits(
        [s.image for s in samples], [s.parse_map for s in samples], targets([s.labels for s in samples], NANO),
        [str(i) for i in range(8)], {}, np.full((8, 5, 2), np.nan),
    )  # fmt: skip
    model = FaceInsightModel.from_pretrained(model_directory(None))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = ablate(model, faces, faces, seeds=2, steps=2, faces=50)
    assert list(found) == list(VARIANTS) and losses == [1, 1, 1, 0, 0] * 2
    assert learners == [(v.segmentation, v.correlation) for v in VARIANTS.values()] * 2
    assert all(len(values) == 2 for figures in found.values() for values in figures.values())
    assert found["full"]["contradictions"] == found["without CCM"]["contradictions"] == [0, 0]
    assert len({tuple(figures["balanced"]) for figures in found.values()}) > 1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    lines = markdown(found).splitlines()
    assert len(lines) == 2 + len(VARIANTS) and len({line.count("|") for line in lines}) == 1
