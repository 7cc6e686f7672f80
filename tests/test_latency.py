"""The benchmark reports what it says it does; how fast anything is is never asserted."""

from __future__ import annotations

import json

import pytest
import torch

from faceinsight.benchmarks.latency import bench
from faceinsight.benchmarks.pytorch_peer import PytorchPeer
from faceinsight.runtime.errors import InputError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def output(astronaut):
    import contextlib
    import io

    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        bench(None, None, 1, 3, True)
    return text.getvalue()


def test_last_line_is_one_document_with_units_in_its_names(output):
    found = json.loads(output.strip().splitlines()[-1])
    for side in ("runtime", "pytorch"):
        for name, figures in found[side].items():
            assert name.endswith("_ms")
            assert 0 < figures["p50"] <= figures["p90"] <= figures["p99"]
    assert {"parser_ms", "vision_ms", "fusion_ms", "ttft_ms", "token_ms"} <= set(found["pytorch"])
    assert {"detect_ms", "second_question_ms"} <= set(found["runtime"])
    assert found["ratios"]["pytorch_over_runtime_ttft_ms"] == pytest.approx(
        found["pytorch"]["ttft_ms"]["p50"] / found["runtime"]["ttft_ms"]["p50"], abs=0.01
    )
    # of what has one: cropping is not the engines'
    assert set(found["runtime"]) - set(found["limits"]) == {"crop_ms", "ttft_with_detection_ms"}
    assert all(limit > 0 for limit in found["limits"].values())
    assert set(found["process"]) == {"import_s", "load_s", "peak_mb"}
    assert found["device"] and found["threads"] == 1 and found["rounds"] == 3


def test_torch_compile_is_a_peer_of_its_own(monkeypatch, capsys):
    stages = []
    monkeypatch.setattr(torch, "compile", lambda stage: stages.append(stage) or stage)
    found = bench(None, None, 1, 3, peer=False, compiled=True)
    assert len(stages) == 6 and "pytorch" not in found
    assert found["ratios"]["compiled_over_runtime_ttft_ms"] > 0
    assert "torch.compile p50" in capsys.readouterr().out


def test_a_peer_on_a_gpu_that_is_not_there(model):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(InputError, match="sees no GPU here; leave it out: --no-pytorch"):
        PytorchPeer(None, model, 1, "cuda:0")


def test_a_person_reads_a_table(output):
    for words in ("PyTorch", "limit", "ttft_ms", "tokens/s", "peak memory"):
        assert words in output
