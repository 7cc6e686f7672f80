"""What verbs print: JSON documents, and tables that are drawn on a terminal and tab-separated in a pipe."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Sequence

from faceinsight import Answer, Face


def face_json(face: Face) -> dict:
    """A face as it stands in a JSON document: box in pixels, labels, probabilities, times in ms."""
    return {
        "box": [round(v, 1) for v in face.box],
        "labels": face.labels,
        "attributes": {name: round(p, 4) for name, p in face.attributes.items()},
        "timings": {name: round(ms, 3) for name, ms in face.timings.items()},
    }


def answer_json(question: str, answer: Answer) -> dict:
    """A question and its answer as they stand in a JSON document: every field of `Answer` but the face."""
    item = {f.name: getattr(answer, f.name) for f in dataclasses.fields(answer) if f.name != "face"}
    item["attributes"] = {name: round(p, 4) for name, p in answer.attributes.items()}
    item["timings"] = {name: round(ms, 3) for name, ms in answer.timings.items()}
    return {"question": question} | item


def print_json(document: dict) -> None:
    """Print a document for people and programs: indented."""
    print(json.dumps(document, indent=2))


def print_last_line(document: dict) -> None:
    """Print a benchmark's document on one line, the last one, below what it has shown to people."""
    print(json.dumps(document))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Draw a table on a terminal; print tab-separated lines, without the title, into a pipe."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            print("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, title=Text(title))
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def figure(value: float | None) -> str:
    """A share or an accuracy in three digits; a dash where it is not known."""
    return "-" if value is None else f"{value:.3f}"
