"""How people speak of a label for which nobody wrote anything: what follows from its phrases and its name."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from faceinsight.runtime.label import Label

from .files import FOLDER, Concept, Table
from .grammar import SUBJECT, Clause, Subject, bare, grammar, join, plural, third_person
from .languages import COMPARISONS, Asked, LabelLanguage, Open, Value

PERSON = Subject("the person", "the person's", "their", "the person")


def general_language(label: Label) -> LabelLanguage:
    """Raises InputError that names what is wrong with the label's phrases."""
    return {"flag": _flag, "choice": _choice, "number": _number}[label.kind](label)


def name_in_words(label: Label) -> str:
    """ "mouth slightly open" for Mouth_Slightly_Open; of a number, without its unit at the end."""
    words = label.name.replace("_", " ").lower().split()
    return " ".join(words[:-1] if len(words) > 1 and words[-1] == label.unit else words)


def sentences(category: str, phrase: str) -> tuple[str, str]:
    """What tells that a phrase of a category holds, and that it does not, with the slots of a sentence about a face."""
    part, _, x = phrase.rpartition("=")
    for slot, word in (("{p}", "{his}"), ("{owner}", "{his}"), ("{s}", "{he}"), ("{o}", "{him}")):
        part, x = part.replace(slot, word), x.replace(slot, word)
    verb, _, rest = x.partition(" ")
    if category == "wear":
        return f"{{he}} is wearing {x}", f"{{he}} is not wearing {x}"
    if category in ("noun", "have"):
        return f"{{he}} has {x}", f"{{he}} does not have {x}"
    if category in ("adj", "be", "kind"):
        return f"{{he}} is {x}", f"{{he}} is not {x}"
    if category in ("part", "tint"):
        be = "are" if plural(part) else "is"
        return f"{{his}} {part} {be} {x}", f"{{his}} {part} {be} not {x}"
    if category == "seen":
        be = "are" if plural(x) else "is"
        return f"{x} {be} visible", f"{x} {be} not visible"
    if category == "verb":
        end = third_person(verb).removeprefix(verb)
        said = "{has}" if verb == "have" else f"{verb}{{{end}}}"
        return f"{{he}} {said} {rest}".rstrip(), f"{{he}} does not {x}"
    if category == "act":
        several = plural(part)
        said = x if several else f"{third_person(verb)} {rest}".rstrip()
        return f"{{his}} {part} {said}", f"{{his}} {part} {'do' if several else 'does'} not {x}"
    if category == "has":
        return f"{{he}} has {x}", f"{{he}} has not {x}"
    return x, f"not {x}"


def _flag(label: Label) -> LabelLanguage:
    name = name_in_words(label)
    concept = _phrases(label) or _by_name(label)
    category = next(category for category in concept if category not in ("at", "none"))
    phrase = concept[category][0]
    yes, no = sentences(category, phrase)
    question = f"Is this true of the person: {name}?" if category == "named" else _asked(category, phrase)
    return LabelLanguage(
        {True: yes, False: no}, {label.name: Asked(question, (True,))}, {True: phrase.rpartition("=")[2]},
        {True: concept}, claims={"": _claims([concept])},
    )  # fmt: skip


def _by_name(label: Label) -> Concept:
    """ "Wearing_Helmet" is something worn; any other name is taken as it is."""
    name = name_in_words(label)
    if name.startswith("wearing ") and len(name.split()) > 1:
        thing = name.removeprefix("wearing ")
        article = "" if plural(thing) else "an " if thing[0] in "aeiou" else "a "
        return {"wear": (article + thing,)}
    return {"named": (name,)}


def _choice(label: Label) -> LabelLanguage:
    name, given = name_in_words(label), _phrases(label) or {"part": ("{part}={value}",)}
    words = {value.name: value.name.replace("_", " ") for value in label.values}
    concepts: dict[Value, Concept] = {}
    for value, word in words.items():
        fill = functools.partial(_filled, part=name, value=word)
        concepts[value] = {category: tuple(map(fill, phrases)) for category, phrases in given.items()}
    category = next(category for category in given if category not in ("at", "none"))
    says = {value: sentences(category, concepts[value][category][0])[0] for value in words}
    question = f"Which {name} fits this person best: {join(list(words.values()), 'or')}?"
    replies = {value: re.escape(word.lower()).replace(r"\ ", "[ -]") for value, word in words.items()}
    return LabelLanguage(
        says, {label.name: Asked(question)}, words, concepts, open=Open((name,)), alternatives=label.word,
        replies=replies, claims={"": _claims(concepts.values())},
    )  # fmt: skip


def _number(label: Label) -> LabelLanguage:
    name, unit = name_in_words(label), label.unit
    comparisons = {
        kind: {"part": tuple(f"{name}={phrase.replace('{unit}', unit)}" for phrase in phrases)}
        for kind, phrases in numbers().comparisons.items()
    }
    be = "are" if plural(name) else "is"
    return LabelLanguage(
        {"": f"{{his}} {name} {be} about {{value}} {unit}"},
        {label.name: Asked(f"What {be} the person's {name}, in {unit}?")},
        open=Open((name,)), comparisons=comparisons, claims={"": re.compile(rf"\b{re.escape(name)}\b", re.IGNORECASE)},
    )  # fmt: skip


@dataclass(frozen=True)
class Numbers:
    """numbers.toml. comparisons: kind -> phrases with {n}, {m}, {unit}. ones, tens, decades: names of numbers."""

    comparisons: dict[str, tuple[str, ...]]
    ones: tuple[str, ...]
    tens: tuple[str, ...]
    decades: tuple[str, ...]

    def in_words(self, number: float) -> str:
        """ "forty-two" for 42; digits for what is no whole number below 100."""
        if number != int(number) or not 0 <= number < 100:
            return f"{number:g}"
        ten, one = divmod(int(number), 10)
        if ten < 2:
            return self.ones[int(number)]
        return self.tens[ten - 2] + (f"-{self.ones[one]}" if one else "")


@functools.cache
def numbers() -> Numbers:
    """Reads numbers.toml. Raises InputError that names what it lacks."""
    table = Table.read(FOLDER / "numbers.toml")
    table.known(("comparisons", "words"))
    names = Table("numbers.toml, words", table.table("words"))
    found = {
        kind: table.listed(table.table("comparisons").get(kind), f"comparisons.{kind}", ("n", "m", "unit"))
        for kind in COMPARISONS[:5]
    }
    table.checked()
    words = {key: names.texts(key) for key in ("ones", "tens", "decades")}
    names.check([len(items) for items in words.values()] == [20, 8, 8], "there are 20 ones, 8 tens and 8 decades")
    names.checked()
    return Numbers(found, **words)


def _phrases(label: Label) -> Concept:
    """The label's own phrases. Raises InputError that names an unknown category or slot."""
    table = Table(f"of the label {label.name}", {"phrases": {key: list(items) for key, items in label.phrases}})
    if not label.phrases:
        return {}
    slots = (*SUBJECT, "value") if label.kind == "choice" else SUBJECT
    known = grammar().categories
    concept = table.concept(table.data["phrases"], "phrases", known, slots)
    lead = [category for category in concept if category not in ("at", "none")]
    table.check(bool(lead), f"phrases need a category that gives a sentence, such as {', '.join(known[:3])}")
    for category, items in concept.items():
        table.check(label.kind != "choice" or all("{value}" in item for item in items), f"{category} lacks {{value}}")
        parted = category in ("part", "tint", "act")
        table.check(not parted or all("=" in item for item in items), f'{category} is written "eyes=closed"')
    table.checked()
    return concept


def _filled(phrase: str, part: str, value: str) -> str:
    return phrase.replace("{part}", part).replace("{value}", value)


def _asked(category: str, phrase: str) -> str:
    part, _, x = PERSON.fill(phrase).rpartition("=")
    question = Clause.of(grammar().forms[category][0], PERSON, x=x, b=bare(x), part=part).ask()
    return question[0].upper() + question[1:] + "?"


def _claims(concepts) -> re.Pattern:
    """Finds what the phrases speak of, in singular or plural."""
    found = []
    for concept in concepts:
        for category, phrases in concept.items():
            for phrase in phrases if category != "at" else ():
                part, _, x = phrase.rpartition("=")
                words = [re.escape(word) for word in filter(None, (part, bare(re.sub(r"\s*[{<].*", "", x))))]
                found += ["\\b.*\\b".join(words), "\\b.*\\b".join(reversed(words))] if words else []
    return re.compile(rf"\b(?:{'|'.join(dict.fromkeys(found))})(?:s|es)?\b", re.IGNORECASE)
