"""Divides the faces of a set into groups whose scores are compared: by a column of labels.csv, by bands of a number,
and by how light the skin is in the picture."""

from __future__ import annotations

import bisect
import itertools
import statistics
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from faceinsight.runtime.errors import InputError
from faceinsight.runtime.image import crop_matrix, warp
from faceinsight.runtime.parse_map import PARSE_CLASSES
from faceinsight.runtime.pipeline import Face

SKIN = "skin"
"""Divides by the luminance of the skin, where others name a column."""
MOST = 20
"""Groups of a column; one of more values is divided by bands."""

Groups = dict[str, list[int]]
"""Name of a group -> the positions of its faces in the set."""


def by_column(by: str, rows: Sequence[Mapping[str, str]]) -> Groups:
    """Divides faces by what a column says; those of which it says nothing are in no group.

    by: a column ("Source"), or one of numbers with bounds that rise ("Age_Years:30,60"): the first band is below the
    first bound, each bound belongs to the band above it. rows: column -> cell of every face. Raises InputError for a
    column that is not there, bounds or cells that are no numbers, and a column of too many values.
    """
    column, _, text = by.partition(":")
    cells = {position: row[column] for position, row in enumerate(rows) if row.get(column)}
    if not cells:
        filled = dict.fromkeys(name for row in rows for name, cell in row.items() if cell)
        raise InputError(f"no face has anything in a column {column!r}; its columns are {', '.join(filled)}, or {SKIN}")
    bounds = _bounds(by, text) if text else []
    names = _bands(bounds)
    groups: Groups = {name: [] for name in names}
    for position, cell in cells.items():
        if not bounds:
            groups.setdefault(cell, []).append(position)
        elif (band := _band(column, cell, bounds)) is not None:
            groups[names[band]].append(position)
    if len(groups) > MOST:
        raise InputError(f"{column} has {len(groups)} values; divide it into bands, such as {column}:BOUND,BOUND")
    return {name: groups[name] for name in names or sorted(groups) if groups[name]}


def by_luminance(luminances: Sequence[float | None]) -> tuple[float | None, Groups]:
    """Divides faces at the median of the luminance of their skin, see `skin_luminance`; None is in no group.

    Returns the median, None without a face, and the groups "darker" and "lighter".
    """
    known = {position: value for position, value in enumerate(luminances) if value is not None}
    if not known:
        return None, {}
    median = statistics.median(known.values())
    darker = [position for position, value in known.items() if value < median]
    return median, {"darker": darker, "lighter": [position for position in known if position not in set(darker)]}


def skin_luminance(image: np.ndarray, face: Face) -> float | None:
    """The median luminance, L of CIE Lab in 0..100, of what the face's own parse map calls skin; None without skin.

    It is a proxy of the tone of the skin: light, exposure and grey pictures change it as well.
    image: HxWx3 uint8 RGB, in which the face was perceived.
    """
    size = len(face.parse_map)
    crop = warp(image, crop_matrix(face.box, size), size)
    skin = crop[face.parse_map == PARSE_CLASSES.index("skin")]
    if not len(skin):
        return None
    lab = cv2.cvtColor(skin[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return float(np.median(lab[..., 0]))


def _bounds(by: str, text: str) -> list[float]:
    try:
        bounds = [float(bound) for bound in text.split(",")]
    except ValueError:
        bounds = []
    if not bounds or any(not low < high for low, high in itertools.pairwise(bounds)):
        raise InputError(f"{by!r} has no bounds that rise; write a column and numbers, such as Age_Years:30,60")
    return bounds


def _bands(bounds: Sequence[float]) -> list[str]:
    if not bounds:
        return []
    between = [f"{low:g}-{high:g}" for low, high in itertools.pairwise(bounds)]
    return [f"under {bounds[0]:g}", *between, f"{bounds[-1]:g} up"]


def _band(column: str, cell: str, bounds: Sequence[float]) -> int | None:
    """The position of the band that a cell lies in, a number or a range such as 30..40; None for one across a bound."""
    try:
        low, *end = (float(part) for part in cell.split("..", 1))
    except ValueError as error:
        raise InputError(f"{column} is {cell!r}, not a number; leave the bounds out") from error
    band = bisect.bisect_right(bounds, low)
    return band if not end or bisect.bisect_left(bounds, end[0]) == band else None
