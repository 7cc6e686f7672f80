"""The verb `ablate` shows what each idea of the paper brings."""

from __future__ import annotations

from typing import Annotated

import typer

from .loading import needs
from .options import LabelledData, ModelDir
from .output import print_last_line


def ablate(
    data: LabelledData,
    model: ModelDir = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each variant, with other random numbers.")] = 3,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each training.")] = 500,
    faces: Annotated[int, typer.Option(min=1, help="Augmented faces that each training draws from.")] = 6000,
) -> None:
    """Train a model's attribute head with and without each of the paper's three ideas, and score it on val.

    The ideas: the parse map as a second input, the correlation constraint (CCM), the logical constraint (LCM).
    The last line is one JSON document.
    """
    needs("train", "torch", "transformers", "accelerate", "peft", "tensorboard")
    import torch

    from faceinsight.benchmarks.ablation import ablate as run
    from faceinsight.benchmarks.ablation import markdown
    from faceinsight.models.checkpoint import model_directory
    from faceinsight.models.data.dataset import read_faces
    from faceinsight.models.faceinsight import FaceInsightModel
    from faceinsight.models.training.trainer import device

    network = FaceInsightModel.from_pretrained(model_directory(model)).to(device())
    train, val = (read_faces(data, split, network.config.vocabulary) for split in ("train", "val"))
    print(f"torch {torch.__version__} on {device()}, {len(train)} training and {len(val)} val faces")
    found = run(network, train, val, seeds, steps, faces)
    print(markdown(found))
    print_last_line(found)
