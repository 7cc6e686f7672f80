"""The verb `ask` answers questions about a face."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from faceinsight import Answer

from .loading import perceive
from .options import AsJson, Box, BundleDir, Device, Image, Threads
from .output import print_json


def ask(
    image: Image,
    question: Annotated[list[str], typer.Argument(help="One or more questions about the face.", show_default=False)],
    bundle: BundleDir = None,
    box: Box = None,
    device: Device = "cpu",
    threads: Threads = None,
    temperature: Annotated[
        float,
        typer.Option(min=0.0, help="0 always takes the most probable word; a higher value draws words more freely."),
    ] = 0.0,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Start of the random numbers, for a temperature above 0.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Answer questions about the largest face in an image.

    The face is encoded once, however many questions there are.
    """
    model, face = perceive(image, bundle, box, device, threads)
    answers = []
    for text in question:
        answer = model.ask(face, text, temperature=temperature, seed=seed)
        answers.append(answer.to_dict())
        if not as_json:
            _print_answer(text if len(question) > 1 else None, answer)
    if as_json:
        print_json({"image": str(image), "face": face.to_dict(), "answers": answers})


def _print_answer(question: str | None, answer: Answer) -> None:
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
