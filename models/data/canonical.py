"""One vocabulary for the labels of every dataset: our own labels, and what public face sets add to them.

A reader gives each face the labels that its set decides, under these names and values; what it leaves open is absent.
"""

from __future__ import annotations

import numpy as np

from faceinsight.runtime.labels import FLAGS, GROUPS, PARSE_CLASSES

CELEBA_ATTRIBUTES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose",
    "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses",
    "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes",
    "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks", "Sideburns", "Smiling",
    "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace",
    "Wearing_Necktie", "Young",
)  # fmt: skip
"""CelebA's 40 attributes, in the order of its own file. LFWA has the same ones."""

CELEBA_HAIR = {name: value for value, name in GROUPS["Hair_Color"].items() if name in CELEBA_ATTRIBUTES}
"""CelebA attribute -> our Hair_Color. CelebA has no white hair (its Gray_Hair covers it) and no red hair."""

CELEBA_SETS = ("CelebA", "CelebAMask-HQ", "LFWA")
"""Names of the sets with CelebA's attributes."""

CELEBA_FLAGS = tuple(name for name in CELEBA_ATTRIBUTES if name not in {"Male", "No_Beard", *CELEBA_HAIR})
"""CelebA attributes that are canonical flags as they are."""

LABELS: dict[str, tuple[str, ...]] = {
    **{label: tuple(values) for label, values in GROUPS.items()},
    **{flag: () for flag in FLAGS},
    "Race": (*GROUPS["Race"], "asian", "other"),
    "Age_Range": ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "70+"),
    **{name: () for name in CELEBA_FLAGS if name not in FLAGS},
}  # fmt: skip
"""Label -> its values; () for a flag, whose values are True and False.

Race is what annotators saw, in the sets' own words: ours are FairFace's seven values, the finest that a public set has,
and there are two for UTKFace, which does not tell their parts apart (COARSE_RACE). "other" is a value, not a
missing label. Age_Range holds FairFace's ranges; 30-39 and 60-69 lie on both sides of a bound of Age, so they decide no
Age.
"""

NUMBERS = {"Age_Years": range(121)}
"""Labels that are whole numbers -> what they may be."""

COARSE_RACE = {"east asian": "asian", "southeast asian": "asian", "latino": "other", "middle eastern": "other"}
"""FairFace's value -> what UTKFace calls such a face: its "asian" holds East and Southeast Asian, its "other" Latino
and Middle Eastern (some of whom it may call white). So finer answers can be scored on the coarser set, not the
reverse."""

BISENET_CLASSES = (
    "background", "skin", "l_brow", "r_brow", "l_eye", "r_eye", "eye_g", "l_ear", "r_ear", "ear_r",
    "nose", "mouth", "u_lip", "l_lip", "neck", "neck_l", "cloth", "hair", "hat",
)  # fmt: skip
"""The class order of the BiSeNet face-parsing checkpoints."""

BISENET_ORDER = np.array([PARSE_CLASSES.index(name) for name in BISENET_CLASSES], np.uint8)
"""[19] uint8: `BISENET_ORDER[parse_map]` turns a BiSeNet checkpoint's parse map into the official order."""
BISENET_ORDER.flags.writeable = False


_SMILES = {"happy": True, "neutral": False, "sad": False, "fear": False, "disgust": False, "anger": False}


def with_smile(labels: dict) -> dict:
    """The labels, with what an Expression tells of Smiling where nothing else does: surprise and contempt may or may
    not smile."""
    told = _SMILES.get(labels.get("Expression"))
    return labels if told is None or labels.get("Smiling") is not None else labels | {"Smiling": told}


def years(ages: str) -> range:
    """The whole years of a written range: "35-49" -> range(35, 50); "65+" has no end but the oldest age."""
    least, _, greatest = ages.removesuffix("+").partition("-")
    return range(int(least), int(greatest) + 1 if greatest else NUMBERS["Age_Years"].stop)


def age_group(ages: range) -> str | None:
    """The value of Age that holds for every one of these years; None where they lie on both sides of a bound."""
    for group in GROUPS["Age"]:
        if ages[0] in years(group) and ages[-1] in years(group):
            return group
    return None
