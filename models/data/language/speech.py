"""The language of a whole vocabulary: of its labels and topics together."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass

from faceinsight.runtime.label import Label
from faceinsight.runtime.vocabulary import Topic, Vocabulary

from . import label_language, topic_language
from .files import FOLDER, Table
from .grammar import agree, bare, grammar, join
from .languages import Case, LabelLanguage, TopicLanguage, Value
from .written import case


@dataclass(frozen=True)
class Speech:
    """labels, topics: name -> language, of all that the vocabulary has."""

    vocabulary: Vocabulary
    labels: Mapping[str, LabelLanguage]
    topics: Mapping[str, TopicLanguage]

    @functools.cached_property
    def _words(self) -> dict[str, Label]:
        words = {label.word: label for label in self.vocabulary}
        return words | {label.groups.word: label for label in self.vocabulary if label.groups}

    @functools.cached_property
    def _names(self) -> dict[str, Label]:
        names = {label.name: label for label in self.vocabulary}
        return names | {label.groups.name: label for label in self.vocabulary if label.groups}

    @functools.cached_property
    def _topics(self) -> dict[str, Topic]:
        return {topic.name: topic for topic in self.vocabulary.topics}

    def label_of_word(self, word: str) -> Label | None:
        """The label with a fact word, or a number whose groups have it."""
        return self._words.get(word)

    def topic(self, name: str) -> Topic | None:
        """The topic of a name."""
        return self._topics.get(name)

    def topic_of_word(self, word: str) -> Topic | None:
        """The topic with a word in yes/no readings."""
        return next((topic for topic in self.vocabulary.topics if topic.word == word), None)

    def pronoun(self, labels: Mapping) -> str:
        """ "he" or "she" as the labels tell; "they" where they do not."""
        found = (told.pronouns.get(labels.get(name)) for name, told in self.labels.items() if told.pronouns)
        return next(filter(None, found), "they")

    def sentence(self, labels: Mapping, name: str) -> str:
        """What tells the value of a label, without capital and full stop. name: of a label, or of a number's groups."""
        label = self._names[name]
        told, value = self.labels[label.name], labels[label.name]
        if label.kind != "number":
            return self._fill(told.says[value], labels)
        said = told.says[""]
        if label.groups and (word := told.words.get(label.groups.of(value))):
            said, value = said.replace("{value}", word), abs(value)
        text = self._fill(said, labels, value=f"{value:g}")
        return text.replace(f" 1 {label.unit}", f" 1 {label.unit.removesuffix('s')}")

    def topic_sentence(self, labels: Mapping, name: str) -> str:
        """What tells a topic: its own answer, or what tells each of its labels."""
        topic = self._topics[name]
        found = self.first_case(self.topics[name].answers, labels, topic.labels)
        told = (self.sentence(labels, label) for label in dict.fromkeys(topic.labels))
        return found if found is not None else join(list(told), "and")

    def first_case(self, cases: tuple[Case, ...], labels: Mapping, flags: tuple[str, ...] = ()) -> str | None:
        """The sentence of the first case that fits the labels; None where none does. flags: names of what {held}
        lists."""
        flags = tuple(name for name in flags if labels.get(name) in (True, False))
        for item in cases:
            held = [name for name in flags if labels[name]]
            count = {"": True, "none": flags and not held, "some": held, "all": held and len(held) == len(flags)}[
                item.held
            ]
            if count and item.names <= self.labels.keys() and all(labels[n] == value for n, value in item.when.items()):
                return self._fill(item.say, labels, **self._lists(flags, held))
        return None

    def _lists(self, flags: tuple[str, ...], held: list[str]) -> dict[str, str]:
        def called(name: str) -> str:
            return self.labels[name].words.get(True, name)

        missing = [called(name) for name in flags if name not in held]
        return {
            "held": join([called(name) for name in held], "and") if held else "",
            "missing": join(missing, "or") if missing else "",
            "bare": join([bare(thing) for thing in missing], "or") if missing else "",
        }

    def _fill(self, sentence: str, labels: Mapping, **more: str) -> str:
        pronoun = self.pronoun(labels)
        several = pronoun == "they"
        _, possessive, objective = grammar().pronouns[pronoun]
        known = {
            "he": pronoun, "his": possessive, "him": objective, "is": "are" if several else "is",
            "has": "have" if several else "has", "does": "do" if several else "does",
            "s": "" if several else "s", "es": "" if several else "es",
        }  # fmt: skip
        known |= more

        def slot(match: re.Match) -> str:
            name, says = match[1], match[2]
            if name in known:
                return known[name]
            if name in self.labels:
                return self.sentence(labels, name) if says else self._called(name, labels[name])
            return self._slot(name, labels)

        return agree(re.sub(r"\{(\w+)(\.says)?\}", slot, sentence))

    def _called(self, name: str, value: Value | float) -> str:
        words = self.labels[name].words
        return words.get(value, value) if isinstance(value, (str, bool)) else f"{value:g}"

    def _slot(self, name: str, labels: Mapping) -> str:
        """What the labels give for a slot such as {rest}; nothing where none of them does."""
        for label, told in self.labels.items():
            if text := told.slots.get(name, {}).get(labels.get(label)):
                return text
        return ""

    def description(self, labels: Mapping) -> list[str]:
        """Sentences about the whole face, without full stops: the written ones, then one for each label that they do
        not speak of; of flags only for those that hold, unless nothing else is said."""
        said, covered = [], set()
        for item in _description():
            names = {name for option in item.cases if option.names <= self.labels.keys() for name in option.names}
            flags: tuple[str, ...] = ()
            cases = item.cases
            if item.topic:
                topic = self._topics.get(item.topic)
                if topic is None or not item.when.keys() <= self.labels.keys():
                    continue
                flags, names = topic.labels, {*names, *topic.labels}
                cases = cases or self.topics[item.topic].answers
            if all(labels[name] == value for name, value in item.when.items()):
                found = self.first_case(cases, labels, flags)
                if item.topic and found is None:
                    continue
                said += [found] if found is not None else []
            covered |= names
        rest = [label for label in self.vocabulary if label.name not in covered]
        flags = [label for label in rest if label.kind == "flag"]
        held = [label for label in flags if labels[label.name]]
        left_out = [label for label in flags if label not in held] if said or len(rest) > len(flags) or held else []
        said += _merged([self.sentence(labels, label.name) for label in rest if label not in left_out])
        # where the gender is told, the first sentence names the person
        return said if re.match(r"an? ", said[0]) else [f"the face: {said[0]}", *said[1:]]


def _merged(sentences: list[str]) -> list[str]:
    """Sentences with the same beginning ("she has") as one."""
    ends: dict[str, list[str]] = {}
    for text in sentences:
        match = re.match(
            r"(?:he|she|they) (?:has|have|is wearing|are wearing|is|are) (?!not )|\w+ (?:remaining )?hair is (?!not )",
            text,
        )
        ends.setdefault(match[0] if match else text, []).append(text[match.end() :] if match else "")
    return [begin + (join(found, "and") if any(found) else "") for begin, found in ends.items()]


@dataclass(frozen=True)
class _Part:
    """One sentence of a description. topic: whose flags it lists, and whose answers it takes where it has no cases."""

    cases: tuple[Case, ...]
    topic: str
    when: Mapping[str, Value]


@functools.cache
def _description() -> tuple[_Part, ...]:
    table = Table.read(FOLDER / "describe.toml")
    parts = []
    for item in table.data.get("sentences", ()):
        cases = tuple(case(table, option) for option in item.get("cases", ()))
        parts.append(_Part(cases, item.get("topic", ""), item.get("when", {})))
    table.check(bool(parts), "sentences are missing")
    table.checked()
    return tuple(parts)


@functools.lru_cache(maxsize=16)
def speech_of(vocabulary: Vocabulary) -> Speech:
    """Raises InputError that names what a file of the language data lacks, or what is wrong with a label's phrases."""
    labels = {label.name: label_language(label) for label in vocabulary}
    return Speech(vocabulary, labels, {topic.name: topic_language(topic.name) for topic in vocabulary.topics})
