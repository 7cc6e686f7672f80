"""The cache on disk: compiled plans, timings and kernels, which only save time.

Its files are in $FACEINSIGHT_CACHE or ~/.cache/faceinsight, and a user may delete them. A file holds the SHA-256 of its
content and then the content, so that a damaged file is noticed. A file that cannot be read or written is skipped with
one line of warning.
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
"""A file that was not used for this many days is deleted."""


def directory() -> Path:
    """Returns the folder of the cache, which may not exist yet."""
    return Path(os.environ.get("FACEINSIGHT_CACHE") or Path.home() / ".cache" / "faceinsight")


def of_gpu(folder: str, library: str, name: str, sm: int) -> Path:
    """Returns the path of a file that belongs to one GPU.

    folder: its folder in the cache. library: name and version of the library that wrote it. name, sm: the name and the
    compute capability (89 for 8.9) of the GPU.
    """
    return directory() / folder / f"{library}-sm{sm}-{''.join(c if c.isalnum() else '-' for c in name)}"


def read(path: Path) -> bytes | None:
    """Returns the content of a file, or None if the file does not exist or is damaged."""
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
        os.utime(path)  # marks it as used
    return content


def write(path: Path, content: bytes) -> None:
    """Writes a file, whole or not at all, and deletes the files of its folder that were not used for long."""
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
        with contextlib.suppress(OSError):  # another process deleted it first
            if path.suffix != ".lock" and path.stat().st_mtime < oldest:
                path.unlink()


def warn(message: str) -> None:
    """Prints a warning about the cache on stderr."""
    print(f"cache: {message}", file=sys.stderr)
