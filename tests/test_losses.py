"""What the attribute head is trained with: known labels only, values that count alike, numbers within their bounds."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from faceinsight.models.attributes import AttributeHead
from faceinsight.models.config import AttributeConfig
from faceinsight.models.data.portraits import Portraits
from faceinsight.models.data.targets import targets
from faceinsight.models.training.losses import (
    HeadLoss,
    calibrate_numbers,
    decision_odds,
    interval_loss,
    label_weights,
    natural_odds,
)
from faceinsight.models.training.metrics import head_scores
from faceinsight.models.vocabulary import load_vocabulary
from faceinsight.runtime.parse_map import IGNORE
from faceinsight.runtime.vocabulary import Vocabulary

from .made import SHARES

NANO, DEMOGRAPHICS = load_vocabulary("nano"), load_vocabulary("demographics")
AGE = Vocabulary((DEMOGRAPHICS["Age_Years"],))
FLAGS = Vocabulary.from_json({"labels": {name: {"kind": "flag", "prompt": name} for name in ("A", "B")}})
EVEN = (torch.ones(2), torch.ones(2))
UNKNOWN = float("nan")


def head_of(vocabulary: Vocabulary) -> AttributeHead:
    torch.manual_seed(0)
    head = AttributeHead(AttributeConfig(width=8, text_width=16, depth=1), vocabulary, 12, 6)
    head.set_text_features(torch.randn(len(vocabulary.attributes) + len(vocabulary.numbers), 16))
    return head


def of_flags(logits, wanted, weights=EVEN, **settings) -> torch.Tensor:
    """The loss of two flags that no rule ties."""
    loss = HeadLoss(FLAGS, weights, **settings)
    return loss(torch.as_tensor(logits), torch.as_tensor(wanted), head_of(FLAGS))


# Attributes


def test_the_rarer_value_weighs_more():
    weights = label_weights(np.array([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]))
    missed = [of_flags([[z, 0.0]], [[1.0 - (z > 0), UNKNOWN]], weights) for z in (-2.0, 2.0)]
    assert missed[0] > 2 * missed[1]


def test_label_weights_balance_the_two_values():
    positive, negative = label_weights(np.array([[1.0], [0.0], [0.0], [0.0], [np.nan]]))
    assert positive[0] * 1 == pytest.approx(float(negative[0]) * 3)
    positive, negative = label_weights(np.array([[1.0]] + [[0.0]] * 999))
    assert positive == 8 and negative < 1


def test_unknown_labels_carry_no_loss():
    logits = torch.zeros(2, 2, requires_grad=True)
    of_flags(logits, [[1.0, UNKNOWN], [0.0, UNKNOWN]]).backward()
    assert logits.grad[:, 1].abs().max() == 0 and logits.grad[:, 0].abs().min() > 0


def test_a_label_that_is_never_known_costs_nothing():
    wanted = np.array([[1.0, np.nan], [0.0, np.nan]], np.float32)
    assert torch.isfinite(of_flags(torch.zeros(2, 2), wanted, label_weights(wanted)))
    assert of_flags(torch.zeros(2, 2), np.full((2, 2), np.nan, np.float32), label_weights(wanted)) == 0


def test_rules_are_held_against_probabilities_as_they_are():
    """The weights make a rare value likelier; the logical constraint sees through that, of values that compete."""
    choice = Vocabulary.from_json({"labels": {"Hat": {"kind": "choice", "values": {"a": "a", "b": "b", "c": "c"}}}})
    rare = np.eye(3, dtype=np.float32)[[0] * 18 + [1, 2]]
    weights, unknown = label_weights(rare), torch.full((1, 3), UNKNOWN)
    shares = torch.tensor(rare.mean(0)).logit()[None]
    as_trained = shares - natural_odds(weights, choice)
    losses = [
        float(HeadLoss(choice, weights, logic=1.0)(logits, unknown, head_of(choice))) for logits in (as_trained, shares)
    ]
    alone = rare.mean(0)
    exactly_one = sum(alone[i] * np.prod([1 - alone[j] for j in range(3) if j != i]) for i in range(3))
    assert losses[0] == pytest.approx(1 - exactly_one, abs=1e-5) and abs(losses[1] - losses[0]) > 0.1
    assert HeadLoss(choice, weights)(shares, unknown, head_of(choice)) == 0


# Numbers


def plain(share, spread, low, high) -> float:
    """P(low < x < high) of a logistic distribution around the share; a bound at the end of the range is none."""

    def below(bound):
        return 1 / (1 + math.exp(-(bound - share) / spread))

    return (1.0 if high >= 1 else below(high)) - (0.0 if low <= 0 else below(low))


@given(SHARES, st.floats(0.05, 0.5), st.integers(0, 19), st.integers(1, 20))
def test_the_loss_of_a_number_is_its_negative_log_likelihood(share, spread, low, length):
    bounds = low / 20, min(1.0, (low + length) / 20)
    found = interval_loss(torch.tensor([[share]]), torch.tensor([spread]), torch.tensor([[bounds]]))
    assert float(found) == pytest.approx(-math.log(plain(share, spread, *bounds)), abs=2e-3, rel=1e-3)


@given(SHARES, st.floats(1e-4, 1), SHARES, st.floats(1e-3, 1))
def test_its_gradient_is_finite_and_leads_towards_the_bounds(share, spread, low, length):
    """However far away and however sure: a number that is told as 0 of 100 must be able to learn that it is 100."""
    bounds = torch.tensor([[[low, low + length]]])
    shares = torch.tensor([[share]], requires_grad=True)
    spreads = torch.tensor([spread], requires_grad=True)
    loss = interval_loss(shares, spreads, bounds)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(shares.grad).all() and torch.isfinite(spreads.grad).all()
    if share < low - 0.01 and low > 0:
        assert shares.grad < 0
    if share > low + length + 0.01 and low + length < 1:
        assert shares.grad > 0


def test_a_group_at_the_end_of_the_range_has_no_outer_bound():
    for share in (0.8, 0.95, 1.0):
        loss = interval_loss(torch.tensor([[share]]), torch.tensor([0.02]), torch.tensor([[[0.6, 1.0]]]))
        assert float(loss) < 1e-3
    for share in (0.0, 0.1):
        loss = interval_loss(torch.tensor([[share]]), torch.tensor([0.02]), torch.tensor([[[0.0, 0.3]]]))
        assert float(loss) < 1e-3
    anything = interval_loss(torch.rand(5, 1), torch.tensor([0.02]), torch.tensor([[[0.0, 1.0]]] * 5))
    assert float(anything) == pytest.approx(0, abs=1e-6)


def test_numbers_that_are_not_known_carry_no_loss():
    shares = torch.rand(4, 2, requires_grad=True)
    bounds = torch.tensor([[[0.2, 0.3], [UNKNOWN] * 2]] * 3 + [[[UNKNOWN] * 2, [UNKNOWN] * 2]])
    loss = interval_loss(shares, torch.tensor([0.1, 0.1]), bounds)
    loss.backward()
    assert shares.grad[:, 1].abs().max() == 0 and shares.grad[3].abs().max() == 0 and shares.grad[:3, 0].all()
    alone = interval_loss(shares[:3, :1], torch.tensor([0.1]), bounds[:3, :1])
    assert loss.item() == pytest.approx(alone.item())
    assert interval_loss(shares, torch.ones(2), torch.full((4, 2, 2), UNKNOWN)).item() == 0


def fitted(vocabulary: Vocabulary, labels: list[dict], steps: int = 150) -> AttributeHead:
    """A head that learns these faces by heart, each of which looks like itself alone."""
    head, features = head_of(vocabulary), torch.eye(len(labels), 12)[:, None] * 8
    wanted = torch.from_numpy(targets(labels, vocabulary))
    loss = HeadLoss(vocabulary, label_weights(wanted[:, : len(vocabulary.attributes)].numpy()))
    optimiser = torch.optim.Adam(head.parameters(), lr=0.02)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(head(features, None), wanted, head).backward()
        optimiser.step()
    return head.eval()


@torch.no_grad()
def told_by(head: AttributeHead, count: int) -> list[dict]:
    rows = head(torch.eye(count, 12)[:, None] * 8, None).sigmoid()
    return [head.vocabulary.decide(*head.vocabulary.outputs(row.tolist())) for row in rows]


def test_numbers_are_learnt_beside_attributes_from_years_groups_and_ranges():
    labels = [
        {"Gender": "male", "Age_Years": 7}, {"Gender": "female", "Age_Years": 92}, {"Gender": "male", "Age": "65+"},
        {"Gender": "female", "Age_Years": (30, 40)}, {"Race": "latino"}, {"Age_Years": 45, "Race": "indian"},
    ]  # fmt: skip
    found = told_by(fitted(DEMOGRAPHICS, labels), len(labels))
    assert [face["Gender"] for face in found[:4]] == ["male", "female", "male", "female"]
    assert abs(found[0]["Age_Years"] - 7) <= 3 and abs(found[1]["Age_Years"] - 92) <= 3
    assert found[2]["Age"] == "65+" and 30 <= found[3]["Age_Years"] < 40 and abs(found[5]["Age_Years"] - 45) <= 3
    assert found[4]["Race"] == "latino" and found[5]["Race"] == "indian"


def test_a_vocabulary_of_one_label_can_be_learnt():
    labels = [{"A": index % 2 == 0} for index in range(6)]
    one = Vocabulary((FLAGS["A"],))
    assert told_by(fitted(one, labels), 6) == labels
    ages = [{"Age_Years": years} for years in (5, 30, 60, 90)]
    found = told_by(fitted(AGE, ages), 4)
    assert all(abs(face["Age_Years"] - known["Age_Years"]) <= 4 for face, known in zip(found, ages, strict=True))


# Calibration of numbers


def biased(count: int = 400) -> tuple[AttributeHead, torch.Tensor, torch.Tensor, np.ndarray]:
    """A head of age that tells too much, and far too surely: its logits, what is known, and the true years."""
    rng = np.random.default_rng(0)
    true = rng.uniform(15, 85, count)
    shares = torch.from_numpy(((true + rng.logistic(0, 4, count)) / 121).clip(0.01, 0.99).astype(np.float32))
    head = head_of(AGE)
    with torch.no_grad():
        head.numbers.log_spread.fill_(math.log(0.002))
    known = [{"Age_Years": round(float(years))} for years in true]
    return head, 2 * shares.logit()[:, None] + 0.6, torch.from_numpy(targets(known, AGE)), true


@torch.no_grad()
def told_years(head, logits) -> np.ndarray:
    """What the head tells of the faces that it gave these logits for, before anything was calibrated."""
    return 121 * head.numbers(logits)[:, 0].sigmoid().numpy()


def test_calibration_undoes_a_bias_and_finds_how_far_the_number_is_off():
    head, logits, known, true = biased()
    before = np.abs(told_years(head, logits) - true)
    calibrate_numbers(head, logits, known)
    after = told_years(head, logits) - true
    assert before.mean() > 12 and abs(after.mean()) < 0.7 and np.abs(after).mean() < 6.5
    spread = 121 * head.numbers.log_spread.exp().item()
    assert spread == pytest.approx(4, abs=0.6)
    # so the probability of a comparison is what it says: a share of p is right of those told with p
    label = dataclasses.replace(AGE["Age_Years"], spread=spread)
    told = [label.probability(years, (40, 200)) for years in told_years(head, logits)]
    sure = [true[i] >= 40 for i, p in enumerate(told) if 0.6 <= p < 0.9]
    assert len(sure) > 20 and 0.55 <= np.mean(sure) <= 0.95


def test_calibrating_twice_changes_nothing_more():
    head, logits, known, _ = biased()
    calibrate_numbers(head, logits, known)
    first = told_years(head, logits)
    calibrate_numbers(head, head.numbers(logits).detach(), known)
    np.testing.assert_allclose(told_years(head, logits), first, atol=0.3)


def test_a_number_that_few_faces_know_stays_as_it_is():
    head, logits, known, _ = biased()
    known[19:] = UNKNOWN
    state = {name: value.clone() for name, value in head.state_dict().items()}
    calibrate_numbers(head, logits, known)
    assert all(torch.equal(value, state[name]) for name, value in head.state_dict().items())
    calibrate_numbers(head, logits, torch.full_like(known, UNKNOWN))
    assert all(torch.equal(value, state[name]) for name, value in head.state_dict().items())


def test_a_head_that_has_learnt_nothing_is_off_by_no_more_than_the_whole_range():
    head, logits, _, _ = biased()
    known = torch.from_numpy(targets([{"Age": "0-34"}, {"Age": "65+"}] * (len(logits) // 2), AGE))
    calibrate_numbers(head, logits, known)
    assert 20 < 121 * head.numbers.log_spread.exp().item() <= 121.001
    assert all(torch.isfinite(value).all() for value in head.state_dict().values())


def test_a_head_that_knows_every_face_is_no_surer_than_numbers_are_told():
    head, _, known, _ = biased()
    calibrate_numbers(head, (known.mean(1, keepdim=True) / 121).logit(), known)
    assert 121 * head.numbers.log_spread.exp().item() == pytest.approx(0.25, rel=0.2)


# Odds of decisions


def portraits(images, labels, vocabulary=NANO) -> Portraits:
    mask = np.full((64, 64), IGNORE, np.uint8)
    files = [str(index) for index in range(len(images))]
    return Portraits(
        images, [mask] * len(images), targets(labels, vocabulary), files, {}, np.full((len(files), 5, 2), np.nan)
    )


def test_hair_colours_compete_at_the_odds_of_photographs_in_colour():
    """In grey ones all dark hair is labelled black; cameras take none."""
    colour = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    grey = np.repeat(colour[..., :1], 3, axis=2)
    hair = [*["black"] * 30, *["brown"] * 8, *["black"] * 2]
    labels = [{"Hair_Color": value, "Age": "35-49", "Gender": "male"} for value in hair]
    faces = portraits([*[grey] * 30, *[colour] * 10], labels)
    weights = label_weights(faces.targets)
    names = NANO.attribute_names
    black, brown = names.index("Black_Hair"), names.index("Brown_Hair")
    over_all, decided = natural_odds(weights, NANO), decision_odds(weights, faces, NANO)
    assert over_all[black] > over_all[brown] and decided[brown] > decided[black]
    hair_colours = {attribute.name for attribute in NANO["Hair_Color"].attributes}
    assert not decided[[i for i, name in enumerate(names) if name not in hair_colours]].any()
    # without a photograph in colour, or without any, there is nothing to count
    for none in (portraits([grey] * 40, labels), None):
        assert torch.equal(decision_odds(weights, none, NANO)[black : brown + 1], over_all[black : brown + 1])


def test_each_choice_has_the_odds_that_it_names():
    def entry(odds):
        return {"kind": "choice", "odds": odds, "values": {"a": "a", "b": "b", "other": {}}}

    kinds = {"Even": entry("equal"), "As_It_Is": entry("natural")}
    number = {"kind": "number", "prompt": "w", "unit": "cm", "range": [0, 10]}
    flag = {"kind": "flag", "prompt": "a"}
    vocabulary = Vocabulary.from_json({"labels": kinds | {"Flag": flag, "Width": number}})
    labels = [{"Even": value, "As_It_Is": value, "Flag": value == "a"} for value in [*"aaaaaaab", "other", "other"]]
    weights = label_weights(targets(labels, vocabulary)[:, : len(vocabulary.attributes)])
    odds = dict(zip([*vocabulary.attribute_names, "Width"], decision_odds(weights, None, vocabulary), strict=True))
    assert odds["Even_A"] == odds["Even_B"] == odds["Flag"] == odds["Width"] == 0
    assert odds["As_It_Is_A"] > 0 > odds["As_It_Is_B"]
    assert odds["As_It_Is_B"] == pytest.approx(math.log(0.1 / 0.9), abs=1e-5)


# What validation says


def test_scores_are_counted_over_what_is_known():
    labels = [{"Gender": "male", "Age_Years": 40}, {"Gender": "female", "Age_Years": (30, 40)}, {"Race": "white"},
              {"Gender": "male"}]  # fmt: skip
    wanted = torch.from_numpy(targets(labels, DEMOGRAPHICS))
    logits = torch.full((4, len(DEMOGRAPHICS.attributes) + 1), -2.0)
    logits[:3, 0] = 2.0  # men, they say, but the last
    logits[:, -1] = torch.tensor([50 / 121, 45 / 121, 0.5, 0.5]).logit()
    found = head_scores(logits, wanted, DEMOGRAPHICS)
    assert next(iter(found)) == "balanced" and found["Male"] == pytest.approx(0.25)
    assert found["Age_Years"] == pytest.approx((10 + 5) / 2, abs=1e-3)
    # attributes of which nobody has one of the values are not scored
    assert set(found) == {"balanced", "Male", "Age_Years"} and found["balanced"] == found["Male"]


def test_the_best_of_a_vocabulary_of_numbers_is_the_least_error():
    wanted = torch.from_numpy(targets([{"Age_Years": 40}, {"Age_Years": 60}], AGE))
    found = head_scores(torch.tensor([[50 / 121], [64 / 121]]).logit(), wanted, AGE)
    assert next(iter(found)) == "error_loss" and found["error_loss"] == pytest.approx(7, abs=1e-3)
    assert head_scores(torch.zeros(2, 1), torch.full_like(wanted, UNKNOWN), AGE) == {}
