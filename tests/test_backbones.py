"""The whole way with backbones of every family, tiny and random, from directories in Hugging Face's own layout: train,
save, load, export, quantise, build, answer."""

from __future__ import annotations

import dataclasses
import json

import cv2
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSemanticSegmentation,
    PreTrainedTokenizerFast,
)

from faceinsight import FaceInsight
from faceinsight.build_engines.build import build_bundle
from faceinsight.models.config import AttributeConfig, SegmentationConfig
from faceinsight.models.data.synthetic import generate
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.models.presets import EDGE, PAPER, PRESETS, preset
from faceinsight.models.training.recipe import Recipe, train
from faceinsight.runtime.errors import InputError

pytestmark = pytest.mark.slow

LAYERS = {"num_hidden_layers": 2, "num_attention_heads": 2}
# wide enough for products that pay in INT8
CORPUS = [f"{a}{b} {b}{a}" for a in ("smil", "beard", "hair", "glass", "wear") for b in ("ing", "ed", "less", "es")]
TOWER = LAYERS | {"hidden_size": 64, "intermediate_size": 64, "image_size": 32, "patch_size": 8}
TEXT = LAYERS | {"hidden_size": 16, "intermediate_size": 16, "vocab_size": 64, "max_position_embeddings": 16}
WORDS = 310
# TensorRT has fused attention for four heads or more
DECODER = LAYERS | {
    "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 16, "hidden_size": 32, "intermediate_size": 32,
    "vocab_size": WORDS, "max_position_embeddings": 512,
}  # fmt: skip
PARSER = {
    "num_encoder_blocks": 2, "depths": [1, 1], "hidden_sizes": [16, 32], "num_attention_heads": [1, 2],
    "sr_ratios": [4, 2], "strides": [4, 2], "patch_sizes": [7, 3], "mlp_ratios": [2, 2], "decoder_hidden_size": 16,
    "num_labels": 19,
}  # fmt: skip
VISION = {
    "clip": {"vision_config": TOWER, "text_config": TEXT, "projection_dim": 16},
    "siglip": {"vision_config": TOWER, "text_config": TEXT},
    "dinov2": TOWER | {"mlp_ratio": 1},
}
FAMILIES = {
    "paper": (PAPER, "clip", "llama", "projectors_only = true"),
    "edge": (EDGE, "siglip", "qwen2", "lora = 2"),
    "other": (EDGE, "dinov2", "qwen3", "lora = 0"),
}
"""Preset, vision tower, language model, and how it is tuned."""


def save_tokenizer(directory, special: list[str]) -> None:
    """A tokenizer as a language model's directory has it, of WORDS tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(["is the person smiling", "yes no beard glasses hair"] * 9 + CORPUS, trainer)
    assert tokenizer.get_vocab_size() == WORDS
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=special[-1]).save_pretrained(directory)


def save_backbones(folder, vision: str, language: str, special: list[str]) -> None:
    """A parser, a tower with its text side in half precision, as hubs have them, and a language model."""
    torch.manual_seed(0)
    kinds = {"parser": ("segformer", PARSER), "vision": (vision, VISION[vision]), "language": (language, DECODER)}
    classes = {"parser": AutoModelForSemanticSegmentation, "vision": AutoModel, "language": AutoModelForCausalLM}
    for part, (kind, values) in kinds.items():
        dtype = torch.float32 if part == "parser" else torch.bfloat16
        classes[part].from_config(AutoConfig.for_model(kind, **values), dtype=dtype).save_pretrained(folder / part)
    save_tokenizer(folder / "language", special)


def tiny(base, folder):
    """The preset with the small backbones in place of its own."""
    sizes = {"parser": 64, "vision": 32, "language": 0}
    parts = {p: dataclasses.replace(getattr(base, p), name=str(folder / p), size=size) for p, size in sizes.items()}
    return dataclasses.replace(
        base,
        **parts,
        segmentation=SegmentationConfig(size=64, cell=8, patch=4, hidden=32, layers=1, heads=2),
        attributes=AttributeConfig(width=16, text_width=32, depth=2),
        context=640,
    )


def recipe(folder, tuning: str) -> Recipe:
    stages = {"refiner": "", "alignment": "faces = 50\nlogic = 1.0", "instruct": f"faces = 50\ntokens = 400\n{tuning}"}
    text = "".join(f"[stage.{n}]\nsteps = 2\nbatch = 2\nwarmup = 1\n{own}\n" for n, own in stages.items())
    (folder / "recipe.toml").write_text(text)
    return Recipe.load(folder / "recipe.toml")


@pytest.fixture(scope="module", params=FAMILIES)
def trained(request, tmp_path_factory):
    """(folder of the run, config that names the directories)."""
    base, vision, language, tuning = FAMILIES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    # a new line, as byte-level vocabularies spell it, is in their alphabet; Qwen's tokenizer class adds an end of text
    special = ["<|endoftext|>", *(token for token in base.prompt.special_tokens() if token != "Ċ")]
    save_backbones(folder, vision, language, special)
    config = tiny(base, folder)
    train(recipe(folder, tuning), config, "synthetic", folder / "run", 1)
    return folder, config


def test_encoders_keep_their_weights_and_the_rest_learns(trained):
    folder, config = trained
    model = FaceInsightModel.from_pretrained(folder / "run" / "model")
    begun = FaceInsightModel(config)
    for part in ("parser", "vision"):
        for name, value in getattr(begun, part).state_dict().items():
            assert torch.equal(getattr(model, part).state_dict()[name], value), (part, name)
    assert model.language.vocab_size == WORDS
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not torch.equal(model.fusion.vision_projector.up.weight, begun.fusion.vision_projector.up.weight)
    assert model.fusion.head.text.matrix.count_nonzero() > len(config.vocabulary.attributes)
    # a checkpoint needs none of the directories that it was made of
    written = json.loads((folder / "run" / "model" / "config.json").read_text())
    assert written["language"]["config"]["num_hidden_layers"] == DECODER["num_hidden_layers"]


def test_every_part_of_the_prompt_is_one_token_of_the_models_own_tokenizer(trained):
    folder, config = trained
    tokenizer = Tokenizer.from_file(str(folder / "run" / "model" / "tokenizer.json"))
    own = Tokenizer.from_file(str(folder / "language" / "tokenizer.json"))
    for token in config.prompt.special_tokens():
        assert tokenizer.token_to_id(token) is not None
    assert tokenizer.encode("is the person smiling").ids == own.encode("is the person smiling").ids


def test_a_token_that_the_language_model_does_not_know_gets_a_row(tmp_path):
    save_backbones(tmp_path, "dinov2", "qwen2", ["<|endoftext|>", EDGE.prompt.stop])
    config = dataclasses.replace(tiny(EDGE, tmp_path), prompt=dataclasses.replace(EDGE.prompt, answer="<a>"))
    with pytest.raises(InputError, match=r"does not know .*<a>; adapters and projectors cannot teach it"):
        train(recipe(tmp_path, "lora = 2"), config, "synthetic", tmp_path / "run", 1)
    added = len({"<|im_start|>", "<a>"})
    model = FaceInsightModel.from_pretrained(
        train(recipe(tmp_path, "lora = 0"), config, "synthetic", tmp_path / "all", 1)
    )
    assert model.language.vocab_size == WORDS + added == model.config.language.config["vocab_size"]
    logits = model.language(torch.tensor([[5, WORDS + added - 1]]), torch.zeros(1, 1, 32))
    assert logits.shape[-1] == WORDS + added and logits.isfinite().all()


def save_photos(folder):
    photos = folder / "photos"
    photos.mkdir()
    for seed in range(14):
        cv2.imwrite(str(photos / f"{seed}.png"), generate(seed).image[..., ::-1])
    return photos


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_bundle_answers_as_pytorch_does(trained, tmp_path, precision):
    folder, _ = trained
    photos = save_photos(tmp_path)
    manifest = build_bundle(folder / "run" / "model", tmp_path / "bundle", precision=precision, calibration=photos)
    errors = {stage: entry.error.value for stage, entry in manifest.stages.items()}
    if precision == "fp32":
        # a random model never ends its reading: the token that then ends it is not PyTorch's choice
        assert errors["language"] < 0.03 and errors["parser"] <= 1e-3, errors
        assert max(errors[stage] for stage in ("vision", "fusion", "refiner")) < 1e-3, errors
    else:
        # random features have no outliers that calibration could have clipped
        assert errors["vision"] < 0.2 and errors["fusion"] < 0.05 and errors["parser"] < 0.2, errors
    model = FaceInsight.load(tmp_path / "bundle", threads=1)
    face = model.perceive(generate(3).image, box=(69, 91, 155, 177))
    first, again = (model.ask(face, "Is this person smiling?", max_tokens=12) for _ in range(2))
    assert first.text == again.text and first.tokens > 0
    assert len(face.attributes) == 21 and face.visual_tokens.shape[1] == 16 + 4


def test_tensorrt_compiles_every_stage(trained, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    photos, model = save_photos(tmp_path), trained[0] / "run" / "model"
    manifest = build_bundle(model, tmp_path / "bundle", "tensorrt-rtx", calibration=photos, sm=(80, 86, 89, 120))
    layers = {stage: entry.layers for stage, entry in manifest.stages.items()}
    assert all("QUANTIZE" in layers[stage] for stage in ("parser", "vision", "fusion"))
    depth = DECODER["num_hidden_layers"]
    assert (layers["language"]["ATTENTION_INPUT"], layers["language"]["KV_CACHE_UPDATE"]) == (depth, 2 * depth)


def test_presets_are_whole_configs():
    for name in PRESETS:
        config = preset(name)
        assert type(config).from_json(config.to_json()) == config
        cells = config.segmentation.size // config.segmentation.cell
        assert config.parser.size % cells == 0 and cells % config.segmentation.patch == 0
        assert "{question}" in config.prompt.question and "{visual}" in config.prompt.prefix
    with pytest.raises(InputError, match="nano, nano2, edge, paper"):
        preset("huge")


def test_a_backbone_that_cannot_be_had_is_one_line(tmp_path):
    missing = dataclasses.replace(EDGE.vision, name=str(tmp_path / "nowhere"))
    with pytest.raises(
        InputError, match=r"backbone .*nowhere cannot be loaded \(.*\); give a model directory"
    ) as caught:
        FaceInsightModel(dataclasses.replace(preset("nano"), vision=missing))
    assert "\n" not in str(caught.value)


def test_a_backbone_without_a_tokenizer_is_refused(tmp_path):
    from faceinsight.models.data.tokenizer import backbone_tokenizer

    with pytest.raises(InputError, match=r"needs a tokenizer\.json"):
        backbone_tokenizer(str(tmp_path), EDGE.prompt)
