"""Each face set is read in its exact on-disk form, under the names of the ready-made vocabularies."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faceinsight.models.data.bisenet import BISENET_CLASSES, BISENET_ORDER
from faceinsight.models.data.readers import READERS, open_dataset
from faceinsight.models.data.readers.demographics import FAIRFACE_RACES, UTKFACE_RACES
from faceinsight.models.data.readers.expression import AFFECTNET_EMOTIONS, FER2013_EMOTIONS, RAF_DB_EMOTIONS
from faceinsight.models.data.readers.records import hashed_split
from faceinsight.models.data.synthetic import generate
from faceinsight.models.data.targets import targets
from faceinsight.models.vocabulary import load_vocabulary, ready_made
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.parse_map import PARSE_CLASSES

from .face_sets import (
    CELEBA_ATTRIBUTES,
    MAKE,
    attribute_lines,
    lfwa_variables,
    make_affectnet,
    make_celeba,
    make_celebamask_hq,
    make_fairface,
    make_fer2013,
    make_lfwa,
    make_raf_db,
    make_utkface,
    stand_in_for_hdf5,
)


@pytest.fixture
def mat(monkeypatch):
    return stand_in_for_hdf5(monkeypatch)


def read_all(root) -> dict[str, dict]:
    """name -> labels, over all splits that the set has."""
    (reader,) = (reader for reader in READERS if reader.fits(root))
    records = [record for split in reader.splits for record in open_dataset(root, split)]
    labels = {record.name: record.labels for record in records}
    assert len(labels) == len(records), "names must be unique, and no face may be in two splits"
    return labels


def age_group(labels) -> str | None:
    """The group of nano that what a set says of an age decides."""
    nano = load_vocabulary("nano")
    return nano.value_of(nano["Age"], labels)


# What they call things


READY_MADE = [load_vocabulary(name) for name in ready_made()]


@pytest.mark.parametrize("name", MAKE)
def test_every_set_speaks_of_labels_as_the_ready_made_vocabularies_do(tmp_path, mat, name):
    MAKE[name](tmp_path)
    known = {name for vocabulary in READY_MADE for name in vocabulary.names}
    for labels in read_all(tmp_path).values():
        assert set(labels) <= known
        # a value that a label does not have would be an error
        rows = [targets([labels], vocabulary) for vocabulary in READY_MADE]
        assert not labels or not all(np.isnan(row).all() for row in rows)
        for label in (label for vocabulary in READY_MADE for label in vocabulary if label.name in labels):
            assert label.kind != "flag" or type(labels[label.name]) is bool


@pytest.mark.parametrize("emotions", [RAF_DB_EMOTIONS, AFFECTNET_EMOTIONS, FER2013_EMOTIONS])
def test_an_order_names_each_of_its_emotions_once(emotions):
    assert len(set(emotions.values())) == len(emotions)
    every = {value.name for value in load_vocabulary("expression")["Expression"].values}
    assert every - set(emotions.values()) <= {"contempt"}


def test_a_finer_race_has_a_coarse_one_that_utkface_knows():
    race = load_vocabulary("demographics")["Race"]
    assert set(FAIRFACE_RACES.values()) == set(race.value_names)
    assert {value.coarse or value.name for value in race.values} == set(UTKFACE_RACES.values())


def test_bisenet_order_goes_by_name():
    assert sorted(BISENET_ORDER) == list(range(len(PARSE_CLASSES)))
    assert BISENET_ORDER.tolist() == [0, 1, 6, 7, 4, 5, 3, 8, 9, 15, 2, 10, 11, 12, 17, 16, 18, 13, 14]
    assert [PARSE_CLASSES[index] for index in BISENET_ORDER] == list(BISENET_CLASSES)
    theirs = np.array([[17, 10], [1, 6]], np.uint8)  # hair, nose, skin, eyeglasses
    assert BISENET_ORDER[theirs].tolist() == [[13, 2], [1, 3]] and BISENET_ORDER[theirs].dtype == np.uint8


# The sets


def test_celeba(tmp_path):
    make_celeba(tmp_path)
    found = {split: {r.name: r.labels for r in open_dataset(tmp_path, split)} for split in ("train", "val", "test")}
    assert {split: list(names) for split, names in found.items()} == {
        "train": ["000001.jpg", "000002.jpg"], "val": ["000003.jpg"], "test": ["000004.jpg"],
    }  # fmt: skip
    first, second = found["train"].values()
    assert (first["Gender"], first["Hair_Color"], first["Beard"], first["Young"]) == ("female", "brown", False, True)
    assert first["Smiling"] is True and first["Mustache"] is False and "Age" not in first
    assert second["Gender"] == "male" and second["Beard"] is True and "Hair_Color" not in second
    contradictory = found["val"]["000003.jpg"]
    assert "Beard" not in contradictory and contradictory["Goatee"] is contradictory["No_Beard"] is True
    assert contradictory["Hair_Color"] == "gray or white" and contradictory["Gray_Hair"] is True
    assert all(set(CELEBA_ATTRIBUTES) <= set(labels) for names in found.values() for labels in names.values())
    assert found["test"]["000004.jpg"]["Bald"] is True


def test_celeba_as_its_own_folders_have_it(tmp_path):
    make_celeba(tmp_path)
    places = {"Anno": "list_attr_celeba.txt", "Eval": "list_eval_partition.txt", "Img": "img_align_celeba"}
    for folder, file in places.items():
        (tmp_path / folder).mkdir()
        (tmp_path / file).rename(tmp_path / folder / file)
    assert len(open_dataset(tmp_path, "train")) == 2


@given(st.sets(st.sampled_from(CELEBA_ATTRIBUTES)))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_celeba_tables_say_what_was_written(tmp_path, has):
    make_celeba(tmp_path)
    (tmp_path / "list_attr_celeba.txt").write_text(attribute_lines({"000001.jpg": has}))
    (labels,) = (record.labels for record in open_dataset(tmp_path, "train"))
    assert {name for name in CELEBA_ATTRIBUTES if labels[name]} == has
    assert labels["Gender"] == ("male" if "Male" in has else "female")
    assert labels.get("Beard") == (None if {"No_Beard", "Goatee"} <= has else "No_Beard" not in has)
    colours = has & {"Black_Hair", "Brown_Hair", "Blond_Hair", "Gray_Hair"}
    colour = colours.pop()[:-5].lower().replace("gray", "gray or white") if len(colours) == 1 else None
    assert labels.get("Hair_Color") == colour


def test_celebamask_hq_splits_and_composes_its_parts(tmp_path):
    make_celebamask_hq(tmp_path)
    (train,) = open_dataset(tmp_path, "train")
    (val,) = open_dataset(tmp_path, "val")
    (test,) = open_dataset(tmp_path, "test")
    assert (train.name, val.name, test.name) == ("0.jpg", "1.jpg", "2001.jpg")
    assert [PARSE_CLASSES[index] for index, _ in train.parts] == ["skin", "nose", "hair"]
    parse_map = train.parse_map(train.load().shape)  # the parts are half the image's size
    assert parse_map.shape == (16, 16) and parse_map.dtype == np.uint8
    assert (parse_map[:, :8] == 0).all() and (parse_map[12:, 12:] == PARSE_CLASSES.index("hair")).all()
    assert (parse_map[:12, 8:] == PARSE_CLASSES.index("skin")).all()
    assert set(test.parse_map((8, 8)).flat) == {0, PARSE_CLASSES.index("hat")}
    assert (val.parse_map((5, 7)) == np.full((5, 7), 255)).all()
    assert train.labels == {}


def test_celebamask_hq_reads_the_attributes_beside_it(tmp_path):
    make_celebamask_hq(tmp_path)
    (tmp_path / "CelebAMask-HQ-attribute-anno.txt").write_text(attribute_lines({"0.jpg": {"Male", "Wearing_Hat"}}))
    (train,) = open_dataset(tmp_path, "train")
    assert train.labels["Gender"] == "male" and train.labels["Wearing_Hat"] is True
    assert next(iter(open_dataset(tmp_path, "val"))).labels == {}


def test_lfwa(tmp_path, mat):
    make_lfwa(tmp_path)
    train, test = open_dataset(tmp_path, "train"), open_dataset(tmp_path, "test")
    assert [record.name for record in train] == ["Ann/Ann_0001.jpg", "Bob/Bob_0002.jpg"]
    assert [record.name for record in test] == ["Bob/Bob_0001.jpg"]
    assert train.records[0].labels["Hair_Color"] == "blond" and train.records[1].labels["Beard"] is True
    assert train.records[0].load().shape == (6, 5, 3)


def stored_variables() -> dict[str, np.ndarray | list[str]]:
    """LFWA's variables as MATLAB stores them in HDF5: transposed; a cell array of text as the names of its texts."""
    variables = {}
    for name, value in lfwa_variables().items():
        if isinstance(value, np.ndarray):
            variables[name] = value.T
            continue
        texts = {f"#refs#/{name}{k}": np.array([[ord(c)] for c in text], np.uint16) for k, text in enumerate(value)}
        variables |= texts | {name: list(texts)}
    return variables


def assert_lfwa_is_read(root):
    train, (test,) = open_dataset(root, "train"), open_dataset(root, "test")
    assert [record.name for record in train] == ["Ann/Ann_0001.jpg", "Bob/Bob_0002.jpg"]
    assert [record.labels["Gender"] for record in train] == ["female", "male"]
    assert train.records[0].labels["Hair_Color"] == "blond" and test.name == "Bob/Bob_0001.jpg"


class Opened(dict):
    """Stands for h5py.File: arrays by name."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def test_lfwa_variables_are_turned_as_matlab_has_them(tmp_path, monkeypatch):
    make_lfwa(tmp_path)
    variables = stored_variables()
    cells = {name: np.array([value], object) for name, value in variables.items() if isinstance(value, list)}
    monkeypatch.setitem(sys.modules, "h5py", SimpleNamespace(File=lambda path, mode: Opened(variables | cells)))
    assert_lfwa_is_read(tmp_path)
    del variables["label"]
    with pytest.raises(InputError, match="damaged or lacks name or AttrName or label"):
        open_dataset(tmp_path, "test")
    variables["label"] = cells["name"]
    with pytest.raises(InputError, match="damaged or lacks"):
        open_dataset(tmp_path, "test")


def test_lfwa_from_its_own_files(tmp_path):
    h5py = pytest.importorskip("h5py", reason="LFWA's .mat files are HDF5, which takes h5py")
    make_lfwa(tmp_path)
    for file in ("lfw_att_40.mat", "indices_train_test.mat"):
        with h5py.File(tmp_path / file, "w", userblock_size=512) as mat_file:
            for name, value in stored_variables().items():
                if isinstance(value, list):
                    cells = mat_file.create_dataset(name, (1, len(value)), h5py.ref_dtype)
                    for k, text in enumerate(value):
                        cells[0, k] = mat_file[text].ref
                else:
                    mat_file[name] = value
    assert_lfwa_is_read(tmp_path)


def test_utkface(tmp_path):
    make_utkface(tmp_path)
    labels = read_all(tmp_path)
    assert len(labels) == 5
    assert labels["1_1_2_20161219140627985.jpg.chip.jpg"] == {
        "Gender": "female", "Race": "asian", "Age_Years": 1,
    }  # fmt: skip
    ages = {known["Age_Years"]: age_group(known) for known in labels.values()}
    assert ages == {1: "0-34", 34: "0-34", 35: "35-49", 64: "50-64", 116: "65+"}
    skipped = open_dataset(tmp_path, "train").skipped
    assert skipped.counts == {
        "name is not [age]_[gender]_[race]_[timestamp].jpg": 2, "gender is not 0-1 or race is not 0-4": 1,
        "age is not 0-120": 1, "not a .jpg file": 1,
    }  # fmt: skip
    assert skipped.names["not a .jpg file"] == ["Thumbs.db"]


def test_a_set_without_splits_is_divided_by_the_name_alone():
    names = [f"{age}_0_0_2017010420333{k:04d}" for age in range(1, 101) for k in range(30)]
    found = [hashed_split(name) for name in names]
    assert found.count("train") / len(names) == pytest.approx(0.8, abs=0.03)
    assert found.count("val") / len(names) == pytest.approx(0.1, abs=0.03)
    # the same on every machine and in every version, or a face that was trained on is tested on
    assert [hashed_split(f"26_1_2_2017010420333{k}") for k in range(4)] == ["val", "train", "val", "train"]


def test_fairface(tmp_path):
    make_fairface(tmp_path)
    train = [record.labels for record in open_dataset(tmp_path, "train")]
    known = [(labels["Age_Years"], age_group(labels), labels["Gender"], labels["Race"]) for labels in train]
    assert known == [
        ((30, 40), None, "male", "latino"), ((40, 50), "35-49", "female", "east asian"),
        ((60, 70), None, "male", "middle eastern"), ((70, 121), "65+", "female", "white"),
        ((70, 121), "65+", "male", "southeast asian"), ((0, 3), "0-34", "female", "black"),
    ]  # fmt: skip
    assert [record.name for record in open_dataset(tmp_path, "val")] == ["val/1.jpg"]


def test_fairface_in_the_folder_that_its_archive_makes(tmp_path):
    make_fairface(tmp_path)
    (tmp_path / "fairface-img-margin125-trainval").mkdir()
    for split in ("train", "val"):
        (tmp_path / split).rename(tmp_path / "fairface-img-margin125-trainval" / split)
    assert len(open_dataset(tmp_path, "train")) == 6


def test_raf_db(tmp_path):
    make_raf_db(tmp_path)
    train = {record.name: record for record in open_dataset(tmp_path, "train")}
    said = [record.labels["Expression"] for record in train.values()]
    assert said == ["surprise", "fear", "disgust", "happy", "sad", "anger", "neutral"]
    assert train["train_00001.jpg"].image.name == "train_00001_aligned.jpg"
    assert [record.labels for record in open_dataset(tmp_path, "test")] == [{"Expression": "happy", "Smiling": True}]


def test_affectnet(tmp_path):
    make_affectnet(tmp_path)
    for split in ("train", "val"):
        records = open_dataset(tmp_path, split)
        said = [record.labels["Expression"] for record in records]
        assert said == ["neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt"]
        assert records.records[0].name == f"{split}_set/100.jpg" and not records.skipped


def test_fer2013(tmp_path):
    make_fer2013(tmp_path)
    train = open_dataset(tmp_path, "train")
    said = [record.labels["Expression"] for record in train]
    assert said == ["anger", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    assert train.records[1].image.shape == (48, 48) and train.records[1].image.dtype == np.uint8
    assert train.records[1].image[0, :3].tolist() == [1, 2, 3]
    assert train.records[1].load().shape == (48, 48, 3)
    assert [r.labels["Expression"] for s in ("val", "test") for r in open_dataset(tmp_path, s)] == ["anger", "disgust"]


def test_fer2013_without_usage_and_with_its_other_header(tmp_path):
    make_fer2013(tmp_path)
    rows = [line.rsplit(",", 1)[0] for line in (tmp_path / "fer2013.csv").read_text().splitlines()]
    (tmp_path / "fer2013.csv").write_text("\n".join([rows[0], *rows[1:] * 20]))
    assert len(read_all(tmp_path)) == 180
    (tmp_path / "fer2013.csv").unlink()
    pixels = rows[1].split(",")[1]
    (tmp_path / "icml_face_data.csv").write_text(f"emotion, Usage, pixels\n3,PublicTest,{pixels}\n")
    assert [record.labels for record in open_dataset(tmp_path, "val")] == [{"Expression": "happy", "Smiling": True}]


# Boxes


def celeba_hq_matrix(eyes, mouth):
    """The crop that CelebA-HQ's authors describe, without their turn."""
    between, down = eyes.mean(0), mouth - eyes.mean(0)
    side = max(4.0 * np.hypot(*(eyes[1] - eyes[0])), 3.6 * np.hypot(*down))
    scale = 1024 / side
    return np.column_stack([np.eye(2) * scale, 512 - scale * (between + 0.1 * down)])


def eyes_matrix(left, right):
    """The turn, scale and shift that bring the eyes to two points."""

    def matrix(eyes, mouth):
        a, b = complex(*left), complex(*right)
        p, q = complex(*eyes[0]), complex(*eyes[1])
        turn = (b - a) / (q - p)
        shift = a - turn * p
        return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])

    return matrix


def chip_matrix(size, padding):
    """dlib's: the means of its mean face's eye points."""
    places = (np.array([[0.2255, 0.2143], [0.7548, 0.2143]]) + padding) * size / (1 + 2 * padding)
    return eyes_matrix(*places)


@pytest.fixture(scope="module")
def rendered():
    return [generate(seed) for seed in range(30)]


@pytest.mark.parametrize(
    ("name", "shape", "align"),
    [
        ("CelebA", (218, 178), eyes_matrix((69, 112), (108, 112))),
        ("CelebAMask-HQ", (1024, 1024), celeba_hq_matrix),
        ("FairFace", (224, 224), chip_matrix(224, 0.25)),
        ("FairFace", (448, 448), chip_matrix(448, 1.25)),
    ],
)
def test_the_box_is_where_the_set_puts_a_face(tmp_path, rendered, name, shape, align):
    """Rendered faces are aligned as the set does it: chin and middle are where the box has them, in most of them."""
    MAKE[name](tmp_path)
    x0, y0, x1, y1 = next(iter(open_dataset(tmp_path, "train"))).box(shape)
    chins, middles = [], []
    for sample in rendered:
        where = {part: np.argwhere(sample.parse_map == PARSE_CLASSES.index(part))[:, ::-1] for part in PARSE_CLASSES}
        if min(len(where["l_eye"]), len(where["r_eye"]), len(where["u_lip"])) < 8:
            continue
        eyes = np.array([where["r_eye"].mean(0), where["l_eye"].mean(0)])
        matrix = align(eyes, np.vstack([where["u_lip"], where["l_lip"]]).mean(0))
        face = where["skin"] @ matrix[:, :2].T + matrix[:, 2]
        chins.append(np.percentile(face[:, 1], 99.5))
        middles.append((face[:, 0].min() + face[:, 0].max()) / 2)
    assert len(chins) > 10
    assert np.median(chins) == pytest.approx(y1, abs=0.08 * (y1 - y0))
    assert np.median(middles) == pytest.approx((x0 + x1) / 2, abs=0.05 * (y1 - y0))
    assert (x1 - x0) / (y1 - y0) == pytest.approx(0.75)


@pytest.mark.parametrize("name", ["UTKFace", "RAF-DB", "AffectNet", "FER2013"])
def test_a_set_that_is_cropped_to_the_face_has_the_whole_image_as_box(tmp_path, name):
    MAKE[name](tmp_path)
    record = next(iter(open_dataset(tmp_path, "train")))
    assert record.box((96, 96)) == (0, 0, 96, 96)


def test_an_image_that_is_not_aligned_has_no_box(tmp_path, mat):
    for name, odd in (("UTKFace", (480, 640)), ("FairFace", (300, 300)), ("LFWA", (480, 640))):
        (tmp_path / name).mkdir()
        MAKE[name](tmp_path / name)
        assert next(iter(open_dataset(tmp_path / name, "train"))).box(odd) is None
    x0, y0, x1, y1 = next(iter(open_dataset(tmp_path / "LFWA", "train"))).box((250, 250, 3))
    assert x0 + x1 == pytest.approx(250) and 70 < y0 < 90 and 180 < y1 < 200


def test_the_box_of_a_resized_copy_is_scaled(tmp_path):
    make_celeba(tmp_path)
    record = next(iter(open_dataset(tmp_path, "train")))
    assert record.box((436, 356)) == pytest.approx(tuple(2 * v for v in record.box((218, 178))))
