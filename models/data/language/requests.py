"""Questions that are about no label: describe a face, who someone is, anything else; and what is said around any."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from .files import FOLDER, Concept, Table
from .grammar import SUBJECT, grammar
from .languages import Open
from .written import open_question


@dataclass(frozen=True)
class Requests:
    """describe, identify, off_topic: frames, in which slots are filled. written: the same names -> whole questions.
    unknown: what is asked about a person that labels do not tell. unknown_open: the same as open questions. before,
    after: what people say around a question."""

    describe: tuple[str, ...]
    identify: tuple[str, ...]
    off_topic: tuple[str, ...]
    written: dict[str, tuple[str, ...]]
    unknown: Concept
    unknown_open: Open
    before: tuple[str, ...]
    after: tuple[str, ...]


@functools.cache
def requests() -> Requests:
    """Reads the files. Raises InputError that names what one of them lacks."""
    frames, written = {}, {}
    for kind in ("describe", "identify", "off_topic"):
        table = Table.read(FOLDER / f"{kind}.toml")
        frames[kind], written[kind] = table.texts("frames", SUBJECT), table.texts("written", SUBJECT)
        table.checked()
    unknown = table.concept(table.table("phrases"), "phrases", grammar().categories, SUBJECT)
    unknown_open, around = open_question(table), Table.read(FOLDER / "around.toml")
    table.checked()
    before, after = around.texts("before"), around.texts("after")
    around.checked()
    return Requests(**frames, written=written, unknown=unknown, unknown_open=unknown_open, before=before, after=after)
