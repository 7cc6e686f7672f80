"""A model directory holds all of a model; configs and weights that do not fit are refused."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from faceinsight.models.backbone import build, resolve
from faceinsight.models.config import BackboneConfig, FaceInsightConfig
from faceinsight.models.data.synthetic import generate
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.models.training.losses import HeadLoss
from faceinsight.models.training.stages import VisionLearner
from faceinsight.models.vocabulary import load_vocabulary
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.parse_map import IGNORE

from .tiny import tiny_config

NANO = load_vocabulary("nano")


@torch.no_grad()
def test_a_face_and_its_mirror_image_have_the_same_features():
    encoder = FaceInsightModel(dataclasses.replace(tiny_config(), mirrored=True)).vision.eval()
    pixels = torch.randint(0, 255, (2, 128, 128, 3), dtype=torch.uint8)
    features, mirrored = encoder(pixels), encoder(pixels.flip(2))
    torch.testing.assert_close(features.unflatten(1, (4, 4)).flip(2), mirrored.unflatten(1, (4, 4)))
    encoder.mirrored = False
    assert not torch.allclose(encoder(pixels), features, atol=1e-3)


@pytest.mark.parametrize(
    ("auto", "kind", "config"),
    [
        (AutoModel, "regnet", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "groups_width": 8}),
        (AutoModel, "siglip_vision_model", {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2,
         "num_attention_heads": 2, "image_size": 32, "patch_size": 16}),
        (AutoModelForCausalLM, "llama", {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 16,
         "num_hidden_layers": 1, "num_attention_heads": 2}),
    ],
)  # fmt: skip
def test_a_config_can_name_a_local_directory(tmp_path, auto, kind, config):
    original = auto.from_config(AutoConfig.for_model(kind, **config))
    original.save_pretrained(tmp_path)
    loaded = build(auto, BackboneConfig(kind, name=str(tmp_path)), weights=True)
    again = build(auto, resolve(BackboneConfig(kind, name=str(tmp_path))), weights=False)
    for name, value in original.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
        assert again.state_dict()[name].shape == value.shape


def test_tokens_are_held_to_the_parse_map_where_they_lie():
    """The loss is small for tokens that know their cell's classes, large for the same tokens elsewhere."""
    model = FaceInsightModel(FaceInsightConfig())
    learner = VisionLearner(model.vision, model.fusion.head)
    cell, classes = learner.CELL, learner.parts.out_features // learner.CELL**2
    side, width = 8, learner.vision.width
    draw = np.random.default_rng(0)
    parse_map = np.kron(draw.integers(0, classes, (side, side)), np.ones((16, 16), np.int64)).astype(np.uint8)
    with torch.no_grad():
        learner.parts.weight.zero_()
        learner.parts.bias.zero_()
        for index in range(classes):
            learner.parts.weight[index * cell**2 : (index + 1) * cell**2, index] = 20.0
    tokens = torch.zeros(1, side * side, width)
    tokens[0, torch.arange(side * side), torch.from_numpy(parse_map[::16, ::16].astype(np.int64)).flatten()] = 1.0
    count = len(NANO.attributes)
    of_head = HeadLoss(NANO, (torch.ones(count), torch.ones(count)))

    def loss(tokens, parse_map):
        learner.vision.forward = lambda pixels: tokens
        batch = {"pixels": None, "parse_map": parse_map, "targets": torch.ones(1, count)}
        return float(learner.losses(batch, of_head)[1].detach())

    known = torch.from_numpy(parse_map)[None]
    assert loss(tokens, known) < 1e-3
    assert loss(tokens.unflatten(1, (side, side)).transpose(1, 2).flatten(1, 2), known) > 1
    assert loss(tokens, torch.full_like(known, IGNORE)) == 0


@pytest.mark.parametrize("vocabulary", [NANO, load_vocabulary("demographics"), load_vocabulary("celeba")])
def test_model_directory_round_trip(tmp_path, vocabulary):
    torch.manual_seed(1)
    model = FaceInsightModel(tiny_config(vocabulary=vocabulary)).eval()
    model.tokenizer_json = "{}"
    model.save_pretrained(tmp_path)
    loaded = FaceInsightModel.from_pretrained(tmp_path)
    pixels = torch.from_numpy(generate(1).image[None, 64:128, 64:128].copy())
    for a, b in zip(model.perceive(pixels, pixels), loaded.perceive(pixels, pixels), strict=True):
        assert torch.equal(a, b)
    assert loaded.config == model.config
    outputs = loaded.perceive(pixels, pixels)[2]
    assert outputs.shape == (1, len(vocabulary.attributes) + len(vocabulary.numbers))
    attributes, numbers = vocabulary.outputs(outputs[0].tolist())
    assert all(0 <= p <= 1 for p in attributes.values()) and all(0 <= years <= 121 for years in numbers.values())


@pytest.mark.parametrize("damage", ["config", "weights", "missing"])
def test_damaged_model_directory_is_refused(tmp_path, damage):
    model = FaceInsightModel(tiny_config())
    model.tokenizer_json = "{}"
    model.save_pretrained(tmp_path)
    if damage == "config":
        (tmp_path / "config.json").write_text("{}")
    elif damage == "weights":
        (tmp_path / "model.safetensors").write_bytes(b"junk")
    else:
        (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(InputError):
        FaceInsightModel.from_pretrained(tmp_path)


def test_the_spread_of_a_number_goes_with_the_model(tmp_path):
    model = FaceInsightModel(tiny_config(vocabulary=load_vocabulary("demographics")))
    torch.nn.init.constant_(model.fusion.head.numbers.log_spread, float(np.log(3 / 121)))
    model.take_spreads()
    model.tokenizer_json = "{}"
    model.save_pretrained(tmp_path)
    again = FaceInsightConfig.load(tmp_path).vocabulary
    assert again["Age_Years"].spread == pytest.approx(3, rel=1e-3)
    plain = FaceInsightModel(tiny_config())
    plain.take_spreads()
    assert plain.config.vocabulary == NANO


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.pop("vocabulary"), "config.json is not a FaceInsight config: KeyError"),
        (lambda data: data["vocabulary"]["labels"]["Beard"].pop("prompt"), "label Beard: lacks its prompt"),
        (lambda data: data["vocabulary"]["rules"][0]["names"].append("Dragon"), "unknown attributes .'Dragon'"),
        (lambda data: data["vision"].pop("model_type"), "config.json is not a FaceInsight config"),
    ],
)
def test_a_config_that_was_changed_says_what_is_wrong(tmp_path, change, message):
    data = json.loads(FaceInsightConfig().to_json())
    assert FaceInsightConfig.from_json(json.dumps(data)) == FaceInsightConfig()
    change(data)
    (tmp_path / "config.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match=message):
        FaceInsightConfig.load(tmp_path)
