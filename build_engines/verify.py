"""Compares every stage of a build with PyTorch: its error and its latency, both for the manifest."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime as ort
import torch

from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.runtime.engine import CacheEngine, Engine
from faceinsight.runtime.generate import generate
from faceinsight.runtime.kv_cache import CacheShape, KVCache
from faceinsight.runtime.manifest import Error, Latency
from faceinsight.runtime.prompt import Prompter

from .large import readable

QUESTIONS = ("is the person wearing glasses?", "what colour is the hair?", "describe this face")
ASKED_FACES = 4
"""The number of faces that the language model is asked about, and that the ranges for float16 are checked on."""
WRITTEN_TOKENS = 72
"""The most tokens of a reading and its answer that are compared."""
_DTYPES = {
    f"tensor({name})": dtype
    for name, dtype in (("float", np.float32), ("float16", np.float16), ("uint8", np.uint8), ("int32", np.int32),
                        ("int64", np.int64))
}  # fmt: skip


class UnoptimisedEngine(Engine, CacheEngine):
    """Runs a graph on the CPU as it is written, in the place of the engine that it is compiled to.

    Inputs are converted to the dtypes that the graph takes, float16 outputs to float32. ONNX Runtime's optimiser is
    off, because it makes an error of a fifth with Q/DQ in float16.
    """

    def __init__(self, graph: onnx.ModelProto):
        options = ort.SessionOptions()
        options.log_severity_level = 3  # it warns that it has no float16 kernel and casts instead
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        with readable(graph) as model:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._dtypes = {value.name: _DTYPES[value.type] for value in self._session.get_inputs()}
        self._outputs = [value.name for value in self._session.get_outputs()]

    def run(self, feeds):
        return self._run(feeds, self._outputs)

    def allocate(self, shapes):
        return {name: np.zeros(shape, self._dtypes[name]) for name, shape in shapes.items()}

    def run_in_place(self, feeds, buffers, outputs):
        written = {name.replace("past_", "present_", 1): buffer for name, buffer in buffers.items()}
        found = self._run({**feeds, **buffers}, [*outputs, *written])
        for name, buffer in written.items():
            buffer[...] = found.pop(name)
        return found

    def _run(self, feeds, outputs: list[str]) -> dict[str, np.ndarray]:
        given = {name: np.asarray(value).astype(self._dtypes[name], copy=False) for name, value in feeds.items()}
        values = self._session.run(outputs, given)
        return {
            name: value.astype(np.float32) if value.dtype == np.float16 else value
            for name, value in zip(outputs, values, strict=True)
        }


def _mean_difference(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found - wanted).mean())


def _share_that_differs(found: np.ndarray, wanted: np.ndarray) -> float:
    return float((found != wanted).mean())


def _relative(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def _where_seen(found: np.ndarray, wanted: np.ndarray) -> float:
    """The mean difference of [n, cells, 15], each cell counted by its score."""
    weight = wanted[..., :1]
    return float((np.abs(found - wanted) * weight).sum() / (weight.sum() * wanted.shape[-1]))


MEASURES = {
    "detector": ("faces", "mean difference of scores, boxes and landmarks where faces are", _where_seen),
    "refiner": ("placement", "mean difference of placements", _mean_difference),
    "parser": ("parse_map", "share of pixels that differ", _share_that_differs),
    "vision": ("features", "relative L2 of features", _relative),
    "fusion": ("probabilities", "mean difference of probabilities", _mean_difference),
}
"""Stage -> the output that is compared, the measure in words, and the measure. For the language model see
`Reference.error`."""


class Reference:
    """The outputs of the PyTorch model for some faces, computed once.

    Each stage is fed with what PyTorch's stages before it give, so that its error is its own.
    """

    @torch.no_grad()
    def __init__(self, model: FaceInsightModel, crops: dict[str, np.ndarray]):
        """Runs the PyTorch model. crops: stage -> [n, S, S, 3] uint8 RGB."""
        pixels = {name: torch.from_numpy(items) for name, items in crops.items()}
        faces = model.detector(pixels["detector"])
        placement, parse_map = model.refiner(pixels["refiner"]), model.parser(pixels["parser"])
        features = model.vision(pixels["vision"])
        self.model, (self.tokens, probabilities) = model, model.fusion(features, parse_map)
        self.feeds = {stage: {"pixels": crops[stage]} for stage in ("detector", "refiner", "parser", "vision")}
        self.feeds["fusion"] = {"features": features.numpy(), "parse_map": parse_map.numpy()}
        self.wanted = {
            "detector": faces.numpy(),
            "refiner": placement.numpy(),
            "parser": parse_map.numpy(),
            "vision": features.numpy(),
            "fusion": probabilities.numpy(),
        }
        config = model.language.backbone.config
        self._vocabulary = model.config.vocabulary
        vocab_size = model.language.vocab_size
        self._prompter = Prompter(model.tokenizer_json, model.config.prompt, vocab_size, self._vocabulary)
        layers, kv_heads = config.num_hidden_layers, config.num_key_value_heads
        self._shape = CacheShape(layers, kv_heads, model.language.head_dim, model.config.context)

    def single_faces(self, stage: str) -> Iterator[dict[str, np.ndarray]]:
        """Gives the stage's inputs for the first ASKED_FACES faces, one at a time."""
        for row in range(min(ASKED_FACES, len(self.tokens))):
            if stage == "language":
                yield {
                    "input_ids": np.array([[*self._prefix(row), *self._prompter.question(QUESTIONS[-1], 64)]]),
                    "visual_tokens": self.tokens[row : row + 1].numpy(),
                    "position": np.array([0]),
                }
            else:
                yield {name: items[row : row + 1] for name, items in self.feeds[stage].items()}

    def error(self, stage: str, engine: Engine | CacheEngine) -> Error:
        """Measures how much an engine of the stage differs from PyTorch."""
        if stage == "language":
            measure, value = "share of greedy tokens that differ", self._language_error(engine)
        else:
            output, measure, compare = MEASURES[stage]
            value = compare(engine.run(self.feeds[stage])[output], self.wanted[stage])
        return Error(measure, round(value, 6))

    def latency(self, stage: str, engine: Engine | CacheEngine) -> Latency:
        """Times an engine on one face, or the language model's on one decode step after a prefix of 96 tokens."""
        if stage != "language":
            one = next(self.single_faces(stage))
            return _latency(lambda: engine.run(one))
        buffers, visual = engine.allocate(self._shape.tensors()), self.tokens[:1].numpy()
        step = {"visual_tokens": visual, "position": np.array([96], np.int64), "input_ids": np.array([[5]], np.int64)}
        return _latency(lambda: engine.run_in_place(step, buffers, ("next_token",)))

    @torch.no_grad()
    def _language_error(self, engine: CacheEngine) -> float:
        """The share of the engine's answer tokens that PyTorch would not have chosen after the same tokens."""
        wrong = total = 0
        for row in range(min(ASKED_FACES, len(self.tokens))):
            prefix, visual = self._prefix(row), self.tokens[row : row + 1]
            cache = KVCache(engine, self._shape)
            for question in QUESTIONS:
                ids = self._prompter.question(question, 64)
                written = itertools.islice(generate(cache.begin_turn(prefix, visual.numpy()), ids), WRITTEN_TOKENS)
                answer = list(itertools.takewhile(lambda token: token != self._prompter.stop_id, written))
                if not answer:
                    continue
                whole = torch.tensor([[*prefix, *ids, *answer]])
                logits = self.model.language(whole, visual)[0, len(prefix) + len(ids) - 1 : -1]
                wrong += int((logits.argmax(-1) != torch.tensor(answer)).sum())
                total += len(answer)
        return wrong / max(1, total)

    def _prefix(self, row: int) -> list[int]:
        """Token ids of what the language model is told about a face. row: the face's."""
        labels = self._vocabulary.decide(*self._vocabulary.outputs(self.wanted["fusion"][row]))
        return self._prompter.prefix(labels, self.tokens.shape[1])


def _latency(call, rounds: int = 20) -> Latency:
    for _ in range(3):
        call()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return Latency.of(times)
