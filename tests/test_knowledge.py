"""Facial knowledge in the model: correlations that are counted and folded away, rules that a loss can see."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnxruntime as ort
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from faceinsight.build_engines.export import export_stage
from faceinsight.models.attributes import AttributeHead
from faceinsight.models.config import AttributeConfig
from faceinsight.models.correlation import conditional_probabilities, correlation_matrix
from faceinsight.models.data.targets import targets
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.models.logic import logic_loss, violations
from faceinsight.models.vocabulary import load_vocabulary
from faceinsight.runtime.rules import Rule
from faceinsight.runtime.vocabulary import Vocabulary

from .test_quantize import CONFIG, feed

NANO = load_vocabulary("nano")
NAMES = NANO.attribute_names
CELLS = st.sampled_from((0.0, 1.0, np.nan))
TABLES = st.tuples(st.integers(1, 30), st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=CELLS)
)


def test_conditional_probabilities_of_a_table_counted_by_hand():
    # a: held 3 times, once with b unknown; b: held twice, both with a
    table = np.array([[1, 1], [1, 0], [1, np.nan], [0, 1]])
    np.testing.assert_allclose(conditional_probabilities(table), [[1, 1 / 2], [1 / 2, 1]])


@given(TABLES)
def test_conditional_probabilities_count_pairs_that_are_known(table):
    found = conditional_probabilities(table)
    for i, j in np.ndindex(found.shape):
        given_i = table[(table[:, i] == 1) & ~np.isnan(table[:, j]), j]
        assert found[i, j] == pytest.approx(given_i.mean() if len(given_i) else 0, abs=1e-6)


@given(TABLES, st.floats(0.05, 0.95), st.floats(0.01, 0.99))
def test_neighbours_share_omega(table, tau, omega):
    probabilities = conditional_probabilities(table)
    matrix = correlation_matrix(probabilities, tau, omega)
    np.testing.assert_allclose(np.diag(matrix), 1 - omega, atol=1e-6)
    others = matrix - np.diag(np.diag(matrix))
    linked = (probabilities >= tau) & ~np.eye(len(matrix), dtype=bool)
    assert ((others > 0) == linked).all()
    np.testing.assert_allclose(others.sum(1), np.where(linked.any(1), omega, 0), atol=1e-5)


@pytest.fixture(scope="module")
def correlated() -> FaceInsightModel:
    torch.manual_seed(0)
    attributes = dataclasses.replace(CONFIG.attributes, depth=2)
    model = FaceInsightModel(dataclasses.replace(CONFIG, attributes=attributes)).eval()
    head = model.fusion.head
    head.set_text_features(torch.randn_like(head.text_features))
    head.set_labels((np.random.default_rng(0).random((200, len(NAMES))) < 0.5).astype(np.float32))
    return model


def test_correlations_reach_the_labels_they_link(correlated):
    constraint, text = correlated.fusion.head.text, correlated.fusion.head.text_features
    assert constraint.matrix.count_nonzero() > len(NAMES)
    with torch.no_grad():
        before = constraint(text)
        changed = text.clone()
        changed[0] += 1
        moved = (constraint(changed) - before).abs().amax(1) > 1e-6
    reached = torch.linalg.matrix_power((constraint.matrix > 0).float(), 2)[:, 0] > 0
    assert (moved == reached).all()


def test_numbers_have_no_neighbours():
    vocabulary = load_vocabulary("demographics")
    head = AttributeHead(AttributeConfig(width=8, text_width=16), vocabulary, 12, 6)
    head.set_text_features(torch.randn_like(head.text_features))
    faces = [{"Gender": "male", "Race": race, "Age_Years": 40} for race in ("white", "latino")]
    head.set_labels(targets(faces, vocabulary))
    with torch.no_grad():
        before = head.label_features()
        head.text_features[-1] += 1
        moved = (head.label_features() - before).abs().amax(1) > 1e-6
    assert moved.tolist() == [False] * len(vocabulary.attributes) + [True]
    assert head.text.matrix[1:, 0].count_nonzero() == 2  # who is white or latino is a man here


@pytest.mark.slow
def test_correlations_are_folded_into_one_constant(correlated):
    graph = export_stage(correlated, "fusion")
    plain = export_stage(FaceInsightModel(CONFIG).eval(), "fusion")
    kinds = [[node.op_type for node in g.graph.node] for g in (graph, plain)]
    assert kinds[0] == kinds[1]
    inputs = feed("fusion", 3)
    found = ort.InferenceSession(graph.SerializeToString()).run(["probabilities"], inputs)[0]
    with torch.no_grad():
        wanted = correlated.fusion(*(torch.from_numpy(inputs[name]) for name in ("features", "parse_map")))[1].numpy()
    assert np.abs(found - wanted).max() <= 1e-6
    assert wanted.std() > 1e-3


def test_a_model_keeps_its_correlations(correlated, tmp_path):
    correlated.tokenizer_json = "{}"
    correlated.save_pretrained(tmp_path)
    again = FaceInsightModel.from_pretrained(tmp_path)
    assert again.config.attributes == correlated.config.attributes == AttributeConfig(width=32, text_width=64, depth=2)
    assert torch.equal(again.fusion.head.label_features(), correlated.fusion.head.label_features())


@given(arrays(bool, len(NAMES)))
def test_a_sure_face_violates_exactly_the_rules_that_it_breaks(held):
    found = violations(torch.from_numpy(held[None].astype(np.float32)), NANO.rules, NAMES)[0]
    assignment = dict(zip(NAMES, held.tolist(), strict=True))
    assert found.tolist() == [float(not rule.holds(assignment)) for rule in NANO.rules]


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.sampled_from(("exactly_one", "implies", "excludes")))
def test_a_violation_is_the_share_of_draws_that_break_the_rule(p, kind):
    rule = Rule(kind, ("a", "b", "c"))
    found = float(violations(torch.tensor([p], dtype=torch.float64), [rule], rule.names))
    every = [np.array(held) for held in np.ndindex(2, 2, 2)]
    broken = [held for held in every if not rule.holds(dict(zip("abc", held.astype(bool), strict=True)))]
    assert found == pytest.approx(sum(np.prod(np.where(held, p, 1 - np.array(p))) for held in broken), abs=1e-9)


def test_descending_the_logic_loss_ends_in_faces_that_break_no_rule():
    logits = torch.randn(16, len(NAMES), generator=torch.Generator().manual_seed(0), requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    assert logic_loss(logits, NANO) > 0.2
    for _ in range(200):
        optimizer.zero_grad()
        logic_loss(logits, NANO).backward()
        optimizer.step()
    assert logic_loss(logits, NANO) < 1e-2
    assert violations((logits > 0).float(), NANO.rules, NAMES).sum() == 0


def test_a_vocabulary_without_rules_has_no_logic_loss():
    free = Vocabulary((NANO["Smiling"], NANO["Beard"]))
    logits = torch.randn(4, 2, requires_grad=True)
    loss = logic_loss(logits, free)
    loss.backward()
    assert loss == 0 and not logits.grad.any()
