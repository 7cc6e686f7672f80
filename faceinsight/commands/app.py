"""The command line puts its verbs together here and turns every error that a user can cause into one line."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated

import typer

from faceinsight.runtime.errors import FaceInsightError
from faceinsight.version import __version__

from .ablate import ablate
from .ask import ask
from .attributes import attributes
from .bench import bench
from .build import build
from .calibrate import calibrate
from .demo import demo
from .describe import describe
from .evaluate import evaluate
from .parity import parity
from .parse import parse
from .real_sizes import real_sizes
from .roofline import roofline
from .train import train

app = typer.Typer(
    name="faceinsight",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

VERBS = {
    "Ask about a face": (ask, describe, attributes, parse, demo),
    "Train and build a model": (train, calibrate, build),
    "Measure a model": (evaluate, bench, parity, ablate, roofline, real_sizes),
}
for panel, verbs in VERBS.items():
    for verb in verbs:
        app.command(rich_help_panel=panel)(verb)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"faceinsight {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Face question answering where the camera is."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command line.

    arguments: what stands behind the program's name; None takes it from the process.
    Returns the exit status: 0, 2 for wrong usage or input, 1 for every other error that has a message. Such an error
    is one line on standard error.
    """
    # pillow's warning about a large image would stand before our own line
    warnings.filterwarnings("ignore", message="Image size .* exceeds limit")
    try:
        return app(arguments, standalone_mode=False) or 0
    except FaceInsightError as error:
        return _fail(str(error), error.exit_code)
    except typer.TyperException as error:  # an unknown verb or option, a missing or wrong value
        # typer has printed the help already where it has no message
        message, context = error.format_message(), getattr(error, "ctx", None)
        advice = f"; see `{context.command_path} --help`" if context else ""
        return _fail(message.rstrip(".") + advice, error.exit_code) if message else error.exit_code


def _fail(message: str, status: int) -> int:
    print(f"faceinsight: {' '.join(message.split())}", file=sys.stderr)
    return status
