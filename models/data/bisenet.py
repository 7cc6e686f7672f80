"""Parse maps of BiSeNet face-parsing checkpoints, whose classes have another order."""

from __future__ import annotations

import numpy as np

from faceinsight.runtime.parse_map import PARSE_CLASSES

BISENET_CLASSES = (
    "background", "skin", "l_brow", "r_brow", "l_eye", "r_eye", "eye_g", "l_ear", "r_ear", "ear_r",
    "nose", "mouth", "u_lip", "l_lip", "neck", "neck_l", "cloth", "hair", "hat",
)  # fmt: skip

BISENET_ORDER = np.array([PARSE_CLASSES.index(name) for name in BISENET_CLASSES], np.uint8)
"""[19] uint8: `BISENET_ORDER[parse_map]` turns a BiSeNet checkpoint's parse map into the official order."""
BISENET_ORDER.flags.writeable = False
