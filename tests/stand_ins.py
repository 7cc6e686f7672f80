"""Faces that somebody labelled, and a peer whose replies were written for them."""

from __future__ import annotations

import cv2
import numpy as np

from faceinsight.benchmarks.survey import questions_about
from faceinsight.models.data.answers import state
from faceinsight.models.vocabulary import load_vocabulary

NANO = load_vocabulary("nano")
FLAGS = tuple(label.name for label in NANO if label.kind == "flag")
QUESTIONS = {question.text: question.name for label in NANO for question in questions_about(label)}


def labels(gender, age, hair, *held, unknown=()):
    flags = {flag: None if flag in unknown else flag in held for flag in FLAGS}
    return {"Gender": gender, "Age": age, "Hair_Color": hair} | flags


FACES = (
    labels("male", "50-64", "gray", "Eyeglasses", "Beard", "Mustache"),
    labels("female", "0-34", "brown", "Smiling", "Teeth_Visible", "Long_Hair"),
    labels("male", "65+", None, "Bald", unknown=("Wearing_Hat",)),
)


class StandIn:
    """Replies that we wrote; which face it is stands in the first pixel."""

    def __init__(self, *replies: dict[str, str], questions=QUESTIONS):
        self.replies, self.contexts, self.questions = replies, [], questions

    def ask(self, image, question, max_tokens=32, context=""):
        self.contexts.append(context)
        return self.replies[image[0, 0, 0] // 10][self.questions[question]]


def replies(known, **others) -> dict[str, str]:
    """The right replies, as a talkative model gives them; No where nobody knows."""
    said = {flag: "Yes, it is so." if known[flag] else "No." for flag in FLAGS}
    said["Male"] = "The answer is yes." if known["Gender"] == "male" else "**No**, not a man."
    said["Female"] = "yes" if known["Gender"] == "female" else "no"
    said["Age"] = state(known, "Age", NANO)
    said["Gray_Hair"] = "Yes" if known["Hair_Color"] in ("gray", "white") else "No"
    said["Hair_Color"] = f"The hair is {known['Hair_Color']}." if known["Hair_Color"] else "It cannot be seen."
    return said | others


def save_faces(directory, faces, images=None):
    """Writes a data folder of our own form; without images each face is a plane of a brightness of its own."""
    (directory / "images").mkdir(parents=True)
    columns = dict.fromkeys(name for known in faces for name in known)
    table = [",".join(["file", "split", *columns])]
    for index, known in enumerate(faces):
        image = np.full((64, 64, 3), 10 * index, np.uint8) if images is None else images[index]
        cv2.imwrite(str(directory / "images" / f"{index}.png"), image[..., ::-1])
        values = [known.get(name) for name in columns]
        cells = ["" if v is None else str(int(v)) if isinstance(v, bool) else str(v) for v in values]
        table.append(",".join([f"{index}.png", "val", *cells]))
    (directory / "labels.csv").write_text("\n".join(table))
    return directory
