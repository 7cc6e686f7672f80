"""The bundle on disk: manifest.json, one file a stage, tokenizer.json. Read here; written here, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .errors import BundleError
from .labels import NAMES
from .prompt import PromptTemplate
from .rules import Rule, rules_from_json

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
STAGES = ("parser", "vision", "fusion", "language")
TARGETS = ("cpu", "cuda", "tensorrt", "tensorrt-rtx")
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

    @property
    def rules(self) -> tuple[Rule, ...]:
        return rules_from_json(self.manifest["rules"], self.manifest["attributes"])


def read_bundle(directory: str | Path) -> Bundle:
    """Reads a bundle and checks its format version and every file's SHA-256. Raises BundleError."""
    directory = Path(directory)
    path = directory / MANIFEST
    if not path.is_file():
        raise BundleError(
            f"{directory} is not a bundle: {MANIFEST} is missing; make one with `faceinsight build --model DIR "
            f"--target cpu --out {directory}`"
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version = manifest["format_version"]
    except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise BundleError(f"{path} is damaged ({error!r}); rebuild the bundle with `faceinsight build`") from error
    if version != FORMAT_VERSION:
        raise BundleError(
            f"{path} has format version {version}, this runtime reads version {FORMAT_VERSION}; "
            "rebuild the bundle with this version's `faceinsight build`"
        )
    try:
        files = {name: _checked(directory, entry) for name, entry in _entries(manifest).items()}
        bundle = Bundle(directory, manifest, files)
        if manifest["target"] not in TARGETS:
            raise BundleError(f"{path} is for the unknown target {manifest['target']!r}; known: {', '.join(TARGETS)}")
        unknown = set(manifest["attributes"]) - set(NAMES)
        if unknown:
            raise BundleError(f"{path} speaks of attributes this runtime does not know: {sorted(unknown)}")
        bundle.rules, bundle.template  # noqa: B018 - a damaged field must be found now, not at the first question
        manifest["language"], manifest["sizes"]
    except (KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{path} is damaged ({error!r}); rebuild the bundle with `faceinsight build`") from error
    return bundle


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
    """Writes beside `directory` and renames, so that no half bundle is ever seen; an older bundle there is replaced.

    files: file name -> content, each named by the manifest. manifest: format_version, name, target, model_hash;
    engine {kind, version}; device; stages {stage: file, sha256, precision, inputs, outputs, error, latency_ms};
    tokenizer {file, sha256}; sizes {parser, vision} crop sides in pixels; attributes; rules; prompt; language
    {layers, kv_heads, head_dim, vocab_size, context}. Raises BundleError if `directory` holds something else.
    """
    directory = Path(directory)
    if (
        directory.exists()
        and not (directory / MANIFEST).is_file()
        and (not directory.is_dir() or any(directory.iterdir()))
    ):
        raise BundleError(f"{directory} exists and is not a bundle; give --out a new or an empty directory")
    directory.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        for name, content in files.items():
            (beside / name).write_bytes(content)
        text = json.dumps(manifest, indent=1) + "\n"
        (beside / MANIFEST).write_text(text, encoding="utf-8")
        beside.chmod(0o755)
        if directory.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{directory.name}.old.", dir=directory.parent))
            os.replace(directory, old / "bundle")
            os.replace(beside, directory)
            shutil.rmtree(old)
        else:
            os.replace(beside, directory)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
