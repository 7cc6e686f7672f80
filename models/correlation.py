"""Correlation constraint (CCM): labels that occur together learn of each other, by graph convolutions over their text
features (FaceInsight's uncertain dependencies, after ML-GCN: Chen et al. 2019, sections 3.3 and 3.4)."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conditional_probabilities(targets: np.ndarray) -> np.ndarray:
    """P[i, j] = p(y_j = 1 | y_i = 1) = m_ij / n_i, counted over the rows in which both labels are known.

    targets: [n, L], 1, 0 or NaN where not known. Returns [L, L] float32; 0 where y_i = 1 was never seen with y_j known.
    """
    known, held = (~np.isnan(targets)).astype(np.float32), np.nan_to_num(targets).astype(np.float32)
    together, seen = held.T @ held, held.T @ known
    return together / np.maximum(seen, 1)


def correlation_matrix(probabilities: np.ndarray, tau: float, omega: float) -> np.ndarray:
    """C^ [L, L]: edges with P_ij < tau dropped, the rest 1, then reweighted against over-smoothing (ML-GCN, equation
    8): omega / (number of i's edges) off the diagonal, 1 - omega on it.

    probabilities: `conditional_probabilities`. Asymmetric, as they are.
    """
    edges = (probabilities >= tau) & ~np.eye(len(probabilities), dtype=bool)
    weights = omega * edges / np.maximum(edges.sum(1, keepdims=True), 1)
    return (weights + (1 - omega) * np.eye(len(edges))).astype(np.float32)


class CorrelationConstraint(nn.Module):
    """T^l = rho(C^ T^(l-1) W^(l-1)), rho a LeakyReLU of slope 0.2, none after the last layer. [L, in] -> [L, out].

    C^ is the identity until `set_labels` has counted the labels of the training set. Nothing here depends on an image:
    an export folds it into one constant.
    """

    def __init__(self, labels: int, in_width: int, out_width: int, tau: float, omega: float, depth: int):
        super().__init__()
        self.tau, self.omega = tau, omega
        widths = [in_width] * depth + [out_width]
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(widths))
        self.register_buffer("matrix", torch.eye(labels))

    def set_labels(self, targets: np.ndarray) -> None:
        """targets: [n, A] of the training set, NaN where not known. Labels after the first A have no neighbours."""
        counted = targets.shape[1]
        matrix = correlation_matrix(conditional_probabilities(targets), self.tau, self.omega)
        self.matrix.copy_(torch.eye(len(self.matrix)))
        self.matrix[:counted, :counted] = torch.from_numpy(matrix).to(self.matrix.device)

    def forward(self, text_features: Tensor) -> Tensor:
        features = text_features
        for index, layer in enumerate(self.layers):
            features = self.matrix @ layer(features)
            if index + 1 < len(self.layers):
                features = F.leaky_relu(features, 0.2)
        return features
