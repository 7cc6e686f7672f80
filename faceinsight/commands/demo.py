"""The verb `demo` asks about a real photograph (scikit-image's astronaut) and a rendered face."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from faceinsight import FaceInsight

from .loading import needs

QUESTIONS = (
    "Is this a man or a woman?",
    "How old does she look?",
    "What colour is her hair?",
    "Is she smiling?",
    "Can you see her teeth?",
    "Is she wearing glasses?",
    "Does the person have a beard?",
    "Is there a hat on her head?",
    "Who is this?",
    "What is the weather like?",
    "Describe this face.",
)
SYNTHETIC_QUESTIONS = ("Is this a man or a woman?", "Any glasses?", "Is there a hat?", "Describe this face.")
SYNTHETIC_SEED = 343
"""A rendered face that nano reads right."""


def demo(
    out: Annotated[
        Path, typer.Option(help="Picture to write; that of the rendered face gets -synthetic in its name.")
    ] = Path("demo.png"),
) -> None:
    """Ask about a real photograph and a rendered face, and draw each with its parts and answers."""
    needs("demo", "skimage")
    from skimage.data import astronaut

    from faceinsight.models.data.synthetic import generate

    model = FaceInsight.load()
    _show(model, astronaut(), QUESTIONS, "the astronaut photograph", out)
    beside = out.with_stem(f"{out.stem}-synthetic")
    _show(model, generate(SYNTHETIC_SEED).image, SYNTHETIC_QUESTIONS, "a synthetic face", beside)


def _show(model: FaceInsight, image: np.ndarray, questions: Sequence[str], name: str, out: Path) -> None:
    from faceinsight.runtime.overlay import report_picture, save_picture

    print(f"About {name}:")
    face = model.perceive(image)
    exchanges = []
    for question in questions:
        start = time.perf_counter()
        answer = model.ask(face, question)
        sure = "" if answer.confidence is None else f", confidence {answer.confidence:.2f}"
        print(f"  {question}\n    {answer.text}  ({(time.perf_counter() - start) * 1e3:.0f} ms{sure})")
        exchanges.append((question, answer.text))
    save_picture(report_picture(image, face, exchanges), out)
    print(f"  picture: {out}\n")
