"""The precision of a stage: which ones can be asked for, and which one `auto` takes by error and time."""

from __future__ import annotations

from collections.abc import Mapping

from faceinsight.runtime.errors import InputError
from faceinsight.runtime.manifest import Candidate
from faceinsight.runtime.targets import Target

LANGUAGE_WEIGHTS = ("int8", "int4")
BUDGETS = {"detector": 0.01, "refiner": 0.003, "parser": 0.01, "vision": 0.08, "fusion": 0.008, "language": 0.01}
"""Stage -> the error that a precision must stay below for `auto` to take it; it is measured as `Reference.error` does.

Errors of this size cost nano less than half a point. To find them, the INT8 steps of one stage at a time were widened
and the answers scored on the 450 validation portraits. Against FP32, the mean balanced accuracy of the labels changed,
in points: refiner at an error of 0.0029 by -0.1, vision at 0.069 by -0.2 and at 0.145 by -0.5, fusion at 0.0086 by
-0.1. Errors of the parser cost the labels nothing, but they cost the mean IoU of its maps 0.6 points at 0.012 and 2.0
at 0.026. The language model may choose another token in fewer than one of a hundred places. The
shipped INT8 stages are at: detector 0.0015, refiner 0.0006, parser 0.004, vision 0.035, fusion 0.0001. What an error of
the detector costs was not measured; its budget is a hundredth of the input's side.
"""
GAIN = 1.05
"""How many times as fast as the last precision another one must be; timings of the same engine differ by less."""


def precisions(target: Target, asked: str | None) -> tuple[str, ...]:
    """The precisions to build a stage in.

    asked: one of the target's precisions, "auto" for all of them, None for the target's default. Returns one precision,
    or all that may be chosen from, the preferred first. Raises InputError for a precision that the target has not.
    """
    if asked is None:
        return target.precisions[:1]
    if asked == "auto":
        return target.precisions
    if asked in target.precisions:
        return (asked,)
    if asked == "int8":
        raise InputError(
            f"ONNX Runtime has no INT8 kernels for these stages on target {target.name}; use --precision "
            f"{target.precisions[0]}, or --target tensorrt"
        )
    raise InputError(f"target {target.name} is not built in {asked}; use {', '.join(target.precisions)} or auto")


def language_precisions(target: Target, usual: tuple[str, ...], weights: str | None) -> tuple[str, ...]:
    """The precisions to build the language model in.

    usual: those of the other stages. weights: one of LANGUAGE_WEIGHTS that takes the place of the first, or None.
    Raises InputError for other weights, and for a target that keeps the weights in float.
    """
    if weights is None:
        return usual
    if weights not in LANGUAGE_WEIGHTS:
        raise InputError(f"unknown weights {weights!r} of the language model; use {' or '.join(LANGUAGE_WEIGHTS)}")
    if "int8" not in target.precisions:
        raise InputError(
            f"target {target.name} keeps the language model's weights in float; leave --language-weights out"
        )
    return (weights, *usual[1:])


def within_budget(stage: str, candidate: Candidate) -> bool:
    """Whether a candidate's error is below the stage's budget."""
    return candidate.error.value < BUDGETS[stage]


def choose(stage: str, candidates: Mapping[str, Candidate]) -> tuple[str, str]:
    """Chooses the precision of a stage.

    The first one is taken whose error is below the budget and that is faster than the last one; if there is none, the
    last one is taken. A candidate that could not be timed is judged by its error alone.

    candidates: precision -> candidate, the preferred first. Returns the precision, and the reason in words.
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


def _judged(stage: str, candidate: Candidate, other: str, last: Candidate) -> tuple[str, str]:
    """The reason against a candidate, empty if there is none, and the reason for it. other: name of the last one."""
    if candidate.refused:
        return f"cannot be built: {candidate.refused}", ""
    error, budget = candidate.error.value, BUDGETS[stage]
    if not within_budget(stage, candidate):
        return f"errs by {error:.3g}, its budget is {budget:g}", ""
    pro = f"errs by {error:.3g}, less than its budget of {budget:g}"
    if not (candidate.latency_ms and last.latency_ms):
        return "", f"{pro}; not timed"
    times = f"takes {candidate.latency_ms.p50:.3g} ms, {other} {last.latency_ms.p50:.3g} ms"
    if candidate.latency_ms.p50 * GAIN > last.latency_ms.p50:
        return f"does not pay: it {times}", ""
    return "", f"{pro}, and {times}"
