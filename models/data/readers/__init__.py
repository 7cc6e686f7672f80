"""Readers of the face sets that people have on disk. They name labels as the ready-made vocabularies do."""

from __future__ import annotations

from pathlib import Path

from faceinsight.runtime.errors import InputError

from .celeba import CELEBA, CELEBAMASK_HQ, LFWA
from .demographics import FAIRFACE, UTKFACE
from .expression import AFFECTNET, FER2013, RAF_DB
from .records import Reader, Record, Records, Skipped

__all__ = ["READERS", "Reader", "Record", "Records", "Skipped", "find_reader", "open_dataset"]

READERS = (CELEBA, CELEBAMASK_HQ, LFWA, UTKFACE, FAIRFACE, RAF_DB, AFFECTNET, FER2013)


def open_dataset(directory: str | Path, split: str) -> Records:
    """Reads the labels of one split of whatever set the folder holds; no image is decoded.

    split: "train", "val" or "test", as the set itself divides its faces. Not every set has all three (see READERS):
    LFWA and RAF-DB have train and test, FairFace and AffectNet train and val. UTKFace has none and is divided 80/10/10
    by a hash of the name, as is FER2013 without its Usage column.

    Raises InputError when the folder is none of the sets, or more than one, when the set has no such split, and when
    one of its files is missing or damaged. A single bad row and a missing image are left out, counted in `skipped`.
    """
    return find_reader(directory).read(Path(directory), split)


def find_reader(directory: str | Path) -> Reader:
    """The reader of the set that a folder holds; raises InputError when it is none of them, or more than one."""
    directory = Path(directory)
    if not directory.is_dir():
        raise InputError(f"no such folder: {directory}; give one with labels.csv, or one of a public face set")
    fits = [reader for reader in READERS if reader.fits(directory)]
    if not fits:
        looked = ", ".join(f"{reader.name} ({reader.markers[0]})" for reader in READERS)
        raise InputError(
            f"{directory} is none of the face sets that can be read; looked for {looked}; labels.csv is our own format"
        )
    if len(fits) > 1:
        names = " and ".join(reader.name for reader in fits)
        raise InputError(f"{directory} looks like {names}; give each set a folder of its own")
    return fits[0]
