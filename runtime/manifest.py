"""The manifest of a bundle: what is in it, how it was built and what was measured. The fields say what they hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from . import typed_json
from .errors import BundleError, InputError
from .kv_cache import CacheShape
from .prompt import PromptTemplate
from .targets import TARGETS
from .vocabulary import Vocabulary

FORMAT_VERSION = 4
PERCEPTION_STAGES = ("refiner", "parser", "vision", "fusion")
"""The stages that see a face; the language model comes after them."""
STAGES = (*PERCEPTION_STAGES, "language")
_SIZED = ("refiner", "parser", "vision")
"""The stages that are given crops."""


@dataclass(frozen=True)
class Tensor:
    """An input or output of a stage."""

    shape: tuple[int | str, ...]
    """Sizes; a name stands for a size that may differ from run to run."""
    dtype: str
    """In ONNX's words, in lower case: "uint8", "float", "float16", "int64"."""


@dataclass(frozen=True)
class Error:
    """How far a stage is from PyTorch."""

    measure: str
    """What is measured, in words."""
    value: float
    """0 where both agree."""


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one face; of the language model, of one decode step."""

    p50: float
    p90: float

    @classmethod
    def of(cls, times: Sequence[float]) -> Latency:
        """Sums up times in ms."""
        return cls(*(round(float(np.percentile(times, percent)), 3) for percent in (50, 90)))


@dataclass(frozen=True)
class Candidate:
    """A precision that a stage was built in, or could not be built in."""

    error: Error | None = None
    latency_ms: Latency | None = None
    """None where it was not run."""
    refused: str | None = None
    """Why it could not be built."""


@dataclass(frozen=True)
class Stage:
    """One stage of the chain."""

    file: str
    sha256: str
    bytes: int
    precision: str
    """In words, such as "W8A8"."""
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    error: Error
    """Against PyTorch, on the faces that the build was checked with."""
    latency_ms: Latency | None
    """On the machine that built it; None where it could not be run there."""
    candidates: dict[str, Candidate]
    """Every precision that was built; the stage has one of them."""
    choice: str
    """Why it has that one."""
    work: dict
    """What one face takes, see build_engines/work.py; of the language model {"tokens_1": ..., "tokens_64": ...}."""
    layers: dict[str, int] | None = None
    """Kind of layer -> how many, of a stage that TensorRT compiled."""
    in_place: bool | None = None
    """Of the language model: its cache outputs are its cache inputs' memory."""
    profiles: tuple[str, ...] | None = None
    """Of the language model compiled by TensorRT: its optimisation profiles, in the engine's order."""

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All inputs and outputs by name."""
        return self.inputs | self.outputs


@dataclass(frozen=True)
class Engine:
    """The library that runs the stages."""

    kind: str
    """"onnxruntime", "tensorrt" or "tensorrt-rtx"."""
    version: str


@dataclass(frozen=True)
class Gpu:
    """The GPU that a plan is tied to."""

    name: str
    sm: int
    """Compute capability as one number: 89 is 8.9."""


@dataclass(frozen=True)
class Device:
    """What the stages were compiled for by TensorRT."""

    gpu: Gpu | None
    """None where they run on other models of GPU, too."""
    compute_capabilities: tuple[int, ...] | str
    """Those that are supported, or "any"."""
    max_faces: int
    """Most faces of one batch."""


@dataclass(frozen=True)
class File:
    """A file of the bundle that is no stage."""

    file: str
    sha256: str


@dataclass(frozen=True)
class Language:
    """Sizes of the language model. context: most tokens of one sequence."""

    layers: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    context: int

    @property
    def cache(self) -> CacheShape:
        """The shape of one face's KV cache."""
        return CacheShape(self.layers, self.kv_heads, self.head_dim, self.context)


@dataclass(frozen=True)
class Manifest:
    """manifest.json, checked."""

    target: str
    """What the bundle runs on, a name of runtime/targets.py."""
    model_hash: str
    """SHA-256 over the model's config, weights and tokenizer."""
    engine: Engine
    built_with: dict[str, str]
    """Library -> version."""
    device: Device | None
    """None but for TensorRT."""
    stages: dict[str, Stage]
    tokenizer: File
    sizes: dict[str, int]
    """Stage that is given crops -> their side in pixels."""
    vocabulary: Vocabulary
    prompt: PromptTemplate
    language: Language
    name: str = "faceinsight"
    format_version: int = field(default=FORMAT_VERSION)

    @property
    def files(self) -> dict[str, Stage | File]:
        """What each file of the bundle is for -> its entry: the stages, and "tokenizer"."""
        return self.stages | {"tokenizer": self.tokenizer}

    @classmethod
    def from_json(cls, data: Mapping, where: str) -> Manifest:
        """Reads the parsed manifest.json. where: its path, for errors.

        Raises BundleError for another format version, a seal that is broken, and a field that is missing or wrong.
        """
        rebuild = "rebuild the bundle with `faceinsight build`"
        version = data.get("format_version") if isinstance(data, Mapping) else None
        if version is None:
            raise BundleError(f"{where} is damaged: it has no format version; {rebuild}")
        if version != FORMAT_VERSION:
            raise BundleError(
                f"{where} has format version {version}, this runtime reads version {FORMAT_VERSION}; "
                "rebuild the bundle with this version's `faceinsight build`"
            )
        if data.get("sha256") != _seal(data):
            raise BundleError(f"{where} was altered or damaged; {rebuild}")
        try:
            rest = {key: value for key, value in data.items() if key != "sha256"}
            manifest = typed_json.read_object(cls, rest)
            manifest._check()
        except (ValueError, TypeError, InputError) as error:
            raise BundleError(f"{where} is damaged: {error}; {rebuild}") from error
        return manifest

    def to_json(self) -> dict:
        """The content of manifest.json, with the SHA-256 of the other fields as its seal."""
        data = {"format_version": self.format_version, "name": self.name}
        rest = [name for name in self.__dataclass_fields__ if name not in data]
        data |= {name: typed_json.to_json(getattr(self, name)) for name in rest}
        return sealed(data)

    def _check(self) -> None:
        """Raises ValueError for what no type says."""
        if self.target not in TARGETS:
            raise ValueError(f"target is {self.target!r}; known are {', '.join(TARGETS)}")
        for what, given, wanted in (("stages", self.stages, STAGES), ("sizes", self.sizes, _SIZED)):
            if set(given) != set(wanted):
                raise ValueError(f"{what} has {', '.join(given)}; it needs {', '.join(wanted)}")
        numbers = {f"sizes.{name}": size for name, size in self.sizes.items()}
        numbers |= {f"language.{name}": getattr(self.language, name) for name in self.language.__dataclass_fields__}
        for name, number in numbers.items():
            if number <= 0:
                raise ValueError(f"{name} is {number}; it has to be positive")


def sealed(data: Mapping) -> dict:
    """The JSON of a manifest with its seal: the SHA-256 of all other fields."""
    return {key: value for key, value in data.items() if key != "sha256"} | {"sha256": _seal(data)}


def _seal(data: Mapping) -> str:
    rest = {key: value for key, value in data.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
