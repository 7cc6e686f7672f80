"""The face detector: its output, scenes to train on, and training it small."""

from __future__ import annotations

import csv
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from faceinsight.benchmarks.detection import evaluate_detector, has_photographs
from faceinsight.models.config import DetectorConfig
from faceinsight.models.data.augment import nominal_matrix
from faceinsight.models.data.scenes import Composer, Picture, face_picture, read_frames, read_negatives
from faceinsight.models.data.synthetic import generate
from faceinsight.models.detector import FaceDetector, find
from faceinsight.models.training.detector import (
    Pictures,
    SceneBatches,
    detector_loss,
    detector_scores,
    train_detector,
)
from faceinsight.models.training.trainer import Schedule
from faceinsight.runtime.detect import Detection, detections, fitted, overlap, suppressed
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.image import crop_matrix, warp

TINY = DetectorConfig(size=96, widths=(8, 16, 24, 32, 32), depth=0, neck=24)


def rendered(*seeds: int) -> list[Picture]:
    return [face_picture(generate(seed).image, np.full((5, 2), np.nan)) for seed in seeds]


def textures(count: int) -> list[Picture]:
    rng = np.random.default_rng(3)
    rough = rng.integers(0, 255, (count, 12, 12, 3), dtype=np.uint8)
    return [Picture(cv2.resize(image, (160, 120), interpolation=cv2.INTER_CUBIC)) for image in rough]


@pytest.fixture(scope="module")
def composer() -> Composer:
    return Composer(rendered(*range(8)), (), textures(8), TINY.size)


face = st.tuples(*[st.floats(0, 1)] * 5).map(lambda v: [v[0], v[1], v[2], v[1] + 0.05 + v[3], v[2] + 0.05 + v[4]])


@given(st.lists(face, max_size=40), st.floats(0, 1))
def test_each_face_is_kept_once(rows, least):
    faces = np.array([[*row, *[0.0] * 10] for row in rows], np.float32).reshape(-1, 15)
    kept = suppressed(faces, least)
    assert (kept[:, 0] >= np.float32(least)).all() and (np.diff(kept[:, 0]) <= 0).all()
    for i, one in enumerate(kept):
        assert all(overlap(one[1:5], other[1:5]) <= 0.4 for other in kept[i + 1 :])
    for row in faces[faces[:, 0] >= np.float32(least)]:
        assert any(overlap(row[1:5], one[1:5]) > 0.4 and one[0] >= row[0] for one in kept)


@given(st.integers(1, 4000), st.integers(1, 4000))
def test_a_box_comes_back_in_frame_pixels(height, width):
    """What the detector says in sides of its input is where the frame was fitted into it."""
    box = np.array([0.2 * width, 0.3 * height, 0.6 * width, 0.9 * height])
    linear = fitted((height, width), 1)
    inside = box.reshape(2, 2) @ linear[:, :2].T + linear[:, 2]
    assert (inside >= -1e-9).all() and (inside <= 1 + 1e-9).all()
    row = np.zeros((1, 15))
    row[0, 0], row[0, 1:5] = 0.9, inside.ravel()
    (found,) = detections(row, (height, width, 3), 0.5)
    assert np.allclose(found.box, box, atol=1e-6 * max(height, width)) and found.score == pytest.approx(0.9)


def test_a_scene_marks_its_faces(composer):
    """Every marked box holds the face that was laid there: a scene with one face that fills the canvas shows it where
    the picture's own box goes."""
    only = Composer(rendered(5), (), (), 224)
    scenes = [only.scene(np.random.default_rng(seed)) for seed in range(12)]
    for scene in scenes:
        assert scene.image.shape == (224, 224, 3)
        assert len(scene.boxes) == len(scene.landmarks) == len(scene.ignored)
        heights, widths = (scene.boxes[:, 2 + i] - scene.boxes[:, i] for i in (1, 0))
        assert np.allclose(widths / heights, 0.75)
    again = only.scene(np.random.default_rng(3))
    assert np.array_equal(again.image, scenes[3].image) and np.array_equal(again.boxes, scenes[3].boxes)
    batch = SceneBatches(composer, 3, seed=1)(7)
    assert batch["pixels"].shape == (3, 96, 96, 3) and batch["boxes"].shape[2] == 4
    assert torch.equal(batch["pixels"], SceneBatches(composer, 3, seed=1)(7)["pixels"])


def test_a_tiny_detector_learns_to_find_faces():
    """On one scene that it sees again and again."""
    torch.manual_seed(0)
    detector, (picture,), size = FaceDetector(TINY), rendered(5), TINY.size
    matrix = fitted(picture.image.shape, size)
    box = np.array(picture.box).reshape(2, 2) @ matrix[:, :2].T + matrix[:, 2]
    pixels = np.stack([warp(image, matrix, size) for image in (picture.image, np.full_like(picture.image, 90))])
    batch = {
        "pixels": torch.from_numpy(pixels),
        "boxes": torch.full((2, 1, 4), torch.nan),
        "landmarks": torch.full((2, 1, 10), torch.nan),
        "ignored": torch.zeros(2, 1, dtype=torch.bool),
    }
    batch["boxes"][0, 0] = torch.from_numpy(box.ravel())
    optimiser = torch.optim.AdamW(detector.parameters(), lr=5e-3)
    for _ in range(80):
        loss, _ = detector_loss(detector.levels(batch["pixels"]), batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    seen, empty = find(detector.eval(), [picture.image, np.full_like(picture.image, 90)])
    assert overlap(seen[0, 1:5], box.ravel()) > 0.5
    assert all(seen[0, 0] > 1.5 * face[0] for face in empty)


def test_training_resumes(tmp_path, composer):
    detector = FaceDetector(TINY)
    pictures = Pictures(composer.faces, (), composer.negatives)
    schedule = Schedule(steps=3, batch=2, warmup=1, validate_every=3)
    least = train_detector(detector, pictures, pictures, schedule, tmp_path)
    assert 0 <= least <= 0.9
    weights = {name: value.clone() for name, value in detector.state_dict().items()}
    other = FaceDetector(TINY)
    assert train_detector(other, pictures, pictures, schedule, tmp_path) == least
    assert all(torch.equal(value, weights[name]) for name, value in other.state_dict().items())


def test_scores_count_what_is_found():
    """A detector that sees nothing finds nothing."""
    detector = FaceDetector(TINY).eval()
    torch.nn.init.zeros_(detector.head[-1].weight)
    torch.nn.init.constant_(detector.head[-1].bias, -20.0)
    pictures = Pictures(
        rendered(1, 2), [Picture(generate(4).image, (60, 60, 120, 140), np.full((5, 2), np.nan))], textures(4)
    )
    scores = detector_scores(detector, pictures, composed=3)
    assert scores["found"] == scores["frames"] == 0


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.zeros((40, 60, 3), np.uint8))

    def table(name: str, columns: list[str], *rows: list) -> None:
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file).writerows([columns, *rows])

    return tmp_path, table


def test_folders_of_whole_photographs(folder):
    path, table = folder
    table("boxes.csv", ["file", "split", "x0", "y0", "x1", "y1"], ["a.png", "train", 1, 2, 31, 42])
    table("pictures.csv", ["file", "split"], ["a.png", "val"])
    (frame,), (negative,) = read_frames(path, "train"), read_negatives(path, "val")
    assert frame.box == (1, 2, 31, 42) and np.isnan(frame.landmarks).all()
    assert frame.image.shape == negative.image.shape == (40, 60, 3) and negative.box is None
    with pytest.raises(InputError, match="no row in split 'val'"):
        read_frames(path, "val")


@pytest.mark.parametrize(
    ("columns", "row", "complaint"),
    [
        (["file", "split", "x0"], ["a.png", "train", 1], "no column x1 and y0 and y1"),
        (["file", "split", "x0", "y0", "x1", "y1"], ["a.png", "train", 1, "two", 3, 4], "line 2.*four numbers"),
        (["file", "split", "x0", "y0", "x1", "y1"], ["b.png", "train", 1, 2, 3, 4], "no such image"),
    ],
)
def test_damaged_tables(folder, columns, row, complaint):
    path, table = folder
    with pytest.raises(InputError, match=r"boxes\.csv is missing"):
        read_frames(path, "train")
    table("boxes.csv", columns, row)
    with pytest.raises(InputError, match=complaint):
        read_frames(path, "train")


def test_a_training_image_has_its_face_where_the_crop_has_it():
    """The detector's box of a training image is the box whose crop the encoders are trained on."""
    picture = rendered(1)[0]
    matrix = crop_matrix(picture.box, 100)
    assert np.allclose(matrix, nominal_matrix(picture.image.shape[:2], 100), atol=0.6)


def test_the_detector_is_scored_on_photographs(folder):
    path, table = folder
    table("boxes.csv", ["file", "split", "x0", "y0", "x1", "y1"], *(["a.png", "val", 10, 5, 40, 35] for _ in range(4)))
    table("pictures.csv", ["file", "split"], ["a.png", "val"], ["a.png", "val"])
    given = iter([[(11, 5, 40, 35)], [(50, 5, 60, 15), (10, 5, 40, 34)], [], [(30, 5, 60, 35)]])
    model = SimpleNamespace(detect=lambda image: [Detection(box, 0.9) for box in next(given)])
    found = evaluate_detector(model, path)
    assert has_photographs(path) and not has_photographs(path / "images")
    assert found["found"] == 0.5 and found["missed"] == [2, 3] and found["other_boxes"] == 2
    assert found["interval"][0] < 0.5 < found["interval"][1]
    (path / "boxes.csv").unlink()
    given = iter([[(1, 1, 20, 20)], []])
    assert evaluate_detector(model, path)["with_face"] == 0.5
