"""The command line gives right answers and JSON; every error is one line with the right exit status."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from faceinsight import __version__

VERBS = (
    "ask", "describe", "attributes", "parse", "demo", "train", "calibrate", "build", "evaluate", "bench", "parity",
    "ablate", "roofline", "real-sizes",
)  # fmt: skip


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


@pytest.fixture(autouse=True)
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)


def test_help_names_every_verb(command):
    text = command.succeeds("--help")
    assert all(verb in text for verb in VERBS) and command.succeeds("-h") == text
    for verb in VERBS:
        text = command.succeeds(verb, "--help")
        assert f" {verb} [OPTIONS]" in text and command.succeeds(verb, "-h") == text


def test_version(command):
    assert command.succeeds("--version") == f"faceinsight {__version__}\n"


def test_without_a_verb_the_help_is_shown(command):
    done = command.run()
    assert done.status == 2 and all(verb in done.stdout for verb in VERBS) and done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "status", "error"),
    [
        (("--version",), 0, ""),
        (("ask", "none.jpg", "Is he bald?"), 2, "faceinsight: no such image file: none.jpg"),
        (("ask", "photo.jpg"), 2, "faceinsight: Missing argument 'question'; see `python -m faceinsight ask --help`\n"),
    ],
)
def test_a_process_ends_with_the_status_of_its_command(folder, arguments, status, error):
    run = [sys.executable, "-m", "faceinsight", *arguments]
    done = subprocess.run(run, cwd=folder, capture_output=True, text=True)
    assert done.returncode == status and done.stderr.startswith(error), done.stderr


def test_ask_one_question_prints_the_answer_alone(command):
    assert command.succeeds("ask", "photo.jpg", "Is she smiling?").startswith("Yes")


def test_ask_several_questions(command):
    lines = command.succeeds("ask", "photo.jpg", "Is she smiling?", "What colour is her hair?").splitlines()
    assert [line.split("\t")[0] for line in lines] == ["Is she smiling?", "What colour is her hair?"]
    assert "brown" in lines[1]


def test_ask_json(command, model):
    found = json.loads(command.succeeds("ask", "photo.jpg", "Any glasses?", "--json"))
    answer = found["answers"][0]
    assert answer["text"].startswith("No") and answer["attributes"]["Eyeglasses"] < 0.5
    assert tuple(found["face"]["labels"]) == model.vocabulary.names
    assert found["face"]["timings"]["perceive_ms"] > 0 and answer["timings"]["ttft_ms"] > 0


def test_describe_streams_the_same_words_as_json(command):
    plain = command.succeeds("describe", "photo.jpg").strip()
    assert "woman" in plain
    assert json.loads(command.succeeds("describe", "photo.jpg", "--json"))["answer"]["text"] == plain


def test_attributes(command, model):
    faces = json.loads(command.succeeds("attributes", "photo.jpg", "--all", "--json"))["faces"]
    assert tuple(faces[0]["attributes"]) == model.vocabulary.attribute_names
    table = dict(line.split("\t") for line in command.succeeds("attributes", "photo.jpg").splitlines())
    assert table["Gender"] == "female" and float(table["Smiling"]) == pytest.approx(
        faces[0]["attributes"]["Smiling"], abs=1e-3
    )


def test_parse_writes_the_overlay_and_the_raw_map(command, folder):
    assert "skin" in command.succeeds("parse", "photo.jpg", "--out", "overlay.png")
    assert Image.open(folder / "overlay.png").size == (512, 512)
    shares = json.loads(command.succeeds("parse", "photo.jpg", "--raw", "--out", "raw.png", "--json"))["shares"]
    raw = np.asarray(Image.open(folder / "raw.png"))
    assert raw.max() < 19 and shares["skin"] == pytest.approx((raw == 1).mean(), abs=1e-3)


@pytest.mark.parametrize("name", ["rgba.png", "grey.jpg", "cmyk.jpg", "deep.png", "turned.jpg"])
def test_unusual_images_are_answered(command, name):
    assert command.succeeds("ask", name, "Is this a man or a woman?").strip().endswith("woman.")


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
        ("Missing argument 'question'", ("ask", "photo.jpg")),
        ("No such command 'guess'", ("guess", "photo.jpg")),
        ("Missing option '--out'", ("build",)),
        ("No such option: --colour", ("describe", "photo.jpg", "--colour", "red")),
        ("Option '--bundle' requires an argument", ("describe", "photo.jpg", "--bundle")),
        ("for '--threads'", ("describe", "photo.jpg", "--threads", "0")),
        ("for '--rounds'", ("bench", "--rounds", "many")),
        ("for '--questions'", ("parity", "--data", "data", "--questions", "0")),
        ("for '--seeds'", ("ablate", "--data", "data", "--seeds", "0")),
        ("labels.csv", ("ablate", "--data", "nowhere")),
        ("--shape is 'cube'; use nano, edge", ("roofline", "--shape", "cube")),
    ],
)
def test_bad_input_is_one_line_and_exit_status_2(command, message, arguments):
    command.fails(message, *arguments)


def test_a_foreign_folder_is_no_bundle_and_exits_with_1(command):
    command.fails("is not a bundle", "describe", "photo.jpg", "--bundle", ".", status=1)


@pytest.mark.slow
def test_evaluate_through_the_whole_runtime(command, folder, write_faces):
    data = folder / "data"
    write_faces(data, {200 + i: "val" for i in range(7)})
    (data / "images" / "206.png").write_bytes(b"junk")
    found = json.loads(command.succeeds("evaluate", "--data", "data", "--json", "--out", "report"))
    assert found["faces"] == 7 and found["failed"] >= 1 and found["contradictions"] == 0
    assert found["labels"]["Eyeglasses"]["faces"] == 7
    confusion = found["labels"]["Male"]["confusion"]
    assert sum(n for row in confusion.values() for n in row.values()) == 7
    assert json.loads((folder / "report" / "result.json").read_text()) == found
    with Image.open(folder / "report" / "Age.png") as picture:
        assert min(picture.size) > 150
    ages = json.loads(command.succeeds("evaluate", "--data", "data", "--task", "demographics", "--json"))
    assert list(ages["labels"]) == ["Male", "Female", "Age"]
    command.fails("give one with --peer", "evaluate", "--data", "data", "--setting", "training-free")
    command.fails("a peer is not fine-tuned", "evaluate", "--data", "data", "--setting", "fine-tuned", "--peer", "dir")
    command.fails("cannot load the config of nowhere", "evaluate", "--data", "data", "--peer", "nowhere")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,split,Smiling\n0.png,val,true\n", "Smiling is 'true'; use 0, 1 or nothing"),
        ("file,split,Gender\n0.png,val,Male\n", "Gender is 'Male'; use male, female"),
        ("name,split\n0.png,val\n", "no column file"),
        ("file,split\n0.png,train\n", "no row in split 'val'"),
    ],
)
def test_a_wrong_cell_of_labels_csv_is_named(command, tmp_path, table, message):
    (tmp_path / "labels.csv").write_text(table, encoding="utf-8-sig")
    command.fails(message, "evaluate", "--data", str(tmp_path))
