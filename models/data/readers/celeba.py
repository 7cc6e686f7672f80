"""The sets with CelebA's 40 attributes: CelebA, CelebAMask-HQ and LFWA."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from faceinsight.models.data.portraits import SPLITS
from faceinsight.models.vocabulary import load_vocabulary
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.parse_map import PARSE_CLASSES

from .records import Aligned, Reader, Record, Skipped, coded, found, inside, listing, read_lines

_SIGNS = {"1": True, "-1": False}
_PARTITION = dict(zip("012", SPLITS, strict=True))
ATTRIBUTES = load_vocabulary("celeba").attribute_names
_HAIR = {"Black_Hair": "black", "Blond_Hair": "blond", "Brown_Hair": "brown", "Gray_Hair": "gray or white"}
"""CelebA has no white hair: its Gray_Hair covers it. Red hair it has not at all."""
_HDF5 = b"\x89HDF\r\n\x1a\n"

_CELEBA = (Aligned.by_eyes(218, 178, 88.5, 112, 39),)
# Cut around the eyes and the mouth: the middle lies a tenth of the way from the eyes to the mouth, the side is four eye
# distances or 3.6 times eyes to mouth, whichever is more. So the eyes are at 0.473 of it and 0.241 apart (medians).
_CELEBA_HQ = (Aligned.by_eyes(1024, 1024, 512, 484, 247),)
# Not aligned, but each image is a Viola-Jones square grown 2.2 times; the face lies in the square as runtime.detect
# has it for the same cascade: its height 0.975 of the square's, its middle 0.085 face heights below the square's.
_LFW = (Aligned(250, 250, (0.334, 0.316, 0.666, 0.759)),)


def attribute_labels(has: dict[str, bool]) -> dict[str, str | bool]:
    """Labels of one face: the 40 attributes as they are, and what they tell of Gender, Hair_Color and Beard.

    has: CelebA attribute -> whether the set gives it, all 40. Hair_Color is known where exactly one of the four colours
    is given. Beard is No_Beard inverted, and not known where there is a goatee and yet no beard; stubble is a beard
    where CelebA says so. Young tells no Age: it has no bound in years. Contradictions with our rules (a bald head under
    a hat, a woman with a mustache) stay as the set has them.
    """
    labels: dict[str, str | bool] = {**has, "Gender": "male" if has["Male"] else "female"}
    colours = [value for name, value in _HAIR.items() if has[name]]
    if len(colours) == 1:
        labels["Hair_Color"] = colours[0]
    if not (has["No_Beard"] and has["Goatee"]):
        labels["Beard"] = not has["No_Beard"]
    return labels


def _attribute_rows(table: Path) -> Iterator[tuple[str, dict[str, bool]]]:
    """The rows (file, attribute -> value) of a table in CelebA's form; all of it is checked."""
    count, *lines = [line for line in read_lines(table) if line.strip()] or [""]
    names = lines[0].split() if lines else []
    if not count.strip().isdecimal() or sorted(names) != sorted(ATTRIBUTES):
        raise InputError(f"{table} does not begin with a count and a line of CelebA's {len(ATTRIBUTES)} names")
    if count.strip() != str(len(lines) - 1):
        raise InputError(f"{table} announces {count[:20]} faces and has {len(lines) - 1}; it is cut short or damaged")
    for number, line in enumerate(lines[1:], 3):
        file, *values = line.split()
        try:
            has = dict(zip(names, map(_SIGNS.__getitem__, values), strict=True))
        except (KeyError, ValueError) as error:
            raise InputError(f"{table}, line {number} ({file}): expected {len(names)} values, each -1 or 1") from error
        yield file, has


def _celeba(directory: Path, split: str, skipped: Skipped) -> Iterator[Record]:
    partition = found(directory, "list_eval_partition.txt", "Eval/list_eval_partition.txt")
    table = found(directory, "list_attr_celeba.txt", "Anno/list_attr_celeba.txt")
    images = found(directory, "img_align_celeba", "Img/img_align_celeba")
    splits = {}
    for number, line in enumerate(read_lines(partition), 1):
        file, *code = line.split() or [""]
        if file and len(code) != 1:
            skipped.add("row of list_eval_partition.txt is not a name and a split", f"line {number}")
        splits[file] = coded(_PARTITION, code[0], "split", partition) if len(code) == 1 else None
    labelled = set()
    for file, has in _attribute_rows(table):
        labelled.add(file)
        if file not in splits:
            skipped.add("not in list_eval_partition.txt", file)
        elif splits[file] == split:
            yield Record(file, inside(images, file, table), attribute_labels(has), aligned=_CELEBA)
    for file, its in splits.items():
        if its == split and file not in labelled:
            skipped.add("not in list_attr_celeba.txt", file)


def _celebamask_hq(directory: Path, split: str, skipped: Skipped) -> Iterator[Record]:
    """Attributes are read where CelebAMask-HQ-attribute-anno.txt lies beside the mapping."""
    mapping = found(directory, "CelebA-HQ-to-CelebA-mapping.txt")
    images, masks = found(directory, "CelebA-HQ-img"), found(directory, "CelebAMask-HQ-mask-anno")
    table = directory / "CelebAMask-HQ-attribute-anno.txt"
    rows = _attribute_rows(table) if table.exists() else ()
    labels = {file: attribute_labels(has) for file, has in rows}
    present = {folder: set(listing(masks / folder)) for folder in listing(masks)}
    for number, line in enumerate(read_lines(mapping), 1):
        fields = line.split()
        if not fields or fields[0] == "idx":
            continue
        if len(fields) < 2 or not all(field.isdecimal() and len(field) < 10 for field in fields[:2]):
            skipped.add("row of CelebA-HQ-to-CelebA-mapping.txt is not two numbers", f"line {number}")
            continue
        index, original = int(fields[0]), int(fields[1])
        if split != ("train" if original < 162771 else "val" if original < 182638 else "test"):
            continue
        file, folder = f"{index}.jpg", str(index // 2000)
        parts = _parts(masks / folder, index, present.get(folder, set()))
        yield Record(file, images / file, labels.get(file, {}), parts, _CELEBA_HQ)


def _parts(folder: Path, index: int, present: set[str]) -> tuple[tuple[int, Path], ...]:
    files = {c: f"{index:05d}_{part}.png" for c, part in enumerate(PARSE_CLASSES) if c}
    return tuple((c, folder / file) for c, file in files.items() if file in present)


def read_mat(path: Path, texts: Sequence[str], arrays: Sequence[str]) -> list[list[str] | np.ndarray]:
    """Variables of a MATLAB v7.3 file: first the cell arrays of text, then the numbers as float64, in MATLAB's order.

    Raises InputError when the file is not HDF5, lacks a variable or is damaged, or h5py is not installed.
    """
    with path.open("rb") as file:
        head = file.read(520)
    if _HDF5 not in (head[:8], head[512:]):
        raise InputError(f"{path} is not a MATLAB v7.3 (HDF5) file; unpack the set again")
    try:
        import h5py
    except ImportError as error:
        raise InputError(f"{path} is an HDF5 file, which takes h5py to read: pip install h5py") from error

    try:
        with h5py.File(path, "r") as file:
            cells = [[file[reference][()] for reference in file[name][()].ravel()] for name in texts]
            numbers = [np.asarray(file[name][()], np.float64).T for name in arrays]
            return [["".join(map(chr, text.ravel())) for text in cell] for cell in cells] + numbers
    except Exception as error:  # a damaged file makes HDF5 raise nearly anything
        raise InputError(f"{path} is damaged or lacks {' or '.join([*texts, *arrays])}: {error}") from error


def _lfwa(directory: Path, split: str, skipped: Skipped) -> Iterator[Record]:
    """LFWA writes its values 0 and 1, its paths with back-slashes, its indices from 1."""
    table, indices = found(directory, "lfw_att_40.mat"), found(directory, "indices_train_test.mat")
    images = found(directory, "lfw", "lfw-deepfunneled", "lfw_funneled")
    files, attributes, values = read_mat(table, ("name", "AttrName"), ("label",))
    (chosen,) = read_mat(indices, (), (f"indices_img_{split}",))
    known = {_plain(name): name for name in ATTRIBUTES}
    names = [known.get(_plain(name), name) for name in attributes]
    if sorted(names) != sorted(ATTRIBUTES) or np.shape(values) != (len(files), len(names)):
        raise InputError(f"{table} is not {len(files)} faces of CelebA's 40 attributes; unpack the set again")
    if not np.isin(values, (0, 1)).all():
        raise InputError(f"{table} holds other values than 0 and 1; unpack the set again")
    chosen = np.ravel(chosen)
    if not np.isin(chosen, np.arange(1, len(files) + 1)).all():
        raise InputError(f"{indices} holds indices that are not 1..{len(files)}, the faces of lfw_att_40.mat")
    for index in chosen.astype(int) - 1:
        name = files[index].replace("\\", "/")
        labels = attribute_labels(dict(zip(names, (values[index] == 1).tolist(), strict=True)))
        yield Record(name, inside(images, name, table), labels, aligned=_LFW)


def _plain(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


CELEBA = Reader("CelebA", ("list_attr_celeba.txt", "img_align_celeba", "Anno/list_attr_celeba.txt"), SPLITS, _celeba)
CELEBAMASK_HQ = Reader("CelebAMask-HQ", ("CelebA-HQ-img", "CelebAMask-HQ-mask-anno"), SPLITS, _celebamask_hq)
LFWA = Reader("LFWA", ("lfw_att_40.mat",), ("train", "test"), _lfwa)
