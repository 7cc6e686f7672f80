"""The arguments and options that several verbs have, so that a flag means the same everywhere."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from faceinsight.runtime.errors import InputError

Image = Annotated[Path, typer.Argument(help="Image file: JPEG, PNG, WebP, BMP or TIFF.", show_default=False)]
Box = Annotated[
    str | None,
    typer.Option(
        "--box",
        help="Where the face is: x0,y0,x1,y1 in pixels, from the hairline to the chin; found by default.",
        metavar="BOX",
    ),
]
BundleDir = Annotated[Path | None, typer.Option("--bundle", help="Bundle directory; the bundled nano by default.")]
ModelDir = Annotated[
    Path | None, typer.Option("--model", help="Model directory in PyTorch; the bundled nano by default.")
]
LabelledData = Annotated[
    Path,
    typer.Option(
        "--data",
        help="Data folder with labels.csv and images/, or a public face set as it is unpacked.",
        show_default=False,
    ),
]
Device = Annotated[
    str, typer.Option("--device", help="Where to run: cpu, or cuda:N for a bundle that was built for a GPU.")
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads; all cores by default.")]
Capabilities = Annotated[
    list[int] | None,
    typer.Option(
        "--sm",
        help="Compute capability that TensorRT-RTX compiles for, such as 89; may be given several times. By default "
        "one engine serves every RTX GPU from 80 on.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, for programs.")]


def parse_box(text: str | None) -> tuple[float, ...] | None:
    """Read the value of --box.

    Returns (x0, y0, x1, y1), or None where none was given. Raises InputError for anything but four numbers.
    """
    if text is None:
        return None
    try:
        box = tuple(float(value) for value in text.split(","))
    except ValueError:
        box = ()
    if len(box) != 4:
        raise InputError(f"--box takes four numbers x0,y0,x1,y1 in pixels, not {text!r}")
    return box


def chosen(option: str, given: Iterable[str] | None, known: Iterable[str]) -> tuple[str, ...]:
    """Check the values of an option that may be given several times.

    Returns each value once, in the order given; all of `known` where none was given. Raises InputError for a value
    that is not in `known`.
    """
    known = tuple(known)
    for value in given or ():
        if value not in known:
            raise InputError(f"{option} is {value!r}; use {', '.join(known)}")
    return tuple(dict.fromkeys(given or known))
