"""The verb `parse` draws the parts of a face."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from faceinsight import FaceInsight
from faceinsight.runtime.errors import InputError

from .options import AsJson, Box, BundleDir, Device, Image, Threads, parse_box
from .output import print_json


def parse(
    image: Image,
    out: Annotated[Path, typer.Option("--out", "-o", help="Picture to write.")] = Path("parse.png"),
    bundle: BundleDir = None,
    box: Box = None,
    device: Device = "cpu",
    threads: Threads = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Write the class of each pixel, 0 to 18, as its grey value; no overlay.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Draw the parts of the largest face (skin, eyes, hair, ...) over the image, into a picture."""
    import numpy as np

    from faceinsight.runtime.image import load_image
    from faceinsight.runtime.overlay import parse_overlay, save_picture
    from faceinsight.runtime.parse_map import PARSE_CLASSES

    pixels, asked = load_image(image), parse_box(box)
    if _same_file(image, out):
        raise InputError(f"--out {out} is the image itself, which would be lost: give another file")
    if raw and out.suffix.lower() not in (".png", ".bmp", ".tif", ".tiff"):
        raise InputError(
            f"--raw holds class indices, which {out.suffix or 'this format'} would blur: give a .png to --out"
        )
    face = FaceInsight.load(bundle, device, threads).perceive(pixels, asked)
    save_picture(face.parse_map if raw else parse_overlay(pixels, face), out)
    counts = np.bincount(face.parse_map.ravel(), minlength=len(PARSE_CLASSES))
    shares = {
        name: round(n / face.parse_map.size, 4) for name, n in zip(PARSE_CLASSES, counts.tolist(), strict=True) if n
    }
    if as_json:
        print_json({"image": str(image), "out": str(out), "crop_box": face.crop_box, "shares": shares})
        return
    print(f"wrote {out}: " + ", ".join(f"{k} {v:.1%}" for k, v in sorted(shares.items(), key=lambda i: -i[1])))


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them does not exist
        return False
