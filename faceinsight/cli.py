"""The command line: one verb each. Heavy imports wait inside the verbs, so `--help` is instant."""

from __future__ import annotations

import dataclasses
import json
import sys
import warnings
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from faceinsight.runtime.targets import TARGETS

app = typer.Typer(
    name="faceinsight",
    help="Face question answering where the camera is.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


DESCRIBE = "Describe this face."


class Task(StrEnum):
    attributes = "attributes"
    demographics = "demographics"
    expression = "expression"


class More(StrEnum):
    expression = "Expression"
    race = "Race"


class Setting(StrEnum):
    fine_tuned = "fine-tuned"
    plain = "plain"
    training_free = "training-free"


Image = Annotated[Path, typer.Argument(help="Image file: JPEG, PNG, WebP, BMP or TIFF.", show_default=False)]
BundleDir = Annotated[Path | None, typer.Option("--bundle", help="Bundle directory; the bundled nano by default.")]
Device = Annotated[
    str, typer.Option("--device", help="Where to run: cpu, or cuda:N for a bundle that was built for it.")
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads; all by default.")]
BoxOption = Annotated[
    str | None,
    typer.Option("--box", help="Face box x0,y0,x1,y1 in pixels, hairline to chin.", metavar="BOX"),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output, for machines.")]


@app.command()
def ask(
    image: Image,
    question: Annotated[list[str], typer.Argument(help="One or more questions about the face.", show_default=False)],
    bundle: BundleDir = None,
    box: BoxOption = None,
    device: Device = "cpu",
    threads: Threads = None,
    temperature: Annotated[float, typer.Option(min=0.0, help="0: always the likeliest word; above: chance.")] = 0.0,
    seed: Annotated[int | None, typer.Option(min=0, help="Makes chance repeatable, for a temperature above 0.")] = None,
    as_json: AsJson = False,
) -> None:
    """Answer questions about the largest face in an image; the face is encoded once."""
    model, face = _perceive(image, bundle, box, device, threads)
    answers = []
    for text in question:
        answer = model.ask(face, text, temperature=temperature, seed=seed)
        answers.append(_answer_json(text, answer))
        if not as_json:
            _print_answer(text if len(question) > 1 else None, answer)
    if as_json:
        _print_json({"image": str(image), "face": _face_json(face), "answers": answers})


@app.command()
def describe(
    image: Image,
    bundle: BundleDir = None,
    box: BoxOption = None,
    device: Device = "cpu",
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Describe the largest face in words, piece by piece as they are decoded."""
    model, face = _perceive(image, bundle, box, device, threads)
    if as_json:
        answer = _answer_json(DESCRIBE, model.ask(face, DESCRIBE))
        _print_json({"image": str(image), "face": _face_json(face), "answer": answer})
        return
    for piece in model.stream(face, DESCRIBE):
        print(piece, end="", flush=True)
    print()


@app.command()
def attributes(
    image: Image,
    bundle: BundleDir = None,
    box: BoxOption = None,
    device: Device = "cpu",
    threads: Threads = None,
    every: Annotated[bool, typer.Option("--all", help="Every face in the image, not only the largest.")] = False,
    as_json: AsJson = False,
) -> None:
    """Labels and attribute probabilities of a face."""
    model = _load(bundle, device, threads)
    if every and box:
        raise _usage("--all looks for the faces itself: give either --all or --box")
    faces = model.perceive_all(image) if every else [model.perceive(image, _box(box))]
    if as_json:
        _print_json({"image": str(image), "faces": [_face_json(face) for face in faces]})
        return
    for face in faces:
        _print_face(face)


@app.command()
def parse(
    image: Image,
    out: Annotated[Path, typer.Option("--out", "-o", help="Picture to write.")] = Path("parse.png"),
    bundle: BundleDir = None,
    box: BoxOption = None,
    device: Device = "cpu",
    threads: Threads = None,
    raw: Annotated[bool, typer.Option("--raw", help="Write class indices (0-18) as grey values, no overlay.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the parse map of a face as an overlay picture."""
    import numpy as np

    from faceinsight.runtime.image import load_image
    from faceinsight.runtime.parse_map import PARSE_CLASSES
    from faceinsight.runtime.overlay import parse_overlay, save_picture

    pixels = load_image(image)
    if _same_file(image, out):
        raise _usage(f"--out {out} is the image itself, which would be lost: give another file")
    if raw and out.suffix.lower() not in (".png", ".bmp", ".tif", ".tiff"):
        raise _usage(f"--raw holds class indices, which {out.suffix or 'this format'} would blur: give a .png to --out")
    face = _load(bundle, device, threads).perceive(pixels, _box(box))
    save_picture(face.parse_map if raw else parse_overlay(pixels, face), out)
    counts = np.bincount(face.parse_map.ravel(), minlength=len(PARSE_CLASSES))
    shares = {
        name: round(n / face.parse_map.size, 4) for name, n in zip(PARSE_CLASSES, counts.tolist(), strict=True) if n
    }
    if as_json:
        _print_json({"image": str(image), "out": str(out), "crop_box": face.crop_box, "shares": shares})
        return
    print(f"wrote {out}: " + ", ".join(f"{k} {v:.1%}" for k, v in sorted(shares.items(), key=lambda i: -i[1])))


@app.command()
def build(
    out: Annotated[Path, typer.Option(help="Bundle directory to write.", show_default=False)],
    model: Annotated[Path | None, typer.Option(help="Model directory; the bundled nano checkpoint by default.")] = None,
    target: Annotated[str, typer.Option(help="What the bundle runs on.", metavar="|".join(TARGETS))] = "cpu",
    precision: Annotated[
        str | None,
        typer.Option(
            help="int8 (cpu, TensorRT) is smaller and faster than fp32 (cpu, cuda) and fp16 (cuda, TensorRT); auto "
            "builds both, compares them with PyTorch and takes the better for every stage.",
            metavar="int8|fp16|fp32|auto",
            show_default="int8; of cuda fp16",
        ),
    ] = None,
    language_weights: Annotated[
        str | None,
        typer.Option(
            help="Weights of the language model, whatever the precision.",
            metavar="int8|int4",
            show_default="as the precision says",
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="For int8: folder of images or scales file; the model's own by default."),
    ] = None,
    sm: Annotated[
        list[int] | None,
        typer.Option(help="Compute capability that TensorRT-RTX compiles for, such as 89; portable by default."),
    ] = None,
    max_faces: Annotated[
        int | None, typer.Option(min=1, help="TensorRT: most faces of one batch.", show_default="4")
    ] = None,
    workspace_mib: Annotated[int | None, typer.Option(min=1, help="TensorRT: most scratch memory.")] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="TensorRT: compile anew, and keep nothing for the next build.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Export, quantise and verify a model, and write its bundle."""
    _needs("build", "torch", "onnx", "onnx_graphsurgeon", "onnxslim", "filelock")
    from faceinsight.build_engines.build import build_bundle

    compiling = {
        "sm": tuple(dict.fromkeys(sm or ())),
        "max_faces": max_faces,
        "workspace_mib": workspace_mib,
        "cache": False if no_cache else None,
    }
    compiling = {name: value for name, value in compiling.items() if value not in (None, ())}
    manifest = build_bundle(model, out, target, precision, calibration, language_weights, **compiling)
    if as_json:
        _print_json({"out": str(out), "stages": manifest["stages"]})
        return
    _print_table(
        f"bundle {out}",
        ("stage", "precision", "kB", "error", "ms", "choice"),
        [
            (name, s["precision"], f"{s['bytes'] / 1e3:.0f}", f"{s['error']['value']:.2g} {s['error']['measure']}",
             f"{s['latency_ms']['p50']:.2f}" if s["latency_ms"] else "-", s["choice"])
            for name, s in manifest["stages"].items()
        ],
    )  # fmt: skip


@app.command()
def calibrate(
    images: Annotated[Path, typer.Option(help="Folder of images with faces.", show_default=False)],
    out: Annotated[Path, typer.Option(help="File to write, for build --calibration.", show_default=False)],
    model: Annotated[Path | None, typer.Option(help="Model directory; the bundled nano checkpoint by default.")] = None,
    limit: Annotated[int, typer.Option(min=8, help="Most images to use.")] = 256,
) -> None:
    """Measure on images how large activations get, which an INT8 build needs, and write that to a scales file."""
    _needs("build", "torch", "onnx", "onnx_graphsurgeon", "onnxslim")
    from faceinsight.build_engines.export import export_stages
    from faceinsight.calibration.calibrate import calibrate_model

    count = calibrate_model(model, images, out, export_stages, limit)
    print(f"wrote {out}: ranges from {count} faces")


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, logs and the model.", show_default=False)],
    recipe: Annotated[str, typer.Option(help="A shipped recipe or a .toml file.")] = "nano",
    data: Annotated[
        str, typer.Option(help='Data folder with labels.csv, a public face set, or "synthetic".')
    ] = "synthetic",
    config: Annotated[str, typer.Option(help="A preset (nano, edge, paper) or a config.json.")] = "nano",
    also: Annotated[
        list[More] | None, typer.Option(help="A label to predict beside the usual ones; the data has to have it.")
    ] = None,
    threads: Threads = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Leave the GPU alone.")] = False,
) -> None:
    """Train a model; running the same command again resumes it.

    On several GPUs: accelerate launch -m faceinsight train ...
    """
    _needs("train", "torch", "transformers", "accelerate", "peft", "tensorboard")
    from faceinsight.models.config import FaceInsightConfig
    from faceinsight.models.presets import preset
    from faceinsight.models.training.recipe import Recipe
    from faceinsight.models.training.recipe import train as run

    settings = FaceInsightConfig.from_json(_text(Path(config)), config) if config.endswith(".json") else preset(config)
    if also:
        labels = tuple(dict.fromkeys((*settings.attributes.also, *(label.value for label in also))))
        settings = dataclasses.replace(settings, attributes=dataclasses.replace(settings.attributes, also=labels))
    print(f"model: {run(Recipe.load(recipe), settings, data, out, threads or 0, cpu)}")


@app.command()
def evaluate(
    data: Annotated[
        Path, typer.Option(help="Data folder with labels.csv and images/, or a public face set.", show_default=False)
    ],
    bundle: BundleDir = None,
    split: Annotated[str, typer.Option(help="Split of the data to use.")] = "val",
    task: Annotated[Task | None, typer.Option(help="Show this task only; all by default.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Most faces to use.")] = None,
    phrasings: Annotated[
        int, typer.Option(min=0, help="Also ask the held-out phrasings about so many of the faces.")
    ] = 0,
    peer: Annotated[
        str | None, typer.Option(help="Score this Hugging Face model instead: a directory or hub id.")
    ] = None,
    setting: Annotated[
        Setting | None,
        typer.Option(
            help="fine-tuned: the bundle, whose language model was taught to read visual tokens and facts. Of a peer: "
            "plain, or training-free, with what the bundle perceives in words before every question.",
            show_default="fine-tuned; of a peer plain",
        ),
    ] = None,
    peer_device: Annotated[
        str | None, typer.Option(help="Where the peer runs, in PyTorch's words; cpu by default.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for result.json and pictures of the confusion.")] = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Accuracy on labelled images, and how often answers agree with the model's own labels, through the whole runtime;
    or that of a peer, asked the same."""
    from faceinsight.benchmarks.replies import TASKS

    report = None if out is None else _report_folder(out)
    if peer is None:
        if setting not in (None, Setting.fine_tuned) or peer_device is not None:
            raise _usage("--setting plain or training-free and --peer-device are about a peer; give one with --peer")
        from faceinsight.benchmarks.accuracy import evaluate as run

        result = run(_load(bundle, "cpu", threads), data, split, limit, phrasings)
    else:
        if setting is Setting.fine_tuned:
            raise _usage("a peer is not fine-tuned; leave --peer out, or give --setting plain or training-free")
        if phrasings or (bundle and setting is not Setting.training_free):
            raise _usage(
                "--phrasings, and --bundle without --setting training-free, say nothing of a peer: leave them out"
            )
        _needs("train", "torch", "transformers")
        from faceinsight.benchmarks.peers import Peer, score_peer

        knowledge = _load(bundle, "cpu", threads) if setting is Setting.training_free else None
        result = score_peer(Peer(peer, peer_device or "cpu"), data, split, limit, knowledge)
    shown = result["labels"] if task is None else TASKS[task.value]
    result["labels"] = {name: scores for name, scores in result["labels"].items() if name in shown}
    if report is not None:
        from faceinsight.benchmarks.accuracy import confusion_pictures

        (report / "result.json").write_text(json.dumps(result, indent=2), encoding="utf-8")
        confusion_pictures(result["labels"], report)
    if as_json:
        _print_json(result)
        return
    _print_scores(result, task)


def _report_folder(out: Path) -> Path:
    """Made before anything is scored: a long evaluation must not end in an error."""
    _needs("train", "matplotlib", instead="leave out --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _usage(f"cannot write into {out}: {error.strerror}; give --out a folder") from error
    return out


def _print_scores(result: dict, task: Task | None) -> None:
    rows = [
        (name, _figure(s["balanced_accuracy"]), _interval(s["interval"]), _figure(s["accuracy"]), str(s["faces"]))
        for name, s in result["labels"].items()
    ]
    title = f"{result['faces']} faces, {result['failed']} failed"
    _print_table(title, ("label", "balanced", "95 % interval", "accuracy", "faces"), rows)
    if task is None and (parts := result.get("parse_map")):
        print("parse map, IoU: " + ", ".join(f"{part} {iou:.3f}" for part, iou in parts.items()))
    if task in (None, Task.demographics):
        exact, near = (_figure(result[name]) for name in ("age_exact", "age_within_one_group"))
        print(f"age group: exact {exact}, within one group {near}")
    print(f"faces whose answers contradict each other: {_figure(result['contradictions'])}")
    if "answers_agree" in result:
        share, asked = result["answers_agree"], result["answers_asked"]
        print(f"answers that agree with the model's own labels: {_figure(share)} of {asked}")
    for name, found in (result.get("phrasings") or {}).items():
        print(
            f"held-out phrasings, {name}: {found['agree']:.2%} of {found['asked']} answers agree with the model's own "
            f"labels, {found['exact']:.2%} in the whole sentence; misread:"
        )
        for question, times in found["misread"].items():
            print(f"  {times:3d}  {question}")


@app.command()
def bench(
    bundle: BundleDir = None,
    model: Annotated[
        Path | None, typer.Option(help="Model directory for PyTorch; the bundled nano by default.")
    ] = None,
    threads: Threads = None,
    rounds: Annotated[int, typer.Option(min=3, help="Timed repetitions.")] = 50,
    peer: Annotated[bool, typer.Option(help="Time the same model in PyTorch eager in the same run.")] = True,
    compiled: Annotated[bool, typer.Option("--compile", help="And through torch.compile.")] = False,
    device: Device = "cpu",
) -> None:
    """Latency per stage and end to end, against PyTorch and the machine's limit; the last line is JSON."""
    if peer or compiled or device != "cpu":
        _needs("build", "torch", "transformers", instead="leave the peer out with --no-peer")
    from faceinsight.benchmarks.latency import bench as run

    run(bundle, model, threads, rounds, peer, device, compiled)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(bounds: tuple[float, float] | None) -> str:
    return "-" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"


def _needs(extra: str, *modules: str, instead: str = "") -> None:
    import importlib.util

    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        from faceinsight.runtime.errors import InputError

        advice = f"run `pip install '.[{extra}]'` in the project's folder" + (f", or {instead}" if instead else "")
        raise InputError(f"this needs {', '.join(missing)}: {advice}")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise _usage(f"cannot read {str(path)[:200]}: {error.strerror}") from error


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them does not exist
        return False


def _usage(message: str):
    from faceinsight.runtime.errors import InputError

    return InputError(message)


def _box(text: str | None):
    if text is None:
        return None
    try:
        box = tuple(float(v) for v in text.split(","))
    except ValueError:
        box = ()
    if len(box) != 4:
        raise _usage(f"--box takes four numbers x0,y0,x1,y1 in pixels, not {text!r}")
    return box


def _load(bundle: Path | None, device: str, threads: int | None):
    from faceinsight import FaceInsight

    return FaceInsight.load(bundle, device, threads)


def _perceive(image: Path, bundle, box, device, threads):
    model = _load(bundle, device, threads)
    return model, model.perceive(image, _box(box))


def _face_json(face) -> dict:
    return {
        "box": [round(v, 1) for v in face.box],
        "labels": face.labels,
        "attributes": {name: round(p, 4) for name, p in face.attributes.items()},
        "timings": {name: round(ms, 3) for name, ms in face.timings.items()},
    }


def _answer_json(question: str, answer) -> dict:
    item = {f.name: getattr(answer, f.name) for f in dataclasses.fields(answer) if f.name != "face"}
    item["attributes"] = {name: round(p, 4) for name, p in answer.attributes.items()}
    item["timings"] = {name: round(ms, 3) for name, ms in answer.timings.items()}
    return {"question": question} | item


def _print_json(document: dict) -> None:
    print(json.dumps(document, indent=2))


def _print_answer(question: str | None, answer) -> None:
    if not sys.stdout.isatty():
        print(answer.text if question is None else f"{question}\t{answer.text}")
        return
    from rich.console import Console

    console = Console()
    if question:
        console.print(question, style="dim", markup=False, highlight=False)
    console.print(answer.text, style="bold", markup=False, highlight=False)
    evidence = "  ".join(f"{name} {p:.2f}" for name, p in answer.attributes.items())
    if evidence:
        console.print(evidence, style="dim", markup=False)


def _print_face(face) -> None:
    words = {True: "yes", False: "no"}
    rows = [(name, value if isinstance(value, str) else words[value]) for name, value in face.labels.items()]
    _print_table("labels", ("label", "value"), rows)
    _print_table("attributes", ("attribute", "probability"), [(n, f"{p:.3f}") for n, p in face.attributes.items()])


def _print_table(title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """A rich table on a terminal; tab-separated lines when piped."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            print("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, title=Text(title))
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def main(run: Callable[[], None] = app) -> None:
    """Entry point: our own errors become one line on stderr and an exit code (2 input, 1 otherwise)."""
    from faceinsight.runtime.errors import FaceInsightError

    # an image that is too large gets our own line
    warnings.filterwarnings("ignore", message="Image size .* exceeds limit")
    try:
        run()
    except FaceInsightError as error:
        print(f"faceinsight: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
