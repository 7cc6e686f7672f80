"""Random labels: of faces that the renderer draws, and of any vocabulary, for faces that are only spoken of."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np

from faceinsight.runtime.label import Label
from faceinsight.runtime.vocabulary import Vocabulary

ODDS = tomllib.loads(Path(__file__).with_name("rendered_odds.toml").read_text(encoding="utf-8"))
_CHOICES = ODDS.pop("values")
VALUES = dict.fromkeys(ODDS, (True, False)) | _CHOICES
"""Label of a rendered face -> what it may be."""
AGES = tuple(VALUES["Age"])


def drawn_labels(rng: np.random.Generator) -> dict[str, str | bool]:
    """Random labels of a face that the renderer can draw, in the proportions of rendered_odds.toml; they satisfy the
    rules of the vocabulary `nano`."""

    def chance(p: float) -> bool:
        return bool(rng.random() < p)

    gender = "male" if chance(0.5) else "female"
    age = int(rng.choice(len(AGES), p=ODDS["Age"]))
    man, known = gender == "male", {"Gender": gender, "Age": AGES[age]}
    known["Hair_Color"] = str(rng.choice(VALUES["Hair_Color"], p=ODDS["Hair_Color"][age]))
    known["Eyeglasses"] = chance(ODDS["Eyeglasses"][age])
    for name in ("Smiling", "Beard", "Wearing_Hat", "Long_Hair", "Wearing_Necktie"):
        known[name] = chance(ODDS[name][gender])
    known["Teeth_Visible"] = chance(ODDS["Teeth_Visible"]["smiling" if known["Smiling"] else "serious"])
    known["Mustache"] = man and chance(ODDS["Mustache"]["bearded" if known["Beard"] else "shaven"])
    bare = not known["Wearing_Hat"]
    known["Bald"] = man and bare and chance(ODDS["Bald"][age])
    known["Receding_Hairline"] = bare and not known["Bald"] and chance(ODDS["Receding_Hairline"][gender][age])
    known["Long_Hair"] = known["Long_Hair"] and not known["Bald"]
    return known


def draws(label: Label) -> bool:
    """Whether rendered faces tell this label: they have one of its name, and all values of that are its own."""
    name, own = label.name, {*label.value_names, *(other for value in label.values for other in value.also)}
    if label.groups:
        name, own = label.groups.name, {group for group, _ in label.groups.values}
    return name in VALUES and own.issuperset(VALUES[name])


def told(drawn: dict[str, str | bool], vocabulary: Vocabulary) -> dict[str, str | bool]:
    """Those of a rendered face's labels that mean the same in a vocabulary."""
    names = {label.groups.name if label.groups else label.name for label in vocabulary if draws(label)}
    return {name: value for name, value in drawn.items() if name in names}


def sample_labels(rng: np.random.Generator, vocabulary: Vocabulary) -> dict[str, str | bool | float]:
    """Random labels for each of `vocabulary.names` that satisfy every rule.

    What the renderer draws is as `drawn_labels` has it; of other choices and flags every value is as likely, other
    numbers lie anywhere in their range.
    """
    drawn = told(drawn_labels(rng), vocabulary)
    assignment = vocabulary.assignment_of(drawn)
    # the most probable assignment that keeps what is known: chance decides what is open
    odds = {name: rng.random() if value is None else float(value) for name, value in assignment.items()}
    return vocabulary.decide(odds, {label.name: _number(label, drawn, vocabulary, rng) for label in vocabulary.numbers})


def _number(label: Label, drawn: dict, vocabulary: Vocabulary, rng: np.random.Generator) -> float:
    low, high = vocabulary.bounds_of(label, drawn) or label.bounds
    return float(rng.uniform(low, min(high, label.bounds[1]) - label.step / 2))
