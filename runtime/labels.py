"""The one vocabulary: attributes a face can have, how they group into labels, and the parse map's classes.

An *attribute* is one binary output of the attribute head ("Gray_Hair": 0.91). A *label* is what a person would
write in a table: a flag ("Eyeglasses": True) or one value of a group of attributes ("Hair_Color": "gray").
Names follow CelebA where CelebA has the attribute.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

PARSE_CLASSES = (
    "background", "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear",
    "mouth", "u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth",
)  # fmt: skip
"""CelebAMask-HQ's official order; `l_` is the subject's left. The index is the value in a parse map."""

IGNORE = 255
"""Parse-map value of pixels whose class is not known (training masks only)."""


@dataclass(frozen=True)
class Attribute:
    """One binary output of the attribute head.

    name: CelebA's name where it has one.
    prompt: the label's text, from which its text feature T^0 is computed.
    regions: parse classes the attribute is visible in (the evidence shown with an answer).
    words: regular expressions, from a word's start, that speak of this attribute in a lower-case answer.
    """

    name: str
    prompt: str
    regions: tuple[str, ...]
    words: tuple[str, ...]


_FACE = ("skin", "nose", "l_eye", "r_eye", "l_brow", "r_brow", "u_lip", "l_lip", "mouth")
_MOUTH = ("u_lip", "l_lip", "mouth")
_HAIR = ("hair",)
_COLOUR = r"hair is (?:(?:long|short) and )?(?:black|brown|blond|red|gray|white)\b"

ATTRIBUTES = (
    Attribute("Male", "a man's face", _FACE, (r"man\b", "woman", r"male\b", "female")),
    Attribute("Age_0_34", "a young face, under 35 years", _FACE, ("year", "old", "young", "age")),
    Attribute("Age_35_49", "a face between 35 and 49 years", _FACE, ("year", "old", "young", "age")),
    Attribute("Age_50_64", "a face between 50 and 64 years", _FACE, ("year", "old", "young", "age")),
    Attribute("Age_65_Plus", "an old face, 65 years or more", _FACE, ("year", "old", "young", "age")),
    Attribute("Eyeglasses", "a face with eyeglasses", ("eye_g", "l_eye", "r_eye"), ("eyeglasses",)),
    Attribute("Smiling", "a smiling face", _MOUTH, ("smil", r"(?<!looks )neutral")),
    Attribute("Teeth_Visible", "a face with visible teeth", _MOUTH, ("teeth",)),
    Attribute("Mustache", "a face with a mustache", ("u_lip", "skin"), ("mustache", "facial hair", "clean-shaven")),
    Attribute("Beard", "a face with a beard", ("skin", "l_lip"), ("beard", "facial hair", "clean-shaven")),
    Attribute("Bald", "a bald head", ("skin", "hair"), ("bald",)),
    Attribute("Receding_Hairline", "a receding hairline", ("skin", "hair"), ("hairline",)),
    Attribute("Black_Hair", "black hair", _HAIR, (r"(?<!looks )black", _COLOUR)),
    Attribute("Brown_Hair", "brown hair", _HAIR, ("brown", _COLOUR)),
    Attribute("Blond_Hair", "blond hair", _HAIR, ("blond", _COLOUR)),
    Attribute("Red_Hair", "red hair", _HAIR, (r"red\b", _COLOUR)),
    Attribute("Gray_Hair", "gray hair", _HAIR, ("gray", _COLOUR)),
    Attribute("White_Hair", "white hair", _HAIR, (r"(?<!looks )white", _COLOUR)),
    Attribute("Long_Hair", "long hair", _HAIR, ("long", "short")),
    Attribute("Wearing_Hat", "a person who wears a hat", ("hat", "hair"), (r"hat\b",)),
    Attribute("Wearing_Necktie", "a person who wears a necktie", ("cloth", "neck"), ("necktie",)),
)
NAMES = tuple(attribute.name for attribute in ATTRIBUTES)
"""What every model predicts."""

_FEELING = r"looks (?:neutral|happy|sad|surprised|fearful|disgusted|angry|contemptuous)\b"
_ORIGIN = r"looks (?:white|black|east asian|southeast asian|indian|middle eastern|latino)\b"
_EXPRESSIONS = {
    "neutral": "a neutral face", "happy": "a happy face", "sad": "a sad face", "surprise": "a surprised face",
    "fear": "a fearful face", "disgust": "a disgusted face", "anger": "an angry face",
    "contempt": "a contemptuous face",
}  # fmt: skip
_RACES = {
    "white": "a white person", "black": "a black person", "east asian": "an East Asian person",
    "southeast asian": "a Southeast Asian person", "indian": "an Indian person",
    "middle eastern": "a Middle Eastern person", "latino": "a Latino person",
}  # fmt: skip


def _more(label: str, prompts: dict[str, str], words: str) -> tuple[Attribute, ...]:
    """The attributes of a group: "Race_East_Asian" for its value "east asian"."""
    return tuple(
        Attribute(f"{label}_{value.title().replace(' ', '_')}", prompt, _FACE, (words,))
        for value, prompt in prompts.items()
    )


MORE = {"Expression": _more("Expression", _EXPRESSIONS, _FEELING), "Race": _more("Race", _RACES, _ORIGIN)}
"""Label -> its attributes: what a model also predicts if its config says so, because the data it learns from has it."""

GROUPS = {
    "Gender": {"male": "Male", "female": None},
    "Age": {"0-34": "Age_0_34", "35-49": "Age_35_49", "50-64": "Age_50_64", "65+": "Age_65_Plus"},
    "Hair_Color": {
        "black": "Black_Hair", "brown": "Brown_Hair", "blond": "Blond_Hair",
        "red": "Red_Hair", "gray": "Gray_Hair", "white": "White_Hair",
    },
    "Expression": dict(zip(_EXPRESSIONS, (attribute.name for attribute in MORE["Expression"]), strict=True)),
    "Race": dict(zip(_RACES, (attribute.name for attribute in MORE["Race"]), strict=True)),
}  # fmt: skip
"""Label -> value -> the attribute that is 1 for it. None: the value that holds when the others are 0."""

_GROUPED = {name for values in GROUPS.values() for name in values.values()}
FLAGS = tuple(name for name in NAMES if name not in _GROUPED)
"""Labels that are plain yes/no attributes."""

LABELS = (*(label for label in GROUPS if label not in MORE), *FLAGS)
"""The labels of every model."""

EXCLUSIVE = {name for values in GROUPS.values() if None not in values.values() for name in values.values()}
"""Attributes that compete: of each one's group exactly one is 1."""


def all_attributes(also: Sequence[str] = tuple(MORE)) -> tuple[Attribute, ...]:
    """The attributes of a model that predicts the labels `also` (of MORE) besides; by default all there are."""
    return (*ATTRIBUTES, *(attribute for label in MORE if label in also for attribute in MORE[label]))


def all_names(also: Sequence[str] = tuple(MORE)) -> tuple[str, ...]:
    """Their names, in the order of a model's outputs."""
    return tuple(attribute.name for attribute in all_attributes(also))


def more_labels(names: Collection[str]) -> tuple[str, ...]:
    """The labels of MORE that a model with the attributes `names` predicts."""
    return tuple(label for label, group in MORE.items() if group[0].name in names)


def labels_from_assignment(assignment: Mapping[str, bool]) -> dict[str, str | bool]:
    """Turns a consistent assignment {attribute: bool} into labels {"Gender": "male", "Eyeglasses": False, ...}; of MORE
    those whose attributes it holds, last."""
    labels: dict[str, str | bool] = {}
    for label in (*LABELS, *MORE):
        values = GROUPS.get(label)
        if values is None:
            labels[label] = bool(assignment[label])
        elif any(name in assignment for name in values.values()):
            chosen = [value for value, name in values.items() if name is not None and assignment[name]]
            default = [value for value, name in values.items() if name is None]
            labels[label] = (chosen or default)[0]
    return labels


def assignment_from_labels(labels: Mapping[str, str | bool | None]) -> dict[str, bool | None]:
    """The inverse, with every attribute there is; an absent or None label gives None (not known)."""
    assignment: dict[str, bool | None] = {}
    for label, values in GROUPS.items():
        value = labels.get(label)
        for candidate, name in values.items():
            if name is not None:
                assignment[name] = None if value is None else candidate == value
    assignment |= {name: labels.get(name) for name in FLAGS}
    return {name: assignment[name] for name in all_names()}


def mentioned(text: str) -> tuple[str, ...]:
    """Names of the attributes that an answer's text speaks of; none for a refusal."""
    text = text.lower()
    return tuple(a.name for a in all_attributes() if re.search(rf"\b(?:{'|'.join(a.words)})", text))
