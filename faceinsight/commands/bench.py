"""The verb `bench` measures how long a bundle takes."""

from __future__ import annotations

from typing import Annotated

import typer

from .loading import needs
from .options import BundleDir, Device, ModelDir, Threads


def bench(
    bundle: BundleDir = None,
    model: ModelDir = None,
    threads: Threads = None,
    rounds: Annotated[int, typer.Option(min=3, help="Timed repetitions.")] = 50,
    pytorch: Annotated[bool, typer.Option(help="Also time the model in PyTorch, without compilation.")] = True,
    compiled: Annotated[bool, typer.Option("--compile", help="Also time the model through torch.compile.")] = False,
    device: Device = "cpu",
) -> None:
    """Measure the latency of every stage and from the frame to the answer.

    The runtime and PyTorch take turns, so that a noisy machine is noisy for both.
    Beside each figure stands the least time that this machine could need.
    The last line is one JSON document.
    """
    if pytorch or compiled or device != "cpu":
        needs("build", "torch", "transformers", instead="leave PyTorch out with --no-pytorch")
    from faceinsight.benchmarks.latency import bench as run

    run(bundle, model, threads, rounds, pytorch, device, compiled)
