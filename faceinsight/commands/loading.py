"""What several verbs do first: check that an optional library is here, load a bundle, look at an image."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from faceinsight import Face, FaceInsight
from faceinsight.runtime.errors import InputError

from .options import parse_box


def needs(extra: str, *modules: str, instead: str = "") -> None:
    """Check that the modules of an optional dependency can be imported, before anything slow is done.

    extra: the name in pyproject.toml that installs them. instead: what the user can do without them.
    Raises InputError that names the missing modules and how to install them.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        advice = f"run `pip install '.[{extra}]'` in the project's folder" + (f", or {instead}" if instead else "")
        raise InputError(f"this needs {', '.join(missing)}: {advice}")


def perceive(
    image: Path, bundle: Path | None, box: str | None, device: str, threads: int | None
) -> tuple[FaceInsight, Face]:
    """Load a bundle and look at one face of an image. box: as --box has it; None looks for the largest face."""
    asked = parse_box(box)  # a wrong one is told before the bundle is loaded
    model = FaceInsight.load(bundle, device, threads)
    return model, model.perceive(image, asked)
