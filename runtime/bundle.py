"""Reads and writes bundles. A bundle is a directory with manifest.json, a file for each stage, and tokenizer.json."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from .errors import BundleError
from .files import replacing_directory
from .manifest import File, Manifest, Stage
from .prompt import Prompter
from .targets import TARGETS, Target
from .vocabulary import Vocabulary

MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
NANO = Path(__file__).with_name("nano")
"""The bundle that comes with the package: nano, INT8, for the CPU."""


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory whose files were checked."""

    directory: Path
    """Where it was read."""
    manifest: Manifest
    files: dict[str, bytes]
    """Stage, or "tokenizer" -> content of its file."""

    @property
    def target(self) -> Target:
        """The target that it was built for."""
        return TARGETS[self.manifest.target]

    @property
    def vocabulary(self) -> Vocabulary:
        """The labels that the model tells of a face."""
        return self.manifest.vocabulary

    @functools.cached_property
    def prompter(self) -> Prompter:
        """The prompt template with the tokenizer."""
        tokenizer = self.files["tokenizer"].decode("utf-8")
        return Prompter(tokenizer, self.manifest.prompt, self.manifest.language.vocab_size, self.vocabulary)


def read_bundle(directory: str | Path) -> Bundle:
    """Reads a bundle and checks the manifest and the SHA-256 of every file.

    Raises BundleError for a bundle that is missing, damaged or of another format version.
    """
    directory = Path(directory)
    path = directory / MANIFEST
    if not _exists(path):
        raise BundleError(
            f"{_short(directory)} is not a bundle: {MANIFEST} is missing; make one with `faceinsight build --model DIR "
            f"--target cpu --out {_short(directory)}`"
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise BundleError(f"{path} is damaged ({error!r}); rebuild the bundle with `faceinsight build`") from error
    manifest = Manifest.from_json(data, str(path))
    bundle = Bundle(directory, manifest, {name: _checked(directory, entry) for name, entry in manifest.files.items()})
    try:
        bundle.prompter.prefix({}, 1)
        bundle.prompter.question("is he bald?", 1000)
    except Exception as error:  # a damaged tokenizer is to be found now and not at the first question
        raise BundleError(
            f"the tokenizer or the prompt of {path} cannot be used ({error}); rebuild the bundle"
        ) from error
    return bundle


def _exists(path: Path) -> bool:
    """Tells whether there is such a file; False also for a name that no file can have."""
    try:
        return path.is_file()
    except OSError:
        return False


def _short(path: Path) -> str:
    return str(path)[:200]


def _checked(directory: Path, entry: Stage | File) -> bytes:
    name = entry.file
    if Path(name).name != name:
        raise BundleError(f"{directory / MANIFEST} names a file outside of the bundle: {name}")
    path = directory / name
    if not path.is_file():
        raise BundleError(f"{path} is missing from the bundle; rebuild it with `faceinsight build`")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != entry.sha256:
        raise BundleError(
            f"{path} was altered or damaged: SHA-256 is {found[:12]}..., the manifest says {entry.sha256[:12]}...; "
            "rebuild the bundle with `faceinsight build`"
        )
    return content


def write_bundle(directory: str | Path, manifest: Manifest, files: dict[str, bytes]) -> None:
    """Writes a bundle, whole or not at all. It replaces an older bundle in the same directory.

    files: file name -> content, for every file that the manifest names. Raises BundleError if `directory` holds
    anything but a bundle or cannot be written.
    """
    directory = Path(directory).absolute()
    check_replaceable(directory)
    try:
        with replacing_directory(directory) as new:
            for name, content in files.items():
                (new / name).write_bytes(content)
            (new / MANIFEST).write_text(json.dumps(manifest.to_json(), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise BundleError(
            f"cannot write the bundle {directory}: {error.strerror}; give --out a directory that can be written"
        ) from error


def check_replaceable(directory: Path) -> None:
    """Raises BundleError unless `directory` does not exist, is empty, or holds a bundle and nothing else."""
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
        # not through Manifest: a bundle of another format version may be replaced, too
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        manifest["format_version"]
        ours = {MANIFEST, manifest["tokenizer"]["file"], *(entry["file"] for entry in manifest["stages"].values())}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(f"{directory} exists and is not a bundle; {advice}") from error
    if names - ours:
        raise BundleError(f"{directory} holds more than a bundle ({sorted(names - ours)[0]}); {advice}")
