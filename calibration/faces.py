"""Crops of faces as the stages see them: of photographs for calibration, or rendered where there are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from faceinsight.models.data.augment import crop_pair, nominal_matrix
from faceinsight.models.data.synthetic import generate
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.runtime.detect import CascadeDetector
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.image import crop_matrix, load_image, refined_box, warp
from faceinsight.runtime.progress import ProgressBar

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
LEAST_FACES = 8


@torch.no_grad()
def read_crops(folder: str | Path, model: FaceInsightModel, limit: int = 256) -> dict[str, np.ndarray]:
    """Cuts out the largest face of each photograph; the model's refiner places the crops of the other stages.

    folder: it and its subfolders are searched for images. limit: the most images to read, spread evenly over their
    sorted names. Returns stage -> [n, S, S, 3] uint8 RGB. An image that cannot be read or shows no face is skipped.
    Raises InputError if fewer than LEAST_FACES faces are found.
    """
    folder, sizes = Path(folder), model.config.sizes
    if not folder.is_dir():
        raise InputError(f"no such folder of calibration images: {folder}")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    detector = CascadeDetector()
    crops: dict[str, list[np.ndarray]] = {name: [] for name in sizes}
    chosen = [files[i * len(files) // limit] for i in range(limit)] if len(files) > limit else files
    with ProgressBar("find faces", len(chosen)) as advance:
        for path in chosen:
            advance({})
            try:
                image = load_image(path)
            except InputError:
                continue
            for box in detector(image)[:1]:
                rough = warp(image, crop_matrix(box, sizes["refiner"]), sizes["refiner"])
                box = refined_box(box, model.refiner(torch.from_numpy(rough[None]))[0].numpy())
                for name, size in sizes.items():
                    crop = rough if name == "refiner" else warp(image, crop_matrix(box, size), size)
                    crops[name].append(crop)
    count = len(next(iter(crops.values())))
    if count < LEAST_FACES:
        raise InputError(
            f"{folder} has {count} usable faces in {len(files)} images; calibration needs {LEAST_FACES} or more"
        )
    return {name: np.stack(items) for name, items in crops.items()}


def rendered_crops(sizes: dict[str, int], count: int) -> dict[str, np.ndarray]:
    """Cuts out rendered faces, always the same ones. sizes: stage -> S. Returns stage -> [count, S, S, 3] uint8 RGB."""
    images = [generate(seed).image for seed in range(count)]
    return {
        name: np.stack([crop_pair(i, None, nominal_matrix(i.shape[:2], size), False, size)[0] for i in images])
        for name, size in sizes.items()
    }
