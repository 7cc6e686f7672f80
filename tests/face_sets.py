"""The public face sets in their exact on-disk forms, a few small faces each."""

from __future__ import annotations

import csv

import cv2
import numpy as np

from faceinsight.models.data.readers import celeba
from faceinsight.models.vocabulary import load_vocabulary

CELEBA_ATTRIBUTES = load_vocabulary("celeba").attribute_names


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


def stand_in_for_hdf5(monkeypatch) -> dict:
    """Gives LFWA's variables in the place of its .mat files; they may be changed by a test."""
    variables = lfwa_variables()
    monkeypatch.setattr(celeba, "read_mat", lambda path, *names: [variables[n] for kind in names for n in kind])
    return variables
