"""The demo: questions about a real photograph (skimage's astronaut) and a synthetic face; a picture of each."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

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


def main() -> None:
    """Prints question and answer for two faces and writes an annotated picture of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo.png"), help="picture to write; -synthetic beside it")
    out = parser.parse_args().out
    try:
        from skimage.data import astronaut
    except ImportError:
        sys.exit("the demo needs scikit-image: run `pip install '.[demo]'` in the project's folder")
    from faceinsight import FaceInsight
    from faceinsight.models.data.synthetic import generate

    model = FaceInsight.load()
    _show(model, astronaut(), QUESTIONS, "the astronaut photograph", out)
    beside = out.with_stem(f"{out.stem}-synthetic")
    _show(model, generate(SYNTHETIC_SEED).image, SYNTHETIC_QUESTIONS, "a synthetic face", beside)


def _show(model, image, questions: tuple[str, ...], name: str, out: Path) -> None:
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


if __name__ == "__main__":
    from faceinsight.cli import main as guarded

    guarded(main)
