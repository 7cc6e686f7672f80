"""The grammar of questions: who they are about, clauses, and the random words in them."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

from .files import FOLDER, Table

SUBJECT = ("s", "owner", "p", "o")
"""Slots of a subject: "the lady", "the lady's", "her", "the lady"."""

OWN_SHARE = 0.05
"""Of the questions that are about the asker, whose picture it is then."""

_LISTS = {
    "ask": "c", "think": "c", "truth": "c", "indirect": "c", "noun_frames": "n be", "which": "n x", "choices": "x",
    "absent_forms": "x b", "absent_keywords": "x b", "named": "x", "absent_named": "x", "sentence_slots": "",
}  # fmt: skip
"""List of grammar.toml -> its slots besides those of a subject."""
_TABLES = {"keywords": "x b", "forms": "x b part"}


@dataclass(frozen=True)
class Grammar:
    """grammar.toml and slots.toml; the comments in them say what each list is for.

    forms: category -> clauses. agreement: a verb -> what it becomes beside "they". nouns, acquaintances: pronoun ->
    names for the person. pronouns: pronoun -> subject, possessive, object.
    """

    ask: tuple[str, ...]
    think: tuple[str, ...]
    truth: tuple[str, ...]
    indirect: tuple[str, ...]
    noun_frames: tuple[str, ...]
    which: tuple[str, ...]
    choices: tuple[str, ...]
    absent_forms: tuple[str, ...]
    absent_keywords: tuple[str, ...]
    named: tuple[str, ...]
    absent_named: tuple[str, ...]
    sentence_slots: tuple[str, ...]
    keywords: Mapping[str, tuple[str, ...]]
    forms: Mapping[str, tuple[str, ...]]
    agreement: Mapping[str, str]
    nouns: Mapping[str, tuple[str, ...]]
    acquaintances: Mapping[str, tuple[str, ...]]
    pronouns: Mapping[str, tuple[str, ...]]
    slots: Mapping[str, tuple[str, ...]]
    syllables: tuple[str, ...]

    @property
    def categories(self) -> tuple[str, ...]:
        """What phrases can be: the keys of `forms`, a name that fits into no clause, and places."""
        return (*self.forms, "named", "at")

    def expand(self, text: str, rng: random.Random) -> str:
        """Replaces every <slot>, also those inside the replacements; <3to9> is a number, <made> a name-like word."""
        while match := re.search(r"<(\w+)>", text):
            name = match[1]
            if name in self.slots:
                word = rng.choice(self.slots[name])
            elif name == "digit":
                word = str(rng.randint(2, 99))
            elif name == "made":
                word = "".join(rng.choice(self.syllables) for _ in range(rng.randint(2, 3))).capitalize()
            elif name == "letters":
                word = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(3, 9)))
            else:
                word = str(rng.randint(*map(int, name.split("to"))))
            text = text[: match.start()] + word + text[match.end() :]
        return " ".join(text.split())

    def choose(self, texts: tuple[str, ...], rng: random.Random) -> str:
        """One of the texts, expanded."""
        return self.expand(rng.choice(texts), rng)

    def subject(self, rng: random.Random, pronoun: str | None) -> Subject:
        """A random way to refer to the person.

        pronoun: "he" or "she": mostly that one (people err); "they": any; None: one that gives no gender away.
        """
        kind = "they"
        if rng.random() < OWN_SHARE:
            return Subject("I", "my", "my", "me")
        if pronoun == "they":
            kind = rng.choices(("they", "he", "she"), (4, 3, 3))[0]
        elif pronoun is not None:
            kind = rng.choices((pronoun, "she" if pronoun == "he" else "he", "they"), (5, 2, 4))[0]
        subjective, possessive, objective = self.pronouns[kind]
        if rng.random() < (0.2 if kind == "they" else 0.55):
            owner = "the" if rng.random() < 0.15 else possessive
            return Subject(subjective, owner, possessive, objective)
        noun = self.choose((self.acquaintances if rng.random() < 0.25 else self.nouns)[kind], rng)
        owners = ("the", possessive, *[f"{noun}'s"] * (2 if len(noun.split()) == 2 and "here" not in noun else 0))
        return Subject(noun, rng.choice(owners), possessive, noun)

    def pronoun_of(self, noun: str) -> str | None:
        """The pronoun of a name for the person; None for anything else."""
        return next((k for k in self.nouns if noun in (*self.nouns[k], *self.acquaintances[k])), None)


@functools.cache
def grammar() -> Grammar:
    """Reads the grammar. Raises InputError that names what a file lacks."""
    table, slots = Table.read(FOLDER / "grammar.toml"), Table.read(FOLDER / "slots.toml")
    table.known((*_LISTS, *_TABLES, "forms_of", "subjects", "agreement"))
    lists = {name: table.texts(name, (*SUBJECT, *more.split())) for name, more in _LISTS.items()}
    tables = {
        name: {key: table.listed(v, f"{name}.{key}", (*SUBJECT, *more.split())) for key, v in table.table(name).items()}
        for name, more in _TABLES.items()
    }
    forms = tables.pop("forms")
    faulty = [form for items in forms.values() for form in items if form.count("|") != 2]
    table.check(not faulty, f"forms {', '.join(faulty)} are not auxiliary|subject|rest")
    for category, others in table.table("forms_of").items():
        unknown = [other for other in others if other not in forms]
        table.check(not unknown, f"forms_of.{category} names {', '.join(unknown)}, which has no forms")
        forms[category] = sum((forms.get(other, ()) for other in others), forms.get(category, ()))
    who = {
        kind: {p: table.listed(v, f"subjects.{kind}.{p}") for p, v in table.table("subjects").get(kind, {}).items()}
        for kind in ("nouns", "acquaintances", "pronouns")
    }
    lacking = [f"subjects.{kind}.{p}" for kind in who for p in ("he", "she", "they") if p not in who[kind]]
    table.check(not lacking, f"{', '.join(lacking)} is missing")
    words = {name: slots.listed(items, name) for name, items in slots.data.items()}
    slots.check("syllables" in words, "syllables is missing")
    slots.checked()
    table.checked()
    found = lists | tables | who | {"forms": forms, "agreement": table.table("agreement"), "slots": words}
    return Grammar(**found, syllables=words["syllables"])


@dataclass(frozen=True)
class Subject:
    """Who a question is about, in the forms that the tables call {s}, {owner}, {p} and {o}."""

    text: str
    owner: str
    p: str
    o: str

    def fill(self, text: str, **more: str) -> str:
        """The text with the forms in its slots."""
        return text.format(s=self.text, owner=self.owner, p=self.p, o=self.o, **more)


@dataclass(frozen=True)
class Clause:
    """A clause that can be asked ("does he wear a hat") or stated ("he wears a hat")."""

    aux: str
    subject: str
    rest: str

    @classmethod
    def of(cls, form: str, subject: Subject, **more: str) -> Clause:
        """Fills a form "auxiliary|subject|rest"; makes the auxiliary agree with a plural subject."""
        aux, who, rest = (subject.fill(part, **more).strip() for part in form.split("|"))
        owner_of = rest if who == "there" else who
        if who == "I":
            aux = {"is": "am", "does": "do", "has": "have"}.get(aux, aux)
        elif plural(owner_of):
            aux = {"is": "are", "does": "do", "has": "have"}.get(aux, aux)
        return cls(aux, who, rest)

    def ask(self, adverb: str = "") -> str:
        """As a question."""
        return " ".join(f"{self.aux} {self.subject} {adverb} {self.rest}".split())

    def ask_not(self) -> str:
        """As a negated question, which asks the same."""
        # "is he not bald" is heard as either: only the contracted form asks whether he is
        return self.ask() if self.aux in ("can", "am", "might") else f"{self.aux}n't {self.subject} {self.rest}"

    def tag(self) -> str:
        """What asks for agreement with the statement: "isn't she", "don't they"."""
        kind = grammar().pronoun_of(self.subject)
        if self.subject in ("he", "she", "they", "there", "you", "I"):
            who = self.subject
        elif kind is not None:
            who = kind
        else:
            who = "they" if plural(self.subject) else "it"
        aux = {"is": "are", "does": "do", "has": "have"}.get(self.aux, self.aux) if who == "they" else self.aux
        return f"am {who} not" if aux == "am" else f"{aux}n't {who}".replace("cann't", "can't")

    def state(self) -> str:
        """As a statement."""
        if self.aux == "does":
            verb, _, rest = self.rest.partition(" ")
            return f"{self.subject} {third_person(verb)} {rest}".rstrip()
        return f"{self.subject} {self.rest}" if self.aux == "do" else f"{self.subject} {self.aux} {self.rest}"

    def state_not(self) -> str:
        """As a negated statement."""
        return f"{self.subject} {self.aux} not {self.rest}"


def third_person(verb: str) -> str:
    """ "wears" for "wear"."""
    return {"have": "has", "do": "does", "go": "goes"}.get(
        verb, f"{verb}es" if verb.endswith(("s", "sh", "ch")) else f"{verb}s"
    )


def plural(phrase: str) -> bool:
    """Whether a noun phrase takes a plural verb, judged by the last word before a preposition."""
    head = re.split(r" (?:on|in|at|of|or|around|under|over|above|to|here|shown)\b", phrase)[0]
    word = head.split()[-1]
    mass = word.endswith(("ss", "us", "is")) or not word.endswith("s")
    return word in ("they", "teeth") or not (mass or re.match(r"an? ", head))


def bare(phrase: str) -> str:
    """A noun phrase without its article."""
    return re.sub(r"^(an?|some kind of|some|any|the) ", "", phrase)


def agree(text: str) -> str:
    """Makes verbs beside "they" plural, wherever they stand."""
    for singular, several in grammar().agreement.items() if "they" in text.lower() else ():
        for verb, plural in ((singular, several), (singular.capitalize(), several.capitalize())):
            text = re.sub(rf"\b{verb} they\b", f"{plural} they", text)
        text = re.sub(rf"\b([Tt]hey) {singular}\b", rf"\1 {several}", text)
    return text


def join(things: list[str], word: str) -> str:
    """ "a, b and c"."""
    return f" {word} ".join(filter(None, [", ".join(things[:-1]), things[-1]]))
