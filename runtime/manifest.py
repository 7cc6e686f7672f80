"""The manifest of a bundle: what the bundle contains, how it was built, and what was measured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from . import typed_json
from .errors import BundleError, InputError
from .kv_cache import CacheShape
from .prompt import PromptTemplate
from .targets import TARGETS
from .vocabulary import Vocabulary

FORMAT_VERSION = 5
"""The version of the bundle's format that this runtime reads."""
PERCEPTION_STAGES = ("detector", "refiner", "parser", "vision", "fusion")
"""The stages that see the frame and its faces; the language model comes after them."""
STAGES = (*PERCEPTION_STAGES, "language")
_SIZED = ("detector", "refiner", "parser", "vision")
"""The stages that take pixels."""


@dataclass(frozen=True)
class Tensor:
    """An input or output of a stage."""

    shape: tuple[int | str, ...]
    """Length of each axis; a name stands for a length that may differ from run to run."""
    dtype: str
    """ONNX's name in lower case, such as "uint8", "float", "float16" or "int64"."""


@dataclass(frozen=True)
class Error:
    """How far the outputs of a stage are from those of the PyTorch model."""

    measure: str
    """What was measured, in words."""
    value: float
    """The measured error; 0 where the outputs agree."""


@dataclass(frozen=True)
class Latency:
    """Time in ms that a stage takes for one face; for the language model, the time of one decode step."""

    p50: float
    """Half of the runs took at most this long."""
    p90: float
    """Nine of ten runs took at most this long."""

    @classmethod
    def of(cls, times: Sequence[float]) -> Latency:
        """Computes the percentiles of measured times in ms."""
        return cls(*(round(float(np.percentile(times, percent)), 3) for percent in (50, 90)))


@dataclass(frozen=True)
class Candidate:
    """The result of building a stage in one precision."""

    error: Error | None = None
    """None if the stage could not be built."""
    latency_ms: Latency | None = None
    """None if the stage was not run on the building machine."""
    refused: str | None = None
    """Why the stage could not be built; None if it was built."""


@dataclass(frozen=True)
class Stage:
    """One stage of the chain."""

    file: str
    """Name of its file in the bundle."""
    sha256: str
    """SHA-256 of the file in hexadecimal digits."""
    bytes: int
    """Size of the file."""
    precision: str
    """The precision of the stage in words, such as "W8A8"."""
    inputs: dict[str, Tensor]
    """Name -> input."""
    outputs: dict[str, Tensor]
    """Name -> output."""
    error: Error
    """The error against PyTorch on the faces that the build was checked with."""
    latency_ms: Latency | None
    """The time on the machine that built the stage; None if it could not run there."""
    candidates: dict[str, Candidate]
    """Precision -> result, for each precision that was tried. The stage is one of them."""
    choice: str
    """Why the stage has this precision."""
    work: dict
    """Operations and bytes for one face, see build_engines/work.py. The language model has an entry for each number of
    tokens: {"tokens_1": ..., "tokens_64": ...}."""
    layers: dict[str, int] | None = None
    """Kind of layer -> how many the plan has; None if the stage was not compiled by TensorRT."""
    in_place: bool | None = None
    """Whether the language model writes its KV cache in place, so that each `present_x` may be the memory of `past_x`.
    None for other stages."""
    profiles: tuple[str, ...] | None = None
    """The optimisation profiles of a language model that TensorRT compiled, in the engine's order."""

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Name -> input or output."""
        return self.inputs | self.outputs


@dataclass(frozen=True)
class Engine:
    """The library that runs the stages."""

    kind: str
    """One of "onnxruntime", "tensorrt" and "tensorrt-rtx"."""
    version: str
    """The version that the stages were built with."""


@dataclass(frozen=True)
class Gpu:
    """A model of GPU."""

    name: str
    """Its name as CUDA gives it."""
    sm: int
    """Its compute capability as one number: 89 is 8.9."""


@dataclass(frozen=True)
class Device:
    """What TensorRT compiled the stages for."""

    gpu: Gpu | None
    """The only model of GPU that the plans run on; None if they run on others, too."""
    compute_capabilities: tuple[int, ...] | str
    """The compute capabilities that the plans run on, such as (86, 89), or "any"."""
    max_faces: int
    """The most faces of one batch."""


@dataclass(frozen=True)
class File:
    """A file of the bundle that is not a stage."""

    file: str
    """Its name."""
    sha256: str
    """Its SHA-256 in hexadecimal digits."""


@dataclass(frozen=True)
class Language:
    """Sizes of the language model."""

    layers: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    """How many tokens it knows."""
    context: int
    """The most tokens of one sequence."""

    @property
    def cache(self) -> CacheShape:
        """The shape of one face's KV cache."""
        return CacheShape(self.layers, self.kv_heads, self.head_dim, self.context)


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json."""

    target: str
    """Name of the target that the bundle was built for, see runtime/targets.py."""
    model_hash: str
    """SHA-256 over the model's config, weights and tokenizer."""
    engine: Engine
    built_with: dict[str, str]
    """Library -> version, of the other libraries that took part in the build."""
    device: Device | None
    """None if the stages were not compiled by TensorRT."""
    stages: dict[str, Stage]
    """Name of STAGES -> stage."""
    tokenizer: File
    sizes: dict[str, int]
    """Stage that takes pixels -> side of its square input in pixels."""
    min_score: float
    """The lowest score at which what the detector finds is taken for a face, in [0, 1]."""
    vocabulary: Vocabulary
    """The labels and rules of the model."""
    prompt: PromptTemplate
    language: Language
    name: str = "faceinsight"
    """Name of the model."""
    format_version: int = FORMAT_VERSION

    @property
    def files(self) -> dict[str, Stage | File]:
        """Stage, or "tokenizer" -> entry that names its file."""
        return self.stages | {"tokenizer": self.tokenizer}

    @classmethod
    def from_json(cls, data: Mapping, where: str) -> Manifest:
        """Converts the parsed manifest.json to a manifest and checks it.

        where: path of the file, for messages. Raises BundleError for another format version, for content that does not
        match its SHA-256, and for a field that is missing or wrong.
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
        """Converts the manifest to the content of manifest.json, see `sealed`."""
        data = {"format_version": self.format_version, "name": self.name}
        rest = [name for name in self.__dataclass_fields__ if name not in data]
        data |= {name: typed_json.to_json(getattr(self, name)) for name in rest}
        return sealed(data)

    def _check(self) -> None:
        """Raises ValueError for a value that has the right type but cannot be used."""
        if self.target not in TARGETS:
            raise ValueError(f"target is {self.target!r}; known are {', '.join(TARGETS)}")
        if TARGETS[self.target].compiled and self.device is None:
            raise ValueError(f"device is missing, which target {self.target} needs")
        for what, given, wanted in (("stages", self.stages, STAGES), ("sizes", self.sizes, _SIZED)):
            if set(given) != set(wanted):
                raise ValueError(f"{what} has {', '.join(given)}; it needs {', '.join(wanted)}")
        told = self.stages["fusion"].outputs.get("probabilities")
        named = len(self.vocabulary.attributes) + len(self.vocabulary.numbers)
        if told is None or told.shape[-1] != named:
            raise ValueError(f"stages.fusion does not tell the {named} attributes and numbers of the vocabulary")
        numbers = {f"sizes.{name}": size for name, size in self.sizes.items()}
        numbers |= {f"language.{name}": getattr(self.language, name) for name in self.language.__dataclass_fields__}
        for name, number in numbers.items():
            if number <= 0:
                raise ValueError(f"{name} is {number}; it has to be positive")


def sealed(data: Mapping) -> dict:
    """Adds the field "sha256" to the JSON of a manifest: the SHA-256 of all other fields."""
    return {key: value for key, value in data.items() if key != "sha256"} | {"sha256": _seal(data)}


def _seal(data: Mapping) -> str:
    rest = {key: value for key, value in data.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
