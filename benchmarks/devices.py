"""What devices can do at most, and what others have measured on them: all numbers of the roofline that are not ours."""

from __future__ import annotations

from dataclasses import dataclass

from .limits import Device, Work
from .shapes import LLAMA31_8, QWEN3_06, QWEN3_17, QWEN25_05, QWEN25_15, QWEN35_08, Decoder, Encoder

_ORIN = "data sheet; rates from the clock: a tensor core does 512 INT8 multiply-adds a cycle, half of them in float16"
_DATACENTER = "NVIDIA's data sheet, SXM, dense"
DEVICES = {
    device.name: device
    for device in (
        Device("Orin Nano 8GB", 102, 16.7, 33.4, f"Super mode, 1020 MHz, 32 tensor cores; {_ORIN}"),
        Device("Orin Nano 8GB, 15 W", 68, 10.2, 20.5, f"not in Super mode, 625 MHz; {_ORIN}"),
        Device("Orin NX 16GB", 102.4, 19.2, 38.4, f"Super mode, 1173 MHz, 32 tensor cores, without its DLA; {_ORIN}"),
        Device("AGX Orin 64GB", 204.8, 42.6, 85.2, f"1300 MHz, 64 tensor cores, without its DLA; {_ORIN}"),
        Device("AGX Thor", 273, 259, 518, "data sheet: 2070 TFLOPS in sparse FP4, 8 and 4 times those of the others"),
        Device("A100 80GB", 2039, 312, 624, _DATACENTER, discrete=True),
        Device("H100", 3350, 989, 1979, _DATACENTER, discrete=True),
        Device("H200", 4800, 989, 1979, _DATACENTER, discrete=True),
    )
}

INT4 = 4.25 / 8
"""Bytes a weight: 4 bits and a float16 step for every 64 (AWQ, 128: 4.125; NVFP4, 16 with one of 8 bits: 4.5)."""


@dataclass(frozen=True)
class Point:
    """Someone's measurement. fits: which of the achievable shares is fitted on it ("memory", "compute" or "discrete"),
    so that it is no test of them."""

    name: str
    device: str
    work: Work
    ms: float
    source: str
    fits: str | None = None


_EDGE_LLM = "TensorRT Edge-LLM 0.10, performance page, batch 1, INT4 AWQ (Thor NVFP4), ViT in float16, ~296 tokens"
# Orin Nano is not in Super mode there, as far as can be told: all its eight figures are those of Orin NX by 0.61 to
# 0.62 (decoding) and 1.78 to 1.83 (the others); 68 GB/s and 625 MHz would be 0.66 and 1.88, 102 GB/s and 1020 MHz 1.0
# and 1.15
_JETSONS = {
    "AGX Thor": ((3.8, 13.2, 236), (11.4, 12.7, 152), 320),
    "AGX Orin 64GB": ((12.2, 83.5, 158), (36.2, 45.7, 99), 200),
    "Orin NX 16GB": ((25.1, 121, 95), (77, 94, 59), 125),
    "Orin Nano 8GB, 15 W": ((45.4, 216, 59), (141, 167, 36), 77),
}
"""Device -> Qwen3.5-0.8B and Qwen3-VL-2B (ViT ms, prefill ms, tokens/s), and Qwen3-0.6B's tokens/s."""
_TOKENS = 296
_CACHED = 512
"""Tokens in the cache while decoding; the pages do not say how many, and a thousand more would change little."""
# both encoders merge 2 x 2 patches into a token; the small one's size follows from the model's 0.87 B parameters
_VIT_08, _VIT_2 = Encoder(12, 768, 3072, 4 * _TOKENS), Encoder(24, 1024, 4096, 4 * _TOKENS)


def _jetson_points() -> list[Point]:
    points = []
    for device, (small, large, text) in _JETSONS.items():
        step = Decoder.of(QWEN3_06).run(1, _CACHED, INT4)
        # a device whose mode is not known cannot say what share of it is reached
        fits = None if device == "Orin Nano 8GB, 15 W" else "memory"
        points.append(Point("Qwen3-0.6B token", device, step, 1e3 / text, _EDGE_LLM, fits))
        for name, (vit, prefill, speed), encoder, decoder in (
            ("Qwen3.5-0.8B", small, _VIT_08, QWEN35_08),
            ("Qwen3-VL-2B", large, _VIT_2, Decoder.of(QWEN3_17)),
        ):
            fits = "compute" if device == "AGX Orin 64GB" and name == "Qwen3-VL-2B" else None
            points += [
                Point(f"{name} ViT", device, encoder.run(False), vit, _EDGE_LLM, fits),
                Point(f"{name} prefill", device, decoder.run(_TOKENS, _TOKENS, INT4), prefill, _EDGE_LLM, fits),
                Point(f"{name} token", device, decoder.run(1, _CACHED, INT4), 1e3 / speed, _EDGE_LLM),
            ]
    return points


_VLLM = "Qwen's speed benchmark: vLLM 0.6.3, BF16, batch 1"
_TRT_LLM = "TensorRT-LLM's performance page, batch 1"
_FASTER = "NVIDIA FasterTransformer, ViT guide"
_VIT_B, _VIT_L = Encoder(12, 768, 3072, 197), Encoder(24, 1024, 4096, 197)


def _token(decoder: Decoder, weight_bytes: float, head_bytes: float = 2) -> Work:
    return decoder.run(1, _CACHED, weight_bytes, head_bytes)


POINTS = (
    *_jetson_points(),
    Point("Qwen2.5-0.5B token", "A100 80GB", _token(Decoder.of(QWEN25_05), 2), 1e3 / 312, _VLLM, "discrete"),
    Point("Qwen2.5-1.5B token", "A100 80GB", _token(Decoder.of(QWEN25_15), 2), 1e3 / 183, _VLLM),
    Point("Llama-3.1-8B token, BF16", "H200", _token(Decoder.of(LLAMA31_8), 2), 1e3 / 174, _TRT_LLM, "discrete"),
    Point("Llama-3.1-8B token, FP8", "H200", _token(Decoder.of(LLAMA31_8), 1), 1e3 / 245, _TRT_LLM),
    Point("Llama-3.1-8B token, INT4", "H200", _token(Decoder.of(LLAMA31_8), INT4), 1e3 / 232, _TRT_LLM),
    Point("ViT-B/16-224, FP16", "A100 80GB", _VIT_B.run(False), 1.53, _FASTER),
    Point("ViT-B/16-224, INT8", "A100 80GB", _VIT_B.run(True), 1.52, _FASTER),
    Point("ViT-L/16-224, FP16", "A100 80GB", _VIT_L.run(False), 2.97, _FASTER, "discrete"),
    Point("ViT-L/16-224, INT8", "A100 80GB", _VIT_L.run(True), 2.91, _FASTER),
    Point("ViT-L/16-224, FP16, batch 8", "A100 80GB", _VIT_L.run(False, 8), 8.09, _FASTER),
    Point("ViT-L/16-224, INT8, batch 8", "A100 80GB", _VIT_L.run(True, 8), 5.44, _FASTER),
)
