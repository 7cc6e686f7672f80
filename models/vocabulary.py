"""Reads vocabularies from files: the ready-made ones of models/vocabularies, and a user's own."""

from __future__ import annotations

import tomllib
from pathlib import Path

from faceinsight.runtime.errors import InputError
from faceinsight.runtime.vocabulary import Vocabulary

from .data.language import label_language

FOLDER = Path(__file__).with_name("vocabularies")


def ready_made() -> tuple[str, ...]:
    """Names of the vocabularies that come with the project."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def load_vocabulary(*sources: str | Path) -> Vocabulary:
    """Reads one vocabulary, or several combined in the order given.

    sources: each the name of a ready-made one ("nano") or a .toml file with one entry for each label. Raises InputError
    for an unknown name, and for a file, whose message names what a label lacks.
    """
    first, *others = (_read(source) for source in sources)
    vocabulary = first.combined(*others)
    for label in vocabulary:
        if label.phrases:
            label_language(label)  # raises InputError for phrases that no question can be made of
    return vocabulary


def _read(source: str | Path) -> Vocabulary:
    path = Path(source)
    if path.suffix != ".toml":
        path = FOLDER / f"{source}.toml"
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"no such vocabulary: {source}; give a .toml file, or one of: {', '.join(ready_made())}"
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"the vocabulary {source} cannot be read: {error}") from error
    try:
        return Vocabulary.from_json(data)
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from error
