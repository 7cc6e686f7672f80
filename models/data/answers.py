"""Right answers: deterministic functions of a face's labels, one sentence for each thing that can be said."""

from __future__ import annotations

from collections.abc import Mapping

from faceinsight.runtime.labels import GROUPS

from .vocabulary import TOPICS, bare

IDENTITY = "I describe faces; I do not identify people."
OFF_TOPIC = "That is not something I can tell from a face; ask me about its attributes."

_AGE_SPANS = {
    "0-49": ("0-34", "35-49"), "0-64": ("0-34", "35-49", "50-64"), "35-64": ("35-49", "50-64"),
    "35+": ("35-49", "50-64", "65+"), "50+": ("50-64", "65+"),
}  # fmt: skip

_AGES = {
    "0-34": "under 35 years old", "35-49": "between 35 and 49 years old",
    "50-64": "between 50 and 64 years old", "65+": "65 years old or older",
}  # fmt: skip

_STATES = {
    "Eyeglasses": ("{he} is not wearing eyeglasses", "{he} is wearing eyeglasses"),
    "Smiling": ("{he} is not smiling", "{he} is smiling"),
    "Teeth_Visible": ("{his} teeth are not visible", "{his} teeth are visible"),
    "Mustache": ("{he} does not have a mustache", "{he} has a mustache"),
    "Beard": ("{he} does not have a beard", "{he} has a beard"),
    "Bald": ("{he} is not bald", "{he} is bald"),
    "Receding_Hairline": ("{his} hairline is not receding", "{his} hairline is receding"),
    "Long_Hair": ("{his} {rest}hair is short", "{his} {rest}hair is long"),
    "Wearing_Hat": ("{he} is not wearing a hat", "{he} is wearing a hat"),
    "Wearing_Necktie": ("{he} is not wearing a necktie", "{he} is wearing a necktie"),
}
MOOD_WORDS = {
    "surprise": "surprised", "fear": "fearful", "disgust": "disgusted", "anger": "angry", "contempt": "contemptuous",
}  # fmt: skip
"""A value of Expression -> the adjective, where it is none itself."""
_WORN = {"Wearing_Hat": "a hat", "Eyeglasses": "eyeglasses", "Wearing_Necktie": "a necktie"}


def answer_yes_no(labels: Mapping, label: str, value: str | bool | None = None, absent: bool = False) -> str:
    """Answers "does `label` have `value`?" (or, with `absent`, "does it not?") with Yes or No and the true state.

    label: one of LABELS, or "Facial_Hair" (mustache or beard). value: for a group see `named_values`; for a flag
    True (also None) or False.
    """
    verdict = _holds(labels, label, True if value is None else value) != absent
    return f"{'Yes' if verdict else 'No'}, {state(labels, label)}."


def answer_what(labels: Mapping, topic: str) -> str:
    """Answers an open question; topic is a key of TOPICS."""
    he, his = _pronouns(labels)
    length, color = "long" if labels["Long_Hair"] else "short", labels["Hair_Color"]
    if topic in ("hair", "hair color", "hair length"):
        look = {"hair": f"{length} and {color}", "hair color": color, "hair length": length}[topic]
        text = f"{he} is bald on top; the remaining hair is {look}" if labels["Bald"] else f"{his} hair is {look}"
    elif topic == "expression":
        manner = f"with {his} " + ("teeth visible" if labels["Teeth_Visible"] else "mouth closed")
        smile = f"is smiling {manner}" if labels["Smiling"] else "is not smiling"
        text = f"{he} {smile}" if labels["Smiling"] else f"{his} expression is neutral"
        if "Expression" in labels:
            text = f"{state(labels, 'Expression')} and {smile}"
    elif topic == "wearing":
        worn = [thing for name, thing in _WORN.items() if labels[name]]
        text = f"{he} is wearing {_join(worn, 'and')}" if worn else "no hat, eyeglasses or necktie is visible"
    elif topic == "baldness" and labels["Bald"]:
        text = f"{he} is bald on top"
    elif topic == "baldness" and not labels["Receding_Hairline"]:
        text = f"{he} is not bald, and {his} hairline is not receding"
    else:
        compound = {"baldness": "Receding_Hairline", "facial hair": "Facial_Hair", "race": "Race"}
        text = state(labels, compound.get(topic) or TOPICS[topic].labels[0])
    return text[0].upper() + text[1:] + "."


def describe(labels: Mapping) -> str:
    """The description of the whole face, three or four sentences."""
    he, _ = _pronouns(labels)
    hair = f"{'long' if labels['Long_Hair'] else 'short'} {labels['Hair_Color']} hair"
    if labels["Bald"]:
        hair = f", bald on top; the remaining hair is {hair.removesuffix(' hair').replace(' ', ' and ')}"
    else:
        hair = f" with {hair}" + (" and a receding hairline" if labels["Receding_Hairline"] else "")
    noun = "man" if labels["Gender"] == "male" else "woman"
    facial = [answer_what(labels, "facial hair")] if noun == "man" else []
    worn = [thing for name, thing in _WORN.items() if labels[name]]
    missing = [thing for thing in _WORN.values() if thing not in worn]
    outfit = f"is wearing {_join(worn, 'and')}" if worn else f"is not wearing {_join(missing, 'or')}"
    if worn and missing:
        outfit += f", but no {_join([bare(thing) for thing in missing], 'or')}"
    first = f"A {noun} {_AGES[labels['Age']]}{hair}."
    return " ".join([first, answer_what(labels, "expression"), *facial, f"{he.capitalize()} {outfit}."])


def named_values(value: str) -> tuple[str, ...]:
    """The values of a group that a question names: "gray" itself, several ("gray or white"), a span of ages ("50+")."""
    return _AGE_SPANS.get(value) or tuple(value.split(" or "))


def _holds(labels: Mapping, label: str, value: str | bool) -> bool:
    if label == "Facial_Hair":
        return (labels["Mustache"] or labels["Beard"]) == value
    if label in GROUPS:
        return labels[label] in named_values(value)
    return bool(labels[label]) == value


def state(labels: Mapping, label: str) -> str:
    """The canonical sentence for the true value of a label, without capital and full stop."""
    he, his = _pronouns(labels)
    rest = "remaining " if labels["Bald"] else ""
    if label == "Gender":
        return "this is a man" if labels["Gender"] == "male" else "this is a woman"
    if label == "Age":
        return f"{he} looks {_AGES[labels['Age']]}"
    if label == "Hair_Color":
        return f"{his} {rest}hair is {labels['Hair_Color']}"
    if label == "Expression":
        return f"{he} looks {MOOD_WORDS.get(labels[label], labels[label])}"
    if label == "Race":
        return f"{he} looks {labels[label].title()}"
    if label == "Facial_Hair":
        kinds = {
            (True, True): "a mustache and a beard", (True, False): "a mustache but no beard",
            (False, True): "a beard but no mustache", (False, False): "no facial hair",
        }  # fmt: skip
        return f"{he} has {kinds[bool(labels['Mustache']), bool(labels['Beard'])]}"
    return _STATES[label][bool(labels[label])].format(he=he, his=his, rest=rest)


def _pronouns(labels: Mapping) -> tuple[str, str]:
    return ("he", "his") if labels["Gender"] == "male" else ("she", "her")


def _join(things: list[str], word: str) -> str:
    return f" {word} ".join(filter(None, [", ".join(things[:-1]), things[-1]]))
