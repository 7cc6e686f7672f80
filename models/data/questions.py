"""Question/answer pairs about a face whose labels are known, in as many phrasings as a small grammar yields.

A question is built in three independent steps: a *phrase* of a concept ("a goatee"), a *form* that turns the phrase
into a clause ("does he have a goatee"), and a *wrapper* around the clause ("can you tell me whether he has a goatee?").
Forms and wrappers are shared by all labels, and by questions that must be refused, so a model that learns from the
pairs meets every keyword in every frame. A share of the questions are whole sentences, written by hand for what no
grammar thinks of. What a question asks is its reading; the answer follows from that and from the labels.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from faceinsight.runtime.label import Bounds, Label
from faceinsight.runtime.reading import of_bounds, of_values, read
from faceinsight.runtime.vocabulary import Topic, Vocabulary

from .answers import answer
from .language import Open
from .language.compose import (
    either_or_question,
    framed_question,
    open_question,
    question_about_something_else,
    which_question,
    written_question,
    yes_no_question,
)
from .language.files import Concept
from .language.general import numbers
from .language.grammar import bare
from .language.languages import COMPARISONS, LabelLanguage, TopicLanguage, Value
from .language.requests import requests
from .language.speech import Speech, speech_of
from .language.surface import surface
from .language.written import of_range, others, untold

WRITTEN_SHARE = 0.7
"""Of the yes/no questions about what has written ones, those that are; of all others it is half of that."""

EITHER_OR_SHARE = 0.3
"""Of the open questions that are not written, those that offer two values."""

ABSENT_SHARE = 0.06
"""Of the yes/no questions that are not written, those that Yes answers when something is not so."""

MOST_VALUES = 8
"""Of a choice of which it is asked whether it has another value than one."""

UNTOLD_SHARE = 0.3
"""Of the questions that are turned down, those about labels that other vocabularies have."""

TRIES = 50
"""Most questions that are thrown away because they could be meant for another label."""


@dataclass(frozen=True)
class Exchange:
    """A question, what it asks (a reading, see runtime/reading.py), and its right answer."""

    question: str
    reading: str
    answer: str


def exchanges(labels: Mapping, rng: random.Random, count: int, vocabulary: Vocabulary) -> list[Exchange]:
    """`count` exchanges about one face, of all kinds in the proportions of KINDS."""
    return [exchange(labels, rng, vocabulary) for _ in range(count)]


def exchange(labels: Mapping, rng: random.Random, vocabulary: Vocabulary) -> Exchange:
    """One random question of any kind about a face, with its right answer.

    labels: one for each of `vocabulary.names`. Raises InputError for a label that cannot be spoken of.
    """
    about = _about(vocabulary)
    makers = [maker for maker in KINDS if maker is not _ask_what or about.open or about.alternatives]
    maker = rng.choices(makers, [KINDS[maker] for maker in makers])[0]
    for _ in range(TRIES):
        question, reading = maker(about, labels, rng)
        if not about.mistaken(question, reading):
            break
    return Exchange(surface(question, rng), reading, answer(reading, labels, vocabulary))


@dataclass(frozen=True)
class _Subject:
    """What a question may be about: a label, or a topic with a word in yes/no readings."""

    item: Label | Topic
    language: LabelLanguage | TopicLanguage

    @property
    def flag(self) -> bool:
        """Whether it is there or not, so that Yes may mean that it is missing."""
        return isinstance(self.item, Topic) or self.item.kind == "flag"

    @property
    def weight(self) -> int:
        """How often it is asked about; what has more values to tell apart comes more often."""
        return 1 if self.flag else 3

    @property
    def values(self) -> tuple[Value, ...]:
        """What it may be, of what there are phrases for."""
        known = (True, False) if isinstance(self.item, Topic) else self.item.value_names
        return tuple(value for value in known if value in self.language.phrases)

    def named(self, value: Value) -> tuple[Value, ...]:
        """The values that a key of its language stands for."""
        return (value,) if isinstance(self.item, Topic) else self.language.named(value)

    def reading(self, values: Collection[Value], absent: bool = False) -> str:
        """Of a question that Yes answers for these values or, with `absent`, for the others."""
        known = (True, False) if isinstance(self.item, Topic) else self.item.value_names
        right = tuple(value for value in known if (value in values) != absent)
        if isinstance(self.item, Topic):
            return f"{self.item.word} {'yes' if right[0] else 'no'}"
        return of_values(self.item, right)

    def pronoun(self, known: str) -> str | None:
        """The pronoun to ask with: none where it would give the answer away."""
        return None if isinstance(self.language, LabelLanguage) and self.language.pronouns else known


@dataclass(frozen=True)
class _About:
    """What questions over a vocabulary may be about.

    open: name in readings -> the open question and the label whose values it may list. alternatives: what two values
    are offered of. keywords: nouns that alone are a yes/no question. untold: lists of questions about labels that the
    vocabulary lacks.
    """

    speech: Speech
    subjects: tuple[_Subject, ...]
    open: Mapping[str, tuple[Open, Label | None]]
    alternatives: tuple[_Subject, ...]
    keywords: Collection[str]
    untold: tuple[tuple[str, ...], ...]

    @functools.cached_property
    def concepts(self) -> tuple[Concept, ...]:
        """All that a question with a clause can ask."""
        found = (concept for subject in self.subjects for concept in subject.language.phrases.values())
        return tuple(concept for concept in found if concept.keys() - {"at", "seen", "named"})

    @functools.cached_property
    def _claims(self) -> tuple[tuple[str, str, re.Pattern], ...]:
        labels = self.speech.labels.items()
        return tuple((name, other, found) for name, told in labels for other, found in told.claims.items())

    def mistaken(self, question: str, reading: str) -> bool:
        """Whether the question speaks of another label than the one that it is read as."""
        if reading in ("describe", "who", "other"):
            return False
        names = read(reading, self.speech.vocabulary).labels
        return any(
            name not in names and (other == "" or names == (other,)) and claim.search(question)
            for name, other, claim in self._claims
        )

    def tells(self, question: str) -> bool:
        """Whether a question about a person is about one of the labels."""
        claims = (claim for _, other, claim in self._claims if other == "")
        stems = (told.tells for told in self.speech.labels.values() if told.tells)
        return any(pattern.search(question) for pattern in itertools.chain(stems, claims))


@functools.lru_cache(maxsize=16)
def _about(vocabulary: Vocabulary) -> _About:
    speech = speech_of(vocabulary)
    subjects = [_Subject(label, speech.labels[label.name]) for label in vocabulary]
    topics = [topic for topic in vocabulary.topics if topic.word and speech.topics[topic.name].phrases]
    subjects += [_Subject(topic, speech.topics[topic.name]) for topic in topics]
    asked: dict[str, tuple[Open, Label | None]] = {
        topic.name: (speech.topics[topic.name].open, None) for topic in vocabulary.topics
    }
    for label in vocabulary:
        if found := speech.labels[label.name].open:
            before = asked.get(label.word, (Open(()), None))[0]
            both = Open(before.nouns + found.nouns, before.clauses + found.clauses, before.written + found.written)
            asked[label.word] = (both, label if label.kind == "choice" and not found.written else None)
    concepts = [concept for subject in subjects for concept in subject.language.phrases.values()]
    keywords = {
        bare(phrase)
        for concept in concepts for category in ("noun", "wear", "have") for phrase in concept.get(category, ())
    }  # fmt: skip
    offered = tuple(subject for subject in subjects if subject.language.alternatives and len(subject.values) > 1)
    return _About(speech, tuple(subjects), asked, offered, keywords, untold(vocabulary))


def _ask_yes_no(about: _About, labels: Mapping, rng: random.Random) -> tuple[str, str]:
    known = about.speech.pronoun(labels)
    subject = rng.choices(about.subjects, [one.weight for one in about.subjects])[0]
    if isinstance(subject.item, Label) and subject.item.kind == "number":
        return _compare(subject.item, subject.language, labels, known, rng)
    phrases, written = subject.language.phrases, subject.language.written
    value = tuple(phrases)[rng.random() < 0.2 and len(phrases) > 1] if subject.flag else rng.choice(tuple(phrases))
    # a reading that lists all other values has to fit into the room for it
    absent = rng.random() < ABSENT_SHARE and len(subject.values) <= MOST_VALUES
    if written and rng.random() < WRITTEN_SHARE:
        value, filled = rng.choice(tuple(written)), {}
        named = subject.named(value)
        if value == "either":
            named, filled["x"] = _either(subject, rng)
        question = written_question(written[value], subject.pronoun(known), rng, **filled)
        return question, subject.reading(named)
    question = yes_no_question(phrases[value], subject.pronoun(known), rng, absent, subject.flag)
    return question, subject.reading(subject.named(value), absent)


def _either(subject: _Subject, rng: random.Random) -> tuple[tuple[Value, ...], str]:
    """Two or three values, and a phrase for them: "black or red", "raven or ginger"."""
    values = tuple(rng.sample(subject.values, min(len(subject.values) - 1, rng.choice((2, 2, 3)))))
    plain = (next(iter(subject.language.phrases[value].values())) for value in values)
    shades = [rng.choice(phrases[:3]).rpartition("=")[2] for phrases in plain]
    return values, " or ".join(filter(None, (", ".join(shades[:-1]), shades[-1])))


def _compare(label: Label, language: LabelLanguage, labels: Mapping, known: str, rng: random.Random) -> tuple[str, str]:
    """A number with another one, or with a range that has a name."""
    absent, phrases, written = rng.random() < ABSENT_SHARE, language.phrases, language.written
    if written and rng.random() < WRITTEN_SHARE:
        key = rng.choices(tuple(written), [len(questions) for questions in written.values()])[0]
        if key not in COMPARISONS:
            return written_question(written[key], known, rng), of_range(label, key)
        filled, bounds = _comparison(label, language, key, labels[label.name], rng)
        return written_question(written[key], known, rng, **filled), of_bounds(label, bounds)
    if phrases and (rng.random() < 0.15 or not language.comparisons):
        key = rng.choice(tuple(phrases))
        return yes_no_question(phrases[key], known, rng, absent), of_range(label, key, absent)
    kind = rng.choice(tuple(language.comparisons))
    filled, bounds = _comparison(label, language, kind, labels[label.name], rng)
    concept = {
        category: tuple(phrase.replace("{n}", filled["n"]).replace("{m}", filled["m"]) for phrase in found)
        for category, found in language.comparisons[kind].items()
    }
    return yes_no_question(concept, known, rng, absent), of_bounds(label, *(others((bounds,)) if absent else (bounds,)))


def _comparison(
    label: Label, language: LabelLanguage, kind: str, value: float, rng: random.Random
) -> tuple[dict[str, str], Bounds]:
    """Random numbers to compare with, by their slots, and the values for which the comparison holds."""
    low, high = label.bounds
    step = label.step

    def number() -> float:
        near = rng.gauss(value, (high - low) / 8)
        return label.stated(near if rng.random() < 0.7 and low < near < high else rng.uniform(low + step, high - step))

    n = number()
    m = label.stated(min(high - step, max(n + step, number())))
    if kind == "decade":
        n = 10 * min(9, max(2, int(n) // 10))
        filled = {"n": f"{n}", "m": numbers().decades[n // 10 - 2]}
    else:
        spelled = rng.random() < 0.15
        filled = {key: numbers().in_words(x) if spelled else f"{x:g}" for key, x in (("n", n), ("m", m))}
    near = language.near
    bounds = {
        "below": (-math.inf, n), "at_most": (-math.inf, n + step),
        "at_least": (n, math.inf), "above": (n + step, math.inf),
        "between": (n, m + step), "near": (n - near, n + near + step), "decade": (n, n + 10),
    }[kind]  # fmt: skip
    return filled, (round(bounds[0], 6), round(bounds[1], 6))


def _ask_what(about: _About, labels: Mapping, rng: random.Random) -> tuple[str, str]:
    known = about.speech.pronoun(labels)
    written = [name for name, (asked, _) in about.open.items() if asked.written]
    if written and rng.random() < WRITTEN_SHARE / 2:
        name = rng.choice(written)
        question = written_question(about.open[name][0].written, _pronoun_for(about, name, known), rng)
        return question, f"what {name}"
    if about.alternatives and (not about.open or rng.random() < EITHER_OR_SHARE):
        return _offer(about, rng.choice(about.alternatives), known, rng)
    # what has no written questions is made up for
    name = rng.choices(tuple(about.open), [1 if asked.written else 3 for asked, _ in about.open.values()])[0]
    asked, label = about.open[name]
    if label is not None and rng.random() < 0.4:
        values = tuple(about.speech.labels[label.name].words.values())
        return which_question(asked.nouns, values, known, rng), f"what {name}"
    return open_question(asked, _pronoun_for(about, name, known), rng, about.keywords), f"what {name}"


def _pronoun_for(about: _About, name: str, known: str) -> str | None:
    label = about.speech.label_of_word(name)
    return None if label and about.speech.labels[label.name].pronouns else known


def _offer(about: _About, subject: _Subject, known: str, rng: random.Random) -> tuple[str, str]:
    """A question that offers two values."""
    concepts = {value: subject.language.phrases[value] for value in subject.values}
    question, values = either_or_question(concepts, subject.pronoun(known), rng)
    if values and len(values) < len(concepts):
        # neither may be right: a Yes or No, and then the value, answers it however it was meant
        return question, subject.reading(values)
    name = subject.language.alternatives
    return question, f"what {name if name in about.open else subject.item.word}"


def _ask_describe(about: _About, labels: Mapping, rng: random.Random) -> tuple[str, str]:
    return _request("describe", requests().describe, about, labels, rng), "describe"


def _ask_identity(about: _About, labels: Mapping, rng: random.Random) -> tuple[str, str]:
    return _request("identify", requests().identify, about, labels, rng), "who"


def _request(kind: str, frames: tuple[str, ...], about: _About, labels: Mapping, rng: random.Random) -> str:
    known = about.speech.pronoun(labels)
    if rng.random() < WRITTEN_SHARE / 2:
        return written_question(requests().written[kind], known, rng)
    return framed_question(frames, known, rng)


def _ask_off_topic(about: _About, labels: Mapping, rng: random.Random) -> tuple[str, str]:
    for _ in range(TRIES):
        question, of_person = _off_topic_question(about, labels, rng)
        # what one model refuses another one can tell
        if not (of_person and about.tells(question)):
            break
    return question, "other"


def _off_topic_question(about: _About, labels: Mapping, rng: random.Random) -> tuple[str, bool]:
    """A question, and whether it may be about the person."""
    known, source = about.speech.pronoun(labels), rng.random()
    if about.untold and rng.random() < UNTOLD_SHARE:
        return written_question(rng.choice(about.untold), known, rng), True
    if rng.random() < WRITTEN_SHARE / 2:
        return written_question(requests().written["off_topic"], known, rng), True
    if source < 0.35:
        return framed_question(requests().off_topic, known, rng), False
    if source < 0.55:
        return yes_no_question(requests().unknown, known, rng, rng.random() < ABSENT_SHARE), True
    if source < 0.78:
        return open_question(requests().unknown_open, known, rng, about.keywords), True
    return question_about_something_else(about.concepts or (requests().unknown,), rng), False


KINDS: dict[Callable, int] = {
    _ask_yes_no: 60, _ask_what: 17, _ask_describe: 6, _ask_identity: 5, _ask_off_topic: 12,
}  # fmt: skip
"""Maker of a question -> its share in percent."""
