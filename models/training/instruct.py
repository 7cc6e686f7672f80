"""Instruction tuning: the language model learns to answer from the visual tokens and the facts.

One sequence holds one face's prefix and several exchanges; each exchange sees the prefix and itself only, with
positions that restart after the prefix. That is exactly what the runtime does when it reuses a face's prefix.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor, nn
from torch.nn import functional as F

from faceinsight.models.data.questions import exchange
from faceinsight.models.data.sampling import sample_labels
from faceinsight.models.data.targets import is_exact, split_targets
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.prompt import Prompter
from faceinsight.runtime.vocabulary import Vocabulary

from .gallery import Gallery
from .trainer import Schedule, device, fit


@dataclass(frozen=True)
class Text:
    """tokens: most in a sequence, filled with exchanges about one face."""

    tokens: int = 232


@dataclass(frozen=True)
class Instruction(Text):
    """invented: share of faces whose facts are random (the facts decide, so the model must read them). blind: share
    without facts, answered from the visual tokens alone. lora: rank of the adapters that learn in the language model's
    place; 0: all of it learns. projectors_only: it stays as it is (LLaVA's first stage). keep: share that the language
    model's weights from before have in those after: it reads better than either (Wortsman et al. 2022, WiSE-FT)."""

    invented: float = 0.5
    blind: float = 0.15
    lora: int = 0
    projectors_only: bool = False
    keep: float = 0.0

    def __post_init__(self) -> None:
        if self.lora and self.projectors_only:
            raise ValueError("lora and projectors_only exclude each other: give one of them")
        if self.invented + self.blind > 1:
            raise ValueError("invented and blind are shares of one whole: together at most 1")


@dataclass(frozen=True)
class Subjects:
    """The faces spoken of. features: [n, N, C] float16, parts: F_s [n, M, D] float16, labels: [n], complete."""

    features: Tensor
    parts: Tensor
    labels: list[dict] = field(repr=False)


@torch.no_grad()
def subjects(model: FaceInsightModel, gallery: Gallery) -> Subjects:
    """Labels that are not known are filled in by the attribute head."""
    model.eval()
    vocabulary = model.config.vocabulary
    parts, labels = [], []
    for features, parse_maps, targets in zip(
        *(side.split(50) for side in (gallery.features, gallery.parse_maps, gallery.targets)), strict=True
    ):
        part = model.fusion.segmentation(parse_maps.to(device()))
        predicted = model.fusion.head(features.to(device()).float(), part).sigmoid().cpu()
        rows = zip(predicted.numpy(), targets.numpy(), strict=True)
        labels += [complete_labels(*row, vocabulary) for row in rows]
        parts.append(part.half().cpu())
    return Subjects(gallery.features, torch.cat(parts), labels)


def complete_labels(predicted: np.ndarray, known: np.ndarray, vocabulary: Vocabulary) -> dict[str, str | bool | float]:
    """The most probable labels that obey every rule; what is known takes the place of what is predicted.

    predicted: [L] outputs of the attribute head in [0, 1]. known: [A + 2 K], see models/data/targets.py.
    """
    wanted, bounds = split_targets(known[None], vocabulary)
    attributes, numbers = vocabulary.outputs(predicted)
    held = zip(vocabulary.attribute_names, wanted[0].tolist(), strict=True)
    attributes |= {name: value for name, value in held if not np.isnan(value)}
    for label, told in zip(vocabulary.numbers, bounds[0], strict=True):
        low, high = told.tolist()
        if not np.isnan(low):
            nearest = min(max(numbers[label.name], low), high - label.step)
            numbers[label.name] = (low + high) / 2 if is_exact(told, label) else nearest
    return vocabulary.decide(attributes, numbers)


@dataclass(frozen=True)
class ExchangeBatches:
    """A pure function of the step: packed sequences with their mask, positions and targets.

    subjects: gives the faces spoken of; None for text alone, with invented facts. prompter: of the model, whose
    vocabulary is spoken of.
    """

    subjects: Callable[[], Subjects] | None
    prompter: Prompter
    batch: int
    settings: Text
    seed: int = 0

    def __call__(self, step: int) -> dict[str, Tensor]:
        rng = random.Random(f"{self.seed}/{step}")
        draw = np.random.default_rng((self.seed, 3, step))
        if self.subjects is None:
            return pack(
                [self._sequence(sample_labels(draw, self.prompter.vocabulary), 0, rng) for _ in range(self.batch)]
            )
        people = self.subjects()
        chosen = [rng.randrange(len(people.labels)) for _ in range(self.batch)]
        count = people.features.shape[1] + people.parts.shape[1]
        sequences = []
        for index in chosen:
            kind = rng.random()
            labels = (
                sample_labels(draw, self.prompter.vocabulary) if kind < self.settings.invented else people.labels[index]
            )
            sequences.append(self._sequence(labels, count, rng, blind=kind > 1 - self.settings.blind))
        return pack(sequences) | {"features": people.features[chosen], "parts": people.parts[chosen]}

    def _sequence(self, labels: dict, visual_count: int, rng: random.Random, blind: bool = False):
        """(prefix ids, [(question ids, answer ids)])"""
        prefix = self.prompter.prefix({} if blind else labels, visual_count)
        if len(prefix) >= self.settings.tokens:
            raise InputError(
                f"tokens is {self.settings.tokens}, what precedes a question alone has {len(prefix)}: raise it"
            )
        pairs, length = [], len(prefix)
        while True:
            item = exchange(labels, rng, self.prompter.vocabulary)
            question = self.prompter.question(item.question, 200)
            answer = self.prompter.answer(item.reading, item.answer)
            length += len(question) + len(answer) - 1
            if pairs and length > self.settings.tokens:
                return prefix, pairs
            pairs.append((question, answer))


def pack(sequences) -> dict[str, Tensor]:
    """ids [B, T], positions [B, T], mask [B, 1, T, T] bool (True: may be seen), targets [B, T] (-100: no loss).

    targets[t] is the token that follows position t inside of an answer.
    """
    length = max(len(prefix) + sum(len(q) + len(a) - 1 for q, a in pairs) for prefix, pairs in sequences)
    shape = (len(sequences), length)
    ids, positions = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    segments, targets = np.full(shape, -1, np.int64), np.full(shape, -100, np.int64)
    for row, (prefix, pairs) in enumerate(sequences):
        at = len(prefix)
        ids[row, :at], positions[row, :at], segments[row, :at] = prefix, np.arange(at), 0
        for number, (question, answer) in enumerate(pairs, start=1):
            tokens = [*question, *answer[:-1]]
            end = at + len(tokens)
            ids[row, at:end] = tokens
            positions[row, at:end] = len(prefix) + np.arange(len(tokens))
            segments[row, at:end] = number
            targets[row, at + len(question) - 1 : end] = answer
            at = end
    segment = torch.from_numpy(segments)
    same = segment[:, :, None] == segment[:, None, :]
    prefix_seen = (segment == 0)[:, None, :]
    causal = torch.ones(length, length).tril().bool()
    mask = (same | prefix_seen) & causal
    return {
        "ids": torch.from_numpy(ids),
        "positions": torch.from_numpy(positions),
        "mask": mask[:, None],
        "targets": torch.from_numpy(targets),
    }


class Speaker(nn.Module):
    """What instruction tuning trains: both projectors and the language model."""

    def __init__(self, model: FaceInsightModel):
        super().__init__()
        self.vision_projector = model.fusion.vision_projector
        self.segmentation_projector = model.fusion.segmentation_projector
        self.language = model.language

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits at the positions that have a target, [K, vocab], and those targets [K]."""
        backbone = self.language.backbone
        embeds = self.language.embed(batch["ids"], self._visual_tokens(batch))
        bias = torch.zeros(batch["mask"].shape, dtype=embeds.dtype, device=embeds.device).masked_fill(
            ~batch["mask"], -1e9
        )
        hidden = backbone.model(
            inputs_embeds=embeds, attention_mask=bias, position_ids=batch["positions"], use_cache=False
        ).last_hidden_state
        wanted = batch["targets"] != -100
        return backbone.lm_head(hidden[wanted]), batch["targets"][wanted]

    def _visual_tokens(self, batch: dict[str, Tensor]) -> Tensor:
        if "features" not in batch:
            return torch.zeros(len(batch["ids"]), 1, self.language.width, device=batch["ids"].device)
        image = self.vision_projector(batch["features"].float())
        return torch.cat([image, self.segmentation_projector(batch["parts"].float())], 1)


def train_language(model: FaceInsightModel, prompter: Prompter, settings: Text, schedule: Schedule, out: Path) -> None:
    """Teaches a small language model from scratch to read facts and questions (one that comes with weights needs it
    not). Text alone, no visual tokens."""
    _train("language", model, prompter, None, None, settings, schedule, out)


def train_instruct(
    model: FaceInsightModel,
    prompter: Prompter,
    people: Callable[[], Subjects],
    held_out: Callable[[], Subjects],
    settings: Instruction,
    schedule: Schedule,
    out: Path,
) -> None:
    """Next-token loss on the answers; everything but projectors and language model stays as it is.

    With `settings.lora` the adapters are saved to `out/adapter` in PEFT's format, and merged into the model.
    """
    if settings.projectors_only:
        model.language.requires_grad_(False)
    kept = model.language.named_parameters() if settings.keep else ()
    before = {name: value.detach().clone() for name, value in kept}
    adapted = _with_adapters(model, settings.lora) if settings.lora else None
    _train("instruct", model, prompter, people, held_out, settings, schedule, out)
    model.language.requires_grad_(True)
    if adapted is not None:
        if PartialState().is_main_process:
            adapted.save_pretrained(str(out / "adapter"))
        model.language.backbone = adapted.merge_and_unload()
    with torch.no_grad():
        for name, value in model.language.named_parameters():  # a tied table is named once
            if name in before:
                value.lerp_(before[name], settings.keep)


def _with_adapters(model: FaceInsightModel, rank: int):
    """Puts LoRA adapters beside every linear layer of the language model, which is frozen; alpha is twice the rank."""
    from peft import LoraConfig, TaskType, get_peft_model

    config = LoraConfig(task_type=TaskType.CAUSAL_LM, r=rank, lora_alpha=2 * rank, target_modules="all-linear")
    return get_peft_model(model.language.backbone, config)


def _train(stage: str, model, prompter, people, held_out, settings, schedule, out) -> None:
    speaker = Speaker(model)
    batches = ExchangeBatches(people, prompter, schedule.batch, settings, schedule.seed)
    checked = ExchangeBatches(held_out, prompter, 48, settings, schedule.seed + 1000)

    def loss(batch):
        logits, targets = speaker(batch)
        return F.cross_entropy(logits.float(), targets), {}

    @torch.no_grad()
    def validate():
        logits, targets = speaker({name: value.to(device()) for name, value in checked(0).items()})
        return {
            "token_accuracy": round(float((logits.argmax(-1) == targets).float().mean()), 4),
            "val_loss": round(float(F.cross_entropy(logits.float(), targets)), 4),
        }

    fit(stage, speaker, batches, loss, schedule, out, validate)
