"""The GPU runtime on a simulated GPU: what it computes in any order that its streams and events allow, and what it says
when something fails. Crops, schedule, memory and graphs are the real code; simulated_gpu.py says what is not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from faceinsight import FaceInsight
from faceinsight.benchmarks import latency, limits
from faceinsight.models.data.synthetic import generate
from faceinsight.runtime import cuda, manifest
from faceinsight.runtime import gpu_perception as gpu
from faceinsight.runtime.backend import open_backend
from faceinsight.runtime.bundle import MANIFEST, read_bundle
from faceinsight.runtime.cuda import DeviceArray, OutOfMemoryError
from faceinsight.runtime.errors import BundleError, FaceInsightError, InputError, NoFaceError
from faceinsight.runtime.image import crop_matrix, warp

from . import simulated_gpu

pytestmark = pytest.mark.slow

QUESTIONS = ("Is she smiling?", "What colour is the hair?", "describe this face")
BOX = simulated_gpu.BOX


def test_it_says_what_the_cpu_says(load_on_gpu, astronaut):
    there, here = load_on_gpu(), FaceInsight.load()
    for image in (astronaut, generate(343).image, generate(5).image):
        ours, wanted = there.perceive(image), here.perceive(image)
        assert ours.labels == wanted.labels
        np.testing.assert_allclose(ours.box, wanted.box, atol=2.0)
        assert max(abs(ours.attributes[name] - p) for name, p in wanted.attributes.items()) < 0.1
        assert ours.parse_map.dtype == np.uint8 and (ours.parse_map == wanted.parse_map).mean() > 0.96
        for question in QUESTIONS:
            assert there.ask(ours, question).text == here.ask(wanted, question).text
    assert {"crop_ms", "parser_ms", "vision_ms", "fusion_ms", "refiner_ms", "perceive_ms"} <= set(ours.timings)


@pytest.mark.parametrize("seed", range(4))
def test_any_order_that_the_events_allow_gives_the_same(load_on_gpu, astronaut, seed):
    model = load_on_gpu(seed)
    tokens = [model.perceive(astronaut, BOX).visual_tokens.numpy() for _ in range(3)]
    assert np.isfinite(tokens[0]).all()
    assert np.array_equal(tokens[0], tokens[1]) and np.array_equal(tokens[0], tokens[2])
    wanted = load_on_gpu(99).perceive(astronaut, BOX).visual_tokens.numpy()
    assert np.array_equal(tokens[0], wanted)


def test_an_order_that_events_do_not_bind_goes_wrong(load_on_gpu, astronaut, monkeypatch):
    """So the test before would find a wait that is missing."""
    wanted = load_on_gpu().perceive(astronaut, BOX).visual_tokens.numpy()
    monkeypatch.setattr(simulated_gpu.Stream, "wait", lambda self, event: None)
    found = []
    for seed in range(4):
        model = load_on_gpu(seed)
        load_on_gpu.backend.perception.use_graphs = False
        found.append(model.perceive(astronaut, BOX).visual_tokens.numpy())
    assert not all(np.array_equal(tokens, wanted) for tokens in found)


def test_the_schedule(load_on_gpu, astronaut):
    """Parser and vision encoder on two streams after the crop, fusion after both, the host copies last."""
    model = load_on_gpu()
    load_on_gpu.backend.perception.use_graphs = False
    start = len(load_on_gpu.device.log)
    model.perceive(astronaut, BOX)
    log = [(stream, what) for stream, what in load_on_gpu.device.log[start:] if what not in ("record", "wait")]
    names = [what for _, what in log]
    where = {what: stream for stream, what in log}
    assert where["parse_map"] != where["features"] == where["probabilities+visual_tokens"]
    assert names[:4] == ["copy host to device 786432", *names[1:2], "crop", "placement"]
    encode = names[names.index("placement") + 1 :]
    assert encode.index("crop") < min(encode.index("parse_map"), encode.index("features"))
    assert encode.index("probabilities+visual_tokens") > max(encode.index("parse_map"), encode.index("features"))
    # one crop serves both encoders; what comes back is placements, parse maps and probabilities
    assert names.count("crop") == 2
    back = [int(what.split()[-1]) for what in names if what.startswith("copy device to host")]
    assert sum(back) < 160 * 160 * 4 + 200


def test_from_the_second_time_on_a_step_is_one_graph(load_on_gpu, astronaut):
    model = load_on_gpu()
    start = len(load_on_gpu.device.log)
    face = model.perceive(astronaut, BOX)
    steps = simulated_gpu.done(load_on_gpu.device, start)
    assert steps.count("graph") == 2 and "features" not in steps
    model.ask(face, QUESTIONS[0])
    start = len(load_on_gpu.device.log)
    answer = model.ask(face, QUESTIONS[2])
    steps = simulated_gpu.done(load_on_gpu.device, start)
    assert steps.count("graph") >= answer.tokens - 12 > 5
    assert steps.count("language") <= 4, "only what reads several tokens at once is not a graph"


def test_more_faces_than_one_batch_takes(load_on_gpu, astronaut):
    model = load_on_gpu()
    boxes = [BOX, (176.0, 64.0, 266.0, 204.0), (186.0, 58.0, 272.0, 198.0)]
    model.detector = lambda image: boxes
    faces = model.perceive_all(astronaut)
    alone = [model.perceive(astronaut, box) for box in boxes]
    assert len(faces) == 3
    for one, other in zip(faces, alone, strict=True):
        assert one.labels == other.labels and np.allclose(one.box, other.box, atol=0.1)
        np.testing.assert_allclose(one.visual_tokens.numpy(), other.visual_tokens.numpy(), atol=0.05)


def test_a_cache_that_the_engine_cannot_write_in_place(load_on_gpu, gpu_bundle, tmp_path):
    """As with TensorRT before 10.15: two caches that swap."""
    one, image = load_on_gpu(), generate(343).image
    wanted = [one.ask(one.perceive(image), question).text for question in QUESTIONS]
    stages = one.bundle.manifest.stages
    stages = stages | {"language": replace(stages["language"], in_place=False)}
    two = load_on_gpu(bundle=changed(gpu_bundle, tmp_path / "bundle", stages=stages))
    face = two.perceive(image)
    for _ in range(2):
        assert [two.ask(face, question).text for question in QUESTIONS] == wanted
    assert simulated_gpu.done(load_on_gpu.device).count("graph") > 10


def test_buffers_are_used_again(load_on_gpu, astronaut):
    model = load_on_gpu()
    for _ in range(2):
        model.ask(model.perceive(astronaut, BOX), QUESTIONS[0])
    used = load_on_gpu.device.used
    for _ in range(3):
        model.ask(model.perceive(astronaut, BOX), QUESTIONS[0])
    assert load_on_gpu.device.used == used


def test_kernels_that_were_compiled_here_are_kept(load_on_gpu, tmp_path, monkeypatch):
    """TensorRT-RTX's, for each shape but a prompt's, which is new each time."""
    monkeypatch.setenv("FACEINSIGHT_CACHE", str(tmp_path))
    load_on_gpu()
    # the detector, and two batch sizes of four stages; prefill and decode
    strategies = load_on_gpu.library.strategies
    assert strategies.count("eager") == 1 + 2 * 4 + 1 and strategies.count("none") == 1
    assert load_on_gpu.library.kernels.known == b""
    load_on_gpu()
    assert load_on_gpu.library.kernels.known == b"kernel"
    for path in (tmp_path / "kernels").iterdir():
        path.write_bytes(b"rubbish")
    load_on_gpu()
    assert load_on_gpu.library.kernels.known == b""


def test_two_threads_perceive_and_ask_at_once(load_on_gpu, astronaut):
    model = load_on_gpu()
    face, other = model.perceive(generate(343).image), model.perceive(astronaut, BOX)
    text, faces = model.ask(face, QUESTIONS[2]).text, []
    thread = threading.Thread(target=lambda: faces.extend(model.perceive(astronaut, BOX) for _ in range(4)))
    thread.start()
    texts = {model.ask(face, QUESTIONS[2]).text for _ in range(4)}
    thread.join()
    assert texts == {text} and [face.labels for face in faces] == [other.labels] * 4


def test_the_next_frame_is_perceived_while_this_ones_answer_is_decoded(load_on_gpu, astronaut):
    """On streams of their own, none of which waits for another's: in the middle of an answer a frame is perceived."""
    model = load_on_gpu()
    face = model.perceive(astronaut, BOX)
    wanted = model.ask(face, QUESTIONS[2]).text
    pieces = model.stream(face, QUESTIONS[2])
    begun, start = next(pieces), len(load_on_gpu.device.log)
    with ThreadPoolExecutor(1) as other_thread:
        assert other_thread.submit(model.perceive, astronaut, BOX).result().labels == face.labels
    language = {stream for stream, what in load_on_gpu.device.log[:start] if what == "language"}
    assert not language & {stream for stream, _ in load_on_gpu.device.log[start:]}
    assert begun + "".join(pieces) == wanted


@pytest.mark.parametrize("scale", [0.3, 0.9, 2.0, 4.5])
def test_the_kernel_crops_as_opencv_does(astronaut, scale):
    """scale: frame pixels a crop pixel. Within a level on average of 255; a coarser crop is averaged a little
    differently."""
    size, height = 64, 64 * scale / 1.9
    x, y = 225.0, 130.0
    box = (x - 0.4 * height, y - height / 2, x + 0.4 * height, y + height / 2)
    device = simulated_gpu.Device()
    with device.current():
        stream = device.stream()
        frame = simulated_gpu.OnGpu(device, astronaut)
        crops = device.empty((gpu.FRAME.itemsize + 24,), np.uint8)
        head = device.at(crops.pointer, crops.shape, np.uint8)
        head[: gpu.FRAME.itemsize].view(gpu.FRAME)[0] = (frame.memory.pointer, 0, 512, 512, 512 * 3, 3, 0)
        inverse = np.linalg.inv(np.vstack([crop_matrix(box, 1), [0, 0, 1]]))[:2]
        head[gpu.FRAME.itemsize :].view(np.float32)[:] = inverse.reshape(-1)
        out = device.empty((1, size, size, 3), np.uint8)
        stream.launch(device.kernel(gpu.KERNEL, "crop"), (4, 4, 1), (16, 16, 1), crops, out, size, size)
        stream.synchronize()
        found = device.download(out)[0].astype(int)
    wanted = warp(astronaut, crop_matrix(box, size), size).astype(int)
    differences = np.abs(found - wanted)
    assert differences.mean() < (1.0 if scale <= 2 else 3.0), differences.mean()


@pytest.mark.parametrize("sm", [80, 87, 90, 120])
def test_the_kernel_compiles_for(tmp_path, sm):
    compiler = shutil.which("nvcc")
    if compiler is None:
        pytest.skip("nvcc is needed")
    command = [
        compiler,
        "-cubin",
        "-arch",
        f"sm_{sm}",
        "-Werror",
        "all-warnings",
        "-o",
        str(tmp_path / "k"),
        gpu.KERNEL,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_benchmark_on_a_gpu(load_on_gpu, gpu_bundle, monkeypatch, capsys):
    """Stages by events, the rest by the clock, limits of this GPU from the engines' own work."""
    h200 = limits.Device("simulated", 4800, 989, 1979, "a data sheet")
    monkeypatch.setattr(limits, "this_gpu", lambda device, size: h200)
    monkeypatch.setattr(limits, "gpu_name", lambda device: "Simulated GPU")
    process = {"import_s": 0.1, "load_s": 0.1, "peak_mb": 100.0}
    monkeypatch.setattr(latency, "process_figures", lambda *arguments: process)
    model = load_on_gpu()
    monkeypatch.setattr(latency.FaceInsight, "load", lambda *arguments: model)
    found = latency.bench(gpu_bundle, rounds=3, peer=False, device="cuda:0")
    assert found["device"] == "cuda:0 Simulated GPU" and found["runtime"]["parser_ms"]["p50"] == 0.25
    assert 0 < found["limits"]["token_ms"] < found["runtime"]["token_ms"]["p50"]
    assert json.loads(capsys.readouterr().out.strip().splitlines()[-1]) == found


# what goes wrong


def refused(call, error: type, *parts: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def changed(gpu_bundle, folder, **fields) -> object:
    """Copies the bundle with other values of some fields of its manifest."""
    shutil.copytree(gpu_bundle, folder)
    written = replace(read_bundle(gpu_bundle).manifest, **fields)
    (folder / MANIFEST).write_text(json.dumps(written.to_json()))
    return folder


def test_another_version_of_the_library(load_on_gpu):
    refused(
        lambda: load_on_gpu(version="1.6.0"),
        BundleError,
        "tensorrt-rtx 1.7.1",
        "1.6.0",
        "--target tensorrt-rtx --sm 89",
    )


def test_another_gpu(load_on_gpu, gpu_bundle, tmp_path):
    bundle = changed(gpu_bundle, tmp_path / "bundle", device=manifest.Device(None, (86, 120), 2))
    refused(
        lambda: load_on_gpu(bundle=bundle),
        BundleError,
        "built for SM 86, 120",
        "Simulated GPU (SM 89)",
        "faceinsight build",
    )
    orin = manifest.Device(manifest.Gpu("Orin", 87), "any", 2)
    bundle = changed(gpu_bundle, tmp_path / "orin", device=orin)
    refused(lambda: load_on_gpu(bundle=bundle), BundleError, "built for Orin (SM 87)", "Simulated GPU (SM 89)")


def test_a_plan_that_the_library_refuses(load_on_gpu, monkeypatch):
    init = simulated_gpu.TensorRT.__init__

    def foreign(self, *arguments):
        init(self, *arguments)
        self.foreign = True

    monkeypatch.setattr(simulated_gpu.TensorRT, "__init__", foreign)
    refused(load_on_gpu, BundleError, "refuses the plan of detector", "another platform", "faceinsight build")


def test_a_bundle_of_plans_says_what_they_were_compiled_for(gpu_bundle, tmp_path):
    bundle = changed(gpu_bundle, tmp_path / "bundle", device=None)
    refused(lambda: read_bundle(bundle), BundleError, "device is missing, which target tensorrt-rtx needs")


def test_plans_are_given_to_the_library_once(load_on_gpu):
    model = load_on_gpu()
    refused(lambda: open_backend(model.bundle, "cuda:0", None), BundleError, "was opened before", "read it again")


def test_a_missing_library(gpu_bundle, monkeypatch):
    monkeypatch.setattr(cuda, "Device", lambda ordinal: simulated_gpu.Device())
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    refused(lambda: FaceInsight.load(gpu_bundle, "cuda:0"), InputError, "needs the module tensorrt_rtx", "pip install")


def test_without_pycuda(gpu_bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycuda", None)
    refused(
        lambda: FaceInsight.load(gpu_bundle, "cuda:0"), InputError, "needs pycuda", "faceinsight[gpu]", "device cpu"
    )


def test_tensorrt_has_another_interface_than_tensorrt_rtx(load_on_gpu, gpu_bundle, tmp_path, astronaut):
    """Its runtime config knows no kernels that are compiled here."""
    engine = manifest.Engine("tensorrt", "10.16.2")
    device = manifest.Device(manifest.Gpu("Simulated GPU", 89), (89,), 2)
    other = changed(gpu_bundle, tmp_path / "bundle", target="tensorrt", engine=engine, device=device)
    model = load_on_gpu(bundle=other, version="10.16.2", rtx=False)
    assert model.ask(model.perceive(astronaut, BOX), QUESTIONS[0]).text.startswith("Yes")


@pytest.mark.parametrize("how", ["the library says so", "the capture fails"])
def test_what_cannot_be_captured_is_enqueued(load_on_gpu, astronaut, monkeypatch, how):
    wanted = load_on_gpu().perceive(astronaut, BOX)
    if how == "the capture fails":
        monkeypatch.setattr(simulated_gpu.Graph, "close", broken)
    init = simulated_gpu.TensorRT.__init__

    def uncapturable(self, *arguments):
        init(self, *arguments)
        self.uncapturable = {"language", "features"} if how == "the library says so" else set()

    monkeypatch.setattr(simulated_gpu.TensorRT, "__init__", uncapturable)
    model = load_on_gpu()
    face = model.perceive(astronaut, BOX)
    assert np.array_equal(face.visual_tokens.numpy(), wanted.visual_tokens.numpy())
    assert model.ask(face, QUESTIONS[0]).text.startswith("Yes")
    steps = simulated_gpu.done(load_on_gpu.device)
    assert "features" in steps and "language" in steps
    assert steps.count("graph") > 0 if how == "the library says so" else "graph" not in steps


def broken(graph) -> None:
    raise FaceInsightError("operation not permitted when stream is capturing")


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "gpu", "cuda:x", "cuda:"])
def test_devices(device):
    error = BundleError if device in ("cuda", "cuda:1") else InputError
    refused(lambda: FaceInsight.load(device=device), error, f"device {device!r}")


def test_out_of_memory_while_running(load_on_gpu, astronaut):
    """A larger frame does not fit; what fitted before still does."""
    model = load_on_gpu()
    wanted = model.ask(model.perceive(astronaut, BOX), QUESTIONS[0]).text
    load_on_gpu.device.capacity = load_on_gpu.device.used + 1000
    large = np.zeros((3000, 3000, 3), np.uint8)
    refused(lambda: model.perceive(large, BOX), OutOfMemoryError, "out of memory")
    load_on_gpu.device.capacity = 1 << 32
    assert model.ask(model.perceive(astronaut, BOX), QUESTIONS[0]).text == wanted


@pytest.mark.parametrize("stage", ["placement", "parse_map", "features", "probabilities+visual_tokens", "language"])
def test_after_a_failed_call_the_next_one_is_answered(load_on_gpu, astronaut, stage):
    model = load_on_gpu()
    face = model.perceive(astronaut, BOX)
    wanted = model.ask(face, QUESTIONS[0]).text
    load_on_gpu.backend.perception.use_graphs = load_on_gpu.backend.language.use_graphs = False
    load_on_gpu.library.failing.add(stage)
    call = (lambda: model.ask(face, QUESTIONS[1])) if stage == "language" else (lambda: model.perceive(astronaut, BOX))
    refused(call, FaceInsightError, "failed: an illegal something")
    assert model.ask(face, QUESTIONS[0]).text == wanted
    assert model.perceive(astronaut, BOX).labels == face.labels


def test_no_face(load_on_gpu):
    model = load_on_gpu()
    with pytest.raises(NoFaceError, match="256x128"):
        model.perceive(simulated_gpu.OnGpu(load_on_gpu.device, np.zeros((128, 256, 3), np.uint8)))


def test_a_device_array_is_read_by_others(load_on_gpu):
    device = simulated_gpu.Device()
    with device.current():
        array = device.empty((2, 3), np.float32)
    interface = array.__cuda_array_interface__
    assert (
        interface["shape"] == (2, 3) and interface["typestr"] == "<f4" and interface["data"] == (array.pointer, False)
    )
    assert array.part(1).pointer == array.pointer + 12 and array.part(1).shape == (1, 3)
    assert array.head(1).shape == (1, 3) and isinstance(array.head(1), DeviceArray)


def test_faces_are_found_as_on_the_cpu(load_on_gpu, model, astronaut):
    """The frame is fitted into the detector's input by the kernel, and its edges are repeated beside it."""
    there = load_on_gpu()
    for frame in (astronaut, astronaut[:300, 60:420], astronaut[40:260]):
        wanted = model.detect(frame)
        for source in (frame, simulated_gpu.OnGpu(load_on_gpu.device, np.ascontiguousarray(frame))):
            found = there.detect(source)
            assert len(found) == len(wanted) > 0
            for ours, other in zip(found, wanted, strict=True):
                assert np.allclose(ours.box, other.box, atol=4) and abs(ours.score - other.score) < 0.15
