"""Face detector: whole frame -> boxes, scores and landmarks; anchor-free, as FCOS (Tian et al. 2019) and YuNet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from faceinsight.runtime.detect import suppressed
from faceinsight.runtime.image import fit

from .backbone import Normalize
from .config import DetectorConfig

STRIDES = (8, 16, 32)
VALUES = 15
"""Of one face: score, box xyxy, five landmarks xy."""


class FaceDetector(nn.Module):
    """Depthwise-separable blocks, a feature pyramid of three levels, and one head that they share.

    Every cell of a level may be the centre of a face. Its 15 outputs are the logit of the score; where the centre of
    the box lies from the cell's, in strides; the logarithms of its width and height in strides; and the landmarks from
    the cell's centre, in strides.
    """

    def __init__(self, config: DetectorConfig):
        super().__init__()
        self.config = config
        self.normalize = Normalize(config.mean, config.std)
        stem, *widths = config.widths
        self.stem = _conv(3, stem, 3, stride=2)
        ins = [stem, *widths[:-1]]
        self.stages = nn.ModuleList(
            nn.Sequential(_Block(i, o, 2), *(_Block(o, o) for _ in range(config.depth)))
            for i, o in zip(ins, widths, strict=True)
        )
        neck = config.neck
        self.laterals = nn.ModuleList(_conv(width, neck, 1) for width in widths[-len(STRIDES) :])
        self.smooths = nn.ModuleList(_Block(neck, neck) for _ in STRIDES)
        self.head = nn.Sequential(_Block(neck, neck), nn.Conv2d(neck, VALUES, 1))
        nn.init.constant_(self.head[-1].bias[:1], -4.6)  # a score of 0.01: nearly all cells have no face

    def levels(self, pixels: Tensor) -> list[Tensor]:
        """pixels: [B, S, S, 3] uint8 RGB, S a multiple of 32. Returns the head's maps [B, 15, S / stride, S / stride],
        one for each of STRIDES."""
        features, kept = self.stem(self.normalize(pixels)), []
        for stage in self.stages:
            features = stage(features)
            kept.append(features)
        merged = [lateral(f) for lateral, f in zip(self.laterals, kept[-len(STRIDES) :], strict=True)]
        for finer in range(len(STRIDES) - 2, -1, -1):
            merged[finer] = merged[finer] + F.interpolate(merged[finer + 1], scale_factor=2, mode="nearest")
        return [self.head(smooth(m)) for smooth, m in zip(self.smooths, merged, strict=True)]

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels: [B, S, S, 3] uint8 RGB. Returns what every cell found, [B, cells, 15] float32: the score in 0..1, box
        and landmarks in sides of the input. Cells that found the same face are not told apart."""
        found = torch.cat([decoded(m.float(), s) for m, s in zip(self.levels(pixels), STRIDES, strict=True)], dim=1)
        return torch.cat([found[..., :1].sigmoid(), found[..., 1:] / pixels.shape[1]], dim=2)


def decoded(level: Tensor, stride: int) -> Tensor:
    """[B, 15, h, w] -> [B, h * w, 15]: the score's logit, box xyxy and landmarks in pixels of the input."""
    height, width = level.shape[2:]
    right = torch.arange(width, device=level.device).add(0.5).expand(height, width)
    down = torch.arange(height, device=level.device).add(0.5)[:, None].expand(height, width)
    centres = torch.stack([right, down]) * stride
    score, offset, size, landmarks = level.split([1, 2, 2, 10], dim=1)
    centre = centres + offset * stride
    half = size.clamp(-4, 6).exp() * (stride / 2)
    points = landmarks * stride + centres.repeat(5, 1, 1)
    return torch.cat([score, centre - half, centre + half, points], dim=1).flatten(2).transpose(1, 2)


@torch.no_grad()
def find(
    detector: FaceDetector, images: Sequence[np.ndarray], least: float = 0.02, batch: int = 32
) -> list[np.ndarray]:
    """Finds the faces of whole images as the runtime does.

    images: HxWx3 uint8 RGB. least: the lowest score of a face. Returns for each image [n, 15] float32, the surest face
    first: score, box and landmarks in pixels of the detector's input.
    """
    size, found = detector.config.size, []
    where = next(detector.parameters()).device
    for start in range(0, len(images), batch):
        pixels = np.stack([fit(image, size) for image in images[start : start + batch]])
        rows = detector(torch.from_numpy(pixels).to(where)).cpu().numpy()
        rows[..., 1:] *= size
        found += [suppressed(row, least) for row in rows]
    return found


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, active: bool = True):
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([nn.ReLU()] if active else []))


class _Block(nn.Module):
    """Every channel is filtered alone, then they are mixed; what comes in is added where the shapes allow it."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.filter = _conv(inputs, inputs, 3, stride, groups=inputs)
        self.mix = _conv(inputs, outputs, 1, active=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        found = self.mix(self.filter(features))
        return F.relu(features + found) if self.residual else F.relu(found)
