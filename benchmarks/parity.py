"""Compares what a bundle says with what its model says in float32 PyTorch, word for word.

Both sides are the same runtime on the same frame with the same detector; the reference runs PyTorch's modules in the
place of engines. Each side refines its own box, so a difference anywhere in the chain reaches the answer. `faceinsight
parity` shows the result.
"""

from __future__ import annotations

import collections
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import DynamicCache

from faceinsight.build_engines.export import TENSOR_NAMES
from faceinsight.models.checkpoint import model_directory, model_hash
from faceinsight.models.data.dataset import read_labelled
from faceinsight.models.data.readers import Record
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.models.language_model import LanguageModel
from faceinsight.runtime.backend import Backend
from faceinsight.runtime.bundle import Bundle
from faceinsight.runtime.engine import CacheEngine, Engine
from faceinsight.runtime.errors import InputError, NoFaceError
from faceinsight.runtime.perceive import HostPerception
from faceinsight.runtime.pipeline import FaceInsight
from faceinsight.runtime.progress import ProgressBar
from faceinsight.runtime.vocabulary import Vocabulary

from .accuracy import interval
from .phrasings import held_out
from .survey import questions_about

DESCRIBE = "Describe this face."


class TorchStage(Engine):
    """Runs a stage that sees pixels or features as its PyTorch module, in float32."""

    def __init__(self, module: torch.nn.Module, stage: str):
        self._module, (self._inputs, self._outputs) = module, TENSOR_NAMES[stage]

    @torch.no_grad()
    def run(self, feeds):
        found = self._module(*(torch.from_numpy(np.ascontiguousarray(feeds[name])) for name in self._inputs))
        found = found if isinstance(found, tuple) else (found,)
        return {name: value.numpy() for name, value in zip(self._outputs, found, strict=True)}


class TorchLanguage(CacheEngine):
    """Runs the language model in PyTorch, in float32. Its buffers are the KV cache, [1, N_kv, S, D] tensors."""

    def __init__(self, model: LanguageModel):
        self._model, self._layers = model, model.backbone.config.num_hidden_layers

    def allocate(self, shapes):
        return {name: torch.zeros(shape) for name, shape in shapes.items()}

    @torch.no_grad()
    def run_in_place(self, feeds, buffers, outputs):
        ids, visual = (torch.from_numpy(np.ascontiguousarray(feeds[k])) for k in ("input_ids", "visual_tokens"))
        start = int(feeds["position"][0])
        cache = DynamicCache()
        for layer in range(self._layers):
            cache.update(*(buffers[f"past_{kind}_{layer}"][:, :, :start] for kind in ("key", "value")), layer)
        embeds = self._model.embed(ids, visual)
        logits = self._model.backbone(inputs_embeds=embeds, past_key_values=cache, logits_to_keep=1).logits[:, -1]
        for layer in range(self._layers):
            new = cache.layers[layer]
            for kind, values in (("key", new.keys), ("value", new.values)):
                buffers[f"past_{kind}_{layer}"][:, :, start : start + ids.shape[1]] = values[:, :, start:]
        found = {"logits": logits.numpy(), "next_token": logits.argmax(-1).numpy()}
        return {name: found[name] for name in outputs}


def with_pytorch(bundle: Bundle, network: FaceInsightModel) -> FaceInsight:
    """Makes the runtime of a bundle, of any target, with PyTorch's modules in the place of its engines.

    network: the model that the bundle was built from.
    """
    engines = {stage: TorchStage(getattr(network, stage), stage) for stage in TENSOR_NAMES}
    perception = HostPerception(engines, bundle.manifest.sizes, side_by_side=False)
    return FaceInsight(bundle, Backend(perception, TorchLanguage(network.language)))


@dataclass(frozen=True)
class Drawn:
    """A question about a face.

    kind: "yes/no Beard", "open Age" or "describe".
    """

    face: Record
    kind: str
    question: str


@dataclass(frozen=True)
class Reply:
    """What one side said.

    labels, attributes: of the face as this side saw it; empty where it found none.
    """

    text: str
    labels: dict[str, str | bool | float]
    attributes: dict[str, float]


def draw(faces: Sequence[Record], count: int, vocabulary: Vocabulary, seed: int = 0) -> list[Drawn]:
    """Draws questions about faces at random: every kind equally often, in a wording that was never trained on where one
    is written.

    vocabulary: of the labels that are asked about.
    """
    kinds: dict[str, list[str]] = {"describe": [DESCRIBE]}
    written = held_out(vocabulary)
    for question in written.yes_no["everyday"]:
        kinds.setdefault(f"yes/no {question.label}", []).append(question.text)
    for label, texts in written.what.items():
        kinds[f"open {label}"] = list(texts)
    phrased = set(kinds)
    for label in vocabulary:
        for question in questions_about(label):
            kind = f"{'open' if question.values is None else 'yes/no'} {label.name}"
            if question.values is None or kind not in phrased:
                kinds.setdefault(kind, []).append(question.text)
    chance = random.Random(seed)
    names = sorted(kinds)
    order = [names[i % len(names)] for i in range(count)]
    chance.shuffle(order)
    return [Drawn(chance.choice(faces), kind, chance.choice(kinds[kind])) for kind in order]


def replies(runtime: FaceInsight, drawn: Sequence[Drawn], name: str) -> list[Reply]:
    """Asks the drawn questions; where no face is found, the error is the reply.

    name: of the progress bar.
    """
    found: list[Reply] = []
    with ProgressBar(name, len(drawn)) as advance:
        for item in drawn:
            image = item.face.load()
            try:
                answer = runtime.ask(image, item.question, item.face.box(image.shape))
                found.append(Reply(answer.text, answer.face.labels, answer.face.attributes))
            except NoFaceError as error:
                found.append(Reply(str(error), {}, {}))
            advance({})
    return found


def compare(drawn: Sequence[Drawn], ours: Sequence[Reply], wanted: Sequence[Reply]) -> dict:
    """Compares what both sides said to the same questions.

    Returns {"questions", "identical", "share" and its 95 % "interval", "by_kind": {kind: [identical, questions]},
    "flips": {label: times that the two sides' faces had another value of it}, "differences": of every question whose
    two texts are not the same {"face", "kind", "question", "texts": [ours, wanted], "flipped": {label: [ours, wanted]},
    empty where the language model alone made the difference, "moved": largest change of a probability}}.
    """
    by_kind: dict[str, list[int]] = {}
    flips: collections.Counter[str] = collections.Counter()
    differences = []
    for item, one, other in zip(drawn, ours, wanted, strict=True):
        flipped = {k: [v, other.labels.get(k)] for k, v in one.labels.items() if v != other.labels.get(k)}
        flips.update(list(flipped))
        counts = by_kind.setdefault(item.kind.split()[0], [0, 0])
        counts[0] += one.text == other.text
        counts[1] += 1
        if one.text != other.text:
            moved = max((abs(p - other.attributes.get(k, 0.0)) for k, p in one.attributes.items()), default=0.0)
            entry = {"face": item.face.name, "kind": item.kind, "question": item.question}
            differences.append(entry | {"texts": [one.text, other.text], "flipped": flipped, "moved": moved})
    same = len(drawn) - len(differences)
    return {
        "questions": len(drawn),
        "identical": same,
        "share": same / len(drawn),
        "interval": interval([(same, len(drawn))]),
        "by_kind": by_kind,
        "flips": dict(flips.most_common()),
        "differences": differences,
    }


def parity(data: Path, bundle: Path | None, model: Path | None, questions: int, device: str = "cpu") -> dict:
    """Asks both sides about the val faces of a data folder, and compares their replies as `compare` does.

    bundle: its directory, the bundled nano's by default. model: the directory that it was built from, likewise.
    questions: how many. device: where the bundle runs. Raises InputError for a bundle of another model.
    """
    directory = model_directory(model)
    ours = FaceInsight.load(bundle, device)
    if ours.bundle.manifest.model_hash != model_hash(directory):
        raise InputError(f"the bundle was not built from {directory}; give its model directory with --model")
    drawn = draw(read_labelled(data, "val", ours.vocabulary), questions, ours.vocabulary)
    reference = with_pytorch(ours.bundle, FaceInsightModel.from_pretrained(directory))
    wanted = replies(reference, drawn, "pytorch")
    return compare(drawn, replies(ours, drawn, "bundle"), wanted)


def show(result: dict) -> None:
    """Prints every difference, and the shares."""
    for item in result["differences"]:
        print(f"{item['face']}, {item['kind']}: {item['question']}")
        for side, text in zip(("bundle", "pytorch"), item["texts"], strict=True):
            print(f"  {side}: {text}")
        flips = ", ".join(f"{k} {a} for {b}" for k, (a, b) in item["flipped"].items())
        print(f"  labels: {flips or 'the same'}; largest change of a probability {item['moved']:.3f}")
    low, high = result["interval"]
    print(
        f"{result['identical']} of {result['questions']} texts are identical: {result['share']:.1%} ({low:.1%} to "
        f"{high:.1%}); of {', '.join(f'{kind} {same}/{of}' for kind, (same, of) in result['by_kind'].items())}\n"
        f"labels that differ between the two sides' faces: {result['flips'] or 'none'}"
    )
