"""Files that only save time: compiled plans, timings, kernels. They lie in $FACEINSIGHT_CACHE, or ~/.cache/faceinsight,
and may be deleted.

A file is its content's SHA-256 and the content, so a damaged one is found; what cannot be read or written is left out
with one line of warning.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
import time
from pathlib import Path

UNUSED_DAYS = 30
"""What has not been used for so long is deleted."""


def directory() -> Path:
    return Path(os.environ.get("FACEINSIGHT_CACHE") or Path.home() / ".cache" / "faceinsight")


def of_gpu(folder: str, library: str, name: str, sm: int) -> Path:
    """The file of what holds for one library (with its version) and one GPU."""
    return directory() / folder / f"{library}-sm{sm}-{''.join(c if c.isalnum() else '-' for c in name)}"


def read(path: Path) -> bytes | None:
    """The content of a file; None where there is none, or a damaged one."""
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
    """Beside it first, so that no other process ever reads half a file. Deletes what is old in the same folder."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=".")
        try:
            with open(handle, "wb") as file:
                file.write(hashlib.sha256(content).digest())
                file.write(content)
            os.replace(beside, path)
        except BaseException:
            os.unlink(beside)
            raise
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
    print(f"cache: {message}", file=sys.stderr)
