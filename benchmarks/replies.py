"""What a model's free reply says: Yes or No, the value of a choice, a number or a range of it.

Our own model and its peers are read by the same functions. A reply that says nothing, or several things at once, is
read as None.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from faceinsight.runtime.label import Bounds, Label

from .phrasings import yes_or_no


def says_yes(reply: str) -> bool | None:
    """Reads the Yes or No that a reply begins with, also behind "The answer is"; None for any other beginning."""
    reply = re.sub(r"^\W*(?:(?:the |my )?answer(?: is\b|\s*:)\W*)?", "", reply, flags=re.IGNORECASE)
    nothing = r"yes\s*(?:/|or|and)\s*no\b|no[\s-]+(?:idea|clue|way|one|clear|definit|certain|info|doubt)"
    if re.match(nothing, reply, re.IGNORECASE):
        return None
    return yes_or_no(re.sub(r"^(yeah|yep|nope)\b", lambda m: "no" if m[1][0] in "nN" else "yes", reply, flags=re.I))


def named_value(
    reply: str, label: Label, words: Mapping[str, str], faint: Mapping[str, str] = MappingProxyType({})
) -> str | None:
    """Reads the one value of a choice that a reply names; None for no value or several.

    words: value -> regular expression of the words for it. Where they stand beside the label's own word ("hair"),
    others (of clothes, of the photograph) are left out. faint: the same of words that count if there is none of the
    former; the names of coarse values are faint, too.
    """
    text = _without_denials(reply.lower())
    if words:
        text = " / ".join(_beside(text, label.word.replace("-", " "), words)) or text
    coarse = {value.coarse: re.escape(value.coarse) for value in label.values if value.coarse}
    for among in (words, coarse | dict(faint)):
        if named := [value for value, pattern in among.items() if re.search(rf"\b(?:{pattern})\b", text)]:
            return named[0] if len(named) == 1 else None
    return None


def _beside(text: str, noun: str, words: Mapping[str, str]) -> list[str]:
    """Finds runs of values' words next to a noun: "black or brown hair", "hair colour is mostly white"."""
    word = rf"\b(?:{'|'.join(words.values())})\b"
    run = rf"({word}(?:(?:[\s,/-]|\band\b|\bor\b|{word})*{word})?)"
    before = rf"{run}[\s,-]+(?:\w+\s+)?{noun}"
    behind = rf"\b{noun}(?:\s+colou?r)?(?:\s*:|\s+(?:is|looks|appears|seems))(?:\s+\w+){{0,2}}?\s+{run}"
    return [match[1] for pattern in (before, behind) for match in re.finditer(pattern, text)]


def ranges(reply: str, bounds: Bounds, unit: str = "", step: float = 1.0) -> list[Bounds]:
    """Reads every number and range of a quantity that a reply mentions: "sixty-five", "35 to 49", "in his fifties".

    bounds: what the quantity may be; numbers outside of them speak of something else. unit: "years"; "" for none.
    step: how much "over 65" is more than 65. A range ends before its last number, and has an infinite end where it has
    none; a plain number is a range that holds just that.
    """
    least, most = bounds
    text = _digits(_without_denials(re.sub("[‐-―−]", "-", reply.lower().replace("’", "'"))))
    found = []
    for pattern, meaning in _mentions(bounds, unit, step):
        for match in pattern.finditer(text):
            low, high = meaning(*match.groups())
            ends = [end for end in (low, high) if math.isfinite(end)]
            if low < high and least <= min(ends) and max(ends) <= math.nextafter(most, math.inf):
                found.append((low, high))
        text = pattern.sub(" ", text)
    return found


def middle(found: list[Bounds]) -> float | None:
    """The middle of what all ranges of a reply have in common, or its end where it has one only. None where they have
    nothing in common, and without a range."""
    if not found:
        return None
    low, high = max(low for low, _ in found), min(high for _, high in found)
    if low >= high:
        return None
    if math.isinf(low) or math.isinf(high):
        return high if math.isinf(low) else low
    return low if high == math.nextafter(low, math.inf) else (low + high) / 2


def within(found: list[Bounds], groups: Mapping[str, Bounds]) -> str | None:
    """The one group that overlaps with every range; None for none or several, and without a range."""
    left = [
        name
        for name, (start, end) in groups.items()
        if found and all(low < end and start < high for low, high in found)
    ]
    return left[0] if len(left) == 1 else None


_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_ONES = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
}  # fmt: skip


def _digits(text: str) -> str:
    """Writes numbers from twenty to ninety-nine in digits: "sixty-five" as 65, "fifties" as 50s."""
    text = re.sub(r"\b(\w+t)ies\b", lambda m: f"{_TENS[m[1] + 'y']}s" if m[1] + "y" in _TENS else m[0], text)
    words = rf"\b({'|'.join(_TENS)})(?:[ -]({'|'.join(_ONES)}))?\b"
    return re.sub(words, lambda m: str(_TENS[m[1]] + _ONES.get(m[2], 0)), text)


_FROM, _UNTIL = {"early": 0, "mid": 4, "late": 7}, {"early": 4, "mid": 7, "late": 10}


@functools.lru_cache
def _mentions(bounds: Bounds, unit: str, step: float) -> list[tuple[re.Pattern[str], Callable[..., Bounds]]]:
    """Ways to speak of a quantity, in the order in which they are looked for, and the range that each means."""
    least, most = bounds
    stem = re.escape(unit.removesuffix("s"))
    minus = r"(?:(?<![\w)])-)?" if least < 0 else ""
    percent = "" if unit in ("%", "percent") else r"|\s*(?:%|percent)"
    n = rf"(?<![\d.])({minus}\d+(?:\.\d+)?)(?!\.?\d{percent})"
    of_unit = rf"(?:\s*-?{stem}s?(?!\w)(?:[ -]old| of age)?)?" if unit else ""
    # "2 people": a number below ten before another word than the unit counts something
    other = rf"(?!(?:{stem + '|' if unit else ''}(?:and|or|to|through|plus|in|at)\b))[a-z]"
    counted = rf"(?<![\d.])\d\s+{other}+"

    def decade(first: str | None, last: str | None, a: str) -> Bounds:
        return float(a) + _FROM.get(first, 0), min(float(a) + _UNTIL.get(last or first, 10), most)

    ways: list[tuple[str, Callable[..., Bounds]]] = [
        (counted, lambda: (0.0, 0.0)),
        (
            rf"{n}s?{of_unit}\s*(?:-|to|and|or|through)\s*{n}(s?)",
            lambda a, b, s: (float(a), float(b) + (10 if s else 0)),
        ),
        (rf"(?:under|below|less than|younger than)\s+(?:the age of\s+)?{n}", lambda a: (-math.inf, float(a))),
        (rf"{n}{of_unit}\s*(?:and|or)\s*(?:under|below|younger|less)", lambda a: (-math.inf, float(a) + step)),
        (rf"(?:over|above|more than|older than)\s+(?:the age of\s+)?{n}", lambda a: (float(a) + step, math.inf)),
        (rf"at least\s+{n}", lambda a: (float(a), math.inf)),
        (
            rf"{n}(?:\s*\+|[\s-]*plus\b|{of_unit},?\s*(?:and|or)\s*(?:over|older|above|up|more))",
            lambda a: (float(a), math.inf),
        ),
        (rf"(?:\b(early|mid|late)(?:\s*(?:-|to)\s*(mid|late))?[\s-]+)?{n}'?s\b", decade),
        (rf"{n}{of_unit}", lambda a: (float(a), math.nextafter(float(a), math.inf))),
    ]
    return [(re.compile(pattern), meaning) for pattern, meaning in ways]


def _without_denials(text: str) -> str:
    """Leaves out what a text says is not so, up to the clause's end."""
    return re.sub(r"(?:\bnot\b|n't\b).*?(?=[,.;]|\bbut\b|$)", " ", text, flags=re.DOTALL)
