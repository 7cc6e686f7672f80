"""The one training loop: deterministic by step, resumable, with progress, EMA weights and atomic checkpoints.

A batch is a pure function of its number, so a run that was killed and resumed gives the same weights as one that was
not. Several processes (`accelerate launch`, `torchrun`) share the batches of each step: two of them give the weights of
one that accumulates two batches, but for rounding and for batch-norm statistics, which are the first one's.
"""

from __future__ import annotations

import json
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import broadcast, reduce
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from faceinsight.runtime.errors import FaceInsightError, InputError, reason
from faceinsight.runtime.files import replacing_file
from faceinsight.runtime.progress import ProgressBar

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
Batch = Callable[[int], dict[str, Tensor]]
Loss = Callable[[dict[str, Tensor]], tuple[Tensor, dict[str, float]]]


class DivergedError(FaceInsightError):
    """The loss is not finite."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast. rate: peak learning rate, warmed up linearly over `warmup` steps, then cosine to 1 %.

    ema: decay of the averaged weights, which are what validation sees and what a finished run leaves in the model.
    accumulate: batches summed into one optimiser step, by each process. precision: of the forward pass, a key of
    PRECISIONS; fp32 where the device does not compute in it (a CPU that only emulates bfloat16 is 6 times slower).
    gentle: share of the rate at which weights that come pretrained are tuned.
    """

    steps: int
    batch: int = 64
    rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: int = 100
    ema: float = 0.998
    accumulate: int = 1
    precision: str = "bf16"
    clip: float = 1.0
    gentle: float = 1.0
    seed: int = 0
    validate_every: int = 500
    checkpoint_every: int = 250

    def rate_at(self, step: int) -> float:
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def device() -> torch.device:
    """Where this process trains: its GPU, or the CPU where there is none or `recipe.train` was told so."""
    return PartialState().device


def fit(
    stage: str,
    module: nn.Module,
    batch: Batch,
    loss: Loss,
    schedule: Schedule,
    out: Path,
    validate: Callable[[], dict[str, float]] | None = None,
    stop_after: int | None = None,
    pretrained: nn.Module | None = None,
) -> None:
    """Trains the parameters of `module` that require gradients; leaves the averaged weights in it.

    stage: names `out/<stage>.last.pt`, the log `out/<stage>.jsonl` and TensorBoard's `out/tensorboard/<stage>`. An
    unfinished checkpoint there is resumed, a finished one is loaded and training is skipped. validate: metrics; the
    first decides which averaged weights are also kept in `out/<stage>.best.pt`, for whoever wants them (more is better,
    but of a "loss" less is). pretrained: the part of it whose weights the schedule tunes gently. stop_after: end early
    after that step, checkpoint written, as a kill would (for tests). Raises DivergedError when loss or gradient is not
    finite, InputError for a checkpoint that cannot be resumed.
    """
    out.mkdir(parents=True, exist_ok=True)
    loop = _Loop(module.to(device()), loss, schedule, pretrained)
    checkpoint = out / f"{stage}.last.pt"
    start = loop.resume(checkpoint)
    first = PartialState().is_main_process
    with _Log(out, stage, first) as log, ProgressBar(stage, schedule.steps, start, quiet=not first) as advance:
        for step, items in _prefetched(batch, start, schedule):
            value, norm, metrics = loop.step(step, items)
            if not (math.isfinite(value) and math.isfinite(norm)):
                last = f"the last good checkpoint is {checkpoint}" if checkpoint.is_file() else "no checkpoint yet"
                raise DivergedError(
                    f"stage {stage}: at step {step} the loss is {value} and the gradient's norm {norm}; lower the "
                    f"learning rate (now {schedule.rate}) or look at the batch; {last}"
                )
            done = step + 1
            record = {"step": done, "loss": round(value, 5)} | metrics
            last = done == schedule.steps
            validated = validate is not None and (done % schedule.validate_every == 0 or last)
            if validated:
                with loop.average.applied(module):
                    module.eval()
                    found = validate()
                record |= found
                if loop.improved(found) and first:
                    _save({"average": loop.average.values, "step": done} | found, out / f"{stage}.best.pt")
            if done % 50 == 0 or validated or last:
                log(record)
            advance(record)
            if first and (done % schedule.checkpoint_every == 0 or last or done == stop_after):
                _save(loop.state(done), checkpoint)
            if done == stop_after:
                return
    PartialState().wait_for_everyone()
    loop.average.copy_to(module)
    module.eval()


class _Loop:
    """What changes from step to step: module, optimiser, loss scale, averaged weights."""

    def __init__(self, module: nn.Module, loss: Loss, schedule: Schedule, pretrained: nn.Module | None = None):
        self.module, self.loss, self.schedule = module, loss, schedule
        self.best = -math.inf
        self.trained = [p for p in module.parameters() if p.requires_grad]
        gently = {id(parameter) for parameter in pretrained.parameters()} if pretrained else set()
        groups = [
            {
                "params": [p for p in self.trained if (p.ndim > 1) == decayed and (id(p) in gently) == gentle],
                "weight_decay": schedule.weight_decay * decayed,
                "share": schedule.gentle if gentle else 1.0,
            }
            for gentle in (False, True)
            for decayed in (True, False)
        ]
        self.optimizer = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=schedule.rate,
            weight_decay=schedule.weight_decay,
            betas=(0.9, 0.98),
        )
        self.average = Average(module, schedule.ema)
        kind = device().type
        self.precision = PRECISIONS[schedule.precision]
        if self.precision == torch.bfloat16 and not _has_bfloat16(kind):
            self.precision = torch.float32
        if self.precision == torch.float16 and kind == "cpu":
            self.precision = torch.float32
        self.scaler = torch.amp.GradScaler(kind, enabled=self.precision == torch.float16)

    def step(self, step: int, items: list[dict[str, Tensor]]) -> tuple[float, float, dict[str, float]]:
        """One optimiser step. Returns loss, norm of the gradient before clipping, and the last item's metrics."""
        self.module.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate_at(step) * group["share"]
        where, total, metrics = device(), torch.zeros((), device=device()), {}
        for part, item in enumerate(items):
            number = _number(step, part, self.schedule)
            torch.manual_seed(self.schedule.seed * 1_000_003 + number)  # dropout, too, depends on the batch alone
            item = {k: v.to(where, non_blocking=True) for k, v in item.items()}
            with torch.autocast(where.type, self.precision, enabled=self.precision != torch.float32):
                value, metrics = self.loss(item)
            self.scaler.scale(value / len(items)).backward()
            total += value.detach() / len(items)
        if PartialState().num_processes > 1:
            total = reduce(total, "mean")
            for parameter in self.trained:
                if parameter.grad is not None:
                    parameter.grad = reduce(parameter.grad, "mean")
        self.scaler.unscale_(self.optimizer)  # after the reduction: all must find the same gradients not finite
        norm = float(torch.nn.utils.clip_grad_norm_(self.trained, self.schedule.clip))
        value = float(total)
        # with a loss scale a gradient that is not finite is skipped, and the scale lowered
        if math.isfinite(value) and (math.isfinite(norm) or self.scaler.is_enabled()):
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.average.update(self.module, step)
        self.optimizer.zero_grad(set_to_none=True)
        return value, 0.0 if self.scaler.is_enabled() and not math.isfinite(norm) else norm, metrics

    def improved(self, found: dict[str, float]) -> bool:
        """Whether the first metric of a validation is the best so far; it is remembered."""
        if not found:
            return False
        name, value = next(iter(found.items()))
        metric = -value if "loss" in name else value
        better = metric > self.best
        self.best = max(metric, self.best)
        return better

    def state(self, step: int) -> dict:
        """All that a resume needs; parameters that are not trained are where they came from."""
        return {
            "module": _changing(self.module),
            "best": self.best,
            "average": self.average.values,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": step,
        }

    def resume(self, checkpoint: Path) -> int:
        """The step to go on from: 0 without a checkpoint."""
        if not checkpoint.is_file():
            if PartialState().num_processes > 1:
                broadcast([*self.module.state_dict().values()])
                self.average = Average(self.module, self.schedule.ema)
            return 0
        try:
            state = torch.load(checkpoint, map_location="cpu", weights_only=True)
            if set(state["module"]) != set(_changing(self.module)):
                raise ValueError("it holds other tensors")
            self.module.load_state_dict(state["module"], strict=False)
            self.average.load(state["average"])
            self.best = state["best"]
            if state["step"] < self.schedule.steps:
                self.optimizer.load_state_dict(state["optimizer"])
                self.scaler.load_state_dict(state["scaler"])
            return state["step"]
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            raise InputError(
                f"{checkpoint} is damaged or of another model ({reason(error)}); delete it, or train in another folder"
            ) from error


class _Log:
    """JSON lines and TensorBoard scalars of one stage."""

    def __init__(self, out: Path, stage: str, active: bool):
        self.active, self.begun = active, time.monotonic()
        if active:
            self.lines = (out / f"{stage}.jsonl").open("a", encoding="utf-8")
            self.board = SummaryWriter(str(out / "tensorboard" / stage))

    def __enter__(self):
        return self

    def __call__(self, record: dict) -> None:
        if not self.active:
            return
        self.lines.write(json.dumps(record | {"seconds": round(time.monotonic() - self.begun, 1)}) + "\n")
        self.lines.flush()
        for name, value in record.items():
            if name != "step":
                self.board.add_scalar(name, value, record["step"])

    def __exit__(self, *_):
        if self.active:
            self.lines.close()
            self.board.close()


def _has_bfloat16(kind: str) -> bool:
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # torch before 2.12 cannot tell
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _changing(module: nn.Module) -> dict[str, Tensor]:
    """The part of the state that training changes: trained parameters and buffers."""
    frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    return {name: value for name, value in module.state_dict().items() if name not in frozen}


class Average:
    """Exponential moving average of what training changes in a module (trained parameters and running statistics)."""

    def __init__(self, module: nn.Module, decay: float):
        self.decay = decay
        self.values = {k: v.detach().clone() for k, v in _changing(module).items() if v.is_floating_point()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        decay = min(self.decay, (step + 1) / (step + 10))
        for key, value in _changing(module).items():
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
        self.own = {k: v.detach().clone() for k, v in _changing(self.module).items()}
        self.average.copy_to(self.module)

    def __exit__(self, *_):
        self.module.load_state_dict(self.own, strict=False)


def _number(step: int, part: int, schedule: Schedule) -> int:
    """Of this process's batch: the processes take turns."""
    state = PartialState()
    return (step * schedule.accumulate + part) * state.num_processes + state.process_index


def _prefetched(batch: Batch, start: int, schedule: Schedule) -> Iterator[tuple[int, list[dict[str, Tensor]]]]:
    """This process's batches of each step, made one step ahead in a thread (OpenCV and NumPy release the interpreter
    lock)."""
    parts = range(schedule.accumulate)
    numbers = [_number(step, part, schedule) for step in range(start, schedule.steps) for part in parts]
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
            for number in numbers:
                if not put(batch(number)):
                    return
        except BaseException as error:
            put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        for step in range(start, schedule.steps):
            items = []
            for _ in range(schedule.accumulate):
                item = ready.get()
                if isinstance(item, BaseException):
                    raise item
                items.append(item)
            yield step, items
    finally:
        stopped.set()


def _save(state: dict, path: Path) -> None:
    with replacing_file(path) as beside:
        torch.save(state, beside)
