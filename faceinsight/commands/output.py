"""What verbs print: JSON documents, and tables that are drawn on a terminal and tab-separated in a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence


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
