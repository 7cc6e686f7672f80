"""The roofline counts what the modules compute, fits on what it says and predicts by one formula."""

from __future__ import annotations

import dataclasses
import json

import onnx
import pytest
import torch

from faceinsight.benchmarks import roofline
from faceinsight.benchmarks.devices import DEVICES, POINTS
from faceinsight.benchmarks.limits import Device, Shares, Work, of_bundle, of_graph, of_this_machine, time_ms
from faceinsight.benchmarks.shapes import QWEN3_06, QWEN25_05, QWEN35_08, SIGLIP_B, Decoder, Encoder, counted
from faceinsight.build_engines.language import language_graph
from faceinsight.build_engines.work import work
from faceinsight.commands.app import main
from faceinsight.models.language_model import LanguageModel
from faceinsight.models.vision import VisionEncoder
from faceinsight.runtime.bundle import NANO, read_bundle

DEVICE = Device("a", gb_s=100, half=10, integer=20, source="made up")


def test_the_slower_of_memory_and_arithmetic_counts():
    assert time_ms(Work(half=10**10, integer=0, bytes=1, kernels=0), DEVICE) == pytest.approx(1)
    assert time_ms(Work(half=0, integer=10**10, bytes=1, kernels=0), DEVICE) == pytest.approx(0.5)
    assert time_ms(Work(half=10**10, integer=0, bytes=2 * 10**8, kernels=0), DEVICE) == pytest.approx(2)
    shares = Shares(bandwidth=0.5, compute=0.25, launch_us=3, discrete_launch_us=7)
    assert time_ms(Work(half=10**10, integer=0, bytes=2 * 10**8, kernels=1000), DEVICE, shares) == pytest.approx(4 + 3)
    card = dataclasses.replace(DEVICE, discrete=True)
    assert time_ms(Work(half=10**9, integer=0, bytes=10**8, kernels=1000), card, shares) == pytest.approx(2 + 7)


@pytest.mark.parametrize("backbone", [QWEN25_05, QWEN3_06])
def test_a_decoder_counts_what_its_graph_does(backbone):
    """Two layers of the real width; weights, norms and biases beside the matrices are less than a hundredth."""
    small = dataclasses.replace(backbone, config=backbone.config | {"num_hidden_layers": 2, "vocab_size": 2000})
    model, decoder = LanguageModel(small, weights=False), Decoder.of(small)
    assert decoder.weights == sum(
        p.numel() for name, p in model.named_parameters() if "layers." in name and p.dim() == 2
    )
    graph = language_graph(model, 32, half=True)
    step = decoder.run(1, 32, 2)
    found = work(graph, {"batch": 1, "tokens": 1, "visual": 1})
    assert step.half == found["operations"]
    assert step.kernels == sum(node.op_type in ("MatMul", "Attention") for node in graph.graph.node)
    moved = sum(found[name] for name in ("weight_bytes", "activation_bytes", "cache_bytes"))
    assert step.bytes == pytest.approx(moved, rel=0.01)


def test_published_sizes_have_the_parameters_in_their_names():
    """In the layers, and with the table: 0.36 B and 0.49 B of Qwen2.5-0.5B, 0.44 B and 0.6 B of Qwen3-0.6B (their
    model cards), and 0.75 B of the text part of Qwen3.5-0.8B."""
    for decoder, layers, whole in (
        (Decoder.of(QWEN25_05), 0.36e9, 0.49e9), (Decoder.of(QWEN3_06), 0.44e9, 0.6e9), (QWEN35_08, 0.5e9, 0.75e9),
    ):  # fmt: skip
        assert decoder.weights == pytest.approx(layers, rel=0.02)
        assert decoder.weights + decoder.hidden * decoder.vocab == pytest.approx(whole, rel=0.02)


def test_an_encoder_counts_what_the_module_does():
    """Whole SigLIP, without data: its own module, and the formula."""
    with torch.device("meta"):
        found = counted(VisionEncoder(SIGLIP_B, weights=False), torch.zeros(1, 384, 384, 3, dtype=torch.uint8))
    formula = Encoder(12, 768, 3072, 576).run(int8=True)
    assert found.half + found.integer == formula.half + formula.integer
    assert formula.bytes == pytest.approx(found.bytes, rel=0.35)  # the formula's results are read again
    assert Encoder(12, 768, 3072, 576).run(int8=False).integer == 0


def test_shares_are_fitted_on_the_points_that_say_so():
    wanted = Shares(bandwidth=0.62, compute=0.37, launch_us=4.25, discrete_launch_us=9.5)
    made = [
        dataclasses.replace(point, ms=time_ms(point.work, DEVICES[point.device], wanted) * (1 if point.fits else 3))
        for point in POINTS
    ]
    found = roofline.fit(made)
    for name, value in dataclasses.asdict(wanted).items():
        assert getattr(found, name) == pytest.approx(value, abs=0.011), name


def test_every_point_is_of_a_known_device_and_has_a_source():
    assert all(point.device in DEVICES and point.source and point.ms > 0 for point in POINTS)
    assert {point.fits for point in POINTS} == {None, "memory", "compute", "discrete"}
    assert all(device.source for device in DEVICES.values())


def test_the_report(capsys):
    assert main(["roofline", "--shape", "nano", "--shape", "edge-int4"]) == 0
    printed = capsys.readouterr().out
    found = json.loads(printed.splitlines()[-1])
    for words in ("Qwen3-VL-2B ViT", "This CPU", "Predicted: edge-int4", "limit ms", "within 25 %"):
        assert words in printed
    assert set(found["predictions"]) == {"nano", "edge-int4"}
    for devices in found["predictions"].values():
        assert list(devices) == list(roofline.SHOWN)
        for figures in devices.values():
            assert figures["ttft_ms"] > figures["perceive_ms"] > figures["vision_ms"] > 0
            assert figures["tokens_per_s"] == pytest.approx(1e3 / figures["token_ms"])
    assert set(found["cpu"]) == {"detector", "refiner", "parser", "vision", "fusion", "prefill", "question", "token"}
    assert all(entry["measured_ms"] > 0 and entry["limit_ms"] > 0 for entry in found["cpu"].values())
    assert found["tested"]["points"] == sum(point.fits is None for point in POINTS)


def test_every_bundle_tells_its_limits():
    bundle = read_bundle(NANO)
    assert set(of_this_machine(bundle, 100, 10, 2)) == {
        "detect_ms", "refiner_ms", "parser_ms", "vision_ms", "fusion_ms", "token_ms", "perceive_ms",
        "first_question_ms", "second_question_ms",
    }  # fmt: skip
    works = of_bundle(bundle, 100, 10)
    graph = onnx.load_model_from_string(bundle.files["language"])
    for name, tokens in (("prefill", 100), ("question", 10), ("token", 1)):
        assert works[name] == of_graph(graph, {"batch": 1, "tokens": tokens, "visual": 50}), name
