"""Crops of faces as the stages see them: of photographs for calibration, or rendered where there are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from faceinsight.models.data.augment import nominal_matrix
from faceinsight.models.data.synthetic import generate
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.runtime.detect import detections
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.image import crop_matrix, fit, load_image, refined_box, warp
from faceinsight.runtime.progress import ProgressBar

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
LEAST_FACES = 8


@torch.no_grad()
def read_crops(folder: str | Path, model: FaceInsightModel, limit: int = 256) -> dict[str, np.ndarray]:
    """Cuts out the largest face of each photograph, as the model's own detector and refiner place it.

    folder: it and its subfolders are searched for images. limit: the most images to read, spread evenly over their
    sorted names. Returns stage -> [n, S, S, 3] uint8 RGB; the detector's are the whole photographs. An image that
    cannot be read or shows no face is skipped. Raises InputError if fewer than LEAST_FACES faces are found.
    """
    folder, sizes = Path(folder), model.config.sizes
    if not folder.is_dir():
        raise InputError(f"no such folder of calibration images: {folder}")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    crops: dict[str, list[np.ndarray]] = {name: [] for name in sizes}
    chosen = [files[i * len(files) // limit] for i in range(limit)] if len(files) > limit else files
    with ProgressBar("find faces", len(chosen)) as advance:
        for path in chosen:
            advance({})
            try:
                image = load_image(path)
            except InputError:
                continue
            whole = fit(image, sizes["detector"])
            faces = model.detector(torch.from_numpy(whole[None]))[0].numpy()
            for box in [face.box for face in detections(faces, image.shape, model.config.detector.least)[:1]]:
                rough = warp(image, crop_matrix(box, sizes["refiner"]), sizes["refiner"])
                box = refined_box(box, model.refiner(torch.from_numpy(rough[None]))[0].numpy())
                made = {"detector": whole, "refiner": rough}
                for name, size in sizes.items():
                    crops[name].append(made[name] if name in made else warp(image, crop_matrix(box, size), size))
    count = len(next(iter(crops.values())))
    if count < LEAST_FACES:
        raise InputError(
            f"{folder} has {count} usable faces in {len(files)} images; calibration needs {LEAST_FACES} or more"
        )
    return {name: np.stack(items) for name, items in crops.items()}


def rendered_crops(sizes: dict[str, int], count: int) -> dict[str, np.ndarray]:
    """Cuts out rendered faces, always the same ones; the detector sees the whole images.

    sizes: stage -> S. Returns stage -> [count, S, S, 3] uint8 RGB.
    """
    images = [generate(seed).image for seed in range(count)]

    def crop(image: np.ndarray, name: str, size: int) -> np.ndarray:
        return fit(image, size) if name == "detector" else warp(image, nominal_matrix(image.shape[:2], size), size)

    return {name: np.stack([crop(image, name, size) for image in images]) for name, size in sizes.items()}
