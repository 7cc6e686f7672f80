"""What every model is asked about a face, and what its replies say: a Yes or No, an age group, a hair colour."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Iterable, Mapping

from faceinsight.runtime.labels import GROUPS, MORE, assignment_from_labels
from faceinsight.runtime.rules import Rule, consistent_assignment, rules_for

from .phrasings import yes_or_no

AGES = tuple(GROUPS["Age"])
ASKED = {
    "Male": "Is this a man?",
    "Eyeglasses": "Is this person wearing eyeglasses?",
    "Smiling": "Is the person smiling?",
    "Teeth_Visible": "Are the teeth visible?",
    "Mustache": "Does the person have a mustache?",
    "Beard": "Does the person have a beard?",
    "Bald": "Is the person bald?",
    "Receding_Hairline": "Is the hairline receding?",
    "Long_Hair": "Is the hair long?",
    "Wearing_Hat": "Is the person wearing a hat?",
    "Wearing_Necktie": "Is the person wearing a necktie?",
    "Gray_Hair": "Is the hair gray or white?",
    "Female": "Is this a woman?",
    "Age": "Which age group fits this person best: under 35, 35 to 49, 50 to 64, or 65 and older?",
    "Hair_Color": "Which hair color fits this person best: black, brown, blond, red, gray, or white?",
    "Expression": "Which expression fits this face best: neutral, happy, sad, surprised, fearful, disgusted, angry, or "
    "contemptuous?",
    "Race": "Which race fits this person best: White, Black, East Asian, Southeast Asian, Indian, Middle Eastern, or "
    "Latino?",
}
"""Name -> question. A name is a label's, or the value of one that is asked for with Yes or No; Gray_Hair includes white
hair. Of what not every model predicts (`runtime.labels.MORE`), see `asked_about`."""
TASKS = {
    "attributes": tuple(name for name in ASKED if name not in ("Male", "Female", "Age", *MORE)),
    "demographics": ("Male", "Female", "Age", "Race"),
    "expression": ("Expression", "Smiling"),
}
"""The paper's tasks -> names of ASKED."""
RELATED = (
    Rule("exactly_one", ("Female", "Male")),
    Rule("excludes", ("Female", "Male", "Mustache", "Beard")),
    Rule("excludes", ("Gray_Or_White", "Black_Hair", "Brown_Hair", "Blond_Hair", "Red_Hair")),
    Rule("implies", ("Gray_Hair", "Gray_Or_White")),
    Rule("implies", ("White_Hair", "Gray_Or_White")),
)
"""Rules between questions of ASKED that ask for one thing twice; Gray_Or_White is the yes/no question of Gray_Hair."""


def asked_about(faces: Iterable[Mapping], known: Collection[str] = tuple(MORE)) -> dict[str, str]:
    """The part of ASKED to ask: of MORE only what the model knows and a person said of one of the faces, at least."""
    faces = list(faces)
    left_out = {name for name in MORE if name not in known or all(labels.get(name) is None for labels in faces)}
    return {name: question for name, question in ASKED.items() if name not in left_out}


def stated(labels: Mapping[str, str | bool | None], name: str) -> str | bool | None:
    """What labels say to a question of ASKED; None where they do not know."""
    if name in ("Male", "Female"):
        return None if labels.get("Gender") is None else labels["Gender"] == name.lower()
    if name == "Gray_Hair" and labels.get(name) is None:
        return None if labels.get("Hair_Color") is None else labels["Hair_Color"] in ("gray", "white")
    return labels.get(name)


def said(name: str, reply: str) -> str | bool | None:
    """What a reply says to a question of ASKED; None where it cannot be read."""
    return _READERS.get(name, says_yes)(reply)


def contradictory(told: Mapping[str, str | bool | None]) -> bool:
    """Whether no face could have all that was told: the nearest assignment that obeys the rules differs."""
    assignment = assignment_from_labels(told) | {name: told[name] for name in ("Male", "Female")}
    assignment["Gray_Or_White"] = told["Gray_Hair"]
    untold = {name for label in MORE if told.get(label) is None for name in GROUPS[label].values()}
    assignment = {name: value for name, value in assignment.items() if name not in untold}
    probabilities = {name: 0.5 if value is None else float(value) for name, value in assignment.items()}
    nearest = consistent_assignment(probabilities, rules_for(tuple(assignment)) + RELATED)
    return any(value is not None and nearest[name] != value for name, value in assignment.items())


def says_yes(reply: str) -> bool | None:
    """The Yes or No that a reply begins with, also behind "The answer is"; None for any other beginning."""
    reply = re.sub(r"^\W*(?:(?:the |my )?answer(?: is\b|\s*:)\W*)?", "", reply, flags=re.IGNORECASE)
    nothing = r"yes\s*(?:/|or|and)\s*no\b|no[\s-]+(?:idea|clue|way|one|clear|definit|certain|info|doubt)"
    if re.match(nothing, reply, re.IGNORECASE):
        return None
    return yes_or_no(re.sub(r"^(yeah|yep|nope)\b", lambda m: "no" if m[1][0] in "nN" else "yes", reply, flags=re.I))


_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_ONES = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
}  # fmt: skip
_OLDEST = 120
_STARTS = (*(int(re.match(r"\d+", group)[0]) for group in AGES), _OLDEST + 1)
_SPANS = dict(zip(AGES, itertools.pairwise(_STARTS), strict=True))
_FROM, _UNTIL = {"early": 0, "mid": 4, "late": 7}, {"early": 4, "mid": 7, "late": 10}
_N = r"(?<![\d.])(\d{1,3})(?!\d|\.\d|\s*(?:%|percent))"
_YEARS = r"(?:\s*-?years?\b(?:[ -]old| of age)?)?"
_AGE_MENTIONS: tuple[tuple[str, Callable[..., tuple[int, int]]], ...] = (
    (rf"{_N}s?{_YEARS}\s*(?:-|to|and|or|through)\s*{_N}(s?)", lambda a, b, s: (int(a), int(b) + (10 if s else 0))),
    (rf"(?:under|below|less than|younger than)\s+(?:the age of\s+)?{_N}", lambda a: (0, int(a))),
    (rf"{_N}{_YEARS}\s*(?:and|or)\s*(?:under|below|younger|less)", lambda a: (0, int(a) + 1)),
    (rf"(?:over|above|more than|older than)\s+(?:the age of\s+)?{_N}", lambda a: (int(a) + 1, _OLDEST + 1)),
    (rf"at least\s+{_N}", lambda a: (int(a), _OLDEST + 1)),
    (
        rf"{_N}(?:\s*\+|[\s-]*plus\b|{_YEARS},?\s*(?:and|or)\s*(?:over|older|above|up|more))",
        lambda a: (int(a), _OLDEST + 1),
    ),
    (
        rf"(?:\b(early|mid|late)(?:\s*(?:-|to)\s*(mid|late))?[\s-]+)?{_N}'?s\b",
        lambda first, last, a: (int(a) + _FROM.get(first, 0), int(a) + _UNTIL.get(last or first, 10)),
    ),
    (rf"{_N}{_YEARS}", lambda a: (int(a), int(a) + 1)),
)
"""Ways to speak of an age, in the order in which they are looked for, and the ages [first, last) that each means."""
_AGE_WORDS = {"0-34": r"young|child|baby|toddler|teen\w*|boy|girl", "65+": r"elderly|senior"}


def age_group(reply: str) -> str | None:
    """The one group of AGES that everything in a reply agrees with ("sixty-five", "35 to 49", "in his fifties").

    A range ends before its last number. None if nothing speaks of an age or it fits several groups or none.
    """
    text = _without_denials(re.sub("[‐-―]", "-", reply.lower().replace("’", "'")))
    text = _digits(text)
    left = set(AGES)
    mentioned = False
    for pattern, ages in _AGE_MENTIONS:
        for match in re.finditer(pattern, text):
            first, last = ages(*match.groups())
            if last > 10 and first <= _OLDEST:  # below: likelier a count than a face's age
                mentioned = True
                left &= {group for group, (start, end) in _SPANS.items() if first < end and start < last}
        text = re.sub(pattern, " ", text)
    if not mentioned:
        left = {group for group, words in _AGE_WORDS.items() if re.search(rf"\b(?:{words})\b", text)}
    return left.pop() if len(left) == 1 else None


def _digits(text: str) -> str:
    """Numbers from twenty to ninety-nine in digits: "sixty-five" as 65, "fifties" as 50s."""
    text = re.sub(r"\b(\w+t)ies\b", lambda m: f"{_TENS[m[1] + 'y']}s" if m[1] + "y" in _TENS else m[0], text)
    words = rf"\b({'|'.join(_TENS)})(?:[ -]({'|'.join(_ONES)}))?\b"
    return re.sub(words, lambda m: str(_TENS[m[1]] + _ONES.get(m[2], 0)), text)


_COLOURS = {
    "black": "black",
    "brown": "brown|brunet(?:te)?|chestnut",
    "blond": "blonde?|golden|flaxen",
    "red": "red|reddish|redhead|ginger|auburn|copper",
    "gray": "gr[ae]y(?:ing|ish)?|silver|salt[ -]and[ -]pepper",
    "white": "white",
}
_COLOUR = rf"\b(?:{'|'.join(_COLOURS.values())})\b"
_RUN = rf"{_COLOUR}(?:(?:[\s,/-]|\band\b|\bor\b|{_COLOUR})*{_COLOUR})?"


def hair_colour(reply: str) -> str | None:
    """The one value of GROUPS["Hair_Color"] that a reply names, or its synonym; None for no colour or several.

    Where colours stand next to the word hair, the others (of clothes, of the photograph) are left out.
    """
    text = _without_denials(reply.lower())
    beside = re.findall(rf"({_RUN})[\s,-]+(?:\w+\s+)?hair", text)
    beside += re.findall(
        rf"hair(?:\s+colou?r)?(?:\s*:|\s+(?:is|looks|appears|seems))(?:\s+\w+){{0,2}}?\s+({_RUN})", text
    )
    where = " / ".join(beside) or text
    named = [colour for colour, words in _COLOURS.items() if re.search(rf"\b(?:{words})\b", where)]
    return named[0] if len(named) == 1 else None


_EXPRESSIONS = {
    "neutral": "neutral|expressionless|calm",
    "happy": r"happy|happiness|joy\w*",
    "sad": "sad|sadness|unhappy",
    "surprise": "surprised?|astonished",
    "fear": "fear|fearful|afraid|scared",
    "disgust": "disgust(?:ed)?",
    "anger": "anger|angry",
    "contempt": "contempt|contemptuous",
}
_RACES = {
    "white": "white|caucasian",
    "black": "black|african(?: american)?",
    "east asian": "(?<!south)(?<!south )(?<!south-)east[ -]asian",
    "southeast asian": "south[ -]?east[ -]asian",
    "indian": "indian|(?<!east )south asian",
    "middle eastern": "middle[ -]eastern|arab",
    "latino": "latin[oa]|hispanic",
}


def _only(values: Mapping[str, str], else_: Mapping[str, str]) -> Callable[[str], str | None]:
    """A reader of the one value whose words a reply has, or if it has none of them, the one of `else_`; None for none
    or several."""

    def read(reply: str) -> str | None:
        text = _without_denials(reply.lower())
        for among in (values, else_):
            if named := [value for value, words in among.items() if re.search(rf"\b(?:{words})\b", text)]:
                return named[0] if len(named) == 1 else None
        return None

    return read


def _without_denials(text: str) -> str:
    """The text without what it says is not so, up to the clause's end."""
    return re.sub(r"(?:\bnot\b|n't\b).*?(?=[,.;]|\bbut\b|$)", " ", text, flags=re.DOTALL)


_READERS: dict[str, Callable[[str], str | None]] = {
    "Age": age_group,
    "Hair_Color": hair_colour,
    "Expression": _only(_EXPRESSIONS, {"happy": r"smil\w+"}),
    "Race": _only(_RACES, {"asian": "asian"}),
}
