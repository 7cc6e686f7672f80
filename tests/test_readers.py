"""Each face set is read in its exact on-disk form into one vocabulary; what is damaged is refused or counted."""

import csv
import pickle
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faceinsight.models.data.canonical import (
    BISENET_CLASSES,
    BISENET_ORDER,
    CELEBA_ATTRIBUTES,
    COARSE_RACE,
    LABELS,
    NUMBERS,
    age_group,
    years,
)
from faceinsight.models.data.readers import READERS, Skipped, celeba, open_dataset
from faceinsight.models.data.readers.demographics import FAIRFACE_RACES, UTKFACE_RACES
from faceinsight.models.data.readers.expression import AFFECTNET_EMOTIONS, FER2013_EMOTIONS, RAF_DB_EMOTIONS
from faceinsight.models.data.readers.records import hashed_split, inside
from faceinsight.models.data.synthetic import generate
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.labels import FLAGS, GROUPS, PARSE_CLASSES


def picture(path, size=(6, 5)):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*size, 3), 90, np.uint8))


def attribute_lines(rows: dict[str, set[str]]) -> str:
    """A table in CelebA's form: file -> the attributes that are 1."""
    lines = [str(len(rows)), " ".join(CELEBA_ATTRIBUTES) + " "]
    for file, given_ in rows.items():
        lines.append(f"{file} " + " ".join(" 1" if name in given_ else "-1" for name in CELEBA_ATTRIBUTES))
    return "\n".join(lines) + "\n"


CELEBA_ROWS = {
    "000001.jpg": {"No_Beard", "Brown_Hair", "Young", "Smiling"},
    "000002.jpg": {"Male", "Black_Hair", "Gray_Hair", "Goatee"},
    "000003.jpg": {"Male", "No_Beard", "Goatee", "Gray_Hair"},
    "000004.jpg": {"Male", "No_Beard", "Bald", "Wearing_Necktie"},
}


def make_celeba(root):
    (root / "list_attr_celeba.txt").write_text(attribute_lines(CELEBA_ROWS))
    partition = zip(CELEBA_ROWS, (0, 0, 1, 2), strict=True)
    (root / "list_eval_partition.txt").write_text("".join(f"{file} {split}\n" for file, split in partition))
    for file in CELEBA_ROWS:
        picture(root / "img_align_celeba" / file)


def make_celebamask_hq(root):
    rows = ["idx    orig_idx    orig_file", "0 119613 119614.jpg", "1 162771 162772.jpg", "2001  182638 182639.jpg"]
    (root / "CelebA-HQ-to-CelebA-mapping.txt").write_text("\n".join(rows) + "\n")
    for index in (0, 1, 2001):
        picture(root / "CelebA-HQ-img" / f"{index}.jpg", (16, 16))
        (root / "CelebAMask-HQ-mask-anno" / str(index // 2000)).mkdir(parents=True, exist_ok=True)
    half, corner = np.zeros((2, 8, 8), np.uint8)
    half[:, 4:], corner[6:, 6:] = 255, 255
    for part, mask in (("skin", half), ("hair", corner), ("nose", corner)):
        cv2.imwrite(str(root / f"CelebAMask-HQ-mask-anno/0/00000_{part}.png"), np.stack([mask] * 3, 2))
    cv2.imwrite(str(root / "CelebAMask-HQ-mask-anno/1/02001_hat.png"), half)


def make_utkface(root):
    for name in (
        "1_1_2_20161219140627985.jpg.chip.jpg", "35_0_0_20170104203333943.jpg.chip.jpg", "34_1_4_20170104203333942.jpg",
        "116_0_3_20170112213500903.jpg", "64_0_1_20170112213500905.jpg", "39_1_20170116174525125.jpg.chip.jpg",
        "53__0_20170116184028385.jpg", "61_3_2_20170109150557335.jpg", "300_1_2_20170109150557335.jpg",
    ):  # fmt: skip
        picture(root / name)
    (root / "Thumbs.db").write_bytes(b"")


def make_fairface(root):
    rows = [
        ("30-39", "Male", "Latino_Hispanic"), ("40-49", "Female", "East Asian"), ("60-69", "Male", "Middle Eastern"),
        ("more than 70", "Female", "White"), ("70+", "Male", "Southeast Asian"), ("0-2", "Female", "Black"),
    ]  # fmt: skip
    for split in ("train", "val"):
        with (root / f"fairface_label_{split}.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(("file", "age", "gender", "race", "service_test"))
            for number, row in enumerate(rows if split == "train" else [("20-29", "Male", "Indian")], 1):
                table.writerow((f"{split}/{number}.jpg", *row, "True"))
                picture(root / split / f"{number}.jpg")


def make_raf_db(root):
    lines = [f"train_0000{code}.jpg {code}" for code in range(1, 8)] + ["test_0001.jpg 4"]
    (root / "EmoLabel").mkdir()
    (root / "EmoLabel/list_patition_label.txt").write_text("\n".join(lines) + "\n")
    for line in lines:
        picture(root / "Image/aligned" / line.split()[0].replace(".jpg", "_aligned.jpg"))


def make_affectnet(root):
    for split in ("train", "val"):
        (root / f"{split}_set/annotations").mkdir(parents=True)
        for code in range(8):
            picture(root / f"{split}_set/images/{100 + code}.jpg")
            value = str(code) if split == "train" else np.int64(code)
            np.save(root / f"{split}_set/annotations/{100 + code}_exp.npy", value)
            np.save(root / f"{split}_set/annotations/{100 + code}_val.npy", 0.5)


def make_fer2013(root):
    usages = ["Training"] * 7 + ["PublicTest", "PrivateTest"]
    rows = [f"{n % 7},{' '.join(str((n + k) % 256) for k in range(48 * 48))},{use}" for n, use in enumerate(usages)]
    (root / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *rows]) + "\n")


LFWA_ROWS = {
    "Ann\\Ann_0001.jpg": {"No_Beard", "Blond_Hair"},
    "Bob\\Bob_0001.jpg": {"Male"},
    "Bob\\Bob_0002.jpg": {"Male"},
}


def lfwa_variables() -> dict:
    """What read_mat gives for the variables of the two .mat files, in MATLAB's own orientation."""
    names = [name.replace("_", " ") for name in CELEBA_ATTRIBUTES]
    values = [[float(name in has) for name in CELEBA_ATTRIBUTES] for has in LFWA_ROWS.values()]
    chosen = {"indices_img_train": np.array([[1.0], [3.0]]), "indices_img_test": np.array([[2.0]])}
    return {"name": list(LFWA_ROWS), "AttrName": names, "label": np.array(values), **chosen}


def make_lfwa(root):
    for name in LFWA_ROWS:
        picture(root / "lfw" / name.replace("\\", "/"))
    for file in ("lfw_att_40.mat", "indices_train_test.mat"):
        (root / file).write_bytes(bytes(512) + b"\x89HDF\r\n\x1a\n")


MAKE = {
    "CelebA": make_celeba, "CelebAMask-HQ": make_celebamask_hq, "LFWA": make_lfwa, "UTKFace": make_utkface,
    "FairFace": make_fairface, "RAF-DB": make_raf_db, "AffectNet": make_affectnet, "FER2013": make_fer2013,
}  # fmt: skip


@pytest.fixture
def mat(monkeypatch):
    """Stands for the HDF5 access; the variables may be changed by a test."""
    variables = lfwa_variables()
    monkeypatch.setattr(celeba, "read_mat", lambda path, *names: [variables[n] for kind in names for n in kind])
    return variables


def read_all(root) -> dict[str, dict]:
    """name -> labels, over all splits that the set has."""
    (reader,) = (reader for reader in READERS if reader.fits(root))
    records = [record for split in reader.splits for record in open_dataset(root, split)]
    labels = {record.name: record.labels for record in records}
    assert len(labels) == len(records), "names must be unique, and no face may be in two splits"
    return labels


# The vocabulary


def test_our_own_labels_are_in_the_vocabulary_as_they_are():
    for label, values in GROUPS.items():
        assert LABELS[label][: len(values)] == tuple(values)
    assert all(LABELS[flag] == () for flag in FLAGS)
    assert set(COARSE_RACE) | set(COARSE_RACE.values()) <= set(LABELS["Race"])


@pytest.mark.parametrize("name", MAKE)
def test_every_set_speaks_the_vocabulary(tmp_path, mat, name):
    MAKE[name](tmp_path)
    for labels in read_all(tmp_path).values():
        for label, value in labels.items():
            allowed = NUMBERS[label] if label in NUMBERS else LABELS[label] or (True, False)
            assert value in allowed and type(value) is type(allowed[0]), label


@pytest.mark.parametrize("emotions", [RAF_DB_EMOTIONS, AFFECTNET_EMOTIONS, FER2013_EMOTIONS])
def test_an_order_names_each_of_its_emotions_once(emotions):
    assert len(set(emotions.values())) == len(emotions)
    assert set(LABELS["Expression"]) - set(emotions.values()) <= {"contempt"}


def test_a_finer_race_has_a_coarse_one_that_utkface_knows():
    coarse = {COARSE_RACE.get(value, value) for value in FAIRFACE_RACES.values()}
    assert coarse == set(UTKFACE_RACES.values())


@given(st.integers(0, 120), st.integers(0, 120))
def test_an_age_group_holds_for_every_year_of_a_range(a, b):
    ages = range(min(a, b), max(a, b) + 1)
    groups = {group for group in GROUPS["Age"] for age in ages if age in years(group)}
    assert age_group(ages) == (groups.pop() if len(groups) == 1 else None)


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
    assert "Beard" not in contradictory and contradictory["Goatee"] is True and contradictory["Hair_Color"] == "gray"
    assert not {"Male", "No_Beard", "Black_Hair", "Gray_Hair"} & set(contradictory)
    assert found["test"]["000004.jpg"]["Bald"] is True


def test_celeba_as_its_own_folders_have_it(tmp_path):
    make_celeba(tmp_path)
    places = {"Anno": "list_attr_celeba.txt", "Eval": "list_eval_partition.txt", "Img": "img_align_celeba"}
    for folder, file in places.items():
        (tmp_path / folder).mkdir()
        (tmp_path / file).rename(tmp_path / folder / file)
    assert len(open_dataset(tmp_path, "train")) == 2


@given(st.sets(st.sampled_from(CELEBA_ATTRIBUTES)))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_celeba_tables_say_what_was_written(tmp_path, has):
    make_celeba(tmp_path)
    (tmp_path / "list_attr_celeba.txt").write_text(attribute_lines({"000001.jpg": has}))
    (labels,) = (record.labels for record in open_dataset(tmp_path, "train"))
    assert {name for name in CELEBA_ATTRIBUTES if labels.get(name) is True} == has & set(labels)
    assert labels["Gender"] == ("male" if "Male" in has else "female")
    assert labels.get("Beard") == (None if {"No_Beard", "Goatee"} <= has else "No_Beard" not in has)
    colours = has & {"Black_Hair", "Brown_Hair", "Blond_Hair", "Gray_Hair"}
    assert labels.get("Hair_Color") == (colours.pop()[:-5].lower() if len(colours) == 1 else None)


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
        "Gender": "female", "Race": "asian", "Age_Years": 1, "Age": "0-34", "Age_Range": "0-2",
    }  # fmt: skip
    ages = {known["Age_Years"]: known["Age"] for known in labels.values()}
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
    known = [(labels["Age_Range"], labels.get("Age"), labels["Gender"], labels["Race"]) for labels in train]
    assert known == [
        ("30-39", None, "male", "latino"), ("40-49", "35-49", "female", "east asian"),
        ("60-69", None, "male", "middle eastern"), ("70+", "65+", "female", "white"),
        ("70+", "65+", "male", "southeast asian"), ("0-2", "0-34", "female", "black"),
    ]  # fmt: skip
    assert "Age_Years" not in train[0]
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
    assert [record.labels for record in open_dataset(tmp_path, "test")] == [{"Expression": "happy"}]


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
    assert [record.labels for record in open_dataset(tmp_path, "val")] == [{"Expression": "happy"}]


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


@pytest.mark.parametrize(
    ("name", "shape", "align"),
    [
        ("CelebA", (218, 178), eyes_matrix((69, 112), (108, 112))),
        ("CelebAMask-HQ", (1024, 1024), celeba_hq_matrix),
        ("FairFace", (224, 224), chip_matrix(224, 0.25)),
        ("FairFace", (448, 448), chip_matrix(448, 1.25)),
    ],
)
def test_the_box_is_where_the_set_puts_a_face(tmp_path, name, shape, align):
    """Rendered faces are aligned as the set does it: chin and middle are where the box has them, in most of them."""
    MAKE[name](tmp_path)
    x0, y0, x1, y1 = next(iter(open_dataset(tmp_path, "train"))).box(shape)
    chins, middles = [], []
    for sample in map(generate, range(30)):
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
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
        assert all(set(record.labels) <= {*LABELS, *NUMBERS} for record in records)


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
