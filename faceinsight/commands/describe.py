"""The verb `describe` says in words what a face looks like."""

from __future__ import annotations

from .loading import perceive
from .options import AsJson, Box, BundleDir, Device, Image, Threads
from .output import print_json

QUESTION = "Describe this face."


def describe(
    image: Image,
    bundle: BundleDir = None,
    box: Box = None,
    device: Device = "cpu",
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Describe the largest face in an image; the words appear as they are decoded."""
    model, face = perceive(image, bundle, box, device, threads)
    if as_json:
        answer = model.ask(face, QUESTION).to_dict()
        print_json({"image": str(image), "face": face.to_dict(), "answer": answer})
        return
    for piece in model.stream(face, QUESTION):
        print(piece, end="", flush=True)
    print()
