"""The verb `parity` compares a bundle's answers with PyTorch's."""

from __future__ import annotations

from typing import Annotated

import typer

from .loading import needs
from .options import BundleDir, Device, LabelledData, ModelDir
from .output import print_last_line


def parity(
    data: LabelledData,
    bundle: BundleDir = None,
    model: ModelDir = None,
    device: Device = "cpu",
    questions: Annotated[int, typer.Option(min=1, help="Number of questions, each about one face of val.")] = 200,
) -> None:
    """Compare a bundle's answers, word for word, with those of its model in PyTorch.

    It shows every difference, and whether the two sides saw other labels.
    The last line is one JSON document.
    """
    needs("build", "torch", "transformers", "onnx", "onnx_graphsurgeon")
    from faceinsight.benchmarks.parity import parity as run
    from faceinsight.benchmarks.parity import show

    result = run(data, bundle, model, questions, device)
    show(result)
    print_last_line(result)
