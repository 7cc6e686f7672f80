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
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="Score groups of faces, too: by a column of labels.csv (Source), by bands of a column of numbers "
            "(Age_Years:30,60), or by skin, the darker and the lighter half; may be given several times.",
            metavar="COLUMN[:BOUND,BOUND]",
        ),
    ] = None,
    value: Annotated[
        list[str] | None,
        typer.Option(
            help="Score values of a choice against its others, too: each on its own (Expression), one "
            "(Expression:happy) or several together (Expression:sad,anger); may be given several times.",
            metavar="CHOICE[:VALUE,VALUE]",
        ),
    ] = None,
    labels_only: Annotated[
        bool, typer.Option("--labels-only", help="Score the model's labels and ask no question, which is fast.")
    ] = False,
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
    With --peer it asks another model the same questions. On a folder of whole photographs, with boxes.csv or
    pictures.csv, it scores the face detector.
    """
    from faceinsight.benchmarks.detection import evaluate_detector, has_photographs

    if has_photographs(data):
        _refuse_for_photographs(phrasings, by, value, labels_only, peer, task, out)
        found = evaluate_detector(FaceInsight.load(bundle, "cpu", threads), data, split, limit)
        if as_json:
            print_json(found)
        else:
            _print_detector(found)
        return
    if out is not None:
        _make_folder(out)
    if peer is None:
        if setting not in (None, Setting.fine_tuned) or peer_device is not None:
            raise InputError(
                "--setting plain or training-free and --peer-device are about a peer; give one with --peer"
            )
        from faceinsight.benchmarks.accuracy import evaluate as run

        if labels_only and phrasings:
            raise InputError("--phrasings asks questions; leave it or --labels-only out")
        model = FaceInsight.load(bundle, "cpu", threads)
        result = run(model, data, split, limit, phrasings, task, by or (), value or (), not labels_only)
    else:
        if setting is Setting.fine_tuned:
            raise InputError("a peer is not fine-tuned; leave --peer out, or give --setting plain or training-free")
        if phrasings or by or value or labels_only or (bundle and setting is not Setting.training_free):
            raise InputError(
                "--phrasings, --by, --value, --labels-only, and --bundle without --setting training-free, do not apply "
                "to a peer; leave them out"
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


def _refuse_for_photographs(*options: object) -> None:
    """Raises InputError if any of the options that are about labels was given."""
    if any(options):
        raise InputError(
            "this folder has whole photographs, which score the detector alone; leave out all options but --bundle, "
            "--split, --limit, --threads and --json"
        )


def _print_detector(found: dict) -> None:
    """found: see `evaluate_detector`."""
    share = "found" if "found" in found else "with_face"
    words = {"found": "marked faces that are found", "with_face": "pictures without a face in which one is seen"}
    bounds = _interval(found["interval"])
    print(f"{words[share]}: {figure(found[share])} ({bounds}) of {found['pictures']}")
    if share == "found":
        print(f"overlap with the marked box (median IoU): {figure(found['overlap'])}")
        print(f"boxes beside the marked faces: {found['other_boxes']}")
    print(f"detector, median: {found['detect_ms']:.1f} ms")


def _make_folder(out: Path) -> None:
    """Make the report's folder before anything is scored: a long evaluation must not end in an error."""
    needs("train", "matplotlib", instead="leave out --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write into {out}: {error.strerror}; give --out a folder") from error


def _print_scores(result: dict, task: str | None) -> None:
    _print_labels(result)
    if task is None and (parts := result.get("parse_map")):
        print("parse map, IoU: " + ", ".join(f"{part} {iou:.3f}" for part, iou in parts.items()))
    for name, scores in result["labels"].items():
        if scores["within_one"] is not None:
            print(f"{name}: exact {figure(scores['accuracy'])}, within one value {figure(scores['within_one'])}")
    for name, scores in result["numbers"].items():
        error = f"{figure(scores['mae'])} {scores['unit']} ({_interval(scores['interval'])})"
        print(f"{name}: mean absolute error {error} of {scores['faces']} faces; {scores['unclear']} told no number")
    if (contradictions := result["contradictions"]) is not None:
        print(f"faces whose answers contradict each other: {figure(contradictions)}")
    if asked := result.get("answers_asked"):
        print(f"answers that agree with the model's own labels: {figure(result['answers_agree'])} of {asked}")
    for name, found in (result.get("phrasings") or {}).items():
        print(
            f"held-out phrasings, {name}: {found['agree']:.2%} of {found['asked']} answers agree with the model's own "
            f"labels, {found['exact']:.2%} in the whole sentence; misread:"
        )
        for question, times in found["misread"].items():
            print(f"  {times:3d}  {question}")
    for by, groups in result.get("by", {}).items():
        _print_groups(by, groups, result["skin_luminance"])
    reasons = {"model": "the model does not tell them", "data": "no face of the data has them"}
    for whose, names in result.get("not_scored", {}).items():
        if names:
            print(f"not scored, as {reasons[whose]}: {', '.join(names)}")


def _print_labels(result: dict) -> None:
    """Print one row for each question and view, and the calibration of what has a probability."""
    columns = ["label", "balanced", "95 % interval", "accuracy", "faces"]
    scored = {name: scores for name, scores in result["labels"].items() if scores["faces"]}
    rows = [
        [name, figure(s["balanced_accuracy"]), _interval(s["interval"]), figure(s["accuracy"]), str(s["faces"])]
        for name, s in scored.items()
    ]
    calibration = result.get("calibration")
    if calibration:
        columns.append("ECE")
        for row in rows:
            row.append(figure(calibration["labels"].get(row[0], {}).get("error")))
    print_table(f"{result['faces']} faces, {result['failed']} failed", columns, rows)
    if calibration:
        total, count = figure(calibration["error"]), calibration["probabilities"]
        print(f"expected calibration error (ECE) of all {count} probabilities: {total}")
        values = [name for name in calibration["labels"] if name not in scored]
        if values:
            print("ECE of values: " + ", ".join(f"{v} {figure(calibration['labels'][v]['error'])}" for v in values))


def _print_groups(by: str, groups: dict[str, dict], luminance: float | None) -> None:
    """Print a column for each group; luminance: see `evaluate`."""
    print(f"\nby {by}: balanced accuracy (95 % interval); *: accuracy, as only one value occurs")
    if by == "skin":
        print(
            f"darker and lighter than L {figure(luminance)} of 100, the median luminance of what the parse map calls "
            "skin: a proxy of skin tone, which light and exposure change, too"
        )
    columns = [_group_rows(scores) for scores in groups.values()]
    names = dict.fromkeys(name for column in columns for name in column)
    heads = [f"{group} ({scores['faces']})" for group, scores in groups.items()]
    print_table("", ["label", *heads], [[name, *(c.get(name, "-") for c in columns)] for name in names])


def _group_rows(scores: dict) -> dict[str, str]:
    """Label -> a group's figure and its interval."""
    rows = {}
    for name, s in scores["labels"].items():
        if not s["faces"]:
            continue
        if s["balanced_accuracy"] is None:
            rows[name] = _short(s["accuracy"], s["accuracy_interval"], "*")
        else:
            rows[name] = _short(s["balanced_accuracy"], s["interval"])
        if len(s["values"]) > 2:
            rows[f"{name} exact"] = _short(s["accuracy"], s["accuracy_interval"])
        if s["within_one"] is not None:
            rows[f"{name} within one"] = _short(s["within_one"], s["within_one_interval"])
    for name, s in scores["numbers"].items():
        if s["faces"]:
            rows[f"{name} error"] = f"{s['mae']:.2f} ({s['interval'][0]:.2f}-{s['interval'][1]:.2f})"
    return rows | {"ECE": figure(scores["calibration"]["error"])}


def _short(value: float, bounds: tuple[float, float], mark: str = "") -> str:
    """A share with its interval in few characters, so that several stand in a line: 0.912 (.88-.94)."""
    low, high = (f"{bound:.2f}".removeprefix("0") for bound in bounds)
    return f"{value:.3f}{mark} ({low}-{high})"


def _interval(bounds: tuple[float, float] | None) -> str:
    return "-" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"
