"""Question/answer pairs about a face whose labels are known, in as many phrasings as a small grammar yields.

A question is built in three independent steps: a *phrase* of a concept ("a goatee", SPECS), a *form* that turns the
phrase into a clause ("does he have a goatee", FORMS), and a *wrapper* around the clause ("can you tell me whether he
has a goatee?"). Forms and wrappers are shared by all labels, and by questions that must be refused, so a model that
learns from the pairs meets every keyword in every frame. A share of the questions (WRITTEN) are whole
sentences, written by hand for what no grammar thinks of. Answers are deterministic functions of the labels.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

from faceinsight.runtime.labels import FLAGS, GROUPS, LABELS, MORE
from faceinsight.runtime.prompt import FACT_NAMES, fact_value

from .answers import IDENTITY, MOOD_WORDS, OFF_TOPIC, answer_what, answer_yes_no, describe, named_values
from .vocabulary import (
    ABSENT_FORMS,
    ABSENT_KEYWORDS,
    ASK,
    CHOICES,
    DESCRIBE,
    EITHER_OR,
    FORMS,
    GENERAL,
    IDENTIFY,
    INDIRECT,
    KEYWORDS,
    MOODS,
    MORE_SPECS,
    MORE_TOPICS,
    NOUN_FRAMES,
    SLOTS,
    SPECS,
    SYLLABLES,
    TELLS_OF,
    THINK,
    TOPICS,
    TRUTH,
    UNKNOWN,
    UNKNOWN_TOPIC,
    WHICH,
    WRITTEN,
    Topic,
    bare,
    words,
)

WRITTEN_SHARE = 0.7
"""Of the yes/no questions that are whole sentences from WRITTEN; of all others it is half of that."""

MOST_WORDS = 50
"""Of a question with what is said around it."""

OWN_SHARE = 0.05
"""Of the questions that are about the asker, whose picture it is then."""

BEFORE_SHARE, AFTER_SHARE = 0.15, 0.07
"""Of all questions, the share that comes with a sentence before it, and the share with one after it."""

_CHOICE = re.compile(r"<([^<>]*\|[^<>]*)>")
_AGREEMENT = {
    "is": "are", "isn't": "aren't", "does": "do", "doesn't": "don't", "has": "have", "hasn't": "haven't",
    "was": "were", "wears": "wear", "looks": "look", "shows": "show", "sports": "sport", "owns": "own", "keeps": "keep",
    "seems": "seem", "lacks": "lack", "belongs": "belong", "needs": "need", "gets": "get", "counts": "count",
}  # fmt: skip


@dataclass(frozen=True)
class Exchange:
    """A question and its right answer.

    reading: what the question asks, in the words of the fact line: for a yes/no question the label and all the values
    for which Yes is right ("age 50-64 65+", "beard no"), else "what age", "describe", "who" or "other".
    labels: those the answer rests on, () for a refusal.
    """

    question: str
    reading: str
    answer: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class _Subject:
    """Who a question is about, in the forms that the tables call {s}, {owner}, {p} and {o}."""

    text: str
    owner: str
    p: str
    o: str

    def fill(self, text: str, **more: str) -> str:
        return text.format(s=self.text, owner=self.owner, p=self.p, o=self.o, **more)


_NOUNS = {
    "male": words("the man; this man; the guy; the gentleman; this guy; the boy; the dude; that man; this fellow"),
    "female": words("the woman; this woman; the lady; the girl; this lady; that woman; this gal; the gal"),
    None: words("""the person; this person; the subject; the individual; that person; the person in the <picture>;
        the one shown; someone in the <picture>; this individual; the person here; somebody here; the sitter; this
            one; the face; this face; the one pictured; the
        person shown; the human; this human; the person on screen; the model; the one I see; the head"""),
}  # fmt: skip
_ACQUAINTANCES = {
    "male": words("""my brother; my uncle; my father; my dad; my husband; my son; my grandfather; my grandpa; my nephew;
        our grandson; my boyfriend; my cousin; my boss; our colleague; my friend; our neighbor; our customer; the
        applicant"""),
    "female": words("""my sister; my aunt; my mother; my mom; my mum; my wife; my daughter; my grandmother; my grandma;
        my niece; our granddaughter; my girlfriend; my cousin; my boss; our colleague; my friend; our neighbor; our
        customer; the applicant"""),
    None: words("""my cousin; my boss; our colleague; my friend; our neighbor; our customer; the applicant; my client;
        the patient; our guest; my colleague; the visitor; the employee; my teacher; the driver; our candidate"""),
}  # fmt: skip
"""Whom people say that they show: in a question about "my uncle" it is his face."""

_PRONOUNS = {"male": ("he", "his", "him"), "female": ("she", "her", "her"), None: ("they", "their", "them")}


@dataclass(frozen=True)
class _Clause:
    """A clause that can be asked ("does he wear a hat") or stated ("he wears a hat")."""

    aux: str
    subject: str
    rest: str

    def ask(self, adverb: str = "") -> str:
        return " ".join(f"{self.aux} {self.subject} {adverb} {self.rest}".split())

    def ask_not(self) -> str:
        # "is he not bald" is heard as either: only the contracted form asks whether he is
        return self.ask() if self.aux in ("can", "am", "might") else f"{self.aux}n't {self.subject} {self.rest}"

    def tag(self) -> str:
        """Asks for agreement with the statement: "isn't she", "don't they"."""
        kind = next((k for k in _NOUNS if self.subject in (*_NOUNS[k], *_ACQUAINTANCES[k])), "thing")
        if self.subject in ("he", "she", "they", "there", "you", "I"):
            who = self.subject
        elif kind in _PRONOUNS:
            who = _PRONOUNS[kind][0]
        else:
            who = "they" if _plural(self.subject) else "it"
        aux = {"is": "are", "does": "do", "has": "have"}.get(self.aux, self.aux) if who == "they" else self.aux
        return f"am {who} not" if aux == "am" else f"{aux}n't {who}".replace("cann't", "can't")

    def state(self) -> str:
        if self.aux == "does":
            verb, _, rest = self.rest.partition(" ")
            return f"{self.subject} {'has' if verb == 'have' else verb + 's'} {rest}"
        return f"{self.subject} {self.rest}" if self.aux == "do" else f"{self.subject} {self.aux} {self.rest}"

    def state_not(self) -> str:
        return f"{self.subject} {self.aux} not {self.rest}"


def _clause(form: str, subject: _Subject, **more: str) -> _Clause:
    """Fills a form; makes the auxiliary agree with a plural subject."""
    aux, who, rest = (subject.fill(part, **more).strip() for part in form.split("|"))
    owner_of = rest if who == "there" else who
    if who == "I":
        aux = {"is": "am", "does": "do", "has": "have"}.get(aux, aux)
    elif _plural(owner_of):
        aux = {"is": "are", "does": "do", "has": "have"}.get(aux, aux)
    return _Clause(aux, who, rest)


# Questions

_SLOT = re.compile(r"<(\w+)>")
_FLAG_LIKE = (*FLAGS, "Facial_Hair")


def exchanges(labels: Mapping, rng: random.Random, count: int) -> list[Exchange]:
    """`count` exchanges about one face, of all kinds in the proportions of KINDS."""
    return [exchange(labels, rng) for _ in range(count)]


def exchange(labels: Mapping, rng: random.Random) -> Exchange:
    """One random question of any kind about a face with these labels, with its right answer."""
    makers, weights = zip(*KINDS.items(), strict=True)
    maker = rng.choices(makers, weights)[0]
    question, reading, answer, evidence = maker(labels, rng)
    return Exchange(_surface(question, rng), reading, answer, evidence)


def _ask_yes_no(labels: Mapping, rng: random.Random) -> tuple:
    while True:
        question, reading, answer, evidence = _yes_no(labels, rng)
        # where moods are told apart, "is she happy" does not ask for a smile
        if "Expression" not in labels or evidence != ("Smiling",) or not MOODS.search(question):
            return question, reading, answer, evidence


def _yes_no(labels: Mapping, rng: random.Random) -> tuple:
    more = _more(labels)
    groups = [label for label in GROUPS if label in LABELS]
    # groups have more values to tell apart
    label = rng.choice((*LABELS, *groups, *groups, "Facial_Hair", *more, *more, *more))
    specs = MORE_SPECS[label] if label in MORE else SPECS[label]
    values = list(specs)
    value = values[rng.random() < 0.2 and len(values) == 2] if label in _FLAG_LIKE else rng.choice(values)
    absent = rng.random() < 0.06
    if label not in MORE and rng.random() < WRITTEN_SHARE:
        value, absent = rng.choice(tuple(WRITTEN["yes_no"][label])), False
        table, words = WRITTEN["yes_no"][label][value], {}
        if value == "either":
            value, words["x"] = _either(label, rng)
        question = _written_question(table, None if label == "Gender" else labels["Gender"], rng, **words)
    else:
        question = _yes_no_question(specs[value], label, labels["Gender"], absent, rng)
    evidence = ("Mustache", "Beard") if label == "Facial_Hair" else (label,)
    return question, _reading(label, value, absent), answer_yes_no(labels, label, value, absent), evidence


def _more(labels: Mapping) -> list[str]:
    """The labels that not every model has."""
    return [label for label in MORE if label in labels]


def _reading(label: str, value: str | bool, absent: bool) -> str:
    """A yes/no question in the words of the fact line: its label and the values for which Yes is right."""
    if label in GROUPS:
        named = named_values(value)
        return " ".join([FACT_NAMES[label], *(fact_value(v) for v in GROUPS[label] if (v in named) != absent)])
    return f"{FACT_NAMES.get(label, 'facial')} {'yes' if value != absent else 'no'}"


def _either(label: str, rng: random.Random) -> tuple[str, str]:
    """Two or three values of a group, and a phrase for them: "black or red", "raven or ginger"."""
    values = rng.sample(tuple(GROUPS[label]), rng.choice((2, 2, 3)))
    shades = [rng.choice(SPECS[label][value]["tint"][:3]).rpartition("=")[2] for value in values]
    return " or ".join(values), " or ".join(filter(None, (", ".join(shades[:-1]), shades[-1])))


def _ask_what(labels: Mapping, rng: random.Random) -> tuple:
    more = _more(labels)
    if more and rng.random() < 0.15 * len(more):
        label = rng.choice(more)
        subject, topic = _subject(rng, labels["Gender"]), MORE_TOPICS[label]
        if rng.random() < 0.4:
            values = [MOOD_WORDS.get(value, value) for value in GROUPS[label]]
            rng.shuffle(values)
            listed = f"{', '.join(values[:-1])} or {values[-1]}"
            question = subject.fill(rng.choice(WHICH), n=rng.choice(topic.nouns), x=listed)
        else:
            question = _open_question(topic, subject, rng)
        return question, f"what {FACT_NAMES[label]}", answer_what(labels, FACT_NAMES[label]), (label,)
    if rng.random() < WRITTEN_SHARE / 2:
        topic = rng.choice(tuple(WRITTEN["what"]))
        question = _written_question(WRITTEN["what"][topic], None if topic == "gender" else labels["Gender"], rng)
    elif rng.random() < 0.3:
        label = rng.choice([label for label in EITHER_OR if label != "Smiling" or "Expression" not in labels])
        question, values = _either_or_question(label, labels["Gender"], rng)
        if values and len(values) < len(GROUPS.get(label, values)):
            # neither may be right: a Yes or No, and then the value, answers it however it was meant
            value = " or ".join(values)
            return question, _reading(label, value, False), answer_yes_no(labels, label, value), (label,)
        topic = EITHER_OR[label]
    else:
        topic = rng.choice(tuple(TOPICS))
        subject = _subject(rng, None if topic == "gender" else labels["Gender"])
        question = _open_question(TOPICS[topic], subject, rng)
    evidence = ("Expression",) if topic == "expression" and "Expression" in more else TOPICS[topic].labels
    return question, f"what {topic}", answer_what(labels, topic), evidence


def _ask_describe(labels: Mapping, rng: random.Random) -> tuple:
    evidence = (*LABELS, "Expression") if "Expression" in labels else LABELS
    return _request("describe", DESCRIBE, labels, rng), "describe", describe(labels), evidence


def _ask_identity(labels: Mapping, rng: random.Random) -> tuple:
    return _request("identity", IDENTIFY, labels, rng), "who", IDENTITY, ()


def _ask_off_topic(labels: Mapping, rng: random.Random) -> tuple:
    while True:
        question, of_person = _off_topic_question(labels, rng)
        # what one model refuses another one can tell
        if not (of_person and any(TELLS_OF[label].search(question) for label in _more(labels))):
            return question, "other", OFF_TOPIC, ()


def _off_topic_question(labels: Mapping, rng: random.Random) -> tuple[str, bool]:
    """A question, and whether it may be about the person."""
    source = rng.random()
    if rng.random() < WRITTEN_SHARE / 2:
        return _written_question(WRITTEN["request"]["off_topic"], labels["Gender"], rng), True
    if source < 0.35:
        return _from_table(GENERAL, labels, rng), False
    if source < 0.55:
        return _yes_no_question(UNKNOWN, "", labels["Gender"], rng.random() < 0.06, rng), True
    if source < 0.78:
        return _open_question(UNKNOWN_TOPIC, _subject(rng, labels["Gender"]), rng), True
    return _about_something_else(rng), False


KINDS = {_ask_yes_no: 60, _ask_what: 17, _ask_describe: 6, _ask_identity: 5, _ask_off_topic: 12}
"""Maker of a question -> its share in percent."""


def _yes_no_question(concept: Mapping, label: str, gender: str, absent: bool, rng: random.Random) -> str:
    """A question whose Yes means that the concept holds or, with `absent`, that it does not."""
    category, phrase = _phrase(concept, rng, without={"at", "none"} if absent else {"at"})
    subject = _subject_for(label, category, gender, rng)
    part, _, phrase = phrase.rpartition("=")
    phrase = subject.fill(_expand(phrase, rng))
    at = f" {subject.fill(rng.choice(concept['at']))}" if "at" in concept and len(phrase.split()) < 4 else ""
    words = {"x": phrase, "b": bare(phrase), "part": part}
    tangible = category in ("noun", "wear", "have", "seen")
    if absent and category in ("noun", "wear") and label in _FLAG_LIKE and rng.random() < 0.7:
        if rng.random() < 0.3:
            return subject.fill(rng.choice(ABSENT_KEYWORDS), **words)
        return _wrap(_clause(_expand(rng.choice(ABSENT_FORMS), rng), subject, **words), rng, label != "")
    if not absent and not part and rng.random() < 0.22:
        return _expand(rng.choice(KEYWORDS["thing" if tangible else "quality"]), rng).format(**words)
    forms = [form for form in FORMS[category] if not (absent and "|there|" in form)]
    form = rng.choice(forms).replace(" <at>", at if rng.random() < 0.4 else "")
    clause = _clause(_expand(form, rng), subject, **words)
    if absent:
        return _expand(rng.choice(TRUTH), rng).format(c=clause.state_not())
    return clause.ask_not() if category != "none" and rng.random() < 0.09 else _wrap(clause, rng)


def _request(kind: str, table: tuple[str, ...], labels: Mapping, rng: random.Random) -> str:
    if rng.random() < WRITTEN_SHARE / 2:
        return _written_question(WRITTEN["request"][kind], labels["Gender"], rng)
    return _from_table(table, labels, rng)


def _written_question(table: list[str], gender: str | None, rng: random.Random, **words: str) -> str:
    """One of the whole sentences in `table`. After the first mention the person is "he", "she" or "they"."""
    text = _CHOICE.sub(lambda match: rng.choice(match[1].split("|")), rng.choice(table)).rstrip(".?")
    text = text if re.match(r"I\b|[A-Z]{2}", text) else text[0].lower() + text[1:]
    subject = _subject(rng, gender)
    first, mention, rest = re.split(r"(\{s\}|\{owner\}|\{o\}|$)", text, maxsplit=1)
    known = (*_PRONOUNS.values(), ("I", "my", "me"))
    pronoun, possessive, objective = next(forms for forms in known if forms[1] == subject.p)
    later = _Subject(pronoun, possessive, possessive, objective)
    text = subject.fill(first + mention, **words) + later.fill(rest, **words)
    for singular, plural in _AGREEMENT.items():
        text = re.sub(rf"\b{singular} they\b", f"{plural} they", text)
        text = re.sub(rf"\bthey {singular}\b", f"they {plural}", text)
        own = {"is": "am", "isn't": "am not", "was": "was"}.get(singular, plural)
        text = re.sub(rf"\b{singular} I\b", f"{own} I".replace("am not I", "am I not"), text)
        text = re.sub(rf"\bI {singular}\b", f"I {own}", text)
    return text


def _either_or_question(label: str, gender: str, rng: random.Random) -> tuple[str, list]:
    """A question that offers two values of the label, in phrases of one category, and those values; none where it asks
    which."""
    values = [value for value in SPECS[label] if label in _FLAG_LIKE or len(named_values(value)) == 1]
    chosen = rng.sample(values, 2)
    left, right = (SPECS[label][value] for value in chosen)
    category = rng.choice([name for name in left if name in right and name not in ("at", "none")])
    part, _, one = rng.choice(left[category]).rpartition("=")
    other = rng.choice(right[category]).rpartition("=")[2]
    subject = _subject_for(label, category, gender, rng)
    phrase = subject.fill(_expand(f"{one} or {other}", rng))
    if rng.random() < 0.2:
        return rng.choice(CHOICES).format(x=phrase), []
    forms = [form for form in FORMS[category] if "{s}" in form or "{owner}" in form]
    clause = _clause(_expand(rng.choice(forms), rng), subject, x=phrase, part=part)
    return _wrap(clause, rng, truth=False), chosen


def _open_question(topic: Topic, subject: _Subject, rng: random.Random) -> str:
    if rng.random() < 0.5:
        noun = rng.choice(topic.nouns)
        frames = [frame for frame in NOUN_FRAMES if noun not in _KEYWORD_NOUNS or not frame.startswith("{n}")]
        return subject.fill(_expand(rng.choice(frames), rng), n=noun, be="are" if _plural(noun) else "is")
    word, _, form = _expand(rng.choice(topic.clauses), rng).partition("|")
    clause = _clause(form, subject)
    if rng.random() < 0.65:
        return f"{word} {clause.ask()}"
    return _expand(rng.choice(INDIRECT), rng).format(c=f"{word} {clause.state()}")


def _about_something_else(rng: random.Random) -> str:
    """A question that would be answered if only it were about the person."""
    concept = rng.choice([spec for values in SPECS.values() for spec in values.values()])
    category, phrase = _phrase(concept, rng, without={"at", "seen"})
    names = ("the <animal>", "the <thing>", "your <kin>", "your <animal>", "my <animal>", "that <thing>")
    name = _expand(rng.choice(names), rng)
    subject = _Subject(name, f"{name}'s", "its", "it")
    part, _, phrase = phrase.rpartition("=")
    forms = [form for form in FORMS[category] if "{s}" in form or "{owner}" in form]
    return _wrap(_clause(rng.choice(forms), subject, x=subject.fill(_expand(phrase, rng)), part=part), rng)


def _from_table(table: tuple[str, ...], labels: Mapping, rng: random.Random) -> str:
    subject = _subject(rng, labels["Gender"])
    text = subject.fill(_expand(rng.choice(table), rng))
    text = re.sub(r"\b(is|does) I\b", lambda match: {"is": "am I", "does": "do I"}[match[1]], text)
    return re.sub(r"\bthey is\b", "they are", re.sub(r"\b(is|does) they\b", _agree, text))


def _agree(match: re.Match) -> str:
    return {"is": "are they", "does": "do they"}[match[1]]


def _wrap(clause: _Clause, rng: random.Random, truth: bool = True) -> str:
    """A clause as a direct question, as a request, or as a statement to confirm (where `truth` allows it)."""
    choice = rng.random()
    if choice < 0.06 and truth:
        return f"{clause.state()}, {clause.tag()}"
    if choice < 0.5:
        adverb = _expand("<adverb>", rng) if rng.random() < 0.15 else ""
        return clause.ask(adverb).replace("someone", rng.choice(("someone", "anyone"))).replace("somebody", "anybody")
    table = ASK if choice < 0.75 else TRUTH if choice < 0.87 and truth else THINK
    return _expand(rng.choice(table), rng).format(c=clause.state())


def _phrase(concept: Mapping, rng: random.Random, without: set[str]) -> tuple[str, str]:
    """A category and one of its phrases; the first phrases, which are the plainest, come more often."""
    pairs = [(category, phrase) for category in concept if category not in without for phrase in concept[category]]
    return rng.choice(pairs[:3] if rng.random() < 0.15 else pairs)


def _subject(rng: random.Random, gender: str | None) -> _Subject:
    """A way to refer to the person: of the given gender, of the other one (people err) or neutral; None: neutral."""
    kind = None
    if rng.random() < OWN_SHARE:
        return _Subject("I", "my", "my", "me")
    if gender is not None:
        kind = rng.choices((gender, "female" if gender == "male" else "male", None), (5, 2, 4))[0]
    pronoun, possessive, objective = _PRONOUNS[kind]
    if rng.random() < (0.2 if kind is None else 0.55):
        owner = "the" if rng.random() < 0.15 else possessive
        return _Subject(pronoun, owner, possessive, objective)
    noun = _expand(rng.choice((_ACQUAINTANCES if rng.random() < 0.25 else _NOUNS)[kind]), rng)
    owners = ("the", possessive, *[f"{noun}'s"] * (2 if len(noun.split()) == 2 and "here" not in noun else 0))
    return _Subject(noun, rng.choice(owners), possessive, noun)


def _subject_for(label: str, category: str, gender: str, rng: random.Random) -> _Subject:
    """A subject that does not give a question about gender away; "this" where the phrase names a kind of person."""
    if category == "kind" and rng.random() < 0.5:
        return _Subject("this", "the", "their", "them")
    return _subject(rng, None if label == "Gender" else gender)


def _expand(text: str, rng: random.Random) -> str:
    """Replaces every <slot>, also those inside the replacements; <3to9> is a number, <made> a name-like word."""
    while match := _SLOT.search(text):
        name = match[1]
        if name in SLOTS:
            word = rng.choice(SLOTS[name])
        elif name == "digit":
            word = str(rng.randint(2, 99))
        elif name == "made":
            word = "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(2, 3))).capitalize()
        elif name == "letters":
            word = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(3, 9)))
        else:
            word = str(rng.randint(*map(int, name.split("to"))))
        text = text[: match.start()] + word + text[match.end() :]
    return " ".join(text.split())


def _plural(phrase: str) -> bool:
    """Whether a noun phrase takes a plural verb, judged by the last word before a preposition."""
    head = re.split(r" (?:on|in|at|of|or|around|under|over|above|to|here|shown)\b", phrase)[0]
    word = head.split()[-1]
    mass = word.endswith(("ss", "us", "is")) or not word.endswith("s")
    return word in ("they", "teeth") or not (mass or re.match(r"an? ", head))


_KEYWORD_NOUNS = {
    bare(phrase) for values in SPECS.values() for concept in values.values()
    for category in ("noun", "wear", "have") for phrase in concept.get(category, ())
}  # fmt: skip
"""Nouns that alone ("facial hair?") are a yes/no question."""


_IMPERATIVE = re.compile(
    r"^(?:\w+, )?(?:please |kindly |try to )?"
    r"(?:tell|describe|name|state|give|report|check|look|caption|identify|write|list"
    r"|say|see|let|detect|find|judge|verify|determine|work|make|summarize|confirm|I (?:want|need|wonder)|I'[dm])\b",
    re.IGNORECASE,
)


def _surface(text: str, rng: random.Random) -> str:
    """The question as somebody types it: openers, closers, contractions, capitals, punctuation, a rare typo, and what
    else they say."""
    text = re.sub(r" +([,:;.])", r"\1", " ".join(text.split()))
    text = re.sub(r"\bthey (is|has|does)\b", lambda m: "they " + {"is": "are", "has": "have", "does": "do"}[m[1]], text)
    if rng.random() < 0.5:
        text = re.sub(r"\b([Ww]hat|[Ww]ho|[Hh]e|[Ss]he|there) is\b(?! *$)", r"\1's", text)
    if rng.random() < 0.3:
        text = re.sub(r"\b(is|are|does|do|has|have) not\b", r"\1n't", text).replace("can not", "can't")
    if rng.random() < 0.12:
        text = f"{_expand(rng.choice(SLOTS['opener']), rng)}, {text}"
    if rng.random() < 0.15 and not re.search("[,:]| in th| here| please", text):
        text = f"{text} {_expand(rng.choice(SLOTS['closer']), rng)}".replace(" ,", ",")
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
    before = rng.choice(WRITTEN["around"]["before"]) + " " if rng.random() < BEFORE_SHARE else ""
    after = " " + rng.choice(WRITTEN["around"]["after"]) if rng.random() < AFTER_SHARE else ""
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
