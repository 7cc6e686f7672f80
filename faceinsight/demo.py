"""The demo: questions about a real photograph (scikit-image's astronaut) and a synthetic face, and a picture."""

from __future__ import annotations

import argparse
import sys
import time

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
SYNTHETIC_SEED = 3


def main() -> None:
    """Prints question and answer for two faces and writes the first one's annotated picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="demo.png", help="picture to write")
    out = parser.parse_args().out
    try:
        from skimage.data import astronaut
    except ImportError:
        sys.exit("the demo needs scikit-image: run `pip install 'faceinsight[demo]'`")
    from faceinsight import FaceInsight
    from faceinsight.models.data.synthetic import generate
    from faceinsight.runtime.overlay import report_picture, save_picture

    model = FaceInsight.load()
    photograph = astronaut()
    face, exchanges = _ask(model, photograph, QUESTIONS, "the astronaut photograph")
    _ask(model, generate(SYNTHETIC_SEED).image, SYNTHETIC_QUESTIONS, "a synthetic face")
    save_picture(report_picture(photograph, face, exchanges), out)
    print(f"picture: {out}")


def _ask(model, image, questions, name: str):
    print(f"\nAbout {name}:")
    face = model.perceive(image)
    exchanges = []
    for question in questions:
        start = time.perf_counter()
        answer = model.ask(face, question)
        sure = "" if answer.confidence is None else f", confidence {answer.confidence:.2f}"
        print(f"  {question}\n    {answer.text}  ({(time.perf_counter() - start) * 1e3:.0f} ms{sure})")
        exchanges.append((question, answer.text))
    return face, exchanges


if __name__ == "__main__":
    main()
