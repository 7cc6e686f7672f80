"""The package is found from a checkout as it lies, from a wheel, a source distribution and an editable install."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
FOLDERS = ("runtime", "models", "calibration", "build_engines", "benchmarks")

SCRIPT = """
import importlib.util, json, os
import numpy as np
import faceinsight
from faceinsight import FaceInsight

image = np.full((256, 256, 3), 90, np.uint8)
answer = FaceInsight.load().ask(image, "is he bald?", box=(60, 60, 160, 190)).text
pipeline = os.path.realpath(importlib.util.find_spec("faceinsight.runtime.pipeline").origin)
print(json.dumps({"answer": answer, "pipeline": pipeline, "version": faceinsight.__version__}))
"""


def tracked() -> list[str]:
    """What a commit of this checkout would hold."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs git and a checkout: {error}")
    return sorted({name for name in done.stdout.split("\0") if name and os.path.lexists(ROOT / name)})


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A fresh clone of this checkout, links as links."""
    clone = tmp_path_factory.mktemp("clone")
    for name in tracked():
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, clone / name, follow_symlinks=False)
    return clone


def environment(folder: Path) -> Path:
    """A Python with the dependencies, but without this package: an editable install elsewhere is not looked at."""
    venv.create(folder, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    (site,) = (p for p in folder.rglob("site-packages") if p.is_dir())
    others = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site / "dependencies.pth").write_text("\n".join(others))
    return python


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    return environment(tmp_path_factory.mktemp("python"))


def run(*command: str | Path, cwd: Path, path: Path | None = None) -> str:
    """path: of modules, as PYTHONPATH."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables |= {"PYTHONPATH": str(path)} if path else {}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check(python: Path, cwd: Path, home: Path, path: Path | None = None) -> None:
    """The command line and a script of one's own work in a folder.

    home: where the module runtime/pipeline.py has to be found.
    """
    version = run(python, "-m", "faceinsight", "--version", cwd=cwd, path=path)
    assert "ask" in run(python, "-m", "faceinsight", "--help", cwd=cwd, path=path)
    script = cwd / "my_script.py"
    script.write_text(SCRIPT)
    found = json.loads(run(python, script, cwd=cwd, path=path))
    assert found["answer"].split()[0].strip(",.") in ("Yes", "No")
    assert Path(found["pipeline"]) == (home / "runtime" / "pipeline.py").resolve()
    assert version == f"faceinsight {found['version']}\n"


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def build_wheel(source: Path, out: Path) -> Path:
    pytest.importorskip("setuptools")
    options = ("-q", "--disable-pip-version-check", "--no-deps", "--no-build-isolation")
    run(sys.executable, "-m", "pip", "wheel", *options, "-w", out, ".", cwd=source)
    (wheel,) = out.glob("faceinsight-*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(clone, tmp_path_factory) -> Path:
    """Built in the clone, which then has build/ and the egg-info that `pip install .` leaves behind."""
    return build_wheel(clone, tmp_path_factory.mktemp("wheel"))


def test_a_fresh_clone_works_without_being_installed(clone, python):
    check(python, clone, clone)


def test_a_wheel_holds_every_file_of_the_folders(wheel):
    files = {name for name in tracked() if not (ROOT / name).is_symlink() and not name.endswith(".md")}
    wanted = {f"faceinsight/{name}" for name in files if name.split("/")[0] in FOLDERS}
    wanted |= {name for name in files if name.startswith("faceinsight/")}
    assert contents(wheel) == wanted


def test_a_wheel_works_outside_of_the_clone_and_inside(wheel, clone, python, tmp_path):
    site, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    check(python, work, site / "faceinsight", path=site)
    assert (clone / "build").exists()  # which `import` must not find
    check(python, clone, clone, path=site)


def test_a_source_distribution_has_files_for_links_and_makes_the_same_wheel(wheel, clone, tmp_path):
    script = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    run(sys.executable, "-c", script, tmp_path, cwd=clone)
    (source,) = tmp_path.glob("faceinsight-*.tar.gz")
    with tarfile.open(source) as archive:
        assert all(member.isfile() or member.isdir() for member in archive.getmembers())
        names = {name.partition("/")[2] for name in archive.getnames()}
    shutil.unpack_archive(source, tmp_path)
    assert {"LICENSE", "README.md", "pyproject.toml", "faceinsight/runtime/pipeline.py"} <= names
    assert contents(build_wheel(tmp_path / source.name.removesuffix(".tar.gz"), tmp_path)) == contents(wheel)


def test_an_editable_install_is_the_clone(clone, tmp_path):
    python = environment(tmp_path / "python")
    options = ("-q", "--disable-pip-version-check", "--no-deps", "--no-build-isolation")
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, "-e", ".", cwd=clone)
    work = tmp_path / "work"
    work.mkdir()
    check(python, work, clone)
    assert run(python.with_name("faceinsight"), "--version", cwd=work).startswith("faceinsight ")
