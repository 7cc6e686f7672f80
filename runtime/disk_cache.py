"""Files that only save time: compiled plans, timings, kernels. They lie in $FACEINSIGHT_CACHE or ~/.cache/faceinsight,
and a user may delete them.

A file holds the SHA-256 of its content and then the content, so a damaged one is noticed. A file that cannot be read or
written is skipped with one line of warning.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import time
from pathlib import Path

from .files import replacing_file

UNUSED_DAYS = 30
"""A file that has not been used for so many days is deleted."""


def directory() -> Path:
    """The folder of the cache; it may not exist yet."""
    return Path(os.environ.get("FACEINSIGHT_CACHE") or Path.home() / ".cache" / "faceinsight")


def of_gpu(folder: str, library: str, name: str, sm: int) -> Path:
    """The path of a file about one GPU.

    folder: its folder in the cache. library: name and version of the library that wrote it. name, sm: the name and the
    compute capability (89 for 8.9) of the GPU.
    """
    return directory() / folder / f"{library}-sm{sm}-{''.join(c if c.isalnum() else '-' for c in name)}"


def read(path: Path) -> bytes | None:
    """The content of a file; None if there is no such file or it is damaged."""
    try:
        stored = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        return warn(f"cannot read {path}: {error.strerror}")
    content = stored[32:]
    if hashlib.sha256(content).digest() != stored[:32]:
        return warn(f"{path} is damaged; it is made anew")
    with contextlib.suppress(OSError):
        os.utime(path)  # it is in use
    return content


def write(path: Path, content: bytes) -> None:
    """Writes the file, whole or not at all, and deletes the unused files of its folder."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(path) as beside, open(beside, "wb") as file:
            file.write(hashlib.sha256(content).digest())
            file.write(content)
        _delete_unused(path.parent)
    except OSError as error:
        warn(f"cannot write {path}: {error.strerror}")


def _delete_unused(folder: Path) -> None:
    oldest = time.time() - UNUSED_DAYS * 86400
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another process was faster
            if path.suffix != ".lock" and path.stat().st_mtime < oldest:
                path.unlink()


def warn(message: str) -> None:
    """Prints one line about the cache on stderr."""
    print(f"cache: {message}", file=sys.stderr)
