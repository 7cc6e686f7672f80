"""Which precision a stage gets: by what it costs in accuracy, and what it gains in time."""

from __future__ import annotations

from faceinsight.runtime.errors import InputError

PRECISIONS = {
    "cpu": ("int8", "fp32"),
    "cuda": ("fp16", "fp32"),
    "tensorrt": ("int8", "fp16"),
    "tensorrt-rtx": ("int8", "fp16"),
}
"""Target -> what it is built in; the first is the default and what `auto` prefers, the last what it falls back to."""
LANGUAGE_WEIGHTS = ("int8", "int4")
BUDGETS = {"refiner": 0.003, "parser": 0.01, "vision": 0.08, "fusion": 0.008, "language": 0.01}
"""Stage -> what the error of a precision must be below for `auto` to take it, in the measure of `Reference.error`.

Errors of this size cost nano less than half a point. Its INT8 steps were widened, one stage at a time, and the answers
scored on the 450 validation portraits; mean balanced accuracy of the labels against FP32, in points: refiner 0.0029
-0.1, vision 0.069 -0.2 and 0.145 -0.5, fusion 0.0086 -0.1. The parser's errors cost the labels nothing, but its maps'
mean IoU 0.6 points at 0.012 and 2.0 at 0.026. INT8 as shipped is at 0.0006, 0.004, 0.035, 0.0001. Of the language
model's words not one in a hundred may be another.
"""
GAIN = 1.05
"""So many times as fast a precision has to be to pay for its error; by less an engine differs from itself."""


def precisions(target: str, asked: str | None) -> tuple[str, ...]:
    """What a stage is built in: one precision, or for "auto" all that may be chosen from. Raises InputError."""
    if target not in PRECISIONS:
        raise InputError(f"unknown target {target!r}; use {', '.join(PRECISIONS)}")
    known = PRECISIONS[target]
    if asked is None:
        return known[:1]
    if asked == "auto":
        return known
    if asked == "int8" and target == "cuda":
        raise InputError(
            "ONNX Runtime's CUDA provider has no INT8 kernels for these stages; use --precision fp16, or --target "
            "tensorrt"
        )
    if asked not in known:
        raise InputError(f"target {target} is not built in {asked}; use {', '.join(known)} or auto")
    return (asked,)


def language_precisions(target: str, usual: tuple[str, ...], weights: str | None) -> tuple[str, ...]:
    """Those of the language model, whose quantised weights may be asked for by themselves. Raises InputError."""
    if weights is None:
        return usual
    if weights not in LANGUAGE_WEIGHTS:
        raise InputError(f"unknown weights {weights!r} of the language model; use {' or '.join(LANGUAGE_WEIGHTS)}")
    if target == "cuda":
        raise InputError("target cuda keeps the language model's weights in float; leave --language-weights out")
    return (weights, *usual[1:])


def within_budget(stage: str, candidate: dict) -> bool:
    return candidate["error"]["value"] < BUDGETS[stage]


def choose(stage: str, candidates: dict[str, dict]) -> tuple[str, str]:
    """The precision that a stage gets, and why in words.

    candidates: precision -> {"error", "latency_ms"} or, where it cannot be built, {"refused": why}; the preferred ones
    first. One is taken if its error is below the budget and it is faster than the last, which is taken otherwise; what
    cannot be timed is judged by its error.
    """
    *preferred, last = candidates
    if not preferred:
        return last, "asked for"
    rejected = []
    for name in preferred:
        against, pro = _judged(stage, candidates[name], last, candidates[last])
        if not against:
            return name, pro
        rejected.append(f"{name} {against}")
    return last, "; ".join(rejected)


def _judged(stage: str, candidate: dict, other: str, last: dict) -> tuple[str, str]:
    """What speaks against the candidate, and what for it."""
    if "refused" in candidate:
        return f"cannot be built: {candidate['refused']}", ""
    error, budget = candidate["error"]["value"], BUDGETS[stage]
    if not within_budget(stage, candidate):
        return f"errs by {error:.3g}, its budget is {budget:g}", ""
    pro = f"errs by {error:.3g}, less than its budget of {budget:g}"
    if not (candidate["latency_ms"] and last["latency_ms"]):
        return "", f"{pro}; not timed"
    times = f"takes {candidate['latency_ms']['p50']:.3g} ms, {other} {last['latency_ms']['p50']:.3g} ms"
    if candidate["latency_ms"]["p50"] * GAIN > last["latency_ms"]["p50"]:
        return f"does not pay: it {times}", ""
    return "", f"{pro}, and {times}"
