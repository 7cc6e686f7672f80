"""The README's commands and its Python example run as they are written."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from faceinsight.models.data.synthetic import generate

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
MAKEFILE = (Path(__file__).parents[1] / "Makefile").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands(program: str) -> list[str]:
    lines = [line.split("  #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith(program + " ")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, astronaut):
    """Where the README's names exist: photo.jpg, photos/, DIR."""
    from faceinsight.models.checkpoint import model_directory

    folder = tmp_path_factory.mktemp("readme")
    Image.fromarray(astronaut).save(folder / "photo.jpg")
    (folder / "photos").mkdir()
    for seed in range(12):
        Image.fromarray(generate(seed).image).save(folder / "photos" / f"{seed}.png")
    (folder / "DIR").symlink_to(model_directory(None))
    return folder


ON_THE_CPU = {'"my-engines", device="cuda:0"': "", "camera)": "['photo.jpg'] * 2)"}
"""What stands in for the README's GPU and camera."""


@pytest.mark.parametrize("code", blocks("python"))
def test_python_examples(code, folder):
    for there, here in ON_THE_CPU.items():
        code = code.replace(there, here)
    code = "from faceinsight import FaceInsight\n" + code
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


# training and measuring take their time; tests/test_cli.py and tests/test_benchmarks.py run them small
QUICK = [line for line in commands("faceinsight") if line.split()[1] not in ("train", "bench", "evaluate")]


@pytest.mark.parametrize("command", QUICK)
def test_commands(command, folder):
    words = shlex.split(command)
    done = subprocess.run([sys.executable, "-m", *words], cwd=folder, capture_output=True, text=True, timeout=600)
    if done.returncode and ("--target tensorrt " in command or "--device cuda" in command):
        # without the GPU or the library that it is for: one line that says what is missing
        assert done.stderr.count("\n") == 1 and re.search("needs|was built for|without CUDA", done.stderr), done.stderr
        return
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


LONG = [line for line in commands("faceinsight") if line not in QUICK]
LONG += [line.split(" -m ")[1] for line in commands("accelerate")]


@pytest.mark.parametrize("command", LONG)
def test_long_commands_are_spelled_right(command):
    """Parsed and validated as given; --help keeps them from running."""
    words = shlex.split(command)
    from click.testing import CliRunner
    from typer.main import get_command

    from faceinsight.cli import app

    tool = get_command(app)
    verb = tool.commands[words[1]]
    context = verb.make_context(words[1], words[2:])
    assert context.params and CliRunner().invoke(tool, [words[1], "--help"]).exit_code == 0


@pytest.mark.parametrize("command", commands("python"))
def test_modules_take_the_options_that_they_are_given(command):
    words = shlex.split(command)[1:]
    done = subprocess.run([sys.executable, *words[:2], "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and all(word in done.stdout for word in words[2:] if word.startswith("--"))


def test_make_targets_exist():
    targets = re.findall(r"^make (\w+)", "\n".join(blocks("sh")), re.MULTILINE)
    assert {"demo", "test"} <= set(targets)
    assert all(re.search(rf"^{target}:", MAKEFILE, re.MULTILINE) for target in targets)


def test_linked_files_exist():
    root = Path(__file__).parents[1]
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (root / target).exists(), target


def test_demo_writes_its_pictures(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "faceinsight.demo", "--out", "demo.png"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("?") >= 8
    for name in ("demo.png", "demo-synthetic.png"):
        assert Image.open(tmp_path / name).width > 1000
