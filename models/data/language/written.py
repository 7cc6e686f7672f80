"""Reads the files of labels and topics."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from pathlib import Path

from faceinsight.runtime.label import Bounds, Label, fact_value
from faceinsight.runtime.reading import of_bounds, read
from faceinsight.runtime.vocabulary import Vocabulary

from .files import FOLDER, Concept, Table, value_of
from .grammar import SUBJECT, grammar
from .languages import COMPARISONS, SENTENCE, Asked, Case, LabelLanguage, Open, TopicLanguage, Value


def of_label(path: Path, label: Label) -> LabelLanguage | None:
    """What a file says of a label; None where it is about another label of the same name, with other values.

    Raises InputError that names what the file lacks.
    """
    file = _LabelFile(Table.read(path), label)
    return file.language() if file.is_about_label() else None


def of_topic(path: Path) -> TopicLanguage:
    """What a file says of a topic. Raises InputError that names what it lacks."""
    table = Table.read(path)
    table.known(("open", "answers", "phrases", "written", "alternatives"))
    answers = tuple(case(table, item) for item in table.data.get("answers", ()))
    told = TopicLanguage(
        open_question(table), answers, _concepts(table), _questions(table), table.text("alternatives", "")
    )
    table.checked()
    return told


def untold(vocabulary: Vocabulary) -> tuple[tuple[str, ...], ...]:
    """Written questions about labels that the vocabulary cannot tell, neither by their names nor by their `kin`."""
    tables = (table for names, table in _all_written() if not any(name in vocabulary for name in names))
    return tuple(questions for table in tables for questions in table)


@functools.cache
def _all_written() -> tuple[tuple[tuple[str, ...], tuple[tuple[str, ...], ...]], ...]:
    """For each file of a label: the label and its kin, and the lists of its written questions."""
    found = []
    for path in sorted((FOLDER / "labels").glob("*.toml")):
        table = Table.read(path)
        written = table.table("written").items()
        questions = (tuple(items) for key, items in written if key not in ("either", *COMPARISONS))
        found.append(((path.stem, *table.data.get("kin", ())), tuple(questions)))
    return tuple(found)


def of_range(label: Label, key: str, absent: bool = False) -> str:
    """The reading of a key of a number's tables, "<35" or "left or right"; with `absent`, of all other numbers."""
    names = key.split(" or ")
    groups = tuple(name for name, _ in label.groups.values) if label.groups else ()
    if set(names) <= set(groups):
        return " ".join([label.groups.word, *(fact_value(name) for name in groups if (name in names) != absent)])
    reading = " ".join([label.word, *names])
    return of_bounds(label, *others(read(reading, Vocabulary((label,))).bounds)) if absent else reading


def others(ranges: tuple[Bounds, ...]) -> tuple[Bounds, ...]:
    """The numbers outside of all ranges, which are sorted."""
    ends = (-math.inf, *(end for bounds in ranges for end in bounds), math.inf)
    return tuple(bounds for bounds in zip(ends[::2], ends[1::2], strict=True) if bounds[0] < bounds[1])


def case(table: Table, item: Mapping) -> Case:
    """One item of a list of cases in a file."""
    say, when, held = item.get("say", ""), item.get("when", {}), item.get("held", "")
    table.check(isinstance(say, str) and say != "", f"the answer {item!r} lacks what to say")
    table.check(held in ("", "none", "some", "all"), f"held is {held!r}; use none, some, all")
    unknown = [
        slot for slot in re.findall(r"\{([a-z]\w*)\}", say) if slot not in (*SENTENCE[:-1], "held", "missing", "bare")
    ]
    table.check(not unknown, f"the answer {say!r} has unknown slots {', '.join(unknown)}")
    return Case(say, when, held)


def open_question(table: Table) -> Open:
    """The table "open" of a file."""
    data = Table(f"{table.name}, open", table.table("open"))
    data.known(("nouns", "clauses", "written"))
    clauses = data.listed(data.data["clauses"], "clauses", SUBJECT) if "clauses" in data.data else ()
    faulty = [clause for clause in clauses if clause.count("|") != 3]
    data.check(not faulty, f"clauses {', '.join(faulty)} are not wh|auxiliary|subject|rest")
    written = data.listed(data.data["written"], "written", SUBJECT) if "written" in data.data else ()
    found = Open(data.texts("nouns"), clauses, written)
    data.checked()
    return found


def stems(words: tuple[str, ...]) -> re.Pattern | None:
    """Finds any of these regular expressions, from a word's start."""
    return re.compile(rf"\b(?:{'|'.join(words)})", re.IGNORECASE) if words else None


def _concepts(table: Table) -> dict[Value, Concept]:
    known = grammar().categories
    return {
        value_of(key): table.concept(value, f"phrases.{key}", known, SUBJECT)
        for key, value in table.table("phrases").items()
    }


def _questions(table: Table) -> dict[Value, tuple[str, ...]]:
    filled = {"either": ("x",), **dict.fromkeys(COMPARISONS, ("n", "m"))}
    return {
        value_of(key): table.listed(value, f"written.{key}", (*SUBJECT, *filled.get(key, ())))
        for key, value in table.table("written").items()
    }


class _LabelFile:
    """Reads one file of labels/ for a label."""

    KEYS = (
        "says", "words", "asked", "phrases", "written", "spans", "open", "alternatives", "comparisons", "near",
        "pronouns", "slots", "replies", "faint_replies", "tells", "claims", "like", "values", "kin",
    )  # fmt: skip

    def __init__(self, table: Table, label: Label):
        self.table, self.label = self.borrowed(table), label
        self.values = label.value_names

    def borrowed(self, table: Table) -> Table:
        """The file; what it lacks is taken from that of the label that it is `like`; `values`: its own value -> that
        label's."""
        if "like" not in table.data:
            return table
        other = Table.read(FOLDER / "labels" / f"{table.text('like')}.toml")
        own = {theirs: mine for mine, theirs in table.table("values").items()}
        data = {key: other.data[key] for key in ("open",) if key in other.data}
        for key in ("words", "phrases", "written", "pronouns", "replies"):
            data[key] = {own[value]: item for value, item in other.table(key).items() if value in own}
        says, words = other.data["says"], other.table("words")
        if isinstance(says, str):
            says = {value: says.replace("{value}", words.get(value, value)) for value in own}
        data["says"] = {own[value]: text for value, text in says.items() if value in own} | table.table("says")
        for name, item in other.table("asked").items():
            if values := [own[value] for value in item.get("values", ["yes"]) if value in own]:
                data.setdefault("asked", {})[name] = item | {"values": values}
        kept = {key: value for key, value in table.data.items() if key not in ("like", "values", "says")}
        return Table(table.name, data | kept)

    def is_about_label(self) -> bool:
        """Whether the file knows any of the label's values."""
        if self.label.kind == "number":
            return "comparisons" in self.table.data or any(map(self.is_range, self.table.table("phrases")))
        return not {value_of(key) for key in self.table.table("phrases")}.isdisjoint(self.values)

    def language(self) -> LabelLanguage:
        table = self.table
        table.known(self.KEYS)
        spans = self.spans()
        compared = tuple(table.table("comparisons"))
        phrases, written = self.of_values(_concepts(table), spans), self.of_values(_questions(table), spans, compared)
        if self.label.kind != "number":
            needed = [value for value in self.values if value is not False]
            lacking = [str(value) for value in needed if value not in phrases]
            table.check(not lacking, f"phrases for {', '.join(lacking)} are missing")
        if "alternatives" in table.data:
            shared = functools.reduce(set.__and__, (set(phrases.get(value, ())) for value in self.values))
            table.check(bool(shared - {"at", "none"}), "alternatives need a category of phrases that all values have")
        concept = {
            kind: table.concept(value, f"comparisons.{kind}", grammar().categories, (*SUBJECT, "n", "m"))
            for kind, value in table.table("comparisons").items()
        }
        unknown = [kind for kind in concept if kind not in COMPARISONS]
        table.check(not unknown, f"unknown comparisons {', '.join(unknown)}; known are {', '.join(COMPARISONS)}")
        if self.label.kind == "number" and (concept or not phrases):
            lacking = [kind for kind in COMPARISONS[:5] if kind not in concept]
            table.check(not lacking, f"comparisons {', '.join(lacking)} are missing")
        slots = {slot: self.keyed(texts) for slot, texts in table.table("slots").items()}
        unknown = [slot for slot in slots if slot not in grammar().sentence_slots]
        table.check(not unknown, f"slots {', '.join(unknown)} are not declared in grammar.toml")
        pronouns = self.keyed(table.table("pronouns"))
        told = LabelLanguage(
            self.says(), self.asked(), self.words(), phrases, written, spans,
            open_question(table) if "open" in table.data else None, table.text("alternatives", ""), concept,
            table.data.get("near", 0.0), pronouns, slots, self.keyed(table.table("replies")),
            self.keyed(table.table("faint_replies")), stems(tuple(table.data.get("tells", ()))),
            {name: stems(tuple(words)) for name, words in table.table("claims").items()},
        )  # fmt: skip
        table.checked()
        return told

    def keyed(self, data: Mapping) -> dict[Value, str]:
        return {value_of(key): text for key, text in data.items()}

    def words(self) -> dict[Value, str]:
        plain = {value: value for value in self.values} if self.label.kind == "choice" else {}
        return plain | self.keyed(self.table.table("words"))

    def says(self) -> dict[Value, str]:
        given, label, allowed = self.table.data.get("says"), self.label, (*SENTENCE, *grammar().sentence_slots)
        if isinstance(given, str):
            self.table.slots([given], "says", allowed)
            self.table.check("{value}" in given, f"says is {given!r}; it lacks {{value}}")
            if label.kind == "number":
                return {"": given}
            return {value: given.replace("{value}", str(self.words().get(value, value))) for value in self.values}
        found = self.keyed(given) if isinstance(given, Mapping) else {}
        lacking = [key for key in map(_key, self.values or ("",)) if value_of(key) not in found]
        self.table.check(not lacking, f"says nothing for {', '.join(lacking)}")
        self.table.slots(found.values(), "says", allowed)
        return found

    def asked(self) -> dict[str, Asked]:
        found = {}
        for name, item in self.table.table("asked").items():
            values = item.get("values", ["yes"] if self.label.kind == "flag" else None)
            known = None if values is None else tuple(map(value_of, values))
            unknown = [value for value in known or () if value not in self.values]
            self.table.check("question" in item, f"asked.{name} lacks its question")
            self.table.check(not unknown, f"asked.{name} names unknown values {unknown}")
            found[name] = Asked(item.get("question", ""), known)
        self.table.check(bool(found), "asked is missing")
        return found

    def spans(self) -> dict[Value, tuple[Value, ...]]:
        """Names of several values: the written ones, and "a or b"."""
        spans = {name: tuple(values) for name, values in self.table.table("spans").items()}
        for key in (*self.table.table("phrases"), *self.table.table("written")):
            if " or " in key:
                spans[key] = tuple(key.split(" or "))
        return {name: values for name, values in spans.items() if set(values) <= set(self.values)}

    def of_values(self, found: dict, spans: Mapping, kinds: tuple[str, ...] = ()) -> dict:
        """What is about values that the label has; a file may tell more of them. Of a number, what is about ranges, or
        about these kinds of comparisons."""
        if self.label.kind != "number":
            return {key: value for key, value in found.items() if key in self.values or key in spans or key == "either"}
        unknown = [key for key in found if not (key in kinds or self.is_range(key))]
        self.table.check(
            not unknown, f"{', '.join(unknown)} are no ranges; write <35, >=65, 30..40 or the name of a group"
        )
        return found

    def is_range(self, key: str) -> bool:
        return bool(read(of_range(self.label, key), Vocabulary((self.label,))).bounds)


def _key(value: Value) -> str:
    return {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value
