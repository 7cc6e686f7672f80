"""The verb `attributes` prints the labels of faces and how probable each attribute is."""

from __future__ import annotations

from typing import Annotated

import typer

from faceinsight import Face, FaceInsight
from faceinsight.runtime.errors import InputError

from .options import AsJson, Box, BundleDir, Device, Image, Threads, parse_box
from .output import figure, print_json, print_table


def attributes(
    image: Image,
    bundle: BundleDir = None,
    box: Box = None,
    device: Device = "cpu",
    threads: Threads = None,
    every: Annotated[bool, typer.Option("--all", help="Every face in the image, not only the largest.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the labels of a face and the probability of each attribute."""
    if every and box:
        raise InputError("--all looks for the faces itself: give either --all or --box")
    asked = parse_box(box)
    model = FaceInsight.load(bundle, device, threads)
    faces = model.perceive_all(image) if every else [model.perceive(image, asked)]
    if as_json:
        print_json({"image": str(image), "faces": [face.to_dict() for face in faces]})
        return
    for face in faces:
        _print_face(face)


def _print_face(face: Face) -> None:
    words = {True: "yes", False: "no"}
    rows = [(name, value if isinstance(value, str) else words[value]) for name, value in face.labels.items()]
    print_table("labels", ("label", "value"), rows)
    print_table("attributes", ("attribute", "probability"), [(n, figure(p)) for n, p in face.attributes.items()])
