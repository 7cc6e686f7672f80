"""Logical constraint (LCM) as a loss: how far predicted probabilities violate the rules, the same that decide the
answers (runtime/rules.py)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from faceinsight.runtime.rules import Rule
from faceinsight.runtime.vocabulary import Vocabulary


def violations(probabilities: Tensor, rules: Sequence[Rule], names: Sequence[str]) -> Tensor:
    """The probability that each rule is violated, the attributes `names` taken as independent. [B, A] -> [B, R].

    exactly_one: 1 - sum_i p_i prod_{j != i} (1 - p_j). implies: p_0 (1 - prod_j p_j). excludes: p_0 (1 - prod_j (1 -
    p_j)). Where every probability is 0 or 1 it is `Rule.holds`, negated.
    """
    column = {name: index for index, name in enumerate(names)}
    return torch.stack([_violation(rule.kind, probabilities[:, [column[n] for n in rule.names]]) for rule in rules], 1)


def _violation(kind: str, p: Tensor) -> Tensor:
    """p: [B, n], the rule's attributes in its order. Returns [B]."""
    if kind == "exactly_one":
        alone = [p[:, i] * (1 - torch.cat([p[:, :i], p[:, i + 1 :]], 1)).prod(1) for i in range(p.shape[1])]
        return 1 - torch.stack(alone, 1).sum(1)
    others = p[:, 1:] if kind == "implies" else 1 - p[:, 1:]
    return p[:, 0] * (1 - others.prod(1))


def logic_loss(logits: Tensor, vocabulary: Vocabulary) -> Tensor:
    """L_c: the mean violation of the rules under the predicted probabilities; 0 where there are no rules.

    logits: [B, A], of the vocabulary's attributes.
    """
    if not vocabulary.rules:
        return logits.sum() * 0
    return violations(logits.float().sigmoid(), vocabulary.rules, vocabulary.attribute_names).mean()
