"""What earlier builds already did: compiled plans, and TensorRT's timings of its kernels."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import onnx
from filelock import FileLock

from faceinsight.runtime.cache import directory, of_gpu, read, warn, write

_FORMAT = 1
"""In every key, so that what another version compiled differently is not found."""


def plan_path(key: str) -> Path:
    return directory() / "plans" / key


def timing_path(target: str, version: str, gpu: dict) -> Path:
    """One file for each library, version and GPU, for timings say nothing about others."""
    return of_gpu("timings", f"{target}-{version}", gpu["name"], gpu["sm"])


def fingerprint(graph: onnx.ModelProto, *circumstances) -> str:
    """SHA-256 over the graph, weights included, and all else that decides what comes of it (as JSON)."""
    digest = hashlib.sha256(json.dumps([_FORMAT, *circumstances]).encode())
    body = graph.graph
    # piece by piece: the whole may exceed what protobuf writes
    for piece in (*graph.opset_import, *body.input, *body.output, *body.node, *body.initializer):
        content = piece.SerializeToString(deterministic=True)
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()


class TimingCache:
    """The library's timings, in the file of `timing_path`; several builds may use it at once."""

    def __init__(self, path: Path, config):
        """config: the library's IBuilderConfig, whose build then reads them and adds its own."""
        self._path, self._config = path, config
        self._timings = self._opened(read(path) or b"")
        if not config.set_timing_cache(self._timings, False):
            warn(f"{path} is of another library or GPU; it is made anew")
            self._timings = self._opened(b"")
            config.set_timing_cache(self._timings, False)

    def _opened(self, content: bytes):
        # None is what the library makes of timings that it cannot read
        return self._config.create_timing_cache(content) or self._config.create_timing_cache(b"")

    def save(self) -> None:
        """Together with what others have saved since it was read."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self._path}.lock", timeout=60):
                if others := read(self._path):
                    self._timings.combine(self._opened(others), False)
                write(self._path, bytes(self._timings.serialize()))
        except OSError as error:
            warn(f"cannot save timings to {self._path}: {error}")
