"""The commands and the Python examples of README.md and docs/*.md run as they are written.

A fenced block whose first line names a file, as in ```toml helmet.toml, is written to that file before anything runs.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from PIL import Image
from typer.main import get_command

from faceinsight.commands.app import app
from faceinsight.models.data.synthetic import generate

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
SHELL = ("sh", "bash", "shell", "console")
ON_THE_CPU = {'"my-engines", device="cuda:0"': "", "camera)": "['photo.jpg'] * 2)"}
"""What stands in for the documents' GPU and camera."""
LONG = ("train", "bench", "evaluate", "parity", "ablate", "real-sizes")
"""Verbs that take minutes; each has tests of its own, on little data."""


def blocks(*languages: str) -> list[tuple[str, str, str]]:
    """(document, name of the file or "", text) of every fenced block in one of the languages; all without any."""
    found = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for language, name, block in re.findall(r"^```(\w+) *(\S*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            if not languages or language in languages:
                found.append((document.name, name, block))
    return found


def commands() -> list[tuple[str, str]]:
    """(document, command) of every line of a shell block, without its comment."""
    found = []
    for document, _, block in blocks(*SHELL):
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                found.append((document, shlex.join(words)))
    return found


def verbs() -> list[tuple[str, str]]:
    """(document, verb and its arguments) of every command of ours, however it is started."""
    start = re.compile(r"(?:(?:python|accelerate launch\b.*) -m )?faceinsight (.*)")
    return [(document, found[1]) for document, line in commands() if (found := start.fullmatch(line))]


def lines_once() -> list[str]:
    """The command lines of all documents; one that stands in several is there once."""
    return list(dict.fromkeys(line for _, line in verbs()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, astronaut):
    """Where the documents' names exist: photo.jpg, photos/, models, data, and the files that they hold themselves."""
    from faceinsight.models.checkpoint import model_directory

    folder = tmp_path_factory.mktemp("readme")
    Image.fromarray(astronaut).save(folder / "photo.jpg")
    (folder / "photos").mkdir()
    for seed in range(12):
        Image.fromarray(generate(seed).image).save(folder / "photos" / f"{seed}.png")
    for name, place in {"DIR": None, "runs/helmet/model": None, "helmets/images": folder / "photos"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(place or model_directory(None))
    for _, name, text in blocks():
        if name:
            (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_the_readme_has_examples():
    """A change of its form must not leave the tests below without work."""
    assert any(document == "README.md" for document, *_ in blocks("python"))
    assert {line.split()[0] for document, line in verbs() if document == "README.md"} >= {"ask", "describe"}


def test_every_command_is_of_a_program_that_is_tested_here():
    known = re.compile(r"make |pip |faceinsight |(python|accelerate launch\b.*) -m faceinsight ")
    assert [item for item in commands() if not known.match(item[1])] == []


@pytest.mark.slow
@pytest.mark.parametrize(("document", "name", "code"), blocks("python"))
def test_python_examples(document, name, code, folder):
    for there, here in ON_THE_CPU.items():
        code = code.replace(there, here)
    code = "from faceinsight import FaceInsight\n" + code
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert name or done.stdout.strip()  # an example prints; a file may only define


@pytest.mark.parametrize(("document", "line"), verbs())
def test_commands_are_spelled_right(document, line):
    """Parsed and checked as given, but not run."""
    name, *arguments = shlex.split(line)
    assert get_command(app).commands[name].make_context(name, arguments).params


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in lines_once() if line.split()[0] not in LONG])
def test_commands_run(line, folder):
    command = [sys.executable, "-m", "faceinsight", *shlex.split(line)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    if done.returncode and ("--target tensorrt " in line or "--device cuda" in line):
        # without the GPU or the library that it is for: one line that says what is missing
        assert done.stderr.count("\n") == 1 and re.search("needs|was built for|without CUDA", done.stderr), done.stderr
        return
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_make_targets_exist():
    targets = {target for _, line in commands() if line.startswith("make ") for target in line.split()[1:]}
    assert {"demo", "test"} <= targets
    assert all(re.search(rf"^{target}:", MAKEFILE, re.MULTILINE) for target in targets)


def test_extras_exist():
    named = {
        extra for _, line in commands() for group in re.findall(r"\.\[(.*?)\]", line) for extra in group.split(",")
    }
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert named and named <= set(known)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_linked_files_exist(document):
    for target in re.findall(r"\]\((?!http)([^)#]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


@pytest.mark.slow
def test_demo_writes_its_pictures(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command.succeeds("demo", "--out", "demo.png").count("?") >= 8
    for name in ("demo.png", "demo-synthetic.png"):
        with Image.open(name) as picture:
            assert picture.width > 1000
