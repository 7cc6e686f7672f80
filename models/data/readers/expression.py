"""The sets of expressions: RAF-DB, AffectNet and FER2013. Each numbers the emotions in its own order."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from faceinsight.models.data.portraits import SPLITS
from faceinsight.runtime.errors import InputError

from .records import (
    Aligned,
    Reader,
    Record,
    Skipped,
    coded,
    found,
    hashed_split,
    inside,
    listing,
    read_csv,
    read_lines,
)

RAF_DB_EMOTIONS = {
    "1": "surprise", "2": "fear", "3": "disgust", "4": "happy", "5": "sad", "6": "anger", "7": "neutral",
}  # fmt: skip
AFFECTNET_EMOTIONS = {
    "0": "neutral", "1": "happy", "2": "sad", "3": "surprise", "4": "fear", "5": "disgust", "6": "anger",
    "7": "contempt",
}  # fmt: skip
FER2013_EMOTIONS = {
    "0": "anger", "1": "disgust", "2": "fear", "3": "happy", "4": "sad", "5": "surprise", "6": "neutral",
}  # fmt: skip

_FER2013_SPLITS = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
_FER2013_SIDE = 48

# All three are cropped to the face, forehead to chin: about the whole image.
_RAF_DB = (Aligned(100, 100),)
_AFFECTNET = (Aligned(224, 224),)
_FER2013 = (Aligned(_FER2013_SIDE, _FER2013_SIDE),)


def _labels(expression: str) -> dict[str, str | bool]:
    """The expression, and whether such a face smiles where it tells: surprise and contempt may do both."""
    smiles = {"happy": True, "neutral": False, "sad": False, "fear": False, "disgust": False, "anger": False}
    told = smiles.get(expression)
    return {"Expression": expression} | ({} if told is None else {"Smiling": told})


def _raf_db(directory: Path, split: str, skipped: Skipped) -> Iterator[Record]:
    table, images = found(directory, "EmoLabel/list_patition_label.txt"), found(directory, "Image/aligned")
    for number, line in enumerate(read_lines(table), 1):
        fields = line.split()
        if len(fields) != 2 or not fields[0].startswith(("train_", "test_")):
            if fields:
                skipped.add("row is not train_... or test_... and a class", f"line {number}")
            continue
        name, code = fields
        path = inside(images, name, table)
        emotion = coded(RAF_DB_EMOTIONS, code, "emotion", table)
        if name.startswith(split):
            yield Record(name, path.with_stem(f"{path.stem}_aligned"), _labels(emotion), aligned=_RAF_DB)


def _affectnet(directory: Path, split: str, skipped: Skipped) -> Iterator[Record]:
    annotations = found(directory, f"{split}_set/annotations")
    images = found(directory, f"{split}_set/images")
    known = [file.removesuffix("_exp.npy") for file in listing(annotations) if file.endswith("_exp.npy")]
    for number in known:
        annotation = annotations / f"{number}_exp.npy"
        emotion = coded(AFFECTNET_EMOTIONS, _code(annotation), "emotion", annotation)
        image = images / f"{number}.jpg"
        yield Record(f"{split}_set/{image.name}", image, _labels(emotion), aligned=_AFFECTNET)
    for file in sorted({*listing(images)} - {f"{number}.jpg" for number in known}):
        skipped.add("image has no annotation", f"{split}_set/{file}")


def _code(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(4096)
    try:
        return _single(data)
    except Exception as error:  # a damaged header makes NumPy raise nearly anything
        raise InputError(f"{path} is not a .npy file of one class: {error}; unpack the set again") from error


@functools.lru_cache(maxsize=64)
def _single(data: bytes) -> str:
    """The one value of a .npy file, as text. Of 290,000 annotations no more than a few differ, so they are kept."""
    return str(np.lib.format.read_array(io.BytesIO(data), allow_pickle=False).astype(str).item())


def _fer2013(directory: Path, split: str, skipped: Skipped) -> Iterator[Record]:
    table = found(directory, "fer2013.csv", "icml_face_data.csv")
    for number, row in read_csv(table, ("emotion", "pixels"), skipped):
        name = f"{number:05d}"
        its = coded(_FER2013_SPLITS, row["Usage"], "Usage", table) if "Usage" in row else hashed_split(name)
        if its != split:
            continue
        labels = _labels(coded(FER2013_EMOTIONS, row["emotion"], "emotion", table))
        image = _pixels(row["pixels"])
        if image is None:
            skipped.add("pixels are not 48 x 48 values in 0-255", name)
            continue
        yield Record(name, image, labels, aligned=_FER2013)


def _pixels(text: str) -> np.ndarray | None:
    """[48, 48] uint8, or None for a text that is anything else."""
    try:
        values = np.fromstring(text, np.int64, sep=" ")
    except ValueError:
        return None
    if len(values) != _FER2013_SIDE**2 or values.min() < 0 or values.max() > 255:
        return None
    return values.astype(np.uint8).reshape(_FER2013_SIDE, _FER2013_SIDE)


RAF_DB = Reader("RAF-DB", ("EmoLabel/list_patition_label.txt", "Image/aligned"), ("train", "test"), _raf_db)
AFFECTNET = Reader("AffectNet", ("train_set/annotations", "val_set/annotations"), ("train", "val"), _affectnet)
FER2013 = Reader("FER2013", ("fer2013.csv", "icml_face_data.csv"), SPLITS, _fer2013)
