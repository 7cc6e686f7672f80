"""The real sizes go through the real code; here smaller ones do."""

from __future__ import annotations

import dataclasses
import json

import pytest

pytest.importorskip("tensorrt_rtx", reason="needs TensorRT-RTX, which compiles without a GPU")

from faceinsight.benchmarks import real_sizes
from faceinsight.build_engines.tensorrt import CompileOptions
from faceinsight.commands.app import main
from faceinsight.models.config import BackboneConfig
from faceinsight.runtime.targets import TENSORRT_RTX

pytestmark = pytest.mark.slow


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
    monkeypatch.setattr(real_sizes, "compile_apart", real_sizes.compile_size)  # another process has the real sizes


def test_every_precision_is_compiled_and_reported(small, capsys):
    assert main(["real-sizes", "--sm", "89", "--size", "vision", "--size", "language"]) == 0
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


def test_the_command_shows_a_size_that_fails_beside_the_others(monkeypatch, capsys):
    def measure(name, precision, engines):
        if precision == "fp16":
            return {"error": "out of memory"}
        return {"export_s": 1.0, "build_s": 2.0, "export_peak_mb": 3.0, "peak_mb": 4.0, "plan_mb": 5.0, "layers": {}}

    monkeypatch.setattr(real_sizes, "compile_apart", measure)
    assert main(["real-sizes", "--size", "Qwen2.5-0.5B"]) == 0
    done, failed = json.loads(capsys.readouterr().out.splitlines()[-1])["sizes"]
    assert done["build_s"] == 2.0 and failed["error"] == "out of memory"


def test_a_process_of_its_own_gives_its_error_back():
    """Such as a size that nobody has heard of."""
    found = real_sizes.compile_apart("GPT-7", "int8", CompileOptions(TENSORRT_RTX, cache=False))
    assert "GPT-7" in found["error"] and "\n" not in found["error"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sm", "12"], "12"),
        (["--target", "cpu"], "use tensorrt or tensorrt-rtx"),
        (["--size", "GPT-7"], "use SegFormer-B0"),
    ],
)
def test_a_wrong_option_is_one_line(options, message, capsys):
    assert main(["real-sizes", "--precision", "int8", *options]) == 2
    written = capsys.readouterr().err
    assert written.count("\n") == 1 and message in written
