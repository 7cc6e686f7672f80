"""How people speak of faces: data in TOML files, read when first needed.

labels/<Label>.toml holds what is known of one label (phrases, sentences, written questions, what evaluation asks),
topics/<topic>.toml of several labels that are asked for at once. grammar.toml, slots.toml and numbers.toml hold the
forms that all share, describe.toml, identify.toml and off_topic.toml the other requests, around.toml what is said
beside any. A label without a file is spoken of by its `phrases` in the vocabulary, or by its name.
"""

from __future__ import annotations

import functools

from faceinsight.runtime.label import Label

from .files import FOLDER
from .general import general_language
from .languages import Asked, LabelLanguage, Open, TopicLanguage
from .written import of_label, of_topic

__all__ = ["Asked", "LabelLanguage", "Open", "TopicLanguage", "label_language", "topic_language"]


@functools.lru_cache(maxsize=256)
def label_language(label: Label) -> LabelLanguage:
    """What the file labels/<name>.toml says of a label, or what follows from its phrases and its name.

    Raises InputError that names the file and what it lacks, or what is wrong with the label's phrases.
    """
    path = FOLDER / "labels" / f"{label.name}.toml"
    written = of_label(path, label) if path.exists() else None
    return written or general_language(label)


@functools.cache
def topic_language(name: str) -> TopicLanguage:
    """What the file of a topic says, or what follows from its name. Raises InputError that names what a file lacks."""
    path = FOLDER / "topics" / f"{name.replace(' ', '_')}.toml"
    return of_topic(path) if path.exists() else TopicLanguage(Open((name,)))
