"""Opens the engines of a bundle: on the CPU or CUDA with ONNX Runtime, or on a GPU with TensorRT."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .bundle import Bundle
from .engine import CacheEngine, Engine, OnnxEngine
from .errors import BundleError, InputError
from .manifest import PERCEPTION_STAGES, STAGES
from .perceive import HostPerception, Perception


@dataclass(frozen=True)
class Backend:
    """The loaded engines of a bundle."""

    perception: Perception
    """Runs the stages before the language model."""
    language: CacheEngine
    """Runs the language model."""
    engines: Mapping[str, Engine] = field(default_factory=dict)
    """Stage -> engine. Empty for TensorRT, whose engines do not take arrays in host memory."""

    def close(self) -> None:
        """Ends the threads of perception. Engines and their memory are freed with the last reference to them."""
        self.perception.close()


def open_backend(bundle: Bundle, device: str, threads: int | None) -> Backend:
    """Loads the engines of a bundle on a device and warms them up.

    bundle: an engine of TensorRT takes its file out of `bundle.files`, so such a bundle can be opened once. device:
    "cpu", "cuda" (the first GPU) or "cuda:N". threads: CPU threads; None or 0 for all. Raises BundleError for a bundle
    of another device, InputError for an unknown device, a missing library or a negative number of threads.
    """
    if threads is not None and threads < 0:
        raise InputError(f"threads must not be negative: {threads}")
    gpu = None if device == "cpu" else _ordinal(device)
    target, kind = bundle.target, bundle.manifest.engine.kind
    on_gpu = target.device == "cuda"
    if on_gpu != (gpu is not None) or kind != target.engine:
        raise BundleError(
            f"{bundle.directory} was built for the target {target.name!r} with {kind}, which does not run on device "
            f"{device!r}; build one that does with `faceinsight build --target {'cpu' if gpu is None else 'cuda'} "
            f"--out DIR`{', or use device cuda' if on_gpu else ''}"
        )
    if target.compiled:
        return _tensorrt(bundle, gpu)
    return _onnxruntime(bundle, gpu, threads or cpu_count())


def _onnxruntime(bundle: Bundle, gpu: int | None, threads: int) -> Backend:
    # parser and vision encoder run at the same time, so they share the cores
    share = max(1, threads // 2)
    counts = {
        "detector": threads,
        "refiner": 1,
        "parser": share,
        "vision": share,
        "fusion": threads,
        "language": threads,
    }
    engines = {
        stage: OnnxEngine(bundle.files[stage], count, w8a8=stage != "language", gpu=gpu)
        for stage, count in counts.items()
    }
    perception = HostPerception(engines, bundle.manifest.sizes, side_by_side=threads > 1)
    backend = Backend(perception, engines["language"], engines)
    if gpu is not None:
        _warm_up(backend, bundle, max_faces=1)
    return backend


def _tensorrt(bundle: Bundle, gpu: int) -> Backend:
    from .cuda import Device
    from .gpu_language import GpuLanguage
    from .gpu_perception import GpuPerception
    from .tensorrt import Library

    device, manifest = Device(gpu), bundle.manifest
    library, stages = Library(bundle.target, device), manifest.stages
    library.check(bundle)
    if missing := set(STAGES) - set(bundle.files):
        raise BundleError(f"{bundle.directory} was opened before ({min(missing)} was taken); read it again to open it")
    # popped, so that they are freed: a Jetson has one memory for host and GPU, and the library copies a plan
    executors = {stage: library.load(stage, bundle.files.pop(stage), library.rebuild(bundle)) for stage in STAGES}
    max_faces = manifest.device.max_faces
    perception = GpuPerception(executors, {name: stages[name] for name in PERCEPTION_STAGES}, device, max_faces)
    visual, in_place = stages["fusion"].outputs["visual_tokens"].shape[1:], stages["language"].in_place
    engine = GpuLanguage(executors["language"], device, visual, manifest.language.vocab_size, in_place)
    backend = Backend(perception, engine, {})
    _warm_up(backend, bundle, max_faces)
    library.save_kernels()
    return backend


def _warm_up(backend: Backend, bundle: Bundle, max_faces: int) -> None:
    """Runs every engine a few times, so that the first frame and the first question take no longer than the others.

    The first call of an engine loads kernels, and TensorRT-RTX compiles some; the second call records a CUDA graph.
    """
    grey, box = np.full((64, 64, 3), 127, np.uint8), (16.0, 16.0, 48.0, 48.0)
    for _ in range(2):
        backend.perception.detect(grey, 1.0)
    for count in range(max_faces, 0, -1):
        for _ in range(2):
            seen = backend.perception.perceive(grey, [box] * count)
    buffers, position = backend.language.allocate(bundle.manifest.language.cache.tensors()), 0
    for count in (2, 1, 1, 1, 1):
        feeds = {
            "input_ids": np.zeros((1, count), np.int64),
            "visual_tokens": seen.visual_tokens[0],
            "position": np.array([position], np.int64),
        }
        backend.language.run_in_place(feeds, buffers, ("next_token",))
        position += count


def _ordinal(device: str) -> int:
    kind, colon, number = device.partition(":")
    if kind != "cuda" or (colon and not number.isdecimal()):
        raise InputError(f"unknown device {device!r}; use cpu, cuda or cuda:N")
    return int(number or 0)


def cpu_count() -> int:
    """Returns how many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
