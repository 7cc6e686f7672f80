"""A face set that is damaged is refused, or its bad rows are left out and counted; so is a folder of something else."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faceinsight.models.data.readers import Skipped, open_dataset
from faceinsight.models.data.readers.records import inside
from faceinsight.models.vocabulary import load_vocabulary, ready_made
from faceinsight.runtime.errors import InputError

from .face_sets import MAKE, make_celeba, make_celebamask_hq, make_fer2013, make_lfwa, stand_in_for_hdf5


@pytest.fixture
def mat(monkeypatch):
    return stand_in_for_hdf5(monkeypatch)


# What is damaged


def rewrite(file, old, new):
    def damage(root):
        text = (root / file).read_text()
        assert old in text
        (root / file).write_text(text.replace(old, new, 1))

    return damage


def overwrite(file, data: bytes):
    return lambda root: (root / file).write_bytes(data)


def remove(file):
    return lambda root: (root / file).rename(root / "elsewhere")


def save_objects(root):
    np.save(root / "train_set/annotations/100_exp.npy", np.array([{"a": 1}], object), allow_pickle=True)


ATTRIBUTES, PARTITION, MAPPING = "list_attr_celeba.txt", "list_eval_partition.txt", "CelebA-HQ-to-CelebA-mapping.txt"
FAIR, RAF = "fairface_label_train.csv", "EmoLabel/list_patition_label.txt"
ANNOTATION = "train_set/annotations/100_exp.npy"


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("CelebA", rewrite(ATTRIBUTES, "4\n", "5\n"), "announces 5 faces and has 4"),
        ("CelebA", rewrite(ATTRIBUTES, "4\n", "four\n"), "does not begin with a count"),
        ("CelebA", rewrite(ATTRIBUTES, " Young ", " "), "40 names"),
        ("CelebA", rewrite(ATTRIBUTES, "000003.jpg -1", "000003.jpg"), r"line 5 \(000003.jpg\): expected 40 values"),
        ("CelebA", rewrite(ATTRIBUTES, "000002.jpg -1", "000002.jpg 0"), "each -1 or 1"),
        ("CelebA", rewrite(ATTRIBUTES, "000002.jpg -1", "000002.jpg +1"), "each -1 or 1"),
        ("CelebA", rewrite(ATTRIBUTES, "000002.jpg -1", "000002.jpg -1 1"), "expected 40 values"),
        ("CelebA", overwrite(ATTRIBUTES, b""), "does not begin with a count"),
        ("CelebA", overwrite(ATTRIBUTES, b"\xff\xfe\x00"), "not a text file"),
        ("CelebA", rewrite(PARTITION, "000001.jpg 0", "000001.jpg 3"), "split '3'; known are 0, 1, 2"),
        ("CelebA", remove(PARTITION), "lacks list_eval_partition.txt"),
        ("CelebA", remove(ATTRIBUTES), "lacks list_attr_celeba.txt"),
        ("CelebA", remove("img_align_celeba"), "lacks img_align_celeba"),
        ("CelebAMask-HQ", remove(MAPPING), "lacks CelebA-HQ-to-CelebA-mapping.txt"),
        ("CelebAMask-HQ", remove("CelebAMask-HQ-mask-anno"), "lacks CelebAMask-HQ-mask-anno"),
        ("FairFace", rewrite(FAIR, "race", "ethnicity"), "no column race"),
        ("FairFace", rewrite(FAIR, "East Asian", "Martian"), "race 'Martian'; known are White, Black"),
        ("FairFace", rewrite(FAIR, "30-39", "30-40"), "age '30-40'"),
        ("FairFace", rewrite(FAIR, ",Male", ",0"), "gender '0'; known are Male, Female"),
        ("FairFace", rewrite(FAIR, "train/1.jpg", "train/../../1.jpg"), "not a plain path"),
        ("FairFace", overwrite(FAIR, b"\x89PNG\r\n\x1a\n\xff"), "not a CSV file"),
        ("FairFace", remove(FAIR), "lacks fairface_label_train.csv"),
        ("RAF-DB", rewrite(RAF, "train_00001.jpg 1", "train_00001.jpg 0"), "emotion '0'; known are 1, 2"),
        ("RAF-DB", rewrite(RAF, "train_00001.jpg", "train_/../../x.jpg"), "not a plain path"),
        ("RAF-DB", remove("Image/aligned"), "lacks Image/aligned"),
        ("AffectNet", lambda root: np.save(root / ANNOTATION, "8"), "emotion '8'"),
        ("AffectNet", lambda root: np.save(root / ANNOTATION, np.arange(3)), "not a .npy file of one class"),
        ("AffectNet", save_objects, "not a .npy file of one class"),
        ("AffectNet", overwrite(ANNOTATION, pickle.dumps({"a": 1})), "not a .npy file of one class"),
        ("AffectNet", overwrite(ANNOTATION, b""), "not a .npy file of one class"),
        ("AffectNet", remove("train_set/images"), "lacks train_set/images"),
        ("FER2013", rewrite("fer2013.csv", "pixels", "points"), "no column pixels"),
        ("FER2013", rewrite("fer2013.csv", "\n0,", "\n7,"), "emotion '7'"),
        ("FER2013", rewrite("fer2013.csv", "Training", "Practice"), "Usage 'Practice'"),
        ("FER2013", overwrite("fer2013.csv", b"\x00\xff\xfe"), "not a CSV file"),
        ("LFWA", remove("indices_train_test.mat"), "lacks indices_train_test.mat"),
        ("LFWA", overwrite("lfw_att_40.mat", b"MATLAB 5.0 MAT-file"), "not a MATLAB v7.3"),
    ],
)  # fmt: skip
def test_a_set_that_is_not_whole_is_refused(tmp_path, name, damage, message):
    MAKE[name](tmp_path)
    damage(tmp_path)
    with pytest.raises(InputError, match=message) as error:
        open_dataset(tmp_path, "train")
    assert "\n" not in str(error.value)


TABLES = {
    "CelebA": ATTRIBUTES, "CelebAMask-HQ": MAPPING, "FairFace": FAIR, "RAF-DB": RAF, "AffectNet": ANNOTATION,
    "FER2013": "fer2013.csv",
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
@given(st.floats(0, 1), st.binary(max_size=6), st.integers(0, 6))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_table_with_bytes_gone_or_changed_is_read_or_refused(tmp_path, name, where, written, lost):
    """Never with another exception than ours."""
    if not any(tmp_path.iterdir()):
        MAKE[name](tmp_path)
        (tmp_path / "whole").write_bytes((tmp_path / TABLES[name]).read_bytes())
    data = (tmp_path / "whole").read_bytes()
    place = int(where * min(len(data), 2000))
    (tmp_path / TABLES[name]).write_bytes(data[:place] + written + data[place + lost :])
    try:
        records = open_dataset(tmp_path, "train")
    except InputError as error:
        assert str(error)
    else:
        known = {name for vocabulary in ready_made() for name in load_vocabulary(vocabulary).names}
        assert all(set(record.labels) <= known for record in records)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("name", ["..\\..\\x.jpg", "a", "b"], "not a plain path"),
        ("name", ["a", "b"], "not 2 faces"),
        ("AttrName", ["Smiling"] * 40, "40 attributes"),
        ("label", np.full((3, 40), -1.0), "other values than 0 and 1"),
        ("label", np.zeros((40, 3)), "not 3 faces"),
        ("indices_img_train", np.array([[0.0]]), r"not 1\.\.3"),
        ("indices_img_train", np.array([[4.0]]), r"not 1\.\.3"),
        ("indices_img_train", np.array([[1.5]]), r"not 1\.\.3"),
    ],
)
def test_lfwa_variables_that_do_not_fit_are_refused(tmp_path, mat, variable, value, message):
    make_lfwa(tmp_path)
    mat[variable] = value
    with pytest.raises(InputError, match=message):
        open_dataset(tmp_path, "train")


def test_lfwa_without_h5py_says_what_to_install(tmp_path, monkeypatch):
    make_lfwa(tmp_path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match="pip install h5py"):
        open_dataset(tmp_path, "train")


@pytest.mark.parametrize(
    ("name", "damage", "reason", "first"),
    [
        ("CelebA", remove("img_align_celeba/000002.jpg"), "image is missing", "000002.jpg"),
        ("CelebA", rewrite(PARTITION, "000002.jpg 0\n", "000002.jpg\n"), "row of list_eval_partition.txt", "line 2"),
        ("CelebA", rewrite(PARTITION, "000002.jpg 0\n", ""), "not in list_eval_partition.txt", "000002.jpg"),
        ("CelebA", rewrite(PARTITION, "000002", "000009"), "not in list_attr_celeba.txt", "000009.jpg"),
        ("CelebA", rewrite(ATTRIBUTES, "000002", "000001"), "named twice", "000001.jpg"),
        ("CelebAMask-HQ", rewrite(MAPPING, "1 162771", "one"), "row of CelebA-HQ-to-CelebA-mapping.txt", "line 3"),
        ("FairFace", rewrite(FAIR, "Male,Latino_Hispanic,True", "Male"), "row is cut short", "row 1"),
        ("FairFace", rewrite(FAIR, "train/1.jpg", ""), "row names no file", "row 1"),
        ("FairFace", remove("train/1.jpg"), "image is missing", "train/1.jpg"),
        ("RAF-DB", rewrite(RAF, "train_00002.jpg 2", "train_00002.jpg"), "row is not train_", "line 2"),
        ("RAF-DB", remove("Image/aligned/train_00003_aligned.jpg"), "image is missing", "train_00003.jpg"),
        ("AffectNet", remove(ANNOTATION), "image has no annotation", "train_set/100.jpg"),
        ("AffectNet", remove("train_set/images/101.jpg"), "image is missing", "train_set/101.jpg"),
        ("FER2013", rewrite("fer2013.csv", ",0 1 ", ",0 256 "), "pixels are not", "00001"),
        ("FER2013", rewrite("fer2013.csv", ",0 1 ", ",0 -1 "), "pixels are not", "00001"),
        ("FER2013", rewrite("fer2013.csv", ",0 1 ", ",0 x "), "pixels are not", "00001"),
        ("FER2013", rewrite("fer2013.csv", ",0 1 ", ",0 "), "pixels are not", "00001"),
    ],
)  # fmt: skip
def test_a_bad_row_is_left_out_and_counted(tmp_path, name, damage, reason, first):
    MAKE[name](tmp_path)
    whole = len(open_dataset(tmp_path, "train")) if name != "CelebAMask-HQ" else 2
    damage(tmp_path)
    records = open_dataset(tmp_path, "train")
    assert len(records) == whole - 1
    found = [why for why in records.skipped.counts if why.startswith(reason)]
    assert found and records.skipped.names[found[0]] == [first] and records.skipped.counts[found[0]] == 1


def test_images_are_not_decoded_before_they_are_loaded(tmp_path):
    make_celeba(tmp_path)
    (tmp_path / "img_align_celeba/000001.jpg").write_bytes(b"not an image")
    records = open_dataset(tmp_path, "train")
    assert len(records) == 2 and not records.skipped
    assert records.records[1].load().shape == (6, 5, 3)
    with pytest.raises(InputError, match="not an image"):
        records.records[0].load()


def test_a_mask_that_cannot_be_read_is_an_error(tmp_path):
    make_celebamask_hq(tmp_path)
    record = open_dataset(tmp_path, "train").records[0]
    assert record.parse_map((6, 5, 3)).shape == (6, 5)
    (tmp_path / "CelebAMask-HQ-mask-anno/0/00000_nose.png").write_bytes(b"junk")
    with pytest.raises(InputError, match="not a readable mask"):
        record.parse_map((6, 5, 3))


def test_every_skipped_face_counts_and_the_first_twenty_are_named():
    skipped = Skipped()
    for number in range(1000):
        skipped.add("image is missing", f"{number}.jpg")
    assert len(skipped) == 1000 and skipped.names["image is missing"] == [f"{number}.jpg" for number in range(20)]
    assert str(skipped) == "image is missing (1000, 0.jpg)" and str(Skipped()) == "nothing"


@given(st.lists(st.sampled_from(["..", ".", "", "a", "b.jpg", "..a", "C:", "x\\..\\y", "\0", " "]), max_size=5))
def test_a_name_leads_into_the_folder_or_is_refused(tmp_path_factory, parts):
    folder = tmp_path_factory.getbasetemp()
    try:
        path = inside(folder, "/".join(parts), folder / "table.txt")
    except InputError:
        return
    assert path.resolve().is_relative_to(folder.resolve())


# Which set it is


@pytest.mark.parametrize("name", MAKE)
def test_a_split_that_the_set_does_not_have_is_refused(tmp_path, name):
    MAKE[name](tmp_path)
    with pytest.raises(InputError, match=f"{name} has no split 'dev'; it has train, "):
        open_dataset(tmp_path, "dev")


@pytest.mark.parametrize(
    ("name", "split"), [("RAF-DB", "val"), ("LFWA", "val"), ("FairFace", "test"), ("AffectNet", "test")]
)
def test_held_out_faces_have_one_name_only(tmp_path, name, split):
    MAKE[name](tmp_path)
    with pytest.raises(InputError, match=f"no split {split!r}"):
        open_dataset(tmp_path, split)


def test_another_folder_is_refused_with_what_was_looked_for(tmp_path):
    with pytest.raises(InputError, match="none of the face sets") as error:
        open_dataset(tmp_path, "train")
    assert all(name in str(error.value) for name in MAKE)
    with pytest.raises(InputError, match="no such folder"):
        open_dataset(tmp_path / "nowhere", "train")
    make_celeba(tmp_path)
    make_fer2013(tmp_path)
    with pytest.raises(InputError, match="looks like CelebA and FER2013"):
        open_dataset(tmp_path, "train")


def test_a_set_with_nothing_left_is_refused(tmp_path):
    make_celeba(tmp_path)
    for image in (tmp_path / "img_align_celeba").iterdir():
        image.unlink()
    with pytest.raises(InputError, match=r"no usable face.*left out: image is missing \(2, 000001.jpg\)"):
        open_dataset(tmp_path, "train")
