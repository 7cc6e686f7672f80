"""The classes of a parse map."""

PARSE_CLASSES = (
    "background", "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear",
    "mouth", "u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth",
)  # fmt: skip
"""CelebAMask-HQ's official order; `l_` is the subject's left. The index is the value in a parse map."""

IGNORE = 255
"""Parse-map value of pixels whose class is not known. It occurs only in masks that models are trained on."""
