"""The verb `train` trains a model, or goes on with it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from faceinsight.runtime.errors import InputError

from .loading import needs
from .options import Threads


def train(
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, logs and the model.", show_default=False)],
    recipe: Annotated[
        str, typer.Option(help="How to train: a recipe of the project (nano, nano2, edge), or a .toml file of yours.")
    ] = "nano",
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="What to train on, once or several times: a data folder with labels.csv and images/, a public face "
            "set as it is unpacked; for the detector also whole photographs with boxes.csv, and photographs without a "
            'face with pictures.csv. "synthetic", the default, is rendered faces.',
            metavar="DIR",
        ),
    ] = None,
    config: Annotated[
        str, typer.Option(help="What to train: the sizes of nano, nano2, edge or paper, or a config.json of yours.")
    ] = "nano",
    vocabulary: Annotated[
        list[str] | None,
        typer.Option(
            help="What the model tells: nano, nano2, celeba, demographics, expression, or a .toml file with labels of "
            "yours; several are combined. The config's own by default.",
            metavar="NAME",
        ),
    ] = None,
    threads: Threads = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Train on the CPU, even if there is a GPU.")] = False,
) -> None:
    """Train a model; the same command again goes on where it stopped.

    On several GPUs: accelerate launch -m faceinsight train ...
    """
    needs("train", "torch", "transformers", "accelerate", "peft", "tensorboard")
    from faceinsight.models.config import FaceInsightConfig
    from faceinsight.models.presets import preset
    from faceinsight.models.training.recipe import Recipe
    from faceinsight.models.training.recipe import train as run
    from faceinsight.models.vocabulary import load_vocabulary

    settings = FaceInsightConfig.from_json(_text(Path(config)), config) if config.endswith(".json") else preset(config)
    if vocabulary:
        settings = dataclasses.replace(settings, vocabulary=load_vocabulary(*vocabulary))
    print(f"model: {run(Recipe.load(recipe), settings, data or ['synthetic'], out, threads or 0, cpu)}")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"cannot read {str(path)[:200]}: {error.strerror}") from error
