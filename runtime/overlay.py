"""Draws pictures for people: the frame with the face box, the parse map over the crop, and the answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .errors import InputError
from .face import Face
from .image import warp
from .parse_map import PARSE_CLASSES

PALETTE = np.array(
    [
        [0, 0, 0], [240, 190, 150], [230, 120, 60], [80, 220, 250], [60, 90, 230], [110, 140, 250], [120, 60, 160],
        [160, 90, 200], [250, 220, 110], [250, 240, 160], [255, 255, 255], [210, 40, 70], [240, 90, 110],
        [110, 70, 40], [50, 160, 90], [255, 0, 255], [255, 215, 0], [200, 150, 110], [70, 110, 130],
    ],
    np.uint8,
)  # fmt: skip
"""RGB colour of each parse class, [19, 3] uint8."""


def parse_overlay(image: np.ndarray, face: Face, size: int = 512, opacity: float = 0.5) -> np.ndarray:
    """Draws the face's parse map over its crop.

    image: the image that the face was perceived in, HxWx3 uint8 RGB. size: side of the result in pixels. opacity: of
    the parse map, in [0, 1]. Returns size x size x 3 uint8 RGB.
    """
    import cv2

    x0, y0, x1, _ = face.crop_box
    scale = size / (x1 - x0)
    crop = warp(image, np.array([[scale, 0, -x0 * scale], [0, scale, -y0 * scale]]), size)
    parse_map = cv2.resize(face.parse_map, (size, size), interpolation=cv2.INTER_NEAREST)
    alpha = np.where(parse_map == 0, 0, opacity)[..., None]
    return (crop * (1 - alpha) + PALETTE[parse_map] * alpha).astype(np.uint8)


def report_picture(image: np.ndarray, face: Face, exchanges: list[tuple[str, str]], size: int = 640) -> np.ndarray:
    """Draws, from left to right, the frame with the face box, the parse map, and questions with their answers.

    image: the image that the face was perceived in, HxWx3 uint8 RGB. exchanges: (question, answer) pairs in order.
    size: longer side of the drawn frame in pixels. Returns HxWx3 uint8 RGB.
    """
    from PIL import Image, ImageDraw

    frame = Image.fromarray(image)
    scale = size / max(frame.size)
    frame = frame.resize((round(frame.width * scale), round(frame.height * scale)))
    draw = ImageDraw.Draw(frame)
    draw.rectangle([v * scale for v in face.box], outline=(80, 220, 120), width=4)
    half = size // 2
    column = Image.new("RGB", (half, size), (18, 20, 24))
    column.paste(Image.fromarray(parse_overlay(image, face, half)), (0, 0))
    _legend(column, face, half)
    lines, bottom = _lines(draw, exchanges, size - 48)
    page = Image.new("RGB", (frame.width + half + size, max(frame.height, size, bottom)), (18, 20, 24))
    page.paste(frame, (0, 0))
    page.paste(column, (frame.width, 0))
    draw = ImageDraw.Draw(page)
    for y, text, colour, font in lines:
        draw.text((frame.width + half + 24, y), text, fill=colour, font=font)
    return np.asarray(page)


def _font(size: int):
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _legend(column, face: Face, top: int) -> None:
    """Draws the names and colours of the parse classes that the face shows, the largest first. top: y of the legend."""
    from PIL import ImageDraw

    draw = ImageDraw.Draw(column)
    counts = np.bincount(face.parse_map.ravel(), minlength=len(PARSE_CLASSES))
    shown = [i for i in np.argsort(-counts) if counts[i] > 15 and i != 0][:16]
    for place, index in enumerate(shown):
        x, y = 16 + (place % 2) * (column.width // 2), top + 16 + (place // 2) * 34
        draw.rectangle([x, y, x + 20, y + 20], fill=tuple(int(v) for v in PALETTE[index]))
        draw.text((x + 30, y - 1), PARSE_CLASSES[index], fill=(225, 225, 225), font=_font(17))


def _lines(draw, exchanges: list[tuple[str, str]], width: int):
    """Breaks questions and answers into lines no wider than `width` pixels.

    Returns the lines as (y, text, RGB colour, font), and the y of their end.
    """
    lines, y = [], 20
    for exchange in exchanges:
        for text, colour, size in zip(exchange, ((150, 170, 190), (240, 240, 240)), (16, 19), strict=True):
            for line in _wrapped(draw, text, _font(size), width):
                lines.append((y, line, colour, _font(size)))
                y += size + 6
        y += 10
    return lines, y + 10


def _wrapped(draw, text: str, font, width: int) -> list[str]:
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and draw.textlength(longer, font=font) > width:
            lines.append(line)
            line = word
        else:
            line = longer
    return [*lines, line]


def save_picture(picture: np.ndarray, path: str | Path) -> None:
    """Writes a picture in the format that the path's suffix names.

    picture: HxWx3 RGB or HxW grey, uint8. Raises InputError if it cannot be written.
    """
    from PIL import Image

    try:
        Image.fromarray(picture).save(path)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"cannot write the picture {path}: {error}") from error
