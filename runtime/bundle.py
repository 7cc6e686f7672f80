"""The bundle on disk: manifest.json, one file a stage, tokenizer.json. Read here; written here, whole or not at all."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from .errors import BundleError, FaceInsightError, InputError
from .files import replacing_directory
from .prompt import Prompter, PromptTemplate
from .targets import TARGETS
from .vocabulary import Vocabulary

FORMAT_VERSION = 4
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
PERCEPTION_STAGES = ("refiner", "parser", "vision", "fusion")
"""The stages that see a face; the language model comes after them."""
STAGES = (*PERCEPTION_STAGES, "language")
NANO = Path(__file__).with_name("nano")
"""The bundled bundle: nano, INT8, for the CPU."""


@dataclass(frozen=True)
class Bundle:
    """A checked bundle. manifest: the parsed manifest.json (its fields are documented in `write_bundle`)."""

    directory: Path
    manifest: dict
    files: dict[str, bytes]

    @property
    def target(self) -> str:
        return self.manifest["target"]

    @property
    def template(self) -> PromptTemplate:
        return PromptTemplate(**self.manifest["prompt"])

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.from_json(self.manifest["vocabulary"])

    @functools.cached_property
    def prompter(self) -> Prompter:
        tokenizer = self.files["tokenizer"].decode("utf-8")
        return Prompter(tokenizer, self.template, self.manifest["language"]["vocab_size"], self.vocabulary)


def read_bundle(directory: str | Path) -> Bundle:
    """Reads a bundle and checks its format version, every file's SHA-256 and the manifest's own. Raises BundleError."""
    directory = Path(directory)
    path = directory / MANIFEST
    if not _exists(path):
        raise BundleError(
            f"{_short(directory)} is not a bundle: {MANIFEST} is missing; make one with `faceinsight build --model DIR "
            f"--target cpu --out {_short(directory)}`"
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version = manifest["format_version"]
    except (ValueError, KeyError, TypeError, RecursionError, OSError) as error:
        raise BundleError(f"{path} is damaged ({error!r}); rebuild the bundle with `faceinsight build`") from error
    if version != FORMAT_VERSION:
        raise BundleError(
            f"{path} has format version {version}, this runtime reads version {FORMAT_VERSION}; "
            "rebuild the bundle with this version's `faceinsight build`"
        )
    if manifest.get("sha256") != sealed(manifest)["sha256"]:
        raise BundleError(f"{path} was altered or damaged; rebuild the bundle with `faceinsight build`")
    try:
        bundle = Bundle(directory, manifest, {n: _checked(directory, entry) for n, entry in _entries(manifest).items()})
        _validate(bundle, path)
    except FaceInsightError:
        raise
    except Exception as error:  # a damaged field must be found now, not at the first question
        raise BundleError(f"{path} is damaged ({error!r}); rebuild the bundle with `faceinsight build`") from error
    return bundle


def _validate(bundle: Bundle, path: Path) -> None:
    """Raises BundleError, or whatever a damaged field leads to."""
    manifest = bundle.manifest
    if manifest["target"] not in TARGETS:
        raise BundleError(f"{path} is for the unknown target {manifest['target']!r}; known: {', '.join(TARGETS)}")
    numbers = [manifest["sizes"][stage] for stage in ("refiner", "parser", "vision")]
    numbers += [manifest["language"][key] for key in ("layers", "kv_heads", "head_dim", "vocab_size", "context")]
    if not all(type(n) is int and n > 0 for n in numbers):
        raise BundleError(f"{path} has a size that is not a positive whole number; rebuild it with `faceinsight build`")
    try:
        vocabulary = bundle.vocabulary
        vocabulary.decide(*vocabulary.outputs([0.5] * (len(vocabulary.attributes) + len(vocabulary.numbers))))
    except InputError as error:
        raise BundleError(f"{path}: {error}; rebuild the bundle with `faceinsight build`") from error
    try:
        bundle.prompter.prefix({}, 1)
        bundle.prompter.question("is he bald?", 1000)
    except Exception as error:
        raise BundleError(
            f"the tokenizer or the prompt of {path} cannot be used ({error}); rebuild the bundle"
        ) from error
    str(manifest["engine"]["kind"])


def sealed(manifest: dict) -> dict:
    """The manifest with the SHA-256 of its other fields, which finds a changed one when the bundle is read."""
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return rest | {"sha256": hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()}


def _exists(path: Path) -> bool:
    """Whether there is such a file; False also for a name that no file can have."""
    try:
        return path.is_file()
    except OSError:
        return False


def _short(path: Path) -> str:
    return str(path)[:200]


def _entries(manifest: dict) -> dict[str, dict]:
    return {stage: manifest["stages"][stage] for stage in STAGES} | {"tokenizer": manifest["tokenizer"]}


def _checked(directory: Path, entry: dict) -> bytes:
    name = entry["file"]
    if Path(name).name != name:
        raise BundleError(f"{directory / MANIFEST} names a file outside of the bundle: {name}")
    path = directory / name
    if not path.is_file():
        raise BundleError(f"{path} is missing from the bundle; rebuild it with `faceinsight build`")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != entry["sha256"]:
        raise BundleError(
            f"{path} was altered or damaged: SHA-256 is {found[:12]}..., the manifest says {entry['sha256'][:12]}...; "
            "rebuild the bundle with `faceinsight build`"
        )
    return content


def write_bundle(directory: str | Path, manifest: dict, files: dict[str, bytes]) -> None:
    """Writes a bundle, whole or not at all; an older bundle at that place is replaced.

    files: file name -> content, each named by the manifest. manifest: format_version, name, target, model_hash;
    engine {kind, version}; built_with {torch, onnx}; device {gpu {name, sm} that a plan is tied to or None,
    compute_capabilities [sm] or "any", max_faces}, None but for TensorRT; stages; tokenizer {file, sha256};
    sizes {refiner, parser, vision} crop sides in pixels; vocabulary; prompt; language {layers, kv_heads,
    head_dim, vocab_size, context}. It is sealed here.
    Of a stage: file, sha256, bytes; precision in words; inputs and outputs {name: {shape, dtype}}; error {measure,
    value} against PyTorch; latency_ms {p50, p90}, None where it was not run; candidates {precision: {error, latency_ms}
    or {refused: why}}, all that were built, and choice, why this one was taken; work (see
    build_engines/work.py) of one face; of TensorRT layers {kind: number}. Of
    the language model also in_place (its cache outputs are its cache inputs' memory) and, of TensorRT, profiles: their
    names in the engine's order.
    Raises BundleError if `directory` holds something else or cannot be written.
    """
    directory = Path(directory).absolute()
    check_replaceable(directory)
    try:
        with replacing_directory(directory) as new:
            for name, content in files.items():
                (new / name).write_bytes(content)
            (new / MANIFEST).write_text(json.dumps(sealed(manifest), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise BundleError(
            f"cannot write the bundle {directory}: {error.strerror}; give --out a directory that can be written"
        ) from error


def check_replaceable(directory: Path) -> None:
    """Raises BundleError unless `directory` is new, empty, or a bundle and nothing else."""
    advice = "give --out a new or an empty directory"
    try:
        if not directory.exists():
            return
        if not directory.is_dir():
            raise BundleError(f"{directory} exists and is not a directory; {advice}")
        names = {path.name for path in directory.iterdir()}
    except OSError as error:
        raise BundleError(f"cannot look into {_short(directory)}: {error.strerror}; {advice}") from error
    if not names:
        return
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        manifest["format_version"]
        # of any version: an old bundle is what a rebuild replaces
        ours = {MANIFEST, manifest["tokenizer"]["file"], *(entry["file"] for entry in manifest["stages"].values())}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(f"{directory} exists and is not a bundle; {advice}") from error
    if names - ours:
        raise BundleError(f"{directory} holds more than a bundle ({sorted(names - ours)[0]}); {advice}")
