"""How a question is typed: openers, closers, contractions, capitals, typos, and what else is said."""

from __future__ import annotations

import random
import re

from .grammar import grammar
from .requests import requests

MOST_WORDS = 50
"""Of a question with what is said around it."""

BEFORE_SHARE, AFTER_SHARE = 0.15, 0.07
"""Of all questions, the share that comes with a sentence before it, and the share with one after it."""

_IMPERATIVE = re.compile(
    r"^(?:\w+, )?(?:please |kindly |try to )?"
    r"(?:tell|describe|name|state|give|report|check|look|caption|identify|write|list"
    r"|say|see|let|detect|find|judge|verify|determine|work|make|summarize|confirm|I (?:want|need|wonder)|I'[dm])\b",
    re.IGNORECASE,
)


def surface(text: str, rng: random.Random) -> str:
    """The question as somebody types it."""
    words = grammar()
    text = re.sub(r" +([,:;.])", r"\1", " ".join(text.split()))
    text = re.sub(r"\bthey (is|has|does)\b", lambda m: "they " + {"is": "are", "has": "have", "does": "do"}[m[1]], text)
    if rng.random() < 0.5:
        text = re.sub(r"\b([Ww]hat|[Ww]ho|[Hh]e|[Ss]he|there) is\b(?! *$)", r"\1's", text)
    if rng.random() < 0.3:
        text = re.sub(r"\b(is|are|does|do|has|have) not\b", r"\1n't", text).replace("can not", "can't")
    if rng.random() < 0.12:
        text = f"{words.choose(words.slots['opener'], rng)}, {text}"
    if rng.random() < 0.15 and not re.search("[,:]| in th| here| please", text):
        text = f"{text} {words.choose(words.slots['closer'], rng)}".replace(" ,", ",")
    if rng.random() < 0.02:
        text += rng.choice((" 🙂", " 😀", " …", " thx", " pls", "!", " :)", " — thanks", ' "'))
    if rng.random() < 0.03:
        text = _typo(text, rng)
    elif rng.random() < 0.04:
        text = re.sub(r" (the|a|an|of|on) ", " ", text, count=1)
    case = rng.random()
    text = text[0].upper() + text[1:] if case < 0.6 else text.lower() if case > 0.93 else text
    weights = (20, 35, 43, 1, 1) if _IMPERATIVE.search(text) else (80, 14, 3, 1, 2)
    return _told(text, rng.choices(("?", "", ".", "??", " ?"), weights)[0], rng)


def _told(question: str, end: str, rng: random.Random) -> str:
    """The question, at times with a sentence before or after it that has nothing to do with the answer."""
    before = rng.choice(requests().before) + " " if rng.random() < BEFORE_SHARE else ""
    after = " " + rng.choice(requests().after) if rng.random() < AFTER_SHARE else ""
    if question.islower():
        before, after = before.lower(), after.lower()
    if len(f"{before}{question}{after}".split()) > MOST_WORDS:
        return question + end
    return f"{before}{question}{(end or '?') if after else end}{after}"


def _typo(text: str, rng: random.Random) -> str:
    """Drops, doubles, swaps or replaces one letter inside a longer word."""
    spots = [match.start() + 1 for match in re.finditer(r"[a-z]{5,}", text)]
    if not spots:
        return text
    at = rng.choice(spots) + rng.randrange(3)
    letter, after = text[at], text[at + 1]
    new = rng.choice((after, letter * 2 + after, after + letter, rng.choice("aeinorst") + after))
    return text[:at] + new + text[at + 2 :]
