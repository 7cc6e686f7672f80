"""The training loop resumes to the same weights, shares its work alike, and stops on what is not finite."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from faceinsight.models.training.trainer import Average, DivergedError, Schedule, fit
from faceinsight.runtime.errors import InputError

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


@pytest.mark.slow
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


def test_log_is_json_lines(tmp_path):
    toy(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "toy.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == SCHEDULE.steps
