"""Writes files and directories whole or not at all: beside their final place, with a rename at the end."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing_file(path: str | Path) -> Iterator[Path]:
    """Gives the block a path beside `path` to write to, and renames that file to `path` when the block ends.

    If the block or the rename fails, `path` stays as it is and nothing is left beside it. Raises OSError if the rename
    fails.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        yield beside
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


@contextlib.contextmanager
def replacing_directory(directory: str | Path) -> Iterator[Path]:
    """Gives the block a new, empty directory to fill, which takes the place of `directory` when the block ends.

    If the block or the rename fails, `directory` stays as it is and nothing is left beside it. Raises OSError if a
    directory cannot be made or renamed.
    """
    directory = Path(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    old, new = beside / "old", beside / "new"
    try:
        new.mkdir()
        yield new
        if directory.exists():
            os.replace(directory, old)
        try:
            os.replace(new, directory)
        except OSError:
            if old.exists():
                os.replace(old, directory)
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
