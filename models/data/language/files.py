"""Reads the files of the language data, and says what they lack."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from faceinsight.runtime.errors import InputError

FOLDER = Path(__file__).parent
Concept = Mapping[str, tuple[str, ...]]
"""Grammatical category -> phrases of one thing that can be asked."""

_SLOT = re.compile(r"\{([^{}]*)\}")
_FLAGS = {"yes": True, "no": False}


def value_of(key: str) -> str | bool:
    """A key of a table of values: "yes" and "no" are those of a flag."""
    return _FLAGS.get(key, key)


class Table:
    """One file, or what a vocabulary says in its place. It collects the faults that reading finds."""

    def __init__(self, name: str, data: Mapping):
        """name: how messages call it."""
        self.name, self.data, self.faults = name, data, []

    @classmethod
    def read(cls, path: Path) -> Table:
        """Raises InputError for a file that cannot be read."""
        name = "/".join(path.parts[-2:]) if path.parent != FOLDER else path.name
        try:
            return cls(name, tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise InputError(f"the language data {name} cannot be read: {error}") from error

    def checked(self) -> None:
        """Raises InputError that names the file and every fault that was found."""
        if self.faults:
            raise InputError(f"language data {self.name}: {'; '.join(self.faults)}")

    def check(self, holds: bool, fault: str) -> None:
        """Notes the fault unless the condition holds."""
        if not holds:
            self.faults.append(fault)

    def known(self, keys: Collection[str]) -> None:
        """Notes keys that nobody reads."""
        unknown = sorted(set(self.data) - set(keys))
        self.check(not unknown, f"unknown keys {', '.join(unknown)}; known are {', '.join(keys)}")

    def table(self, key: str) -> Mapping:
        """A table, empty where it is absent."""
        value = self.data.get(key, {})
        self.check(isinstance(value, Mapping), f"{key} is {value!r}; it is a table")
        return value if isinstance(value, Mapping) else {}

    def text(self, key: str, default: str | None = None) -> str:
        """A text; without a default it has to be there."""
        value = self.data.get(key, default)
        self.check(
            isinstance(value, str), f"{key} is missing" if value is None else f"{key} is {value!r}; it is a text"
        )
        return value if isinstance(value, str) else ""

    def texts(self, key: str, slots: Collection[str] | None = None) -> tuple[str, ...]:
        """A list of texts, which has to be there; slots: the names that may stand between { and } in them."""
        if key not in self.data:
            self.faults.append(f"{key} is missing")
            return ()
        return self.listed(self.data[key], key, slots)

    def listed(self, value: object, where: str, slots: Collection[str] | None = None) -> tuple[str, ...]:
        """A list of texts that stands at `where`."""
        if not isinstance(value, (list, tuple)) or not value or not all(isinstance(item, str) for item in value):
            self.faults.append(f"{where} is {value!r}; it is a list of texts")
            return ()
        if slots is not None:
            self.slots(value, where, slots)
        return tuple(value)

    def slots(self, texts: Iterable[str], where: str, slots: Collection[str]) -> None:
        """Notes names between { and } that are none of `slots`."""
        unknown = sorted({name for text in texts for name in _SLOT.findall(text)} - set(slots))
        self.check(not unknown, f"{where} has unknown slots {', '.join(unknown)}; known are {', '.join(slots)}")

    def concept(self, value: object, where: str, categories: Collection[str], slots: Collection[str]) -> Concept:
        """A table of phrases by category."""
        if not isinstance(value, Mapping) or not value:
            self.faults.append(f"{where} is {value!r}; it is a table: category -> list of phrases")
            return {}
        unknown = [category for category in value if category not in categories]
        self.check(
            not unknown, f"{where} has unknown categories {', '.join(unknown)}; known are {', '.join(categories)}"
        )
        return {category: self.listed(items, f"{where}.{category}", slots) for category, items in value.items()}
