"""Builds one question from phrases: a phrase of a concept, a form that makes a clause of it, a wrapper around that."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Mapping, Sequence

from .files import Concept
from .grammar import Clause, Subject, agree, bare, grammar, join, plural
from .languages import Open, Value

_CHOICE = re.compile(r"<([^<>]*\|[^<>]*)>")


def yes_no_question(
    concept: Concept, pronoun: str | None, rng: random.Random, absent: bool = False, flag: bool = False
) -> str:
    """A question whose Yes means that the concept holds or, with `absent`, that it does not.

    pronoun: of the person, see `Grammar.subject`. flag: the concept is of something that is there or not, so that Yes
    may mean that it is missing.
    """
    words = grammar()
    category, phrase = _phrase(concept, rng, without={"at", "none"} if absent else {"at"})
    subject = _subject(category, pronoun, rng)
    part, _, phrase = phrase.rpartition("=")
    phrase = subject.fill(words.expand(phrase, rng))
    if category == "named":
        return subject.fill(words.choose(words.absent_named if absent else words.named, rng), x=phrase)
    at = f" {subject.fill(rng.choice(concept['at']))}" if "at" in concept and len(phrase.split()) < 4 else ""
    filled = {"x": phrase, "b": bare(phrase), "part": part}
    tangible = category in ("noun", "wear", "have", "seen")
    if absent and category in ("noun", "wear") and flag and rng.random() < 0.7:
        if rng.random() < 0.3:
            return subject.fill(rng.choice(words.absent_keywords), **filled)
        return wrap(Clause.of(words.choose(words.absent_forms, rng), subject, **filled), rng)
    if not absent and not part and rng.random() < 0.22:
        return words.choose(words.keywords["thing" if tangible else "quality"], rng).format(**filled)
    forms = [form for form in words.forms[category] if not (absent and "|there|" in form)]
    form = rng.choice(forms).replace(" <at>", at if rng.random() < 0.4 else "")
    clause = Clause.of(words.expand(form, rng), subject, **filled)
    if absent:
        return words.choose(words.truth, rng).format(c=clause.state_not())
    return clause.ask_not() if category != "none" and rng.random() < 0.09 else wrap(clause, rng)


def either_or_question(
    concepts: Mapping[Value, Concept], pronoun: str | None, rng: random.Random
) -> tuple[str, list[Value]]:
    """A question that offers two values, in phrases of one category, and those values; none where it asks which."""
    words = grammar()
    chosen = rng.sample(list(concepts), 2)
    left, right = (concepts[value] for value in chosen)
    category = rng.choice([name for name in left if name in right and name not in ("at", "none", "named")])
    part, _, one = rng.choice(left[category]).rpartition("=")
    other = rng.choice(right[category]).rpartition("=")[2]
    subject = _subject(category, pronoun, rng)
    phrase = subject.fill(words.expand(f"{one} or {other}", rng))
    if rng.random() < 0.2:
        return rng.choice(words.choices).format(x=phrase), []
    forms = [form for form in words.forms[category] if "{s}" in form or "{owner}" in form]
    return wrap(Clause.of(words.choose(forms, rng), subject, x=phrase, part=part), rng, truth=False), chosen


def which_question(nouns: Sequence[str], values: Sequence[str], pronoun: str | None, rng: random.Random) -> str:
    """A question that lists all values."""
    listed = list(values)
    rng.shuffle(listed)
    subject = grammar().subject(rng, pronoun)
    return subject.fill(rng.choice(grammar().which), n=rng.choice(nouns), x=join(listed, "or"))


def open_question(asked: Open, pronoun: str | None, rng: random.Random, keywords: Collection[str] = ()) -> str:
    """A question what, how or which. keywords: nouns that alone ("facial hair?") are a yes/no question."""
    words = grammar()
    subject = words.subject(rng, pronoun)
    if rng.random() < 0.5 or not asked.clauses:
        noun = rng.choice(asked.nouns)
        frames = [frame for frame in words.noun_frames if noun not in keywords or not frame.startswith("{n}")]
        return subject.fill(words.choose(frames, rng), n=noun, be="are" if plural(noun) else "is")
    word, _, form = words.choose(asked.clauses, rng).partition("|")
    clause = Clause.of(form, subject)
    if rng.random() < 0.65:
        return f"{word} {clause.ask()}"
    return words.choose(words.indirect, rng).format(c=f"{word} {clause.state()}")


def written_question(table: Sequence[str], pronoun: str | None, rng: random.Random, **filled: str) -> str:
    """One of the whole sentences in `table`. After the first mention the person is "he", "she" or "they"."""
    words = grammar()
    text = _CHOICE.sub(lambda match: rng.choice(match[1].split("|")), rng.choice(table)).rstrip(".?")
    text = text if re.match(r"I\b|[A-Z]{2}", text) else text[0].lower() + text[1:]
    subject = words.subject(rng, pronoun)
    first, mention, rest = re.split(r"(\{s\}|\{owner\}|\{o\}|$)", text, maxsplit=1)
    known = (*words.pronouns.values(), ("I", "my", "me"))
    subjective, possessive, objective = next(forms for forms in known if forms[1] == subject.p)
    later = Subject(subjective, possessive, possessive, objective)
    text = agree(subject.fill(first + mention, **filled) + later.fill(rest, **filled))
    for singular, several in words.agreement.items() if "I" in text else ():
        own = {"is": "am", "isn't": "am not", "was": "was"}.get(singular, several)
        text = re.sub(rf"\b{singular} I\b", f"{own} I".replace("am not I", "am I not"), text)
        text = re.sub(rf"\bI {singular}\b", f"I {own}", text)
    return text


def framed_question(table: Sequence[str], pronoun: str | None, rng: random.Random) -> str:
    """One of the frames in `table`."""
    words = grammar()
    text = words.subject(rng, pronoun).fill(words.choose(table, rng))
    text = re.sub(r"\b(is|does) I\b", lambda match: {"is": "am I", "does": "do I"}[match[1]], text)
    text = re.sub(r"\b(is|does) they\b", lambda match: {"is": "are they", "does": "do they"}[match[1]], text)
    return re.sub(r"\bthey is\b", "they are", text)


def question_about_something_else(concepts: Sequence[Concept], rng: random.Random) -> str:
    """A question that would be answered if only it were about the person."""
    words = grammar()
    category, phrase = _phrase(rng.choice(concepts), rng, without={"at", "seen", "named"})
    names = ("the <animal>", "the <thing>", "your <kin>", "your <animal>", "my <animal>", "that <thing>")
    name = words.choose(names, rng)
    subject = Subject(name, f"{name}'s", "its", "it")
    part, _, phrase = phrase.rpartition("=")
    forms = [form for form in words.forms[category] if "{s}" in form or "{owner}" in form]
    return wrap(Clause.of(rng.choice(forms), subject, x=subject.fill(words.expand(phrase, rng)), part=part), rng)


def wrap(clause: Clause, rng: random.Random, truth: bool = True) -> str:
    """A clause as a direct question, as a request, or as a statement to confirm (where `truth` allows it)."""
    words, choice = grammar(), rng.random()
    if choice < 0.06 and truth:
        return f"{clause.state()}, {clause.tag()}"
    if choice < 0.5:
        adverb = words.expand("<adverb>", rng) if rng.random() < 0.15 else ""
        return clause.ask(adverb).replace("someone", rng.choice(("someone", "anyone"))).replace("somebody", "anybody")
    table = words.ask if choice < 0.75 else words.truth if choice < 0.87 and truth else words.think
    return words.choose(table, rng).format(c=clause.state())


def _phrase(concept: Concept, rng: random.Random, without: Collection[str]) -> tuple[str, str]:
    """A category and one of its phrases; the first phrases, which are the plainest, come more often."""
    pairs = [(category, phrase) for category in concept if category not in without for phrase in concept[category]]
    return rng.choice(pairs[:3] if rng.random() < 0.15 else pairs)


def _subject(category: str, pronoun: str | None, rng: random.Random) -> Subject:
    """A subject; "this" where the phrase names a kind of person."""
    if category == "kind" and rng.random() < 0.5:
        return Subject("this", "the", "their", "them")
    return grammar().subject(rng, pronoun)
