"""The targets that a bundle can be built for. Everything that depends on the target is a field of its record."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType

from .errors import InputError, reason


@dataclass(frozen=True)
class Target:
    """An engine library on a kind of device."""

    name: str
    """Its name in `faceinsight build --target` and in the manifest."""
    engine: str
    """The kind of its engines: "onnxruntime", "tensorrt" or "tensorrt-rtx"."""
    device: str
    """Where its engines run: "cpu" or "cuda"."""
    module: str
    """The Python module that compiles and runs its engines."""
    install: str
    """How a user gets the module, as a part of an error message."""
    suffix: str
    """The ending of a stage's file."""
    precisions: tuple[str, ...]
    """The precisions that a stage can be built in. The first is the default. `auto` takes the first one that is both
    accurate and fast enough, else the last."""
    tied: bool = False
    """Whether an engine runs only on the model of GPU that compiled it."""
    oldest: tuple[int, int] = (0, 0)
    """The oldest version of the library, (major, minor), that engines are built with."""
    composite: tuple[int, int] = (0, 0)
    """The first version with single operators for attention, rotary embedding and the KV cache."""

    @property
    def compiled(self) -> bool:
        """Whether the file of a stage is a compiled plan; otherwise it is an ONNX graph."""
        return self.engine != "onnxruntime"

    def library(self) -> ModuleType:
        """Imports the module and returns it. Raises InputError where it is not installed or does not load."""
        try:
            return importlib.import_module(self.module)
        except (ImportError, OSError) as error:
            raise InputError(
                f"target {self.name} needs the module {self.module}, which cannot be loaded ({reason(error)}); "
                f"{self.install}"
            ) from error


CPU = Target("cpu", "onnxruntime", "cpu", "onnxruntime", "pip install onnxruntime", ".onnx", ("int8", "fp32"))
CUDA = Target("cuda", "onnxruntime", "cuda", "onnxruntime", "pip install onnxruntime-gpu", ".onnx", ("fp16", "fp32"))
TENSORRT = Target(
    "tensorrt",
    "tensorrt",
    "cuda",
    "tensorrt",
    "it comes with JetPack 6.1 and newer (a virtual environment sees it with --system-site-packages), with NVIDIA's "
    "containers or with pip install tensorrt",
    ".plan",
    ("int8", "fp16"),
    tied=True,
    oldest=(10, 3),
    composite=(10, 15),
)
TENSORRT_RTX = Target(
    "tensorrt-rtx",
    "tensorrt-rtx",
    "cuda",
    "tensorrt_rtx",
    "install it with pip install 'faceinsight[tensorrt-rtx]'",
    ".plan",
    ("int8", "fp16"),
)
TARGETS = {target.name: target for target in (CPU, CUDA, TENSORRT, TENSORRT_RTX)}


def find_target(name: str) -> Target:
    """Returns the target of that name. Raises InputError for an unknown name."""
    if name not in TARGETS:
        raise InputError(f"unknown target {name!r}; use {', '.join(TARGETS)}")
    return TARGETS[name]
