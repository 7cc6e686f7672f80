"""The classes of a parse map, which says of each pixel what part of the face it shows."""

PARSE_CLASSES = (
    "background", "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear",
    "mouth", "u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth",
)  # fmt: skip
"""CelebAMask-HQ's official order. A class's index is its value in a parse map. `l_` is the person's own left."""

IGNORE = 255
"""The value of pixels whose class is not known. It occurs only in the masks that models are trained on."""
