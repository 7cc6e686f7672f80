"""The model directory: where nano's lies, and the hash that says which model a directory holds."""

from __future__ import annotations

import hashlib
from pathlib import Path

from .faceinsight import TOKENIZER, WEIGHTS


def model_directory(given: str | Path | None) -> Path:
    """The directory that was given, or that of the bundled nano checkpoint if None."""
    return Path(given) if given else Path(__file__).with_name("nano")


def model_hash(model_dir: str | Path) -> str:
    """SHA-256 over config, weights and tokenizer, in hexadecimal."""
    digest = hashlib.sha256()
    for name in ("config.json", WEIGHTS, TOKENIZER):
        digest.update((Path(model_dir) / name).read_bytes())
    return digest.hexdigest()
