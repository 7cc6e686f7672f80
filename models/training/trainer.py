"""The one training loop: deterministic by step, resumable, with progress, EMA weights and atomic checkpoints.

A batch is a pure function of its step number, so a run that was killed and resumed gives the same weights as one
that was not.
"""

from __future__ import annotations

import json
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from faceinsight.runtime.errors import FaceInsightError, InputError
from faceinsight.runtime.progress import ProgressBar


class DivergedError(FaceInsightError):
    """The loss is not finite."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast. rate: peak learning rate, warmed up linearly over `warmup` steps, then cosine to 1 %.

    ema: decay of the averaged weights, which are what validation sees and what a finished run leaves in the model.
    accumulate: batches summed into one optimiser step. bf16: autocast of the forward pass, where the device computes
    in bfloat16 (a CPU that only emulates it is 6 times slower with it).
    """

    steps: int
    batch: int = 64
    rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: int = 100
    ema: float = 0.998
    accumulate: int = 1
    bf16: bool = True
    clip: float = 1.0
    seed: int = 0
    validate_every: int = 500
    checkpoint_every: int = 250

    def rate_at(self, step: int) -> float:
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def fit(
    stage: str,
    module: nn.Module,
    batch: Callable[[int], dict[str, Tensor]],
    loss: Callable[[dict[str, Tensor]], tuple[Tensor, dict[str, float]]],
    schedule: Schedule,
    out: Path,
    validate: Callable[[], dict[str, float]] | None = None,
    device: str = "cpu",
    stop_after: int | None = None,
) -> None:
    """Trains the parameters of `module` that require gradients; leaves the averaged weights in it.

    stage: names the checkpoint `out/<stage>.last.pt` and the log `out/<stage>.jsonl`. An unfinished checkpoint there
    is resumed, a finished one is loaded and training is skipped. stop_after: end early after that step, checkpoint
    written, as a kill would (for tests). Raises DivergedError when loss or gradient is not finite, InputError for a
    checkpoint that cannot be resumed.
    """
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / f"{stage}.last.pt"
    module.to(device)
    bf16 = schedule.bf16 and _has_bfloat16(device)
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    decayed = [p for p in trained.values() if p.ndim > 1]
    others = [p for p in trained.values() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed}, {"params": others, "weight_decay": 0.0}],
        lr=schedule.rate,
        weight_decay=schedule.weight_decay,
        betas=(0.9, 0.98),
    )
    average = Average(module, schedule.ema)
    start = 0
    if checkpoint.is_file():
        try:
            state = torch.load(checkpoint, map_location=device, weights_only=True)
            module.load_state_dict(state["module"])
            average.load(state["average"])
            start = state["step"]
            if start < schedule.steps:
                optimizer.load_state_dict(state["optimizer"])
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"{checkpoint} is damaged or of another model ({reason}); delete it, or train into another folder"
            ) from error

    def save(step: int) -> None:
        _atomic_save(
            {
                "module": module.state_dict(),
                "average": average.values,
                "optimizer": optimizer.state_dict(),
                "step": step,
            },
            checkpoint,
        )

    log = (out / f"{stage}.jsonl").open("a", encoding="utf-8")
    begun = time.monotonic()
    with ProgressBar(stage, schedule.steps, start) as advance:
        for step, items in _prefetched(batch, start * schedule.accumulate, schedule):
            module.train()
            torch.manual_seed(schedule.seed * 1_000_003 + step)  # dropout, too, depends on the step alone
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate_at(step)
            total, metrics = 0.0, {}
            for item in items:
                item = {k: v.to(device, non_blocking=True) for k, v in item.items()}
                with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=bf16):
                    value, metrics = loss(item)
                (value / len(items)).backward()
                total += float(value.detach()) / len(items)
            norm = float(torch.nn.utils.clip_grad_norm_(trained.values(), schedule.clip))
            if not (math.isfinite(total) and math.isfinite(norm)):
                last = f"the last good checkpoint is {checkpoint}" if checkpoint.is_file() else "no checkpoint yet"
                raise DivergedError(
                    f"stage {stage}: at step {step} the loss is {total} and the gradient's norm {norm}; lower the "
                    f"learning rate (now {schedule.rate}) or look at the batch; {last}"
                )
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            average.update(module, step)
            done = step + 1
            record = {"step": done, "loss": round(total, 5)} | metrics
            last = done == schedule.steps
            validated = validate is not None and (done % schedule.validate_every == 0 or last)
            if validated:
                with average.applied(module):
                    module.eval()
                    record |= validate()
            if done % 50 == 0 or validated or last:
                log.write(json.dumps(record | {"seconds": round(time.monotonic() - begun, 1)}) + "\n")
                log.flush()
            advance(record)
            if done % schedule.checkpoint_every == 0 or last or done == stop_after:
                save(done)
            if done == stop_after:
                return
    log.close()
    average.copy_to(module)
    module.eval()


def _has_bfloat16(device: str) -> bool:
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # torch before 2.12 cannot tell
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


class Average:
    """Exponential moving average of a module's floating-point state (parameters and running statistics)."""

    def __init__(self, module: nn.Module, decay: float):
        self.decay = decay
        self.values = {k: v.detach().clone() for k, v in module.state_dict().items() if v.is_floating_point()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        decay = min(self.decay, (step + 1) / (step + 10))
        for key, value in module.state_dict().items():
            if key in self.values:
                self.values[key].lerp_(value, 1 - decay)

    def load(self, values: dict[str, Tensor]) -> None:
        for key, value in values.items():
            self.values[key].copy_(value)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        state = module.state_dict()
        for key, value in self.values.items():
            state[key].copy_(value)

    def applied(self, module: nn.Module):
        """Context in which `module` carries the averaged weights."""
        return _Applied(self, module)


class _Applied:
    def __init__(self, average: Average, module: nn.Module):
        self.average, self.module = average, module

    def __enter__(self):
        self.own = {k: v.detach().clone() for k, v in self.module.state_dict().items()}
        self.average.copy_to(self.module)

    def __exit__(self, *_):
        self.module.load_state_dict(self.own)


def _prefetched(batch, start: int, schedule: Schedule) -> Iterator[tuple[int, list[dict[str, Tensor]]]]:
    """Batches made one step ahead in a thread (OpenCV and NumPy release the interpreter lock)."""
    ready: queue.Queue = queue.Queue(maxsize=2)
    stopped = threading.Event()

    def put(item) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def work():
        try:
            for index in range(start, schedule.steps * schedule.accumulate):
                if not put(batch(index)):
                    return
        except BaseException as error:
            put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        for step in range(start // schedule.accumulate, schedule.steps):
            items = []
            for _ in range(schedule.accumulate):
                item = ready.get()
                if isinstance(item, BaseException):
                    raise item
                items.append(item)
            yield step, items
    finally:
        stopped.set()


def _atomic_save(state: dict, path: Path) -> None:
    beside = path.with_suffix(".tmp")
    torch.save(state, beside)
    os.replace(beside, path)
