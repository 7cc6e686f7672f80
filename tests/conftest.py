"""Fixtures that several files share: the bundled model and a real photograph; a build's cache of its own."""

from __future__ import annotations

import copy
import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from faceinsight import FaceInsight
from faceinsight.build_engines import export
from faceinsight.build_engines.build import build_bundle
from faceinsight.commands.app import main
from faceinsight.models.data.synthetic import generate

# a shared machine may be slow at any moment, and fifty examples find what two hundred do
settings.register_profile("suite", deadline=None, max_examples=50)
settings.load_profile("suite")


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
    """Nothing that a test builds is found by, or left in, the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACEINSIGHT_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def exports_once():
    """A stage with the same weights is exported once, however many builds there are: it takes seconds each time."""
    export_stage, known = export.export_stage, {}

    def once(model, stage):
        digest = hashlib.sha256(f"{stage} {model.config.to_json()}".encode())
        for name, value in model.state_dict().items():
            digest.update(name.encode() + value.numpy().tobytes())
        if (key := digest.digest()) not in known:
            known[key] = export_stage(model, stage)
        return copy.deepcopy(known[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "export_stage", once)
        yield


@pytest.fixture(scope="session")
def cuda_bundle(tmp_path_factory):
    """nano for ONNX Runtime's CUDA provider."""
    out = tmp_path_factory.mktemp("cuda") / "bundle"
    build_bundle(None, out, "cuda")
    return out


@pytest.fixture(scope="session")
def model() -> FaceInsight:
    return FaceInsight.load()


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """A real photograph, HxWx3 uint8 RGB: a woman with brown hair who smiles, teeth visible, no glasses, no hat."""
    data = pytest.importorskip("skimage.data")
    return data.astronaut()


@pytest.fixture(scope="session")
def face(model, astronaut):
    return model.perceive(astronaut)


@pytest.fixture(scope="session")
def write_faces():
    """A function that writes a data folder of rendered faces: images/, masks/, labels.csv."""

    def write_faces(folder: Path, splits: dict[int, str]) -> None:
        """splits: {seed of a face, which is its file's name: split}."""
        for name in ("images", "masks"):
            (folder / name).mkdir(parents=True)
        samples = {seed: generate(seed) for seed in splits}
        with (folder / "labels.csv").open("w", newline="") as file:
            names = next(iter(samples.values())).labels
            table = csv.DictWriter(file, ("file", "split", *names))
            table.writeheader()
            for seed, sample in samples.items():
                Image.fromarray(sample.image).save(folder / "images" / f"{seed}.png")
                Image.fromarray(sample.parse_map).save(folder / "masks" / f"{seed}.png")
                cells = {name: int(v) if isinstance(v, bool) else v for name, v in sample.labels.items()}
                table.writerow({"file": f"{seed}.png", "split": splits[seed]} | cells)

    return write_faces


@dataclass(frozen=True)
class Done:
    """What a command line ended in."""

    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class CommandLine:
    """Runs command lines in this process."""

    capture: pytest.CaptureFixture[str]

    def run(self, *arguments: str) -> Done:
        self.capture.readouterr()
        status = main(list(arguments))
        return Done(status, *self.capture.readouterr())

    def succeeds(self, *arguments: str) -> str:
        """Returns what is printed."""
        done = self.run(*arguments)
        assert done.status == 0, done.stderr
        return done.stdout

    def fails(self, message: str, *arguments: str, status: int = 2) -> None:
        """message: part of the one line on standard error; nothing else is printed."""
        done = self.run(*arguments)
        assert done.status == status, done.stdout + done.stderr
        assert done.stderr.startswith("faceinsight: ") and done.stderr.count("\n") == 1, done.stderr
        assert message in done.stderr and done.stdout == ""


@pytest.fixture
def command(capsys) -> CommandLine:
    return CommandLine(capsys)
