"""Decodes images, turns them upright and crops faces. No other module does this."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .errors import InputError

MAX_PIXELS = 100_000_000
"""The most pixels of an image."""
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
"""The image formats that are decoded. Pillow knows more, but for some of them it starts another program."""
CROP_HEIGHTS = 1.9
"""The side of the square crop, in heights of the face from hairline to chin."""
CROP_SHIFT = 0.10
"""How far the crop's centre lies above the face box's centre, in face heights, so that hair and hat are inside."""


def load_image(source) -> np.ndarray:
    """Decodes an image and returns it upright as HxWx3 uint8 RGB.

    source: a path, encoded bytes, a PIL image, or an array, which is HxWx3 RGB, HxWx4 RGBA or HxW grey, uint8 or
    uint16. The EXIF rotation is applied, transparent pixels are blended with white, 16-bit values are scaled to 8 bits,
    and CMYK is converted. Raises InputError for an image that cannot be read completely.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if hasattr(source, "convert") and hasattr(source, "getexif"):
        return _whole(lambda: _from_pil(source, "the PIL image"), "the PIL image")
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(io.BytesIO(bytes(source)), "the image bytes")
    if isinstance(source, (str, Path)):
        path = Path(source)
        try:
            if path.is_dir():
                raise InputError(f"{path} is a directory; give an image file (JPEG, PNG, WebP, BMP or TIFF)")
            if not path.is_file():
                raise InputError(f"no such image file: {path}")
        except OSError as error:
            raise InputError(f"cannot read the image file {str(path)[:200]}: {error.strerror}") from error
        return _decode(path, str(path))
    raise InputError(f"cannot read an image from {type(source).__name__}; give a path, bytes, a PIL image or an array")


def _decode(file, name: str) -> np.ndarray:
    from PIL import Image

    def decode() -> np.ndarray:
        with Image.open(file, formats=FORMATS) as image:
            return _from_pil(image, name)

    return _whole(decode, name)


def _whole(decode: Callable[[], np.ndarray], name: str) -> np.ndarray:
    """Runs a function that decodes with Pillow, and turns whatever it raises into an InputError."""
    from PIL import Image, UnidentifiedImageError

    try:
        return decode()
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"{name} is not an image this build can read (JPEG, PNG, WebP, BMP or TIFF)") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{name} has too many pixels; the limit is {MAX_PIXELS // 10**6} megapixels") from error
    except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything
        raise InputError(f"{name} is damaged or cut short: {error}") from error


def _from_pil(image, name: str) -> np.ndarray:
    from PIL import ImageOps

    if image.width * image.height > MAX_PIXELS:
        raise InputError(
            f"{name} has {image.width}x{image.height} pixels; the limit is {MAX_PIXELS // 10**6} megapixels"
        )
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image)
        if values.dtype == np.int32:  # Pillow widens some 16-bit files
            values = np.clip(values, 0, 65535).astype(np.uint16)
        return _from_array(values, name)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        return _from_array(np.asarray(image.convert("RGBA")), name)
    return np.ascontiguousarray(np.asarray(image.convert("RGB")))


def _from_array(array: np.ndarray, name: str = "an image array") -> np.ndarray:
    if array.ndim not in (2, 3) or 0 in array.shape or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise InputError(f"{name} must be HxW, HxWx3 or HxWx4, not of shape {array.shape}")
    if array.dtype in (np.uint16, np.dtype(">u2")):
        array = (array >> 8).astype(np.uint8)
    if array.dtype != np.uint8:
        raise InputError(f"{name} must be of uint8 (0-255) or uint16 values, not {array.dtype}")
    if array.ndim == 2 or array.shape[2] == 1:
        array = np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    if array.shape[2] == 4:
        alpha = array[..., 3:].astype(np.uint16)
        array = ((array[..., :3] * alpha + 255 * (255 - alpha)) // 255).astype(np.uint8)
    return np.ascontiguousarray(array)


def crop_matrix(box, size: int) -> np.ndarray:
    """Returns the affine map from image pixels to crop pixels, 2x3 float64.

    box: xyxy in pixels around the face, from hairline to chin. size: side of the square crop in pixels.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    height = y1 - y0
    scale = size / (CROP_HEIGHTS * height)
    centre_x, centre_y = (x0 + x1) / 2, (y0 + y1) / 2 - CROP_SHIFT * height
    return np.array([[scale, 0, size / 2 - scale * centre_x], [0, scale, size / 2 - scale * centre_y]])


def fit(image: np.ndarray, size: int) -> np.ndarray:
    """Scales a whole image into the middle of a square; beside it its border pixels are repeated.

    image: HxWx3 uint8. size: side of the square in pixels. Where each pixel goes says `detect.fitted`, to within half a
    pixel of the square.
    """
    import cv2

    height, width = image.shape[:2]
    scale = size / max(height, width)
    small = tuple(max(1, round(side * scale)) for side in (width, height))
    scaled = cv2.resize(image, small, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    left, top = ((size - side) // 2 for side in small)
    margins = top, size - small[1] - top, left, size - small[0] - left
    return cv2.copyMakeBorder(scaled, *margins, cv2.BORDER_REPLICATE)


def refined_box(box, placement) -> tuple[float, float, float, float]:
    """Moves and scales a box as the refiner says.

    box: xyxy in pixels. placement: the refiner's output for the box's crop, [3]. Its first two values are how far the
    centre of the right crop is to the right of and below the centre of this crop, in sides of this crop. The third is
    the natural logarithm of the right crop's side divided by this crop's side. The move is limited to a third of a side
    and the scale to a factor of 1.5, because a face that is further off was not found by this box. Returns the box
    whose crop is the right crop.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    right, down = np.clip(placement[:2], -1 / 3, 1 / 3)
    factor = np.exp(np.clip(placement[2], -np.log(1.5), np.log(1.5)))
    height = y1 - y0
    side = CROP_HEIGHTS * height
    centre_x = (x0 + x1) / 2 + right * side
    # the crop's centre lies CROP_SHIFT box heights above the box's centre, and the height changes with the factor
    centre_y = (y0 + y1) / 2 + down * side + CROP_SHIFT * height * (factor - 1)
    half_width, half_height = (x1 - x0) / 2 * factor, height / 2 * factor
    return tuple(
        float(v) for v in (centre_x - half_width, centre_y - half_height, centre_x + half_width, centre_y + half_height)
    )


def warp(image: np.ndarray, matrix: np.ndarray, size: int, nearest: bool = False) -> np.ndarray:
    """Samples a square crop of an image. Outside of the image its border pixels are repeated.

    image: HxW or HxWx3 uint8. matrix: 2x3 affine map from image pixels to crop pixels. size: side of the crop in
    pixels. nearest: takes the nearest pixel instead of interpolating. A crop of less than half the image's resolution
    is sampled from an image that was averaged down first, to avoid aliasing.
    """
    import cv2

    flags = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    image, matrix = _surroundings(image, matrix, size)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 0.5 and not nearest:
        image, matrix = _reduced(image, matrix, scale)
    return cv2.warpAffine(image, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _surroundings(image: np.ndarray, matrix: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the part of the image that the crop shows and the map from that part to the crop.

    OpenCV cannot warp an image with a side of more than 32766 pixels.
    """
    linear, offset = matrix[:, :2], matrix[:, 2]
    corners = np.linalg.solve(linear, (np.array([[0, 0], [size, 0], [0, size], [size, size]]) - offset).T).T
    height, width = image.shape[:2]
    x0, y0 = np.clip(np.floor(corners.min(0)).astype(int) - 2, 0, (width - 1, height - 1))
    x1, y1 = np.clip(np.ceil(corners.max(0)).astype(int) + 2, (x0 + 1, y0 + 1), (width, height))
    return image[y0:y1, x0:x1], np.column_stack([linear, offset + linear @ (x0, y0)])


def _reduced(image: np.ndarray, matrix: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the image averaged down to 1.5 times the crop's resolution, and the map from there to the crop."""
    import cv2

    width, height = (max(1, round(side * scale * 1.5)) for side in image.shape[1::-1])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    fx, fy = width / image.shape[1], height / image.shape[0]
    # pixel centres: source = (small + 0.5) / f - 0.5
    back = np.array([[1 / fx, 0, 0.5 / fx - 0.5], [0, 1 / fy, 0.5 / fy - 0.5], [0, 0, 1]])
    return small, np.vstack([matrix, [0, 0, 1]])[:2] @ back


def check_box(box, image: np.ndarray) -> tuple[float, float, float, float]:
    """Returns a box, xyxy in pixels, as four floats.

    Raises InputError for a box that is not four numbers, is empty or lies outside of the image.
    """
    height, width = image.shape[:2]
    try:
        x0, y0, x1, y1 = (float(v) for v in box)
    except (TypeError, ValueError) as error:
        raise InputError(f"box must be four numbers (x0, y0, x1, y1) in pixels, not {box!r}") from error
    if not np.isfinite([x0, y0, x1, y1]).all() or x1 - x0 < 1 or y1 - y0 < 1:
        raise InputError(f"box {box} is empty; give (x0, y0, x1, y1) in pixels with x1 > x0 and y1 > y0")
    if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height or max(x1 - x0, y1 - y0) > 4 * max(width, height):
        raise InputError(f"box {box} lies outside of the image, which is {width}x{height} pixels")
    return x0, y0, x1, y1
