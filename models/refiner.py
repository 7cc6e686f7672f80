"""Box refiner: where the face really lies in a coarse crop, so that the encoders see it alike whoever found it."""

from __future__ import annotations

from torch import Tensor, nn

from .backbone import Normalize
from .config import RefinerConfig


class BoxRefiner(nn.Module):
    """The second look of a detection cascade (R-Net of MTCNN, Zhang et al. 2016): a few strided convolutions."""

    def __init__(self, config: RefinerConfig):
        super().__init__()
        self.normalize = Normalize(config.mean, config.std)
        layers, width = [], 3
        for channels in config.widths:
            layers += [nn.Conv2d(width, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
            width = channels
        self.convolutions = nn.Sequential(*layers)
        cells = (config.size // 2 ** len(config.widths)) ** 2
        self.hidden = nn.Linear(cells * width, config.hidden)
        self.placement = nn.Linear(config.hidden, 3)

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels: [B, S, S, 3] uint8, a crop around the given box.

        Returns [B, 3] float32: how far the right crop's centre is right of and below this one's, in sides of this one,
        and the logarithm of its side over this one's.
        """
        features = self.convolutions(self.normalize(pixels)).flatten(1)
        return self.placement(nn.functional.relu(self.hidden(features)))
