"""The verb `evaluate` scores a bundle, or another model, on labelled images."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from faceinsight import FaceInsight
from faceinsight.runtime.errors import InputError

from .loading import needs
from .options import AsJson, BundleDir, LabelledData, Threads
from .output import figure, print_json, print_table


class Setting(StrEnum):
    """How the model that answers was prepared."""

    fine_tuned = "fine-tuned"
    plain = "plain"
    training_free = "training-free"


def evaluate(
    data: LabelledData,
    bundle: BundleDir = None,
    split: Annotated[str, typer.Option(help="Split of the data to use: train, val or test.")] = "val",
    task: Annotated[
        str | None,
        typer.Option(
            help="Ask about the labels of this task only, such as attributes, demographics, expression: those that the "
            "model's vocabulary names; all by default.",
            metavar="NAME",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Most faces to use; all by default.")] = None,
    phrasings: Annotated[
        int,
        typer.Option(
            min=0, help="Number of faces to ask, in addition, in wordings that were never trained on; 0 asks none."
        ),
    ] = 0,
    peer: Annotated[
        str | None,
        typer.Option(help="Score this image-text-to-text model instead: a directory or a Hugging Face hub id."),
    ] = None,
    setting: Annotated[
        Setting | None,
        typer.Option(
            help="fine-tuned scores the bundle. A peer is scored plain, or training-free: then each question comes "
            "with what the bundle perceives, in words.",
            show_default="fine-tuned; with --peer plain",
        ),
    ] = None,
    peer_device: Annotated[
        str | None, typer.Option(help="PyTorch device that the peer runs on, such as cuda:0; cpu by default.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write result.json and pictures of the confusion matrices to.")
    ] = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Score a bundle on labelled images, from the image file to the words of the answer.

    It reports how often labels are right, and how often answers agree with the model's own labels.
    With --peer it asks another model the same questions.
    """
    if out is not None:
        _make_folder(out)
    if peer is None:
        if setting not in (None, Setting.fine_tuned) or peer_device is not None:
            raise InputError(
                "--setting plain or training-free and --peer-device are about a peer; give one with --peer"
            )
        from faceinsight.benchmarks.accuracy import evaluate as run

        result = run(FaceInsight.load(bundle, "cpu", threads), data, split, limit, phrasings, task)
    else:
        if setting is Setting.fine_tuned:
            raise InputError("a peer is not fine-tuned; leave --peer out, or give --setting plain or training-free")
        if phrasings or (bundle and setting is not Setting.training_free):
            raise InputError(
                "--phrasings, and --bundle without --setting training-free, do not apply to a peer; leave them out"
            )
        needs("train", "torch", "transformers")
        from faceinsight.benchmarks.peers import Peer, score_peer

        knowledge = FaceInsight.load(bundle, "cpu", threads) if setting is Setting.training_free else None
        result = score_peer(Peer(peer, peer_device or "cpu"), data, split, limit, knowledge, task=task)
    if out is not None:
        from faceinsight.benchmarks.accuracy import confusion_pictures

        (out / "result.json").write_text(json.dumps(result, indent=2), encoding="utf-8")
        confusion_pictures(result["labels"], out)
    if as_json:
        print_json(result)
        return
    _print_scores(result, task)


def _make_folder(out: Path) -> None:
    """Make the report's folder before anything is scored: a long evaluation must not end in an error."""
    needs("train", "matplotlib", instead="leave out --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write into {out}: {error.strerror}; give --out a folder") from error


def _print_scores(result: dict, task: str | None) -> None:
    rows = [
        (name, figure(s["balanced_accuracy"]), _interval(s["interval"]), figure(s["accuracy"]), str(s["faces"]))
        for name, s in result["labels"].items()
    ]
    title = f"{result['faces']} faces, {result['failed']} failed"
    print_table(title, ("label", "balanced", "95 % interval", "accuracy", "faces"), rows)
    if task is None and (parts := result.get("parse_map")):
        print("parse map, IoU: " + ", ".join(f"{part} {iou:.3f}" for part, iou in parts.items()))
    for name, scores in result["labels"].items():
        if scores["within_one"] is not None:
            print(f"{name}: exact {figure(scores['accuracy'])}, within one value {figure(scores['within_one'])}")
    for name, scores in result["numbers"].items():
        error = f"{figure(scores['mae'])} {scores['unit']} ({_interval(scores['interval'])})"
        print(f"{name}: mean absolute error {error} of {scores['faces']} faces; {scores['unclear']} told no number")
    print(f"faces whose answers contradict each other: {figure(result['contradictions'])}")
    if "answers_agree" in result:
        share, asked = result["answers_agree"], result["answers_asked"]
        print(f"answers that agree with the model's own labels: {figure(share)} of {asked}")
    for name, found in (result.get("phrasings") or {}).items():
        print(
            f"held-out phrasings, {name}: {found['agree']:.2%} of {found['asked']} answers agree with the model's own "
            f"labels, {found['exact']:.2%} in the whole sentence; misread:"
        )
        for question, times in found["misread"].items():
            print(f"  {times:3d}  {question}")


def _interval(bounds: tuple[float, float] | None) -> str:
    return "-" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"
