"""Training resumes to the same weights, stops on a loss that is not finite, and packs exchanges as the runtime asks."""

import json
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from faceinsight.models.config import FaceInsightConfig
from faceinsight.models.data.augment import cutout, nominal_matrix, placement, random_matrix
from faceinsight.models.data.portraits import read_portraits
from faceinsight.models.data.synthetic import generate
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.models.training.faces import FaceBatches
from faceinsight.models.training.instruct import pack
from faceinsight.models.training.recipe import STAGES, Recipe
from faceinsight.models.training.stages import attribute_loss, label_weights
from faceinsight.models.training.trainer import DivergedError, Schedule, fit
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.image import crop_matrix
from faceinsight.runtime.labels import NAMES

SCHEDULE = Schedule(steps=12, batch=4, rate=1e-2, warmup=2, bf16=False, checkpoint_every=100)


def toy(out, stop_after=None, poison=None):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))

    def batch(step):
        draw = torch.Generator().manual_seed(step)
        return {"x": torch.randn(16, 3, generator=draw)}

    def loss(item):
        value = (net(item["x"]) - item["x"].sum(1, keepdim=True)).square().mean()
        return (value * float("nan") if poison else value), {}

    fit("toy", net, batch, loss, SCHEDULE, out, stop_after=stop_after)
    return net


def test_kill_and_resume_gives_the_same_weights(tmp_path):
    whole = toy(tmp_path / "whole")
    toy(tmp_path / "killed", stop_after=5)
    resumed = toy(tmp_path / "killed")
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_finished_stage_is_not_trained_again(tmp_path):
    first = toy(tmp_path)
    log = (tmp_path / "toy.jsonl").read_text()
    again = toy(tmp_path)
    assert (tmp_path / "toy.jsonl").read_text() == log
    assert torch.equal(first[0].weight, again[0].weight)


def test_a_loss_that_is_not_finite_stops_with_advice(tmp_path):
    with pytest.raises(DivergedError, match="lower the learning rate"):
        toy(tmp_path, poison=True)


def test_face_batches_depend_on_the_step_only():
    batches = FaceBatches(None, 4, 64, seed=3)
    a, b, c = batches(5), batches(5), batches(6)
    assert torch.equal(a["pixels"], b["pixels"]) and torch.equal(a["parse_map"], b["parse_map"])
    assert not torch.equal(a["pixels"], c["pixels"])
    assert a["pixels"].shape == (4, 64, 64, 3) and a["targets"].shape == (4, len(NAMES))


@given(st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_a_placement_finds_the_nominal_crop(seed):
    """What the refiner is taught is what the runtime does with it: the refined box is that of the nominal crop."""
    size, rng = 64, np.random.default_rng(seed)
    matrix, _ = random_matrix((224, 224), size, rng, 1.5)
    box = (75.0, 77.47, 149.0, 163.79)  # that of the nominal crop
    np.testing.assert_allclose(crop_matrix(box, size), nominal_matrix((224, 224), size), atol=0.05)
    right, down, scale = placement(matrix, (224, 224), size)
    centre = matrix @ [112, 112, 1]
    assert centre == pytest.approx([size * (0.5 + right), size * (0.5 + down)], abs=1e-3)
    assert np.exp(scale) * size == pytest.approx(164 * np.sqrt(abs(np.linalg.det(matrix[:, :2]))), rel=1e-4)


@torch.no_grad()
def test_a_face_and_its_mirror_image_have_the_same_features():
    encoder = FaceInsightModel(FaceInsightConfig()).vision.eval()
    pixels = torch.randint(0, 255, (2, 128, 128, 3), dtype=torch.uint8)
    features, mirrored = encoder(pixels), encoder(pixels.flip(2))
    torch.testing.assert_close(features.unflatten(1, (4, 4)).flip(2), mirrored.unflatten(1, (4, 4)))
    encoder.mirrored = False
    assert not torch.allclose(encoder(pixels), features, atol=1e-3)


def test_unknown_labels_carry_no_loss():
    targets = torch.tensor([[1.0, float("nan")], [0.0, float("nan")]])
    weights = (torch.ones(2), torch.ones(2))
    logits = torch.zeros(2, 2, requires_grad=True)
    attribute_loss(logits, targets, weights).backward()
    assert logits.grad[:, 1].abs().max() == 0 and logits.grad[:, 0].abs().min() > 0


def test_label_weights_balance_the_two_values():
    targets = np.array([[1.0], [0.0], [0.0], [0.0], [np.nan]])
    positive, negative = label_weights(targets)
    assert positive[0] * 1 == pytest.approx(float(negative[0]) * 3)


def test_packed_exchanges_see_their_prefix_and_themselves_only():
    sequences = [([10, 11], [([20, 21], [30, 1]), ([22], [31, 32, 1])])]
    packed = pack(sequences)
    assert packed["ids"][0].tolist() == [10, 11, 20, 21, 30, 22, 31, 32]
    assert packed["positions"][0].tolist() == [0, 1, 2, 3, 4, 2, 3, 4]
    assert packed["targets"][0].tolist() == [-100, -100, -100, 30, 1, 31, 32, 1]
    seen = packed["mask"][0, 0]
    assert seen[7].tolist() == [True, True, False, False, False, True, True, True]
    assert seen[4].tolist() == [True, True, True, True, True, False, False, False]


def test_packing_equals_asking_one_at_a_time():
    """Logits of a packed exchange are those of the exchange alone after the prefix."""
    torch.manual_seed(0)
    model = FaceInsightModel(FaceInsightConfig()).eval()
    rng = random.Random(0)
    prefix = [rng.randrange(5, 1000) for _ in range(7)]
    pairs = [([9, 8, 7], [50, 51, 1]), ([6, 5], [52, 1])]
    packed = pack([(prefix, pairs)])
    visual = torch.zeros(1, 1, model.language.width)
    bias = torch.zeros(packed["mask"].shape).masked_fill(~packed["mask"], -1e9)
    with torch.no_grad():
        together = model.language(
            packed["ids"], visual, attention_mask=bias, position_ids=packed["positions"], use_cache=False
        )[0]
        alone = model.language(torch.tensor([[*prefix, 6, 5, 52]]), visual, use_cache=False)[0]
    assert torch.allclose(together[-2:], alone[-2:], atol=1e-4)


def test_model_directory_round_trip(tmp_path):
    torch.manual_seed(1)
    model = FaceInsightModel(FaceInsightConfig()).eval()
    model.tokenizer_json = "{}"
    model.save_pretrained(tmp_path)
    loaded = FaceInsightModel.from_pretrained(tmp_path)
    pixels = torch.from_numpy(generate(1).image[None, :160, :160].copy())
    for a, b in zip(model.perceive(pixels, pixels), loaded.perceive(pixels, pixels), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("damage", ["config", "weights", "missing"])
def test_damaged_model_directory_is_refused(tmp_path, damage):
    model = FaceInsightModel(FaceInsightConfig())
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


def test_portraits_reader_skips_and_reports(tmp_path):
    import cv2

    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.zeros((224, 224, 3), np.uint8))
    (tmp_path / "images" / "b.png").write_bytes(b"not an image")
    (tmp_path / "labels.csv").write_text(
        "file,split,Gender,Age,Eyeglasses,Hair_Color\na.png,train,male,65+,1,\nb.png,train,female,0-34,0,red\n"
    )
    found = read_portraits(tmp_path, "train")
    assert found.files == ["a.png"] and list(found.skipped) == ["b.png"]
    row = dict(zip(NAMES, found.targets[0], strict=True))
    assert row["Male"] == 1 and row["Age_65_Plus"] == 1 and row["Eyeglasses"] == 1
    assert np.isnan(row["Red_Hair"]) and np.isnan(row["Smiling"])
    assert (found.masks[0] == 255).all()
    with pytest.raises(InputError, match="split 'val'"):
        read_portraits(tmp_path, "val")


@pytest.mark.parametrize("mask", [np.zeros((100, 100), np.uint8), np.zeros((224, 224, 3), np.uint8)])
def test_a_mask_that_does_not_fit_is_reported(tmp_path, mask):
    import cv2

    for name, content in (("images", np.zeros((224, 224, 3), np.uint8)), ("masks", mask)):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "a.png"), content)
    (tmp_path / "labels.csv").write_text("file,split\na.png,train\n")
    with pytest.raises(InputError, match="skipped: 1"):
        read_portraits(tmp_path, "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[stage.visoin]\nsteps = 2\n", "visoin"),
        ("[stage.vision]\nsteps = 2\nbacth = 4\n", "bacth"),
        ("[stage.vision]\nsteps = '3'\n", "steps must be of type int"),
        ("[stage.vision]\nsteps = 2\nvalidate_every = 0\n", "validate_every is 0"),
        ("[stage.vision]\nsteps = 2\nfaces = 4\n", "faces"),
        ("[stage.vision]\nsteps = 2\nsynthetic = 'half'\n", "synthetic is a share"),
        ("seed = 1\n", "stage"),
    ],
)
def test_a_typo_in_a_recipe_is_found_before_anything_is_trained(tmp_path, text, message):
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        Recipe.load(tmp_path / "bad.toml")


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    toy(tmp_path)
    with pytest.raises(InputError, match="another model"):
        fit("toy", nn.Linear(2, 2), None, None, SCHEDULE, tmp_path)
    (tmp_path / "toy.last.pt").write_bytes(b"junk")
    with pytest.raises(InputError, match="damaged"):
        toy(tmp_path)


def test_a_gradient_that_is_not_finite_is_never_saved(tmp_path):
    """The loss itself is finite: sqrt at 0."""
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)

    def loss(item):
        return net(item["x"]).abs().sqrt().mean(), {}

    with pytest.raises(DivergedError, match="no checkpoint yet"):
        fit("toy", net, lambda step: {"x": torch.ones(1, 1)}, loss, SCHEDULE, tmp_path)


def test_a_label_that_is_never_known_costs_nothing():
    targets = np.array([[1.0, np.nan], [0.0, np.nan]], np.float32)
    loss = attribute_loss(torch.zeros(2, 2), torch.from_numpy(targets), label_weights(targets))
    assert torch.isfinite(loss)
    assert attribute_loss(torch.zeros(2, 2), torch.full((2, 2), float("nan")), label_weights(targets)) == 0


def test_both_crops_of_a_face_are_covered_in_the_same_place():
    grey = np.full((224, 224, 3), 200, np.uint8)
    grey[::2] = 60
    for seed in range(20):
        small, large = (
            cutout(np.ascontiguousarray(grey[:size, :size]), np.random.default_rng(seed)) for size in (96, 192)
        )
        # covered pixels are the mean of the two stripes
        places = [np.argwhere((crop > 100) & (crop < 160)) / len(crop) for crop in (small, large)]
        assert (len(places[0]) == 0) == (len(places[1]) == 0)
        if len(places[0]):
            assert np.abs(places[0].min(0) - places[1].min(0)).max() < 0.05


def test_recipes_name_what_is_wrong(tmp_path):
    assert set(Recipe.load("nano").stages) == set(STAGES)
    with pytest.raises(InputError, match="no such recipe"):
        Recipe.load("nonesuch")
    (tmp_path / "bad.toml").write_text("[stage.parser]\nbatch = 3\n")
    with pytest.raises(InputError, match="not a usable recipe"):
        Recipe.load(tmp_path / "bad.toml")


def test_log_is_json_lines(tmp_path):
    toy(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "toy.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == SCHEDULE.steps
