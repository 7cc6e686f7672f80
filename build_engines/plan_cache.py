"""What earlier builds left on disk to save time: compiled plans, and TensorRT's timings of its kernels."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import onnx
from filelock import FileLock

from faceinsight.runtime.disk_cache import directory, of_gpu, read, warn, write
from faceinsight.runtime.manifest import Gpu

FORMAT = 1
"""It is a part of every key; raise it when the same graph is compiled differently."""


def plan_path(key: str) -> Path:
    """The file of a compiled plan. key: see `fingerprint`."""
    return directory() / "plans" / key


def timing_path(target: str, version: str, gpu: Gpu) -> Path:
    """The file of kernel timings; there is one for each library, version and GPU."""
    return of_gpu("timings", f"{target}-{version}", gpu.name, gpu.sm)


def fingerprint(graph: onnx.ModelProto, *circumstances) -> str:
    """SHA-256 over a graph with its weights, and over all else that decides what it is compiled to.

    circumstances: values that JSON can hold. Returns hexadecimal digits.
    """
    digest = hashlib.sha256(json.dumps([FORMAT, *circumstances]).encode())
    body = graph.graph
    # piece by piece, because the whole may be larger than protobuf can write
    for piece in (*graph.opset_import, *body.input, *body.output, *body.node, *body.initializer):
        content = piece.SerializeToString(deterministic=True)
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()


class TimingCache:
    """The kernel timings in one file; several builds may use it at once."""

    def __init__(self, path: Path, config):
        """Gives the timings in a file to a build.

        path: see `timing_path`. config: the library's IBuilderConfig; its build reads the timings and adds new ones.
        """
        self._path, self._config = path, config
        self._timings = self._opened(read(path) or b"")
        if not config.set_timing_cache(self._timings, False):
            warn(f"{path} is of another library or GPU; it is made anew")
            self._timings = self._opened(b"")
            config.set_timing_cache(self._timings, False)

    def _opened(self, content: bytes):
        # the library returns None for timings that it cannot read
        return self._config.create_timing_cache(content) or self._config.create_timing_cache(b"")

    def save(self) -> None:
        """Writes the timings, joined with those that other builds have saved in the meantime."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self._path}.lock", timeout=60):
                if others := read(self._path):
                    self._timings.combine(self._opened(others), False)
                write(self._path, bytes(self._timings.serialize()))
        except OSError as error:
            warn(f"cannot save timings to {self._path}: {error}")
