"""Runs the runtime's chain in PyTorch, as a peer to be timed: the same frame, box, crops, prompt and number of steps,
with a Hugging Face KV cache."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from faceinsight.models.checkpoint import model_directory, model_hash
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.runtime.answering import READING_TOKENS
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.image import crop_matrix, fit, refined_box, warp
from faceinsight.runtime.manifest import PERCEPTION_STAGES
from faceinsight.runtime.pipeline import FaceInsight

QUESTION = "is the person wearing eyeglasses?"
STEPS = 20
"""Tokens over which the time of one is averaged."""


class PytorchPeer:
    """A model in PyTorch: in float32 on a CPU; on a GPU with products in float16 and the rest as autocast has it."""

    def __init__(self, model: Path | None, runtime: FaceInsight, threads: int, device: str, compiled: bool = False):
        """Loads the model of a runtime's bundle.

        model: the directory that the bundle was built from, the bundled nano's if None. threads: of the CPU. device:
        "cpu" or "cuda:N". compiled: runs every stage through torch.compile. Raises InputError for a bundle of another
        model, or a GPU that PyTorch does not see.
        """
        directory = model_directory(model)
        if model_hash(directory) != runtime.bundle.manifest.model_hash:
            raise InputError(
                f"the bundle was not built from {directory}; give its --model, or leave PyTorch out: --no-pytorch"
            )
        self._cuda = device != "cpu"
        if self._cuda and not torch.cuda.is_available():
            raise InputError(f"PyTorch {torch.__version__} sees no GPU here; leave it out: --no-pytorch")
        torch.set_num_threads(threads)
        self._device = torch.device(device)
        self._network = FaceInsightModel.from_pretrained(directory).to(self._device)
        if self._cuda:
            for module in self._network.modules():
                if isinstance(module, (nn.Linear, nn.Conv2d)):
                    module.half()  # once: autocast would convert them anew in every call
        self._sizes = runtime.bundle.manifest.sizes
        self._prompter, vocabulary = runtime.bundle.prompter, runtime.vocabulary
        # complete labels of some face, so that both sides read a prompt of about the same length
        count = len(vocabulary.attributes) + len(vocabulary.numbers)
        self._labels = vocabulary.decide(*vocabulary.outputs([0.1] * count))
        self._stages = {name: getattr(self._network, name) for name in PERCEPTION_STAGES}
        self._stages["language"] = self._network.language.backbone
        if compiled:
            self._stages = {name: torch.compile(stage) for name, stage in self._stages.items()}

    def measure(self, frame: np.ndarray, box) -> dict[str, float]:
        """Times one frame. Returns {figure: milliseconds}, under the names of `latency.measure_runtime`."""
        with torch.no_grad(), torch.autocast("cuda", torch.float16, enabled=self._cuda):
            return self._measured(frame, box)

    def _measured(self, frame: np.ndarray, box) -> dict[str, float]:
        figures: dict[str, float] = {}
        start = clock = self._now()

        def lap(name: str) -> None:
            nonlocal clock
            now = self._now()
            figures[name], clock = (now - clock) * 1e3, now

        whole = fit(frame, self._sizes["detector"])
        self._stages["detector"](torch.from_numpy(whole[None]).to(self._device)).cpu()
        lap("detect_ms")
        start = clock
        placement = self._stages["refiner"](self._crop(frame, box, "refiner"))[0].float().cpu().numpy()
        refined = refined_box(box, placement)
        lap("refiner_ms")
        pixels = {stage: self._crop(frame, refined, stage) for stage in ("parser", "vision")}
        lap("crop_ms")
        parse_map = self._stages["parser"](pixels["parser"])
        lap("parser_ms")
        features = self._stages["vision"](pixels["vision"])
        lap("vision_ms")
        tokens, _ = self._stages["fusion"](features, parse_map)
        lap("fusion_ms")
        figures["perceive_ms"] = (clock - start) * 1e3
        token, cache = self._first_token(tokens)
        lap("first_question_ms")
        figures["ttft_ms"] = (clock - start) * 1e3
        for _ in range(STEPS):
            token = self._step([token], tokens, cache)[0]
        figures["token_ms"] = (self._now() - clock) * 1e3 / STEPS
        return figures

    def _first_token(self, tokens: torch.Tensor):
        prefix = self._prompter.prefix(self._labels, tokens.shape[1])
        token, cache = self._step([*prefix, *self._prompter.question(QUESTION, 64)], tokens, None)
        answer_id, hidden = self._prompter.answer_id, 0
        # what is written before the answer is not shown; the runtime has to wait for it, too
        while answer_id is not None and token != answer_id and hidden < READING_TOKENS:
            token, hidden = self._step([token], tokens, cache)[0], hidden + 1
        return (token if answer_id is None else self._step([token], tokens, cache)[0]), cache

    def _step(self, ids: list[int], tokens: torch.Tensor, cache):
        """Runs token ids; returns the next token's id and the cache."""
        embeds = self._network.language.embed(torch.tensor([ids], device=self._device), tokens)
        out = self._stages["language"](inputs_embeds=embeds, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return int(out.logits[0, -1].argmax()), out.past_key_values

    def _crop(self, frame: np.ndarray, box, stage: str) -> torch.Tensor:
        side = self._sizes[stage]
        return torch.from_numpy(warp(frame, crop_matrix(box, side), side)[None]).to(self._device)

    def _now(self) -> float:
        """Waits until the GPU has done all that was begun; returns the clock in seconds."""
        if self._cuda:
            torch.cuda.synchronize(self._device)
        return time.perf_counter()
