"""Public sets as training data: faces are cut to where the encoders expect them, damaged ones give way to the next."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest

from faceinsight.benchmarks.accuracy import evaluate
from faceinsight.models.data.augment import NOMINAL_SIDE
from faceinsight.models.data.dataset import SIDE, RecordFaces, read_faces, read_labelled
from faceinsight.models.data.readers import Record, Records, Skipped
from faceinsight.models.data.synthetic import generate
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.models.training.faces import FaceBatches, nominal_faces
from faceinsight.models.training.recipe import Recipe, train
from faceinsight.models.vocabulary import load_vocabulary
from faceinsight.runtime.bundle import NANO as NANO_BUNDLE
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.image import CROP_HEIGHTS, CROP_SHIFT
from faceinsight.runtime.parse_map import IGNORE

from .tiny import tiny_config

NANO, CELEBA, EXPRESSION = (load_vocabulary(name) for name in ("nano", "celeba", "expression"))
NAMES = NANO.attribute_names


@pytest.fixture
def celeba(tmp_path):
    """12 aligned faces of 218x178, a red spot between hairline and chin; 8 train, 2 val, 2 test."""
    (tmp_path / "img_align_celeba").mkdir()
    rows, splits = [], []
    for index in range(12):
        name = f"{index + 1:06d}.jpg"
        image = np.full((218, 178, 3), 90, np.uint8)
        cv2.circle(image, (88, 132), 10, (0, 0, 255), -1)
        cv2.imwrite(str(tmp_path / "img_align_celeba" / name), image)
        held = {"Male": index % 2 == 0, "Smiling": index % 3 == 0, "No_Beard": True}
        rows.append(name + "  " + "  ".join("1" if held.get(a) else "-1" for a in CELEBA.attribute_names))
        splits.append(f"{name} {0 if index < 8 else 1 if index < 10 else 2}")
    (tmp_path / "list_attr_celeba.txt").write_text("\n".join(["12", " ".join(CELEBA.attribute_names), *rows]) + "\n")
    (tmp_path / "list_eval_partition.txt").write_text("\n".join(splits) + "\n")
    return tmp_path


def test_a_face_is_cut_to_the_nominal_place(celeba):
    faces = read_faces(celeba, "train", NANO)
    assert len(faces) == 8 and faces.targets.shape == (8, len(NAMES))
    image, parse_map, target = faces.face(0)
    assert image.shape == (SIDE, SIDE, 3) and parse_map.shape == (SIDE, SIDE)
    assert (parse_map == IGNORE).all()
    red = np.argwhere(image[..., 0].astype(int) - image[..., 1] > 80)
    # the middle of the face box lies a tenth of a face height under the image's
    down = CROP_SHIFT * NOMINAL_SIDE / CROP_HEIGHTS
    assert np.abs(red.mean(0) - [SIDE / 2 + down, SIDE / 2]).max() < 2
    assert target[NAMES.index("Male")] == 1 and target[NAMES.index("Smiling")] == 1
    assert target[NAMES.index("Beard")] == 0 and np.isnan(target[NAMES.index("Teeth_Visible")])


def test_the_next_face_stands_in_for_one_that_cannot_be_read(celeba, capsys):
    (celeba / "img_align_celeba" / "000002.jpg").write_bytes(b"no image")
    faces = read_faces(celeba, "train", NANO)
    image, _, target = faces.face(1)
    other, _, its = faces.face(2)
    np.testing.assert_array_equal(image, other)
    np.testing.assert_array_equal(target, its)
    faces.face(1)
    assert capsys.readouterr().err.count("skipped 000002.jpg") == 1


def test_a_set_without_a_readable_image_is_an_error(celeba):
    for path in (celeba / "img_align_celeba").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(InputError, match="none of the images"):
        read_faces(celeba, "train", NANO).face(0)


def test_masks_go_with_their_images(tmp_path):
    sample = generate(5)
    paths = tmp_path / "a.png", tmp_path / "skin.png"
    cv2.imwrite(str(paths[0]), sample.image[..., ::-1])
    cv2.imwrite(str(paths[1]), (sample.parse_map == 1).astype(np.uint8) * 255)
    record = Record("a", paths[0], {"Gender": "female"}, ((1, paths[1]),))
    # a record of no aligned set: the face is looked for
    image, parse_map, _ = RecordFaces(Records("made", (record,), Skipped()), NANO).face(0)
    skin = image[parse_map == 1].mean(0)
    assert set(np.unique(parse_map)) == {0, 1}
    np.testing.assert_allclose(skin, sample.image[sample.parse_map == 1].mean(0), atol=12)


def save_emotions(folder, emotions: list[int]) -> None:
    """RAF-DB's form: 100x100 images and a number for each emotion."""
    (folder / "EmoLabel").mkdir(parents=True)
    (folder / "Image" / "aligned").mkdir(parents=True)
    lines = [f"train_{i:05d}.jpg {emotion}\n" for i, emotion in enumerate(emotions)]
    (folder / "EmoLabel" / "list_patition_label.txt").write_text("".join(lines))
    for i in range(len(emotions)):
        picture = folder / "Image" / "aligned" / f"train_{i:05d}_aligned.jpg"
        cv2.imwrite(str(picture), np.zeros((100, 100, 3), np.uint8))


def test_a_set_without_a_val_split_lends_a_tenth_of_train(tmp_path):
    save_emotions(tmp_path, [1 + i % 7 for i in range(60)])
    parts = [{record.name for record in read_faces(tmp_path, split, EXPRESSION).records} for split in ("train", "val")]
    assert not parts[0] & parts[1] and len(parts[0] | parts[1]) == 60
    assert 0 < len(parts[1]) < 20


def test_batches_and_validation_read_what_they_need(celeba):
    faces = read_faces(celeba, "train", NANO)
    batch = FaceBatches(faces, 4, 32, parser_size=40, vocabulary=NANO)(3)
    assert batch["pixels"].shape == (4, 32, 32, 3) and batch["parser_pixels"].shape == (4, 40, 40, 3)
    pixels, parse_maps, targets = nominal_faces(faces, 32)
    assert len(pixels) == len(parse_maps) == len(targets) == 8
    np.testing.assert_array_equal(targets.numpy(), faces.targets)


@pytest.mark.slow
@pytest.mark.parametrize("vocabulary", [NANO, CELEBA], ids=["nano", "celeba"])
def test_a_public_set_trains(celeba, tmp_path, vocabulary):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        "[stage.refiner]\nsteps = 1\nbatch = 4\nsynthetic = 0.5\n"
        "[stage.vision]\nsteps = 2\nbatch = 4\nsynthetic = 0.5\nlogic = 1.0\n"
    )
    (tmp_path / "run").mkdir()
    shutil.copy(NANO_BUNDLE / "tokenizer.json", tmp_path / "run")
    config = tiny_config(vocab_size=1536, vocabulary=vocabulary)
    directory = train(Recipe.load(recipe), config, celeba, tmp_path / "run", 1)
    head = FaceInsightModel.from_pretrained(directory).fusion.head
    assert head.label_features().shape[0] == len(vocabulary.attributes) and head.bias.any()


def test_a_public_set_is_evaluated_on_what_it_tells(celeba, model):
    found = evaluate(model, celeba, "train")
    assert (found["faces"], found["failed"]) == (8, 0)
    assert found["labels"]["Male"]["faces"] == 8 and found["labels"]["Smiling"]["faces"] == 8
    # what the set does not tell is not scored
    assert found["labels"].get("Teeth_Visible", {"faces": 0})["faces"] == 0
    assert found["answers_agree"] == 1 and found["contradictions"] == 0


def test_celebas_gray_is_gray_or_white(celeba):
    table = celeba / "list_attr_celeba.txt"
    count, names, *rows = table.read_text().splitlines()
    values = ["1" if name in ("Gray_Hair", "No_Beard") else "-1" for name in names.split()]
    table.write_text("\n".join([count, names, f"000001.jpg {' '.join(values)}", *rows[1:]]) + "\n")
    target = dict(zip(NAMES, read_faces(celeba, "train", NANO).targets[0], strict=True))
    assert target["Gray_Hair"] == 1 or (np.isnan(target["Gray_Hair"]) and np.isnan(target["White_Hair"]))
    assert target["Black_Hair"] == 0 and target["Beard"] == 0 and np.isnan(target["White_Hair"])


def test_all_forty_attributes_of_celeba_are_targets(celeba):
    target = dict(zip(CELEBA.attribute_names, read_faces(celeba, "train", CELEBA).targets[0], strict=True))
    assert len(target) == 40 and not any(map(np.isnan, target.values()))
    assert {name for name, value in target.items() if value == 1} == {"Male", "Smiling", "No_Beard"}


@pytest.mark.parametrize(("emotion", "smiles"), [(4, 1), (7, 0), (5, 0), (1, None)])
def test_a_happy_face_smiles(tmp_path, emotion, smiles):
    """Of surprise nobody knows; then nano, which tells no expression, has nothing to learn."""
    save_emotions(tmp_path, [emotion] * 60)
    column = EXPRESSION.attribute_names.index("Smiling")
    found = set(read_faces(tmp_path, "train", EXPRESSION).targets[:, column].tolist())
    assert found == {smiles} if smiles is not None else all(map(np.isnan, found))
    nano = load_vocabulary("nano")
    if smiles is None:
        with pytest.raises(InputError, match="has none of the labels"):
            read_faces(tmp_path, "train", nano)
    else:
        smiling = read_faces(tmp_path, "train", nano).targets[:, nano.attribute_names.index("Smiling")]
        assert set(smiling.tolist()) == {smiles}


def test_a_limit_takes_faces_from_all_of_a_set(tmp_path):
    save_emotions(tmp_path, [1 + i % 7 for i in range(60)])
    every = [face.name for face in read_labelled(tmp_path, "train", EXPRESSION)]
    some = [face.name for face in read_labelled(tmp_path, "train", EXPRESSION, 6)]
    assert len(some) == 6 and every.index(some[-1]) > 0.7 * len(every)


def test_what_cannot_be_used_is_refused(celeba, tmp_path, model):
    for read in (read_faces, read_labelled):
        with pytest.raises(InputError, match="unknown split 'tset'; use train, val, test"):
            read(celeba, "tset", NANO)
    folder = tmp_path / "emotions"
    save_emotions(folder, [1] * 60)
    with pytest.raises(InputError, match="RAF-DB has none of the labels that the model knows: Gender, Age"):
        read_faces(folder, "train", NANO)
    with pytest.raises(InputError, match="has a label that is asked for"):
        evaluate(model, folder, "train")


# Our own form


def save_portraits(folder, table: str, **images) -> None:
    """images: name -> an array or bytes."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(exist_ok=True)
    for name, content in images.items():
        path = folder / "images" / f"{name}.png"
        path.write_bytes(content if isinstance(content, bytes) else cv2.imencode(".png", content)[1].tobytes())
    (folder / "labels.csv").write_text(table)


GREY = np.full((224, 224, 3), 90, np.uint8)


def test_a_row_of_ones_own_is_read_and_a_broken_image_reported(tmp_path):
    table = "file,split,Gender,Age,Eyeglasses,Hair_Color\na.png,train,male,65+,1,\nb.png,train,female,0-34,0,red\n"
    save_portraits(tmp_path, table, a=GREY, b=b"not an image")
    found = read_faces(tmp_path, "train", NANO)
    assert found.files == ["a.png"] and list(found.skipped) == ["b.png"] and not found.masked
    row = dict(zip(NAMES, found.targets[0], strict=True))
    assert row["Male"] == 1 and row["Age_65_Plus"] == 1 and row["Eyeglasses"] == 1
    assert np.isnan(row["Red_Hair"]) and np.isnan(row["Smiling"])
    assert (found.face(0)[1] == IGNORE).all()
    with pytest.raises(InputError, match="split 'val'"):
        read_faces(tmp_path, "val", NANO)


def test_a_number_of_ones_own_is_read(tmp_path):
    table = "file,split,Age_Years,Age\na.png,train,41,\nb.png,train,30..40,\nc.png,train,,65+\nd.png,train,,\n"
    save_portraits(tmp_path, table, **dict.fromkeys("abcd", GREY))
    vocabulary = load_vocabulary("demographics")
    bounds = read_faces(tmp_path, "train", vocabulary).targets[:, -2:]
    np.testing.assert_array_equal(bounds, [[40.5, 41.5], [30, 40], [65, 121], [np.nan] * 2])
    labels = [record.labels for record in read_labelled(tmp_path, "train", vocabulary)]
    assert labels == [{"Age_Years": 41}, {"Age_Years": (30, 40)}, {"Age": "65+"}, {}]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("split,Smiling\ntrain,1\n", "has no column file"),
        ("file,split,Smiling\na.png,train,2\n", "row of a.png: Smiling is '2'; use 0, 1 or nothing"),
        ("file,split\na.png,tain\n", "line 2: split is 'tain'; use train, val, test"),
        ("file,split\n,train\n", "line 2: the row names no file"),
        ("file,split\n", "no row in split 'train'"),
        ("file,split\nb.png,train\n", "no readable image in split 'train'; skipped: 1"),
    ],
)
def test_a_table_that_is_wrong_is_refused(tmp_path, table, message):
    save_portraits(tmp_path, table, a=GREY)
    with pytest.raises(InputError, match=message):
        read_faces(tmp_path, "train", NANO)


@pytest.mark.parametrize(
    "mask", [np.zeros((100, 100), np.uint8), np.zeros((224, 224, 3), np.uint8), np.full((224, 224), 19, np.uint8)]
)
def test_a_mask_that_does_not_fit_is_reported(tmp_path, mask):
    save_portraits(tmp_path, "file,split\na.png,train\n", a=GREY)
    cv2.imwrite(str(tmp_path / "masks" / "a.png"), mask)
    with pytest.raises(InputError, match="skipped: 1"):
        read_faces(tmp_path, "train", NANO)
