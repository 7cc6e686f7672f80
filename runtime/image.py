"""Images in, face crops out. The only place where pixels are decoded, turned upright and cropped."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .errors import InputError

MAX_PIXELS = 100_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
"""What is decoded. Pillow knows more, among them formats that start another program."""
CROP_HEIGHTS = 1.9
"""Side of the square crop in face heights (hairline to chin)."""
CROP_SHIFT = 0.10
"""The crop's centre lies this many face heights above the face box's centre, so that hair and hat are inside."""


def load_image(source) -> np.ndarray:
    """Decodes an image to HxWx3 uint8 RGB, upright.

    source: a path, encoded bytes, a PIL image, or an array: HxWx3 uint8 RGB, HxWx4 RGBA, HxW grey, uint8 or uint16.
    EXIF rotation is applied, transparency is laid on white, 16-bit values are scaled to 8 bits, CMYK is converted.
    Raises InputError for anything that cannot be read whole.
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
    """Runs Pillow; whatever it raises becomes an InputError."""
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
    """The 2x3 float64 affine map from image pixels to crop pixels.

    box: xyxy in pixels around the face, hairline to chin. size: side of the square crop in pixels.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    height = y1 - y0
    scale = size / (CROP_HEIGHTS * height)
    centre_x, centre_y = (x0 + x1) / 2, (y0 + y1) / 2 - CROP_SHIFT * height
    return np.array([[scale, 0, size / 2 - scale * centre_x], [0, scale, size / 2 - scale * centre_y]])


def refined_box(box, placement) -> tuple[float, float, float, float]:
    """The box whose crop lies where `placement` says that the right one does.

    box: xyxy in pixels. placement: the refiner's [3] for the box's crop: how far the right crop's centre is right of
    and below this one's, in sides of this one, and the logarithm of its side over this one's. At most a third of a
    side and a factor of 1.5 are believed: more is not a face that was slightly missed.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    right, down = np.clip(placement[:2], -1 / 3, 1 / 3)
    factor = np.exp(np.clip(placement[2], -np.log(1.5), np.log(1.5)))
    height = y1 - y0
    side = CROP_HEIGHTS * height
    centre_x = (x0 + x1) / 2 + right * side
    # the crop's centre lies CROP_SHIFT heights above the box's, of the old height and of the new one
    centre_y = (y0 + y1) / 2 + down * side + CROP_SHIFT * height * (factor - 1)
    half_width, half_height = (x1 - x0) / 2 * factor, height / 2 * factor
    return tuple(
        float(v) for v in (centre_x - half_width, centre_y - half_height, centre_x + half_width, centre_y + half_height)
    )


def warp(image: np.ndarray, matrix: np.ndarray, size: int, nearest: bool = False) -> np.ndarray:
    """Samples a size x size crop of an HxW[x3] uint8 image; outside of the image its border is repeated.

    When the crop is a strong reduction the source is first averaged down, so that it does not alias.
    """
    import cv2

    flags = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    image, matrix = _surroundings(image, matrix, size)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 0.5 and not nearest:
        image, matrix = _reduced(image, matrix, scale)
    return cv2.warpAffine(image, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _surroundings(image: np.ndarray, matrix: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The part of the image that the crop shows, and the map from there: OpenCV warps no side over 32766 pixels."""
    linear, offset = matrix[:, :2], matrix[:, 2]
    corners = np.linalg.solve(linear, (np.array([[0, 0], [size, 0], [0, size], [size, size]]) - offset).T).T
    height, width = image.shape[:2]
    x0, y0 = np.clip(np.floor(corners.min(0)).astype(int) - 2, 0, (width - 1, height - 1))
    x1, y1 = np.clip(np.ceil(corners.max(0)).astype(int) + 2, (x0 + 1, y0 + 1), (width, height))
    return image[y0:y1, x0:x1], np.column_stack([linear, offset + linear @ (x0, y0)])


def _reduced(image: np.ndarray, matrix: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """The image averaged down to within a factor of two of the crop's scale, and the map from there."""
    import cv2

    width, height = (max(1, round(side * scale * 1.5)) for side in image.shape[1::-1])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    fx, fy = width / image.shape[1], height / image.shape[0]
    # pixel centres: source = (small + 0.5) / f - 0.5
    back = np.array([[1 / fx, 0, 0.5 / fx - 0.5], [0, 1 / fy, 0.5 / fy - 0.5], [0, 0, 1]])
    return small, np.vstack([matrix, [0, 0, 1]])[:2] @ back


def check_box(box, image: np.ndarray) -> tuple[float, float, float, float]:
    """Returns the box (xyxy, pixels) as floats; raises InputError when it is empty or outside of the image."""
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
