"""A model of one's own, on the command line: trained, calibrated, built and asked."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from faceinsight.models.data.synthetic import generate
from faceinsight.models.training.recipe import STAGES
from faceinsight.runtime.manifest import STAGES as BUNDLE_STAGES

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_train_on_a_folder_of_ones_own(command, folder, write_faces):
    """Two steps of every stage on images, parse maps and labels.csv, validated on the other split."""
    data = folder / "faces-with-labels"
    write_faces(data, {seed: "val" if seed > 11 else "train" for seed in range(16)})
    (data / "images" / "0.png").write_bytes(b"junk")
    stages = {
        "language": "", "refiner": "jitter = 2", "vision": "glasses = 0.5\nparse = 0.5", "parser": "synthetic = 0.5",
        "alignment": "faces = 50", "instruct": "faces = 50",
    }  # fmt: skip
    recipe = "\n".join(f"[stage.{name}]\nsteps = 2\nbatch = 4\nwarmup = 1\n{own}" for name, own in stages.items())
    (folder / "small.toml").write_text(recipe)
    done = command.run("train", "--recipe", "small.toml", "--data", str(data), "--out", "own")
    assert done.status == 0, done.stderr
    assert "skipped 0.png" in done.stderr
    last = json.loads((folder / "own" / "alignment.jsonl").read_text().splitlines()[-1])
    assert 0 <= last["balanced"] <= 1 and last["step"] == 2


def test_train_build_and_ask_a_model_of_ones_own(command, folder):
    """The whole path from no images at all to an answer, on a recipe of a few steps."""
    recipe = "\n".join(
        f"[stage.{stage}]\nsteps = 2\nbatch = 8\nwarmup = 1\n"
        + ("faces = 50\n" if stage in ("alignment", "instruct") else "")
        for stage in STAGES
    )
    (folder / "tiny.toml").write_text(recipe)
    train = ("train", "--recipe", "tiny.toml", "--data", "synthetic", "--out", "run")
    assert "model: run/model" in command.succeeds(*train)
    weights = (folder / "run" / "model" / "model.safetensors").read_bytes()
    assert "model: run/model" in command.succeeds(*train)
    assert (folder / "run" / "model" / "model.safetensors").read_bytes() == weights
    command.fails("begun with another data", *train[:4], "data", *train[5:])
    faces = folder / "faces"
    faces.mkdir()
    for seed in range(24):
        Image.fromarray(generate(seed).image).save(faces / f"{seed}.png")
    command.fails("--calibration", "build", "--model", "run/model", "--out", "mine")
    assert not (folder / "mine").exists()
    out = command.succeeds("build", "--model", "run/model", "--calibration", "faces", "--out", "mine", "--json")
    assert set(json.loads(out)["stages"]) == set(BUNDLE_STAGES)
    # two steps taught it nothing, but the chain holds
    box = ("--box", "80,78,144,164")
    command.succeeds("ask", "faces/0.png", "Is he bald?", "--bundle", "mine", *box)
    scales = ("calibrate", "--model", "run/model", "--images", "faces", "--out", "scales.json")
    assert "ranges from" in command.succeeds(*scales)
    command.succeeds("build", "--model", "run/model", "--calibration", "scales.json", "--out", "mine")
