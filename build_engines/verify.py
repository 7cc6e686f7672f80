"""Every stage of a build against PyTorch: its error on real inputs and its latency here, both for the manifest."""

from __future__ import annotations

import time

import numpy as np
import onnx
import torch

from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.runtime.engine import OnnxEngine
from faceinsight.runtime.generate import CacheShape, Decoder, Sampling, Usage
from faceinsight.runtime.labels import labels_from_assignment
from faceinsight.runtime.progress import ProgressBar
from faceinsight.runtime.prompt import Prompter
from faceinsight.runtime.rules import consistent_assignment, rules_for

from .interface import interface

QUESTIONS = ("is the person wearing glasses?", "what colour is the hair?", "describe this face")


@torch.no_grad()
def verify(model: FaceInsightModel, contents: dict[str, bytes], crops: dict[str, np.ndarray]) -> dict[str, dict]:
    """contents: stage -> serialised ONNX. crops: encoder -> [n, S, S, 3] uint8.

    Returns stage -> {inputs, outputs, error {measure, value}, latency_ms {p50, p90}}. Each stage is fed with the
    reference's inputs, so its error is its own.
    """
    engines = {stage: OnnxEngine(content, 1, w8a8=stage != "language") for stage, content in contents.items()}
    pixels = {name: torch.from_numpy(items) for name, items in crops.items()}
    parse_map = model.parser(pixels["parser"])
    features = model.vision(pixels["vision"])
    tokens, probabilities = model.fusion(features, parse_map)
    placement = model.refiner(pixels["refiner"])
    feeds = {
        "refiner": {"pixels": crops["refiner"]},
        "parser": {"pixels": crops["parser"]},
        "vision": {"pixels": crops["vision"]},
        "fusion": {"features": features.numpy(), "parse_map": parse_map.numpy()},
    }
    found = {stage: engines[stage].run(feed) for stage, feed in feeds.items()}
    errors = {
        "refiner": (
            "mean difference of placements",
            float(np.abs(found["refiner"]["placement"] - placement.numpy()).mean()),
        ),
        "parser": ("share of pixels that differ", float((found["parser"]["parse_map"] != parse_map.numpy()).mean())),
        "vision": ("relative L2 of features", _relative(found["vision"]["features"], features.numpy())),
        "fusion": (
            "mean difference of probabilities",
            float(np.abs(found["fusion"]["probabilities"] - probabilities.numpy()).mean()),
        ),
        "language": (
            "share of greedy tokens that differ",
            _language_error(model, engines["language"], tokens, probabilities),
        ),
    }
    report = {}
    with ProgressBar("verify", len(contents)) as advance:
        for stage, content in contents.items():
            measure, value = errors[stage]
            if stage == "language":
                latency = _decode_latency(model, engines[stage], tokens[:1].numpy())
            else:
                one = {name: items[:1] for name, items in feeds[stage].items()}
                latency = _latency(lambda engine=engines[stage], feed=one: engine.run(feed))
            error = {"measure": measure, "value": round(value, 6)}
            report[stage] = interface(onnx.load_model_from_string(content)) | {"error": error, "latency_ms": latency}
            advance({})
    return report


def _relative(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def _decoder(model: FaceInsightModel, engine: OnnxEngine) -> tuple[Decoder, Prompter]:
    config = model.language.backbone.config
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    prompter = Prompter(model.tokenizer_json, model.config.prompt, model.language.vocab_size)
    shape = CacheShape(config.num_hidden_layers, config.num_key_value_heads, head_dim, model.config.context)
    return Decoder(engine, shape, prompter.stop_id, prompter.answer_id), prompter


def _language_error(model, engine, tokens, probabilities) -> float:
    """Teacher-forced: the share of the engine's answer tokens that PyTorch would not have chosen there."""
    decoder, prompter = _decoder(model, engine)
    wrong = total = 0
    names = model.config.attributes.names
    for row in range(min(4, len(tokens))):
        known = dict(zip(names, probabilities[row].tolist(), strict=True))
        labels = labels_from_assignment(consistent_assignment(known, rules_for(names)))
        prefix = prompter.prefix(labels, tokens.shape[1])
        cache = decoder.new_cache()
        for question in QUESTIONS:
            ids = prompter.question(question, 64)
            visual, usage = tokens[row : row + 1], Usage()
            answer = list(decoder.generate(cache, prefix, ids, visual.numpy(), Sampling(max_tokens=48), usage))
            answer = [*usage.reading, *answer]
            if not answer:
                continue
            whole = torch.tensor([[*prefix, *ids, *answer]])
            logits = model.language(whole, visual)[0, len(prefix) + len(ids) - 1 : -1]
            wrong += int((logits.argmax(-1) != torch.tensor(answer)).sum())
            total += len(answer)
    return wrong / max(1, total)


def _latency(call, rounds: int = 20) -> dict[str, float]:
    for _ in range(3):
        call()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return {"p50": round(float(np.percentile(times, 50)), 3), "p90": round(float(np.percentile(times, 90)), 3)}


def _decode_latency(model, engine, visual: np.ndarray) -> dict[str, float]:
    """One decode step after a prefix of 96 tokens."""
    decoder, _ = _decoder(model, engine)
    cache = decoder.new_cache()
    ids = {"visual_tokens": visual, "position": np.array([96], np.int64), "input_ids": np.array([[5]], np.int64)}
    return _latency(lambda: engine.run_in_place(ids, cache.buffers, ("next_token",)))
