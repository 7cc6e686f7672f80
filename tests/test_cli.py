"""The command line: right answers, machine-readable output, one line and the right exit code for bad input."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from faceinsight.models.data.synthetic import generate
from faceinsight.models.training.recipe import STAGES
from faceinsight.runtime import bundle
from faceinsight.runtime.labels import LABELS, NAMES

VERBS = ("ask", "describe", "attributes", "parse", "build", "calibrate", "train", "evaluate", "bench")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, astronaut):
    """A working directory with a photograph and with everything that can be wrong with one."""
    folder = tmp_path_factory.mktemp("cli")
    photo = Image.fromarray(astronaut)
    photo.save(folder / "photo.jpg", quality=92)
    photo.convert("RGBA").save(folder / "rgba.png")
    photo.convert("L").save(folder / "grey.jpg")
    photo.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257).save(folder / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.rotate(90, expand=True).save(folder / "turned.jpg", exif=exif)
    (folder / "cut.jpg").write_bytes((folder / "photo.jpg").read_bytes()[:9000])
    (folder / "letter.jpg").write_text("Dear reader, this is not a picture.")
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("RGB", (400, 300), (90, 120, 90)).save(folder / "meadow.png")
    return folder


def run(folder, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "faceinsight", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)


def succeeds(folder, *arguments: str) -> str:
    done = run(folder, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fails(folder, message: str, *arguments: str, code: int = 2) -> None:
    done = run(folder, *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    if done.stderr.startswith("faceinsight: "):  # a wrong option is Typer's to explain, in a frame
        assert len(done.stderr.splitlines()) == 1


def test_help_names_every_verb(folder):
    text = succeeds(folder, "--help")
    assert all(verb in text for verb in VERBS)
    for verb in VERBS:
        assert "--help" in succeeds(folder, verb, "--help")


def test_ask_one_question_prints_the_answer_alone(folder):
    assert succeeds(folder, "ask", "photo.jpg", "Is she smiling?").startswith("Yes")


def test_ask_several_questions(folder):
    lines = succeeds(folder, "ask", "photo.jpg", "Is she smiling?", "What colour is her hair?").splitlines()
    assert [line.split("\t")[0] for line in lines] == ["Is she smiling?", "What colour is her hair?"]
    assert "brown" in lines[1]


def test_ask_json(folder):
    found = json.loads(succeeds(folder, "ask", "photo.jpg", "Any glasses?", "--json"))
    answer = found["answers"][0]
    assert answer["text"].startswith("No") and answer["attributes"]["Eyeglasses"] < 0.5
    assert tuple(found["face"]["labels"]) == LABELS
    assert found["face"]["timings"]["perceive_ms"] > 0 and answer["timings"]["ttft_ms"] > 0


def test_describe_streams_the_same_words_as_json(folder):
    plain = succeeds(folder, "describe", "photo.jpg").strip()
    assert "woman" in plain
    assert json.loads(succeeds(folder, "describe", "photo.jpg", "--json"))["answer"]["text"] == plain


def test_attributes(folder):
    faces = json.loads(succeeds(folder, "attributes", "photo.jpg", "--all", "--json"))["faces"]
    assert tuple(faces[0]["attributes"]) == NAMES
    table = dict(line.split("\t") for line in succeeds(folder, "attributes", "photo.jpg").splitlines())
    assert table["Gender"] == "female" and float(table["Smiling"]) == pytest.approx(
        faces[0]["attributes"]["Smiling"], abs=1e-3
    )


def test_parse_writes_the_overlay_and_the_raw_map(folder):
    assert "skin" in succeeds(folder, "parse", "photo.jpg", "--out", "overlay.png")
    assert Image.open(folder / "overlay.png").size == (512, 512)
    shares = json.loads(succeeds(folder, "parse", "photo.jpg", "--raw", "--out", "raw.png", "--json"))["shares"]
    raw = np.asarray(Image.open(folder / "raw.png"))
    assert raw.max() < 19 and shares["skin"] == pytest.approx((raw == 1).mean(), abs=1e-3)


@pytest.mark.parametrize("name", ["rgba.png", "grey.jpg", "cmyk.jpg", "deep.png", "turned.jpg"])
def test_unusual_images_are_answered(folder, name):
    assert succeeds(folder, "ask", name, "Is this a man or a woman?").strip().endswith("woman.")


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("no such image file: none.jpg", ("ask", "none.jpg", "Is he bald?")),
        ("damaged or cut short", ("ask", "cut.jpg", "Is he bald?")),
        ("letter.jpg is not an image", ("describe", "letter.jpg")),
        ("no face found in the 1x1 image", ("attributes", "dot.png")),
        ("no face found in the 400x300 image", ("parse", "meadow.png")),
        ("the question is empty", ("ask", "photo.jpg", "  ")),
        ("ask a shorter one", ("ask", "photo.jpg", "why " * 2500)),
        ("--box takes four numbers", ("ask", "photo.jpg", "Is he bald?", "--box", "1,2,3")),
        ("outside of the image", ("ask", "photo.jpg", "Is he bald?", "--box", "900,900,990,990")),
        ("give either --all or --box", ("attributes", "photo.jpg", "--all", "--box", "1,2,30,40")),
        ("unknown device 'npu'", ("describe", "photo.jpg", "--device", "npu")),
        ("which would be lost", ("parse", "photo.jpg", "--out", "./photo.jpg")),
        ("cannot write the picture", ("parse", "photo.jpg", "--out", "x" * 300 + ".png")),
        ("ask in English", ("ask", "photo.jpg", "笑っていますか?")),
        ("cannot write the picture", ("parse", "photo.jpg", "--out", "nowhere/picture.png")),
        ("unknown target 'toaster'; use cpu,", ("build", "--target", "toaster", "--out", "out")),
        ("is not built in fp8", ("build", "--precision", "fp8", "--out", "out")),
        ("is not a model directory", ("build", "--model", "nowhere", "--out", "out")),
        ("no such folder of calibration images", ("calibrate", "--images", "nowhere", "--out", "scales.json")),
        ("no such recipe", ("train", "--recipe", "pancakes", "--out", "out")),
        ("labels.csv", ("evaluate", "--data", "nowhere")),
        ("is a directory", ("attributes", ".")),
        ("would blur", ("parse", "photo.jpg", "--raw", "--out", "raw.jpg")),
        ("cannot write the picture", ("parse", "photo.jpg", "--out", "map.psd")),
        ("temperature must be", ("ask", "photo.jpg", "Is he bald?", "--temperature", "1e-300")),
        ("seed", ("ask", "photo.jpg", "Is he bald?", "--temperature", "1", "--seed", "-1")),
        ("cannot read the image file", ("ask", "x" * 300 + ".jpg", "Is he bald?")),
        ("Missing argument", ("ask", "photo.jpg")),
        ("No such command", ("guess", "photo.jpg")),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(folder, message, arguments):
    fails(folder, message, *arguments)


def test_a_foreign_folder_is_no_bundle_and_exits_with_1(folder):
    fails(folder, "is not a bundle", "describe", "photo.jpg", "--bundle", ".", code=1)


def test_evaluate_through_the_whole_runtime(folder):
    data = folder / "data"
    (data / "images").mkdir(parents=True)
    rows = ["file,split," + ",".join(LABELS)]
    for seed in range(6):
        sample = generate(200 + seed)
        Image.fromarray(sample.image).save(data / "images" / f"{seed}.png")
        cells = [str(int(v)) if isinstance(v, bool) else v for v in sample.labels.values()]
        rows.append(f"{seed}.png,val," + ",".join(cells))
    (data / "images" / "7.png").write_bytes(b"junk")
    rows.append("7.png,val" + "," * len(LABELS))
    (data / "labels.csv").write_text("\n".join(rows))
    found = json.loads(succeeds(folder, "evaluate", "--data", "data", "--json", "--out", "report"))
    assert found["faces"] == 7 and found["failed"] >= 1 and found["contradictions"] == 0
    assert found["labels"]["Eyeglasses"]["faces"] == 6
    confusion = found["labels"]["Male"]["confusion"]
    assert sum(n for row in confusion.values() for n in row.values()) == 6
    assert json.loads((folder / "report" / "result.json").read_text()) == found
    with Image.open(folder / "report" / "Age.png") as picture:
        assert min(picture.size) > 150
    ages = json.loads(succeeds(folder, "evaluate", "--data", "data", "--task", "demographics", "--json"))
    assert list(ages["labels"]) == ["Male", "Female", "Age"]
    fails(folder, "give one with --peer", "evaluate", "--data", "data", "--setting", "training-free")
    fails(folder, "a peer is not fine-tuned", "evaluate", "--data", "data", "--setting", "fine-tuned", "--peer", "dir")
    fails(folder, "cannot load the config of nowhere", "evaluate", "--data", "data", "--peer", "nowhere")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,split,Smiling\n0.png,val,true\n", "Smiling is 'true'; use 0, 1 or nothing"),
        ("file,split,Gender\n0.png,val,Male\n", "Gender is 'Male'; use male, female"),
        ("name,split\n0.png,val\n", "no column file"),
        ("file,split\n0.png,train\n", "no row in split 'val'"),
    ],
)
def test_a_wrong_cell_of_labels_csv_is_named(folder, tmp_path, table, message):
    (tmp_path / "labels.csv").write_text(table, encoding="utf-8-sig")
    fails(folder, message, "evaluate", "--data", str(tmp_path))


def test_train_on_a_folder_of_ones_own(folder):
    """Two steps of every stage on images, parse maps and labels.csv, validated on the other split."""
    data = folder / "faces-with-labels"
    for name in ("images", "masks"):
        (data / name).mkdir(parents=True)
    rows = ["file,split," + ",".join(LABELS)]
    for seed in range(16):
        sample = generate(seed)
        Image.fromarray(sample.image).save(data / "images" / f"{seed}.png")
        Image.fromarray(sample.parse_map).save(data / "masks" / f"{seed}.png")
        cells = [str(int(v)) if isinstance(v, bool) else v for v in sample.labels.values()]
        rows.append(f"{seed}.png,{'val' if seed > 11 else 'train'}," + ",".join(cells))
    (data / "images" / "0.png").write_bytes(b"junk")
    (data / "labels.csv").write_text("\n".join(rows))
    stages = {
        "language": "", "refiner": "jitter = 2", "vision": "glasses = 0.5\nparse = 0.5", "parser": "synthetic = 0.5",
        "alignment": "faces = 50", "instruct": "faces = 50",
    }  # fmt: skip
    recipe = "\n".join(f"[stage.{name}]\nsteps = 2\nbatch = 4\nwarmup = 1\n{own}" for name, own in stages.items())
    (folder / "small.toml").write_text(recipe)
    done = run(folder, "train", "--recipe", "small.toml", "--data", str(data), "--out", "own")
    assert done.returncode == 0, done.stderr
    assert "skipped 0.png" in done.stderr
    last = json.loads((folder / "own" / "alignment.jsonl").read_text().splitlines()[-1])
    assert 0 <= last["balanced"] <= 1 and last["step"] == 2


def test_train_build_and_ask_a_model_of_ones_own(folder):
    """The whole path from no images at all to an answer, on a recipe of a few steps."""
    recipe = "\n".join(
        f"[stage.{stage}]\nsteps = 2\nbatch = 8\nwarmup = 1\n"
        + ("faces = 50\n" if stage in ("alignment", "instruct") else "")
        for stage in STAGES
    )
    (folder / "tiny.toml").write_text(recipe)
    command = ("train", "--recipe", "tiny.toml", "--data", "synthetic", "--out", "run")
    assert "model: run/model" in succeeds(folder, *command)
    weights = (folder / "run" / "model" / "model.safetensors").read_bytes()
    assert "model: run/model" in succeeds(folder, *command)
    assert (folder / "run" / "model" / "model.safetensors").read_bytes() == weights
    fails(folder, "begun with another data", *command[:4], "data", *command[5:])
    faces = folder / "faces"
    faces.mkdir()
    for seed in range(24):
        Image.fromarray(generate(seed).image).save(faces / f"{seed}.png")
    fails(folder, "--calibration", "build", "--model", "run/model", "--out", "mine")
    assert not (folder / "mine").exists()
    out = succeeds(folder, "build", "--model", "run/model", "--calibration", "faces", "--out", "mine", "--json")
    assert set(json.loads(out)["stages"]) == set(bundle.STAGES)
    # two steps taught it nothing, but the chain holds
    box = ("--box", "80,78,144,164")
    assert run(folder, "ask", "faces/0.png", "Is he bald?", "--bundle", "mine", *box).returncode == 0
    scales = ("calibrate", "--model", "run/model", "--images", "faces", "--out", "scales.json")
    assert "ranges from" in succeeds(folder, *scales)
    succeeds(folder, "build", "--model", "run/model", "--calibration", "scales.json", "--out", "mine")
