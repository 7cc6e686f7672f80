"""How people speak of one label, or of one topic: what labels/*.toml and topics/*.toml hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from .files import Concept

Value = str | bool
SENTENCE = ("he", "his", "him", "is", "has", "does", "s", "es", "value")
"""Slots of a sentence about a face: pronouns, verbs and the ends of verbs that agree with them, and the value."""

COMPARISONS = ("below", "at_most", "at_least", "above", "between", "near", "decade")
"""Ways to compare a number: less than n, n or less, n or more, more than n, from n to m, about n, in the tens of n."""


@dataclass(frozen=True)
class Asked:
    """What evaluation asks. values: Yes is right for these; None: an open question, whose reply names the value."""

    question: str
    values: tuple[Value, ...] | None = None


@dataclass(frozen=True)
class Open:
    """An open question: noun phrases for what it asks, "wh|auxiliary|subject|rest" clauses, and whole questions."""

    nouns: tuple[str, ...]
    clauses: tuple[str, ...] = ()
    written: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelLanguage:
    """All that is known of how people speak of one label.

    The keys of the tables are the label's values, True and False for a flag. Of a number they are ranges as in a
    reading ("<35") or names of its groups ("left"), or several of either ("left or right"). In `comparisons` they are
    kinds of COMPARISONS; so they may be in `written`, whose questions then have {n} and {m}.

    says: value -> the sentence that tells it, with slots of SENTENCE; of a number it stands under "".
    asked: name -> what evaluation asks.
    words: value -> how it is called in other sentences. Of a number: group -> what its sentence says in place of the
    number; {value} in it is the number without its sign.
    phrases: value -> concept.
    written: value -> whole questions that Yes answers when the label has it; under "either" those with values {x}.
    spans: name of several values at once -> those.
    open: the open question; None if there is none.
    alternatives: name of the reading of a question that offers values and asks which; "" where nobody asks like that.
    comparisons: of a number, kind -> concept with {n} and {m}. near: how far it may be off "about n".
    pronouns: value -> "he" or "she". slots: slot of sentences -> value -> text.
    replies: value -> regular expression of what names it in a free reply. faint_replies: where none of those is found.
    tells: what a question about a person is about that a model without the label turns down.
    claims: label, or "" for any other -> what a question is about that asks for this label and not for that one.
    """

    says: Mapping[Value, str]
    asked: Mapping[str, Asked]
    words: Mapping[Value, str] = field(default_factory=dict)
    phrases: Mapping[Value, Concept] = field(default_factory=dict)
    written: Mapping[Value, tuple[str, ...]] = field(default_factory=dict)
    spans: Mapping[Value, tuple[Value, ...]] = field(default_factory=dict)
    open: Open | None = None
    alternatives: str = ""
    comparisons: Mapping[str, Concept] = field(default_factory=dict)
    near: float = 0.0
    pronouns: Mapping[Value, str] = field(default_factory=dict)
    slots: Mapping[str, Mapping[Value, str]] = field(default_factory=dict)
    replies: Mapping[Value, str] = field(default_factory=dict)
    faint_replies: Mapping[Value, str] = field(default_factory=dict)
    tells: re.Pattern | None = None
    claims: Mapping[str, re.Pattern] = field(default_factory=dict)

    def named(self, value: Value) -> tuple[Value, ...]:
        """The values that a key of `phrases` or `written` stands for."""
        return self.spans.get(value, (value,))


@dataclass(frozen=True)
class Case:
    """A sentence that is said of some faces.

    when: label -> the value it has to have. held: "", or how many of the topic's flags have to hold: "none", "some",
    "all". say: the sentence; {Hair_Color} is how the label's value is called, {Hair_Color.says} its sentence; {held}
    and {missing} list the topic's flags that hold, or do not, {bare} the latter without articles.
    """

    say: str
    when: Mapping[str, Value]
    held: str = ""

    @property
    def names(self) -> set[str]:
        """The labels that it needs."""
        return {*self.when, *re.findall(r"\{([A-Z0-9]\w*)(?:\.says)?\}", self.say)}


@dataclass(frozen=True)
class TopicLanguage:
    """How people speak of a topic. The first of `answers` that fits a face answers the open question; where none does,
    the sentences of its labels do. phrases, written: of the yes/no question whether any of its labels holds."""

    open: Open
    answers: tuple[Case, ...] = ()
    phrases: Mapping[Value, Concept] = field(default_factory=dict)
    written: Mapping[Value, tuple[str, ...]] = field(default_factory=dict)
    alternatives: str = ""
