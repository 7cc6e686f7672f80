"""Whatever a camera or a user hands over becomes upright 8-bit RGB, or one clear error."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from faceinsight.runtime.detect import fitted
from faceinsight.runtime.errors import FaceInsightError, InputError
from faceinsight.runtime.image import check_box, crop_matrix, fit, load_image, refined_box, warp


def gradient(height: int = 40, width: int = 60) -> np.ndarray:
    """Red grows to the right, green grows downwards."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.linspace(0, 250, width)[None]
    image[..., 1] = np.linspace(0, 250, height)[:, None]
    return image


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_png_is_exact(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(gradient()).save(path)
    for source in (path, str(path), path.read_bytes(), Image.open(path), gradient()):
        np.testing.assert_array_equal(load_image(source), gradient())


def test_grey_is_repeated():
    grey = gradient()[..., 0]
    for source in (grey, grey[..., None], encoded(Image.fromarray(grey), "PNG")):
        image = load_image(source)
        assert image.shape == (40, 60, 3)
        assert (image == grey[..., None]).all()


def test_transparency_is_laid_on_white():
    rgba = np.dstack([gradient(), np.full((40, 60), 255, np.uint8)])
    rgba[:10, :, 3] = 0
    for source in (rgba, encoded(Image.fromarray(rgba, "RGBA"), "PNG")):
        image = load_image(source)
        assert (image[:10] == 255).all()
        np.testing.assert_array_equal(image[10:], gradient()[10:])


def test_sixteen_bits_become_eight():
    deep = (np.arange(40 * 60, dtype=np.uint32) * 27).reshape(40, 60).astype(np.uint16)
    for source in (deep, encoded(Image.fromarray(deep), "PNG"), encoded(Image.fromarray(deep), "TIFF")):
        image = load_image(source)
        assert image.dtype == np.uint8
        assert (image[..., 0] == deep >> 8).all()


def test_cmyk_and_palette_become_rgb():
    cmyk = encoded(Image.fromarray(gradient()).convert("CMYK"), "JPEG", quality=95)
    assert np.abs(load_image(cmyk).astype(int) - gradient()).mean() < 6
    palette = encoded(Image.fromarray(gradient()).convert("P"), "PNG")
    assert load_image(palette).shape == (40, 60, 3)


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (-1, -1)), (6, (0, -1)), (8, (-1, 0))])
def test_exif_rotation_is_applied(orientation, corner):
    """corner: where the file's first pixel ends up."""
    image = np.zeros((32, 64, 3), np.uint8)
    image[:8, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = load_image(encoded(Image.fromarray(image), "PNG", exif=exif))
    assert upright.shape[:2] == ((32, 64) if orientation in (1, 3) else (64, 32))
    assert (upright[corner] == 255).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an image"),
        (b"This is a letter, not a picture.\n" * 20, "not an image"),
        (encoded(Image.fromarray(gradient(200, 200)), "JPEG")[:-900], "damaged"),
        (encoded(Image.fromarray(gradient(200, 200)), "PNG")[:200], "damaged|not an image"),
    ],
)
def test_unreadable_bytes_are_named(tmp_path, content, message):
    path = tmp_path / "holiday.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_image(path)
    assert "holiday.jpg" in str(caught.value) and "\n" not in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 300))
def test_damaged_files_never_raise_anything_else(junk, place):
    whole = encoded(Image.fromarray(gradient()), "JPEG")
    damaged = whole[:place] + junk + whole[place + len(junk) :]
    with contextlib.suppress(FaceInsightError):
        assert load_image(damaged).dtype == np.uint8


def test_missing_and_wrong_sources(tmp_path):
    for source, message in (
        (tmp_path / "none.jpg", "no such image file"),
        (tmp_path, "is a directory"),
        (12, "cannot read an image from int"),
        (np.zeros((4, 4, 2), np.uint8), "shape"),
        (np.zeros((0, 4, 3), np.uint8), "shape"),
        (np.zeros((4, 4, 3), np.float32), "uint8"),
    ):
        with pytest.raises(InputError, match=message):
            load_image(source)


def test_a_damaged_pil_image_is_named(tmp_path):
    cut = encoded(Image.fromarray(gradient(200, 200)), "JPEG")[:-900]
    with pytest.raises(InputError, match="PIL image is damaged"):
        load_image(Image.open(io.BytesIO(cut)))


def test_only_the_formats_we_name_are_decoded():
    """EPS would start another program."""
    with pytest.raises(InputError, match="not an image"):
        load_image(encoded(Image.fromarray(gradient()), "EPS"))


def test_big_endian_sixteen_bits():
    deep = (np.arange(40 * 60) * 27).reshape(40, 60)
    np.testing.assert_array_equal(load_image(deep.astype(">u2")), load_image(deep.astype(np.uint16)))


def test_thirty_two_bits_are_refused_not_guessed():
    for dtype in (np.int32, np.int64, np.float32):
        with pytest.raises(InputError, match="uint8"):
            load_image(gradient().astype(dtype))


def test_reading_images_leaves_the_callers_warnings_alone():
    import warnings

    before = list(warnings.filters)
    load_image(encoded(Image.fromarray(gradient()), "PNG"))
    assert warnings.filters == before


def test_a_crop_from_a_strip_that_opencv_cannot_warp_whole():
    strip = np.zeros((100, 40_000, 3), np.uint8)
    strip[40:60, 35_000:35_020] = 255
    crop = warp(strip, crop_matrix((34_980, 20, 35_040, 80), 64), 64)
    assert crop[20:50, 20:44].max() == 255 and crop[0, 0].max() == 0


def test_too_many_pixels_are_refused_before_they_are_decoded():
    for side in (10_001, 20_000):
        bomb = encoded(Image.new("1", (side, side)), "PNG")
        with pytest.raises(InputError, match="limit is 100 megapixels"):
            load_image(bomb)


BOXES = st.tuples(st.floats(-50, 250), st.floats(-50, 250), st.floats(10, 200), st.floats(10, 200))


@given(BOXES, st.sampled_from((64, 112, 160)))
def test_crop_is_centred_above_the_face(box, size):
    x, y, width, height = box
    matrix = crop_matrix((x, y, x + width, y + height), size)
    centre = matrix @ (x + width / 2, y + height / 2, 1)
    assert centre == pytest.approx((size / 2, size * (0.5 + 0.1 / 1.9)), abs=1e-6)
    hairline, chin = matrix @ (x, y, 1), matrix @ (x, y + height, 1)
    assert chin[1] - hairline[1] == pytest.approx(size / 1.9)


@pytest.mark.parametrize("scale", [0.05, 0.2, 0.45, 0.8, 1.5])
def test_warp_samples_the_right_place_at_every_scale(scale):
    """A linear gradient stays that gradient, whether the source is averaged down first or not."""
    side, size = 1600, 48
    image = np.zeros((side, side, 3), np.uint8)
    image[..., 0], image[..., 1] = np.linspace(0, 255, side)[None], np.linspace(0, 255, side)[:, None]
    centre = side / 2
    matrix = np.array([[scale, 0, size / 2 - scale * centre], [0, scale, size / 2 - scale * centre]])
    crop = warp(image, matrix, size).astype(float)
    places = np.clip((np.arange(size) - size / 2) / scale + centre, 0, side - 1) * 255 / (side - 1)
    assert np.abs(crop[..., 0] - places[None]).max() < 2.5
    assert np.abs(crop[..., 1] - places[:, None]).max() < 2.5


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((0, 0, 0, 10), "is empty"),
        ((5, 5, 1, 1), "is empty"),
        ((0, 0, float("nan"), 4), "is empty"),
        ((500, 0, 600, 90), "lies outside"),
        ((0, 0, 9000, 10), "lies outside"),
        ("abcd", "four numbers"),
        ((1, 2), "four numbers"),
        (7, "four numbers"),
    ],
)
def test_impossible_boxes_are_refused(box, message):
    with pytest.raises(InputError, match=message):
        check_box(box, gradient())


def test_a_box_may_reach_over_the_border():
    assert check_box((-10, -5, 30, 35), gradient()) == (-10.0, -5.0, 30.0, 35.0)


@given(
    st.floats(-0.3, 0.3), st.floats(-0.3, 0.3), st.floats(-0.35, 0.35), st.floats(20, 400), st.floats(0.5, 1.2)
)  # fmt: skip
@settings(deadline=None)
def test_a_refined_box_has_the_crop_that_was_asked_for(right, down, scale, height, aspect):
    box = (100.0, 50.0, 100.0 + aspect * height, 50.0 + height)
    refined = refined_box(box, np.array([right, down, scale]))
    # the right crop's centre and corner, seen from the given crop
    to_given, from_right = crop_matrix(box, 1), np.linalg.inv(np.vstack([crop_matrix(refined, 1), [0, 0, 1]]))
    centre, corner = (to_given @ from_right @ np.array([v, v, 1]) for v in (0.5, 1.0))
    assert centre == pytest.approx([0.5 + right, 0.5 + down], abs=1e-6)
    assert corner - centre == pytest.approx([np.exp(scale) / 2] * 2, rel=1e-6)
    assert (refined[2] - refined[0]) / (refined[3] - refined[1]) == pytest.approx(aspect)


@pytest.mark.parametrize("placement", [(9, -9, 9), (-9, 9, -9)])
def test_a_refinement_has_bounds(placement):
    refined = np.array(refined_box((0, 0, 75, 100), np.array(placement, np.float32)))
    assert np.abs(refined).max() < 300 and 66 < refined[3] - refined[1] < 151


@given(height=st.integers(1, 900), width=st.integers(1, 900), size=st.sampled_from([64, 320]))
def test_a_frame_is_fitted_where_its_map_says(height, width, size):
    """A bright dot comes to within a pixel of where the map sends it, and the square is as large as asked for."""
    assume(min(height, width) >= 0.1 * max(height, width))
    reach = max(2, max(height, width) // 20)
    image = np.zeros((height, width, 3), np.uint8)
    y, x = height // 2, width // 3
    image[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1] = 255
    lit = np.argwhere(image[..., 0] > 0).mean(0)[::-1]
    found = fit(image, size)
    assert found.shape == (size, size, 3)
    matrix = fitted(image.shape, size)
    inside = matrix[:, :2] @ (lit + 0.5) + matrix[:, 2]
    value = found[int(np.clip(inside[1], 0, size - 1)), int(np.clip(inside[0], 0, size - 1)), 0]
    assert value > 0
