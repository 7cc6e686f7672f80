"""Plans and timings of earlier builds: found again, never trusted blindly, shared by processes."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from faceinsight.build_engines import plan_cache, tensorrt
from faceinsight.build_engines.plan_cache import TimingCache, fingerprint, plan_path, timing_path
from faceinsight.build_engines.tensorrt import CompileOptions, compile_stage
from faceinsight.runtime.disk_cache import read, write
from faceinsight.runtime.manifest import Gpu
from faceinsight.runtime.targets import TENSORRT, TENSORRT_RTX

GPU = Gpu("Orin (nvgpu)", 87)
STAND_IN = dataclasses.replace(TENSORRT, module="tensorrt_rtx", oldest=(1, 0))
"""TensorRT, but its library is TensorRT-RTX, which has the same calls."""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEINSIGHT_CACHE", str(tmp_path))
    return tmp_path


def product(seed: int = 0) -> onnx.ModelProto:
    """x [batch, 16] times a random matrix, in float16."""
    weights = np.random.default_rng(seed).normal(size=(16, 16)).astype(np.float16)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "product")],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["batch", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, ["batch", 16])],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.fixture
def compiled(monkeypatch):
    """The calls of the compiler."""
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    calls, compile_engine = [], tensorrt.compile_engine

    def counted(*arguments):
        calls.append(arguments)
        return compile_engine(*arguments)

    monkeypatch.setattr(tensorrt, "compile_engine", counted)
    return calls


def test_the_same_engine_is_compiled_once(compiled, capsys):
    options = CompileOptions(TENSORRT_RTX, (89,))
    first, second = (compile_stage("product", product(), options) for _ in range(2))
    assert len(compiled) == 1 and second == first
    assert "compile product (cached)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes", [{"sm": (86,)}, {"sm": ()}, {"max_faces": 8}, {"workspace_mib": 64}, {"target": STAND_IN}]
)
def test_what_decides_the_engine_is_in_its_key(compiled, monkeypatch, changes):
    options = CompileOptions(TENSORRT_RTX, (89,))
    compile_stage("product", product(), options)
    monkeypatch.setattr(tensorrt, "gpu", lambda: GPU)
    compile_stage("product", product(), dataclasses.replace(options, **changes))
    assert len(compiled) == 2


def test_other_weights_another_version_and_another_gpu_are_other_engines(monkeypatch):
    graph = product()
    key = fingerprint(graph, "1.7.1", 87)
    assert key == fingerprint(product(), "1.7.1", 87)
    others = [(product(1), "1.7.1", 87), (graph, "1.8.0", 87), (graph, "1.7.1", 110)]
    assert len({key, *(fingerprint(*other) for other in others)}) == 4
    monkeypatch.setattr(plan_cache, "FORMAT", 2)
    assert fingerprint(graph, "1.7.1", 87) != key


def test_without_the_cache_nothing_is_read_or_kept(compiled, folder):
    options = CompileOptions(TENSORRT_RTX, (89,), cache=False)
    compile_stage("product", product(), options)
    compile_stage("product", product(), options)
    assert len(compiled) == 2 and not list(folder.iterdir())


def test_a_damaged_plan_is_compiled_again(compiled, folder, capsys):
    options = CompileOptions(TENSORRT_RTX, (89,))
    first = compile_stage("product", product(), options)
    (path,) = (folder / "plans").iterdir()
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    again = compile_stage("product", product(), options)
    assert len(compiled) == 2 and again.layers == first.layers
    warnings = [line for line in capsys.readouterr().err.splitlines() if "damaged" in line]
    assert len(warnings) == 1 and str(path) in warnings[0]
    assert compile_stage("product", product(), options) == again and len(compiled) == 2


def _compile() -> tuple[bool, int]:
    plan = compile_stage("product", product(), CompileOptions(TENSORRT_RTX, (89,)))
    return plan.float32 == (), plan.layers["MATRIX_MULTIPLY"]


@pytest.mark.slow
def test_two_processes_build_at_once(folder):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert [job.get(120) for job in [pool.apply_async(_compile) for _ in range(2)]] == [(True, 1)] * 2
    (path,) = (folder / "plans").iterdir()
    assert read(path)


def test_a_file_is_written_whole_or_not_at_all(folder, monkeypatch, capsys):
    path = folder / "plans" / "key"
    write(path, b"old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    write(path, b"new")
    assert read(path) == b"old" and [entry.name for entry in path.parent.iterdir()] == ["key"]
    assert capsys.readouterr().err.splitlines() == [f"cache: cannot write {path}: No space left on device"]


def test_a_cache_that_cannot_be_used_is_left_out(folder, monkeypatch, capsys):
    (folder / "file").write_text("no folder")
    monkeypatch.setenv("FACEINSIGHT_CACHE", str(folder / "file"))
    path = plan_path("key")
    assert read(path) is None
    write(path, b"content")
    assert all(line.startswith("cache: cannot ") for line in capsys.readouterr().err.splitlines())


def test_what_is_not_used_for_a_month_goes(folder):
    old, used, new = (folder / "plans" / name for name in ("old", "used", "new"))
    for path in (old, used):
        write(path, b"content")
        os.utime(path, (time.time() - 31 * 86400,) * 2)
    assert read(used) == b"content"
    write(new, b"content")
    assert sorted(path.name for path in old.parent.iterdir()) == ["new", "used"]


class Timings:
    """A library's timing cache, of names only."""

    def __init__(self, content: bytes):
        self.names = set(content.decode().split())

    def combine(self, other: Timings, ignore_mismatch: bool) -> bool:
        self.names |= other.names
        return True

    def serialize(self) -> bytes:
        return " ".join(sorted(self.names)).encode()


class Config:
    """What TimingCache needs of IBuilderConfig. A content that begins with ! cannot be read, with ? is of another
    GPU."""

    def create_timing_cache(self, content):
        return None if content.startswith(b"!") else Timings(content)

    def set_timing_cache(self, timings, ignore_mismatch):
        return not any(name.startswith("?") for name in timings.names)


def _measure(name: str, wait: float = 0.0) -> None:
    timings = TimingCache(timing_path("tensorrt", "10.3.0", GPU), Config())
    timings._timings.names.add(name)
    time.sleep(wait)
    timings.save()


def _timings() -> bytes | None:
    return read(timing_path("tensorrt", "10.3.0", GPU))


@pytest.mark.slow
def test_timings_of_several_builds_end_up_together():
    _measure("first")
    jobs = [multiprocessing.get_context("spawn").Process(target=_measure, args=(f"job{i}", 0.5)) for i in range(2)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(60)
    assert _timings() == b"first job0 job1"
    assert timing_path("tensorrt", "10.13.0", GPU) != timing_path("tensorrt", "10.3.0", GPU)


@pytest.mark.parametrize(
    ("spoil", "warning"),
    [(lambda path: path.write_bytes(b"junk"), "is damaged"), (lambda path: write(path, b"?other"), "of another"),
     (lambda path: write(path, b"!unreadable"), None)],
)  # fmt: skip
def test_timings_that_cannot_be_used_are_made_anew(capsys, spoil, warning):
    _measure("first")
    path = timing_path("tensorrt", "10.3.0", GPU)
    spoil(path)
    timings = TimingCache(path, Config())
    assert timings._timings.names == set()
    lines = capsys.readouterr().err.splitlines()
    assert lines == [] if warning is None else len(lines) == 1 and warning in lines[0]


def test_tensorrt_reads_and_keeps_timings(monkeypatch, folder):
    """TensorRT-RTX, which has the same calls and times nothing, stands in for it."""
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    monkeypatch.setattr(tensorrt, "gpu", lambda: GPU)
    options = CompileOptions(STAND_IN)
    compile_stage("product", product(), options)
    path = timing_path("tensorrt", options.version, GPU)
    assert path.parent == folder / "timings" and "sm87-Orin--nvgpu-" in path.name and read(path)
