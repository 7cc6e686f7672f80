"""Training resumes to the same weights, stops on a loss that is not finite, and packs exchanges as the runtime asks."""

import dataclasses
import itertools
import json
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from faceinsight.models.backbone import build, resolve
from faceinsight.models.config import BackboneConfig, FaceInsightConfig
from faceinsight.models.data.augment import (
    crop_pair,
    cutout,
    nominal_matrix,
    placement,
    random_matrix,
    shows_both_eyes,
    wear_glasses,
)
from faceinsight.models.data.portraits import Portraits, read_portraits, targets
from faceinsight.models.data.synthetic import generate, sample_labels
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.models.training.faces import FaceBatches
from faceinsight.models.training.instruct import ExchangeBatches, Text, pack
from faceinsight.models.training.recipe import STAGES, Recipe, train
from faceinsight.models.training.stages import (
    VisionLearner,
    attribute_loss,
    decision_odds,
    label_weights,
    natural_odds,
)
from faceinsight.models.training.trainer import Average, DivergedError, Schedule, fit
from faceinsight.runtime.bundle import NANO, read_bundle
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.image import crop_matrix
from faceinsight.runtime.labels import FLAGS, IGNORE, NAMES, PARSE_CLASSES
from faceinsight.runtime.prompt import verdict

pytestmark = pytest.mark.slow

SCHEDULE = Schedule(steps=12, batch=4, rate=1e-2, warmup=2, precision="fp32", checkpoint_every=100)


def toy_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))


def toy(out, stop_after=None, poison=None, schedule=SCHEDULE, validate=None):
    net = toy_net()

    def batch(step):
        draw = torch.Generator().manual_seed(step)
        return {"x": torch.randn(16, 3, generator=draw)}

    def loss(item):
        value = (net(item["x"]) - item["x"].sum(1, keepdim=True)).square().mean()
        return (value * float("nan") if poison else value), {}

    fit("toy", net, batch, loss, schedule, out, validate, stop_after=stop_after)
    return net


def test_training_lowers_the_loss_and_leaves_the_averaged_weights(tmp_path):
    schedule = dataclasses.replace(SCHEDULE, steps=200, rate=5e-2)
    net = toy(tmp_path, schedule=schedule)
    x = torch.randn(256, 3, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        before, after = (
            float((some(x) - x.sum(1, keepdim=True)).square().mean()) for some in (toy_net().eval(), net.eval())
        )
    assert after < 0.2 * before
    saved = torch.load(tmp_path / "toy.last.pt", weights_only=True)
    assert all(torch.equal(net.state_dict()[k], v) for k, v in saved["average"].items())
    assert not torch.equal(saved["average"]["0.weight"], saved["module"]["0.weight"])


def test_the_average_is_that_of_the_weights_passed_through():
    net = nn.Linear(1, 1, bias=False)
    average, weight = Average(net, 0.9), float(net.weight.detach())
    for step, value in enumerate((1.0, 5.0, -2.0)):
        nn.init.constant_(net.weight, value)
        average.update(net, step)
        decay = min(0.9, (step + 1) / (step + 10))
        weight = decay * weight + (1 - decay) * value
    average.copy_to(net)
    assert float(net.weight.detach()) == pytest.approx(weight)


def test_validation_sees_the_average_and_changes_nothing(tmp_path):
    schedule, seen = dataclasses.replace(SCHEDULE, validate_every=3), []
    plain = toy(tmp_path / "plain")
    watched = toy(tmp_path / "watched", schedule=schedule, validate=lambda: seen.append(1) or {"figure": 1.0})
    assert len(seen) == SCHEDULE.steps // 3
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), watched.parameters(), strict=True))


def small_run(out, stages: dict[str, str]):
    recipe = "".join(f"[stage.{name}]\nsteps = 2\nbatch = 2\nwarmup = 1\n{own}\n" for name, own in stages.items())
    out.mkdir(exist_ok=True)
    (out / "recipe.toml").write_text(recipe)
    shutil.copy(NANO / "tokenizer.json", out)
    return train(Recipe.load(out / "recipe.toml"), FaceInsightConfig(), "synthetic", out, 1)


def weights(directory) -> bytes:
    return (directory / "model.safetensors").read_bytes()


def test_a_run_that_was_killed_between_stages_gives_the_same_weights(tmp_path):
    """And the parse map's loss, whose layer is made when the stage begins, does train the encoder."""
    stages = {"refiner": "", "vision": "parse = 0.5"}
    whole = weights(small_run(tmp_path / "run", stages))
    (tmp_path / "run" / "vision.last.pt").unlink()
    assert weights(small_run(tmp_path / "run", stages)) == whole
    assert weights(small_run(tmp_path / "without", {"refiner": "", "vision": "parse = 0"})) != whole


def test_alignment_of_the_parts_leaves_the_image_side_alone(tmp_path):
    heads = {}
    for only in ("true", "false"):
        settings = f"faces = 50\nblind = 0.5\nparts = 0.25\nparts_only = {only}"
        directory = small_run(tmp_path / only, {"alignment": settings})
        heads[only] = FaceInsightModel.from_pretrained(directory).fusion.head
    torch.manual_seed(0)
    begun = FaceInsightModel(FaceInsightConfig()).fusion.head
    names = [n for n, _ in begun.named_parameters() if n.split(".")[0] in ("visual", "text")]
    assert names
    # of a group only one value holds: there the weights of rare values are undone
    flags = torch.tensor([NAMES.index(name) for name in FLAGS])
    assert torch.equal(heads["true"].bias[flags], begun.bias[flags])
    assert heads["true"].bias[NAMES.index("Red_Hair")] < begun.bias[NAMES.index("Red_Hair")]
    for name in names:
        assert torch.equal(heads["true"].get_parameter(name), begun.get_parameter(name)), name
    assert not torch.equal(heads["false"].bias, begun.bias)
    assert not torch.equal(heads["true"].segmentation.weight, 0.25 * begun.segmentation.weight)


def test_adapters_are_saved_and_merged_and_all_else_is_left_alone(tmp_path):
    merged = FaceInsightModel.from_pretrained(small_run(tmp_path, {"instruct": "faces = 50\nlora = 4"}))
    torch.manual_seed(0)
    begun = FaceInsightModel(FaceInsightConfig()).eval()
    ids = torch.arange(40)[None]

    def logits(backbone):
        with torch.no_grad():
            return backbone(input_ids=ids).logits

    adapted = PeftModel.from_pretrained(begun.language.backbone, tmp_path / "adapter")
    torch.testing.assert_close(logits(merged.language.backbone), logits(adapted), rtol=0, atol=1e-4)
    with adapted.disable_adapter():
        assert (logits(merged.language.backbone) - logits(adapted)).abs().max() > 1e-3
        embedding = merged.language.backbone.get_input_embeddings().weight
        assert torch.equal(embedding, adapted.get_input_embeddings().weight)
    projector = merged.fusion.vision_projector.down.weight
    assert not torch.equal(projector, begun.fusion.vision_projector.down.weight)
    first = weights(tmp_path / "model")
    (tmp_path / "instruct.last.pt").unlink()
    assert weights(small_run(tmp_path, {"instruct": "faces = 50\nlora = 4"})) == first


def test_a_mistyped_data_folder_leaves_the_runs_folder_free(tmp_path):
    recipe = Recipe.load("nano")
    with pytest.raises(InputError, match="no such folder"):
        train(recipe, FaceInsightConfig(), tmp_path / "nowhere", tmp_path / "run", 1)
    assert not (tmp_path / "run").exists()


def test_a_share_of_the_weights_from_before_is_kept(tmp_path):
    ends = {
        keep: FaceInsightModel.from_pretrained(small_run(tmp_path / keep, {"instruct": f"faces = 50\nkeep = {keep}"}))
        for keep in ("0.0", "0.25", "1.0")
    }
    torch.manual_seed(0)
    begun = FaceInsightModel(FaceInsightConfig()).language.state_dict()
    after, mixed, kept = (ends[keep].language.state_dict() for keep in ends)
    assert all(torch.equal(kept[name], value) for name, value in begun.items())
    moved, some = (torch.cat([(end[n] - begun[n]).flatten() for n in begun]) for end in (after, mixed))
    assert float(some @ moved / (moved @ moved)) == pytest.approx(0.75, abs=0.02)
    assert not torch.equal(after["backbone.model.norm.weight"], begun["backbone.model.norm.weight"])


def test_projectors_can_learn_alone(tmp_path):
    trained = FaceInsightModel.from_pretrained(small_run(tmp_path, {"instruct": "faces = 50\nprojectors_only = true"}))
    torch.manual_seed(0)
    begun = FaceInsightModel(FaceInsightConfig())
    for one, other in zip(trained.language.parameters(), begun.language.parameters(), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(trained.fusion.vision_projector.up.weight, begun.fusion.vision_projector.up.weight)


def test_kill_and_resume_gives_the_same_weights(tmp_path):
    whole = toy(tmp_path / "whole")
    toy(tmp_path / "killed", stop_after=5)
    resumed = toy(tmp_path / "killed")
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


SHARED = """
import os, signal, sys, torch
from pathlib import Path
from accelerate import PartialState
from torch import nn
from faceinsight.models.training.trainer import Schedule, fit

state = PartialState(cpu=True)
torch.manual_seed(state.process_index)  # each process starts with weights of its own
net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 1))
accumulate, out, dies_at = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])

def batch(number):
    return {"x": torch.randn(16, 3, generator=torch.Generator().manual_seed(number))}

losses = 0

def loss(item):
    global losses
    losses += 1
    if losses == dies_at and state.process_index == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return (net(item["x"]) - item["x"].sum(1, keepdim=True)).square().mean(), {}

schedule = Schedule(6, rate=1e-2, warmup=2, accumulate=accumulate, precision="fp32", checkpoint_every=2)
fit("toy", net, batch, loss, schedule, out)
torch.save(net.state_dict(), out / f"end.{state.process_index}.pt")
"""


def test_two_processes_give_the_weights_of_one_that_accumulates_also_after_a_kill(tmp_path):
    script = tmp_path / "shared.py"
    script.write_text(SHARED)

    def run(name, processes, accumulate, dies_at=0):
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        settings = [str(script), str(accumulate), str(tmp_path / name), str(dies_at)]
        return subprocess.run([*launch, *settings], capture_output=True, text=True, timeout=300)

    for name, processes, accumulate in (("one", 1, 2), ("two", 2, 1)):
        done = run(name, processes, accumulate)
        assert done.returncode == 0, done.stderr
    # one of two is killed in the fourth step, and both are begun again
    assert run("killed", 2, 1, dies_at=4).returncode != 0
    assert torch.load(tmp_path / "killed" / "toy.last.pt", weights_only=True)["step"] == 2
    done = run("killed", 2, 1)
    assert done.returncode == 0, done.stderr
    one = torch.load(tmp_path / "one" / "end.0.pt", weights_only=True)
    for name, process in itertools.product(("two", "killed"), (0, 1)):
        found = torch.load(tmp_path / name / f"end.{process}.pt", weights_only=True)
        for key, value in one.items():
            torch.testing.assert_close(found[key], value, rtol=0, atol=1e-6)
    lines = (tmp_path / "two" / "toy.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [6]


def test_accumulated_batches_give_the_weights_of_one_large_batch(tmp_path):
    def trained(accumulate, size):
        torch.manual_seed(0)
        net = nn.Linear(3, 1)

        def batch(number):
            rows = torch.randn(96, 3, generator=torch.Generator().manual_seed(0))
            return {"x": rows[number * size % 96 :][:size]}

        def loss(item):
            return (net(item["x"]) - item["x"].sum(1, keepdim=True)).square().mean(), {}

        schedule = dataclasses.replace(SCHEDULE, steps=4, accumulate=accumulate)
        fit("toy", net, batch, loss, schedule, tmp_path / str(accumulate))
        return net

    for one, other in zip(trained(1, 12).parameters(), trained(3, 4).parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_the_best_weights_are_kept_beside_the_last(tmp_path):
    scores = iter([0.2, 0.9, 0.4])
    schedule = dataclasses.replace(SCHEDULE, steps=9, validate_every=3)
    toy(tmp_path, schedule=schedule, validate=lambda: {"accuracy": next(scores), "other": 1.0})
    best, last = (torch.load(tmp_path / f"toy.{name}.pt", weights_only=True) for name in ("best", "last"))
    assert (best["step"], best["accuracy"], last["step"]) == (6, 0.9, 9)
    assert not torch.equal(best["average"]["0.weight"], last["average"]["0.weight"])
    # of a loss the least is the best, also after a resume
    losses = iter([0.5, 0.3, 0.4])
    for stop in (6, None):
        toy(tmp_path / "loss", stop, schedule=schedule, validate=lambda: {"val_loss": next(losses)})
    assert torch.load(tmp_path / "loss" / "toy.best.pt", weights_only=True)["step"] == 6


def test_tensorboard_shows_what_the_log_says(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    toy(tmp_path, validate=lambda: {"accuracy": 0.5})
    events = EventAccumulator(str(tmp_path / "tensorboard" / "toy"))
    events.Reload()
    record = json.loads((tmp_path / "toy.jsonl").read_text().splitlines()[-1])
    for name in ("loss", "accuracy"):
        scalar = events.Scalars(name)[-1]
        assert scalar.step == record["step"] == SCHEDULE.steps
        assert scalar.value == pytest.approx(record[name], rel=1e-6)


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


def test_a_mirrored_face_keeps_left_and_right():
    """The subject's left is at the image's right, mirrored or not."""
    rng, left, right = np.random.default_rng(0), PARSE_CLASSES.index("l_brow"), PARSE_CLASSES.index("r_brow")
    mirrored_seen = set()
    for seed in range(12):
        sample = generate(seed)
        matrix, mirrored = random_matrix(sample.image.shape[:2], 96, rng, 0.2)
        parse_map = crop_pair(sample.image, sample.parse_map, matrix, mirrored, 96)[1]
        if {left, right} <= set(parse_map.flat):  # a fringe may cover one
            assert np.argwhere(parse_map == left)[:, 1].mean() > np.argwhere(parse_map == right)[:, 1].mean()
            mirrored_seen.add(mirrored)
    assert mirrored_seen == {True, False}


def test_drawn_glasses_lie_over_the_eyes_of_a_copy():
    sample = next(s for s in map(generate, range(20)) if not s.labels["Eyeglasses"])
    image, parse_map = sample.image.copy(), sample.parse_map.copy()
    worn, worn_map = wear_glasses(image, parse_map, np.random.default_rng(0))
    assert (image == sample.image).all() and (parse_map == sample.parse_map).all()
    glasses = worn_map == PARSE_CLASSES.index("eye_g")
    assert (parse_map[glasses] == PARSE_CLASSES.index("l_eye")).any()
    assert (worn[glasses] != image[glasses]).any() and (worn[-20:] == image[-20:]).all()
    unknown = np.full_like(parse_map, IGNORE)
    assert not shows_both_eyes(unknown) and wear_glasses(image, unknown, np.random.default_rng(0)) is None


def test_exchanges_are_true_of_the_facts_before_them():
    prompter = read_bundle(NANO).prompter
    batches = ExchangeBatches(None, prompter, 4, Text())
    labels = sample_labels(np.random.default_rng(1))
    prefix, pairs = batches._sequence(labels, 0, random.Random(1))
    assert prompter.template.facts(labels) in prompter.decode(prefix)
    decided = 0
    for _, answer in pairs:
        end = answer.index(prompter.answer_id)
        said = {"Yes": True, "No": False}.get(prompter.decode(answer[end:]).strip().split(",")[0])
        assert verdict(prompter.decode(answer[:end]), labels) is said
        decided += said is not None
    assert decided


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


def test_the_rarer_value_weighs_more():
    targets = np.array([[1.0], [0.0], [0.0], [0.0]], np.float32)
    weights = label_weights(targets)
    missed = [attribute_loss(torch.tensor([[z]]), torch.tensor([[1.0 - (z > 0)]]), weights) for z in (-2.0, 2.0)]
    assert missed[0] > 2 * missed[1]


def test_unknown_labels_carry_no_loss():
    targets = torch.tensor([[1.0, float("nan")], [0.0, float("nan")]])
    weights = (torch.ones(2), torch.ones(2))
    logits = torch.zeros(2, 2, requires_grad=True)
    attribute_loss(logits, targets, weights).backward()
    assert logits.grad[:, 1].abs().max() == 0 and logits.grad[:, 0].abs().min() > 0


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
    weights = (torch.ones(len(NAMES)), torch.ones(len(NAMES)))

    def loss(tokens, parse_map):
        learner.vision.forward = lambda pixels: tokens
        batch = {"pixels": None, "parse_map": parse_map, "targets": torch.ones(1, len(NAMES))}
        return float(learner.losses(batch, weights)[1].detach())

    known = torch.from_numpy(parse_map)[None]
    assert loss(tokens, known) < 1e-3
    assert loss(tokens.unflatten(1, (side, side)).transpose(1, 2).flatten(1, 2), known) > 1
    assert loss(tokens, torch.full_like(known, IGNORE)) == 0


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
        ("[stage.vision]\nsteps = 2\nsynthetic = 'half'\n", "synthetic must be of type float"),
        ("[stage.vision]\nsteps = 2\nglasses = 7\n", "glasses is 7"),
        ("[stage.vision]\nsteps = 2\nrate = nan\n", "rate is nan"),
        ("[stage.alignment]\nsteps = 2\nfaces = 0\n", "faces is 0"),
        ("[stage.language]\nsteps = 2\nblind = 0.5\n", "blind"),
        ("seed = 'x'\n[stage.language]\nsteps = 2\n", "seed, a whole number"),
        ("sead = 3\n[stage.language]\nsteps = 2\n", "seed, a whole number"),
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


def test_hair_colours_compete_at_the_odds_of_photographs_in_colour():
    """In grey ones all dark hair is labelled black; cameras take none."""
    colour = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    grey = np.repeat(colour[..., :1], 3, axis=2)
    mask = np.full((64, 64), IGNORE, np.uint8)
    hair = [*["black"] * 30, *["brown"] * 8, *["black"] * 2]
    images = [*[grey] * 30, *[colour] * 10]
    wanted = targets([{"Hair_Color": value, "Age": "35-49", "Gender": "male"} for value in hair])
    faces = Portraits(images, [mask] * 40, wanted, [str(i) for i in range(40)], {})
    weights = label_weights(wanted)
    black, brown = NAMES.index("Black_Hair"), NAMES.index("Brown_Hair")
    over_all, decided = natural_odds(weights), decision_odds(weights, faces)
    assert over_all[black] > over_all[brown] and decided[brown] > decided[black]
    others = [i for i, name in enumerate(NAMES) if not name.endswith("_Hair")]
    assert not decided[others].any()
    # without a photograph in colour, or without any, there is nothing to count
    toned = Portraits([grey] * 40, [mask] * 40, wanted, faces.files, {})
    for none in (toned, None):
        assert torch.equal(decision_odds(weights, none)[black : brown + 1], over_all[black : brown + 1])
