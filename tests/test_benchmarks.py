"""The benchmark reports what it says it does; how fast anything is is never asserted."""

from __future__ import annotations

import json

import pytest

from faceinsight.benchmarks.latency import bench


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
    assert set(found["process"]) == {"import_s", "load_s", "peak_mb"}
    assert found["device"] and found["threads"] == 1 and found["rounds"] == 3


def test_a_person_reads_a_table(output):
    for words in ("PyTorch", "ttft_ms", "tokens/s", "peak memory"):
        assert words in output
