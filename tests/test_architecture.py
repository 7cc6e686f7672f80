"""The base install is lean, and imports between the folders point one way."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "runtime": set(),
    "models": {"runtime"},
    "calibration": {"runtime", "models"},
    "build_engines": {"runtime", "models", "calibration"},
    "benchmarks": {"runtime", "models", "calibration", "build_engines"},
}
HEAVY = {"torch", "transformers", "onnx", "onnx_graphsurgeon", "safetensors", "matplotlib", "skimage", "scipy"}


def imported(path: Path) -> set[str]:
    """Absolute names of all modules that a file imports, at its top or inside of a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
    return found


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_point_one_way(folder):
    assert sources(folder)
    for path in sources(folder):
        ours = {name.split(".")[1] for name in imported(path) if name.startswith("faceinsight.")}
        sisters = ours & set(MAY_IMPORT) - {folder}
        assert sisters <= MAY_IMPORT[folder], f"{path} imports {sisters}"
        outside = [node.level for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        assert max(outside, default=0) <= len(path.relative_to(ROOT).parts) - 1, (
            f"{path}: a dotted import leaves {folder}"
        )


def test_runtime_never_names_a_heavy_library():
    for path in sources("runtime"):
        assert not {name.split(".")[0] for name in imported(path)} & HEAVY, path


def test_answering_loads_no_heavy_library():
    """In a fresh process, from the import to an answer."""
    script = (
        "import sys, numpy as np; from faceinsight import FaceInsight; model = FaceInsight.load(); "
        "image = np.full((256, 256, 3), 90, np.uint8); "
        "print(model.ask(image, 'is he bald?', box=(60, 60, 160, 190)).text); "
        f"loaded = {HEAVY!r} & set(sys.modules); print(loaded); sys.exit(bool(loaded))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_help_is_instant_because_nothing_heavy_is_imported():
    script = (
        "import sys; from faceinsight.commands.app import app; "
        "heavy = {'torch', 'transformers', 'onnxruntime', 'cv2', 'onnx'} & set(sys.modules); "
        "print(heavy); sys.exit(bool(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
