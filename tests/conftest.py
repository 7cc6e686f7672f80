"""Fixtures that several files share: the bundled model and a real photograph; a build's cache of its own."""

from __future__ import annotations

import copy
import csv
import hashlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from faceinsight import FaceInsight
from faceinsight.build_engines import export
from faceinsight.build_engines.build import build_bundle
from faceinsight.build_engines.half import for_tensorrt
from faceinsight.build_engines.interface import interface
from faceinsight.build_engines.language import language_graph
from faceinsight.build_engines.quantize import quantize_w8a8
from faceinsight.calibration.scales import read_scales
from faceinsight.commands.app import main
from faceinsight.models.checkpoint import model_directory
from faceinsight.models.data.synthetic import generate
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.runtime import cuda, manifest
from faceinsight.runtime.backend import open_backend
from faceinsight.runtime.bundle import NANO, read_bundle, write_bundle

from . import simulated_gpu

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


@pytest.fixture(scope="session")
def gpu_bundle(tmp_path_factory):
    """nano as if for TensorRT-RTX; its plans are the graphs that would be compiled."""
    model = FaceInsightModel.from_pretrained(model_directory(None))
    ranges, _ = read_scales(model_directory(None) / "scales.json")
    exported = export.export_stages(model)
    graphs = {s: for_tensorrt(quantize_w8a8(graph, ranges[s], "tensorrt")) for s, graph in exported.items()}
    graphs["language"] = language_graph(model.language, model.config.context, "int8", half=True)
    nano = read_bundle(NANO)
    files, stages = {nano.manifest.tokenizer.file: nano.files["tokenizer"]}, {}
    for stage, graph in graphs.items():
        content = graph.SerializeToString()
        inputs, outputs = interface(graph)
        name, digest = f"{stage}.plan", hashlib.sha256(content).hexdigest()
        files[name] = content
        entry = nano.manifest.stages[stage]
        stages[stage] = replace(entry, file=name, sha256=digest, inputs=inputs, outputs=outputs)
    written = replace(
        nano.manifest,
        target="tensorrt-rtx",
        engine=manifest.Engine("tensorrt-rtx", "1.7.1"),
        device=manifest.Device(None, (89,), max_faces=2),
        stages=stages,
    )
    out = tmp_path_factory.mktemp("gpu") / "bundle"
    write_bundle(out, written, files)
    return out


@pytest.fixture
def load_on_gpu(gpu_bundle, monkeypatch):
    """Loads the bundle (or another) on a new simulated GPU.

    `load_on_gpu.device`, `load_on_gpu.library` and `load_on_gpu.backend` are those of the latest call.
    """

    def loaded(seed: int = 0, bundle=gpu_bundle, version: str = "1.7.1", rtx: bool = True):
        load_on_gpu.device = simulated_gpu.Device(seed=seed)
        load_on_gpu.library = simulated_gpu.TensorRT(version, load_on_gpu.device, rtx)
        monkeypatch.setattr(cuda, "Device", lambda ordinal: load_on_gpu.device)
        for module in ("tensorrt", "tensorrt_rtx"):
            monkeypatch.setitem(sys.modules, module, load_on_gpu.library)
        opened = read_bundle(bundle)
        load_on_gpu.backend = open_backend(opened, "cuda:0", None)
        return FaceInsight(opened, load_on_gpu.backend)

    load_on_gpu = loaded
    return loaded
