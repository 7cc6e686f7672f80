"""Calibration images: a folder of photographs -> the crops that the encoders would see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from faceinsight.runtime.detect import CascadeDetector
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.image import crop_matrix, load_image, refined_box, warp
from faceinsight.runtime.progress import ProgressBar

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


def read_crops(
    folder: str | Path, sizes: dict[str, int], limit: int, refine: Callable[[np.ndarray], np.ndarray]
) -> dict[str, np.ndarray]:
    """Crops of the largest face of up to `limit` images, spread evenly over the folder's sorted names.

    sizes: stage -> crop side in pixels. refine: the refiner's crop [S, S, 3] -> its placement; the other stages' crops
    are taken where it says. Returns stage -> [n, S, S, 3] uint8 RGB. Images without a face and unreadable ones are
    skipped; raises InputError when fewer than 8 faces are left.
    """
    folder = Path(folder)
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
                box = refined_box(box, refine(rough))
                for name, size in sizes.items():
                    crop = rough if name == "refiner" else warp(image, crop_matrix(box, size), size)
                    crops[name].append(crop)
    count = len(next(iter(crops.values())))
    if count < 8:
        raise InputError(f"{folder} has {count} usable faces in {len(files)} images; calibration needs 8 or more")
    return {name: np.stack(items) for name, items in crops.items()}
