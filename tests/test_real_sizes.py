"""The real sizes go through the real code; here smaller ones do."""

from __future__ import annotations

import dataclasses
import json

import pytest

pytest.importorskip("tensorrt_rtx", reason="needs TensorRT-RTX, which compiles without a GPU")

from faceinsight.benchmarks import real_sizes
from faceinsight.models.config import BackboneConfig


@pytest.fixture
def small(monkeypatch):
    def layers(size: tuple[str, BackboneConfig], **changes) -> tuple[str, BackboneConfig]:
        stage, config = size
        return stage, dataclasses.replace(config, config=config.config | changes, size=changes.get("image_size", 0))

    sizes = {
        "vision": layers(real_sizes.SIZES["SigLIP-B/16-384"], num_hidden_layers=2, image_size=64),
        "language": layers(real_sizes.SIZES["Qwen2.5-0.5B"], num_hidden_layers=2, vocab_size=500),
    }
    monkeypatch.setattr(real_sizes, "SIZES", sizes)


def test_every_precision_is_compiled_and_reported(small, capsys):
    real_sizes.main(["--here", "--sm", "89", "--only", "vision", "language"])
    printed = capsys.readouterr().out
    found = json.loads(printed.splitlines()[-1])
    assert [(entry["size"], entry["precision"]) for entry in found["sizes"]] == [
        ("vision", "int8"), ("vision", "fp16"), ("language", "int8"), ("language", "fp16"),
    ]  # fmt: skip
    for entry in found["sizes"]:
        assert entry["export_s"] > 0 and entry["build_s"] > 0 and entry["plan_mb"] > 0
        assert entry["peak_mb"] >= entry["export_peak_mb"] > 0
    for entry in found["sizes"][2:]:
        assert entry["layers"] == {"ATTENTION_INPUT": 2, "ATTENTION_OUTPUT": 2, "KV_CACHE_UPDATE": 4}
    assert set(found["versions"]) == {"torch", "onnx", "tensorrt-rtx"} and "plan MB" in printed


def test_one_size_that_fails_does_not_end_the_others(monkeypatch, capsys):
    def run(command, **_):
        failed = "fp16" in command
        figures = {"export_s": 1.0, "build_s": 2.0, "export_peak_mb": 3.0, "peak_mb": 4.0, "plan_mb": 5.0, "layers": {}}
        text = json.dumps({"sizes": [figures]})
        return real_sizes.subprocess.CompletedProcess(command, int(failed), text, "warning\nout of memory\n")

    monkeypatch.setattr(real_sizes.subprocess, "run", run)
    real_sizes.main(["--only", "Qwen2.5-0.5B"])
    done, failed = json.loads(capsys.readouterr().out.splitlines()[-1])["sizes"]
    assert done["build_s"] == 2.0 and failed["error"] == "out of memory"


def test_an_unknown_capability_is_one_line(capsys):
    with pytest.raises(SystemExit):
        real_sizes.main(["--sm", "12", "--only", "Qwen2.5-0.5B"])
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "12" in message
