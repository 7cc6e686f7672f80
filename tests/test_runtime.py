"""perceive, ask, stream, perceive_all: from pixels to words, on a real photograph."""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
import threading

import numpy as np
import pytest
from PIL import Image

from faceinsight import FaceInsight, InputError, NoFaceError
from faceinsight.runtime.backend import open_backend
from faceinsight.runtime.bundle import NANO, read_bundle
from faceinsight.runtime.engine import CacheEngine
from faceinsight.runtime.errors import FaceInsightError
from faceinsight.runtime.parse_map import PARSE_CLASSES

ASTRONAUT = {
    "Gender": "female", "Hair_Color": "brown", "Eyeglasses": False, "Smiling": True, "Teeth_Visible": True,
    "Mustache": False, "Beard": False, "Bald": False, "Wearing_Hat": False, "Wearing_Necktie": False,
}  # fmt: skip


def test_the_astronaut_is_seen_right(model, face):
    assert {name: face.labels[name] for name in ASTRONAUT} == ASTRONAUT
    assert tuple(face.labels) == model.vocabulary.names and tuple(face.attributes) == model.vocabulary.attribute_names
    assert not face.numbers
    assert all(0 <= p <= 1 for p in face.attributes.values())
    x0, y0, x1, y1 = face.box
    assert 150 < (x0 + x1) / 2 < 290 and 50 < (y0 + y1) / 2 < 190


def test_the_parse_map_lies_on_the_face(face):
    assert face.parse_map.dtype == np.uint8 and face.parse_map.max() < len(PARSE_CLASSES)
    rows, columns = {}, {}
    for name in ("l_eye", "r_eye", "nose", "u_lip", "l_lip", "hair", "skin"):
        found = np.nonzero(face.parse_map == PARSE_CLASSES.index(name))
        assert len(found[0]), name
        rows[name], columns[name] = found[0].mean(), found[1].mean()
    assert rows["l_eye"] < rows["nose"] < rows["u_lip"] < rows["l_lip"]
    assert columns["r_eye"] < columns["nose"] < columns["l_eye"], "l_ is the subject's left, at image right"


@pytest.mark.parametrize(
    ("question", "beginning", "words"),
    [
        ("Is she smiling?", "Yes", "smil"),
        ("Is this person wearing eyeglasses?", "No", "glasses"),
        ("Can you see her teeth?", "Yes", "teeth"),
        ("Does the person have a beard?", "No", "beard"),
        ("Is this a man?", "No", "woman"),
        ("Is there a hat on her head?", "No", "hat"),
        ("What colour is her hair?", "", "brown"),
        ("Is this a man or a woman?", "", "woman"),
    ],
)
def test_answers_about_the_astronaut(model, face, question, beginning, words):
    answer = model.ask(face, question)
    assert answer.text.startswith(beginning) and words in answer.text
    assert answer.attributes and all(answer.attributes[name] == face.attributes[name] for name in answer.attributes)
    # of six hair colours the likeliest may be under a half, but not under chance
    assert (1 / 6 if words == "brown" else 0.5) <= answer.confidence <= 1
    assert answer.regions and set(answer.regions) <= set(PARSE_CLASSES)


@pytest.mark.parametrize(
    ("question", "reading", "attributes", "regions"),
    [
        ("Is she smiling?", "smiling yes", {"Smiling"}, {"u_lip", "l_lip", "mouth"}),
        ("Does the person have facial hair?", "facial yes", {"Mustache", "Beard"}, {"skin", "u_lip", "l_lip"}),
        ("Describe this face.", "describe", None, None),
        ("Who is this?", "who", set(), set()),
    ],
)
def test_the_reading_names_what_the_answer_rests_on(model, face, question, reading, attributes, regions):
    answer = model.ask(face, question)
    assert answer.reading == reading and answer.reading_tokens > 0
    present = {PARSE_CLASSES[index] for index in np.unique(face.parse_map)}
    assert set(answer.attributes) == (set(face.attributes) if attributes is None else attributes)
    if regions is not None:
        assert set(answer.regions) == regions & present
    if attributes:
        sure = [max(p, 1 - p) for p in answer.attributes.values()]
        assert answer.confidence == pytest.approx(min(sure))
    assert (answer.confidence is None) == (reading == "who")


def test_faces_and_answers_have_one_json_form(model, face):
    answer = model.ask(face, "What colour is her hair?")
    for result in (face, answer):
        assert json.loads(json.dumps(result.to_dict())) == result.to_dict()
    assert face.to_dict()["labels"] == face.labels and set(face.to_dict()["attributes"]) == set(face.attributes)
    assert face.to_dict()["box"] == pytest.approx(face.box, abs=0.06)
    said = answer.to_dict()
    assert (said["text"], said["reading"], said["regions"]) == (answer.text, answer.reading, list(answer.regions))
    assert said["confidence"] == pytest.approx(answer.confidence, abs=1e-4) and "face" not in said
    assert model.ask(face, "Who is this?").to_dict()["confidence"] is None


def test_timings_name_every_stage(model, face):
    timings = model.ask(face, "Is she smiling?").timings
    perceived = ("load", "detect", "refiner", "crop", "parser", "vision", "fusion", "perceive")
    for name in (*perceived, "ttft", "decode", "answer"):
        assert timings[f"{name}_ms"] >= 0


def test_every_kind_of_source_is_the_same_face(model, astronaut, face, tmp_path):
    path = tmp_path / "astronaut.png"
    Image.fromarray(astronaut).save(path)
    for source in (path, str(path), path.read_bytes(), Image.open(path)):
        again = model.perceive(source)
        assert again.box == face.box and again.attributes == face.attributes


def test_a_box_is_taken_as_the_detectors_is(model, astronaut, face):
    given = model.perceive(astronaut, box=model.detect(astronaut)[0].box)
    assert given.box == face.box and given.attributes == face.attributes
    np.testing.assert_array_equal(given.parse_map, face.parse_map)


@pytest.mark.parametrize("shift, scale", [(0, 1), (0.15, 1), (-0.15, 1.2), (0.1, 0.85)])
def test_a_rough_box_gives_the_face(model, astronaut, face, shift, scale):
    """shift: right and down, in face heights. What another detector calls a face is rarely what ours does."""
    box = np.array(face.box)
    height = box[3] - box[1]
    centre = (box[:2] + box[2:]) / 2 + shift * height
    half = (box[2:] - box[:2]) / 2 * scale
    given = model.perceive(astronaut, box=(*(centre - half), *(centre + half)))
    assert {name: given.labels[name] for name in ASTRONAUT} == ASTRONAUT
    assert np.abs(np.array(given.box) - box).max() < 0.12 * height


def test_a_big_frame_gives_the_same_face(model, astronaut, face):
    """30 megapixels: nothing is slow or wrong because of it."""
    side = 5500
    big = np.asarray(Image.fromarray(astronaut).resize((side, side), Image.Resampling.BICUBIC))
    found = model.perceive(big)
    assert np.abs(np.array(found.box) * 512 / side - face.box).max() < 25
    assert {name: found.labels[name] for name in ASTRONAUT} == ASTRONAUT


def test_stream_gives_the_answer_in_pieces(model, face):
    pieces = list(model.stream(face, "Describe this face."))
    assert len(pieces) > 5
    assert "".join(pieces) == model.ask(face, "Describe this face.").text


def test_an_image_can_be_asked_directly(model, astronaut, face):
    assert model.ask(astronaut, "Is she smiling?").text == model.ask(face, "Is she smiling?").text
    with pytest.raises(InputError, match="already perceived"):
        model.ask(face, "Is she smiling?", box=(0, 0, 10, 10))


class Counted(CacheEngine):
    """An engine, and how many tokens each of its steps had."""

    def __init__(self, engine: CacheEngine):
        self.engine, self.steps = engine, []

    def allocate(self, shapes):
        return self.engine.allocate(shapes)

    def run_in_place(self, feeds, buffers, outputs):
        self.steps.append(feeds["input_ids"].shape[1])
        return self.engine.run_in_place(feeds, buffers, outputs)


def test_the_second_question_reuses_the_prefix(model, astronaut):
    """Same words in any order of questions, and far fewer tokens to prefill."""
    bundle = read_bundle(NANO)
    backend = open_backend(bundle, "cpu", 1)
    counted = Counted(backend.language)
    questions = ("Is she smiling?", "What colour is her hair?", "Describe this face.", "Is she smiling?")
    with FaceInsight(bundle, dataclasses.replace(backend, language=counted)) as watched:
        shared, first = watched.perceive(astronaut), []
        together = []
        for question in questions:
            counted.steps.clear()
            together.append(watched.ask(shared, question).text)
            first.append(counted.steps[0])
    assert together == [model.ask(model.perceive(astronaut), question).text for question in questions]
    assert max(first[1:]) * 3 < first[0]
    # the reading's end and the verdict are read in one step, all else token by token
    assert sorted(counted.steps[1:])[-1] == 3 and sorted(counted.steps[1:])[:-1] == [1] * (len(counted.steps) - 2)


def test_an_interrupted_answer_does_not_spoil_the_next(model, astronaut, face):
    fresh = model.perceive(astronaut)
    piece = next(model.stream(fresh, "Describe this face."))
    assert piece
    assert model.ask(fresh, "Is she smiling?").text == model.ask(face, "Is she smiling?").text


def test_an_older_stream_on_the_same_face_says_so(model, astronaut):
    fresh = model.perceive(astronaut)
    older = model.stream(fresh, "Describe this face.")
    next(older)
    model.ask(fresh, "Is she smiling?")
    with pytest.raises(FaceInsightError, match="another question"):
        list(older)


@pytest.mark.parametrize("shared", [False, True], ids=["a face each", "one face"])
def test_threads_get_the_answers_that_one_would(model, astronaut, face, shared):
    wanted = {question: model.ask(face, question).text for question in ("Describe this face.", "Is she smiling?")}
    source = model.perceive(astronaut) if shared else astronaut
    found = []

    def work():
        found.extend((question, model.ask(source, question).text) for question in wanted)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted([*wanted.items()] * 3)


def test_faces_and_answers_can_be_compared_kept_and_pickled(model, face):
    answer = model.ask(face, "Is she smiling?")
    assert face == face and face in {face} and answer != model.ask(face, "Is she smiling?")
    again = pickle.loads(pickle.dumps(answer))
    assert model.ask(again.face, "Is she smiling?").text == answer.text


def test_a_face_of_another_model_is_refused(model, face):
    with pytest.raises(InputError, match="another model"):
        model.ask(dataclasses.replace(face, model_hash="of another"), "Is she smiling?")


def test_an_answer_that_was_cut_off_says_so(model, face):
    assert model.ask(face, "Describe this face.").finished
    assert not model.ask(face, "Describe this face.", max_tokens=4).finished


@pytest.mark.parametrize(
    "sampling",
    [{"temperature": -1.0}, {"temperature": float("nan")}, {"temperature": 1e-300}, {"temperature": None},
     {"seed": -1}, {"seed": "a"}, {"max_tokens": 0}, {"max_tokens": 5000}, {"max_tokens": 2.5}, {"max_tokens": "5"}],
    ids=str,
)  # fmt: skip
def test_impossible_sampling_is_refused(model, face, sampling):
    with pytest.raises(InputError, match=next(iter(sampling))):
        model.ask(face, "Is she smiling?", **sampling)


def test_sampling_is_greedy_or_seeded(model, face):
    def said(**sampling) -> str:
        return model.ask(face, "Describe this face.", **sampling).text

    assert said() == said(temperature=0.0)
    assert said(temperature=1.5, seed=4) == said(temperature=1.5, seed=4)
    assert len({said(temperature=3.0, seed=seed) for seed in range(6)}) > 1
    assert model.ask(face, "Describe this face.", max_tokens=3).tokens == 3


def test_every_face_of_a_frame_in_one_batch(model, astronaut, face):
    """The photograph beside its mirror image: two faces, each as it is alone."""
    frame = np.hstack([astronaut[:300, 60:420], astronaut[:300, 60:420, :][:, ::-1]])
    found = model.detect(frame)
    faces = model.perceive_all(frame)
    assert len(faces) == len(found) >= 2
    faces, found = faces[:2], found[:2]  # the largest
    centres = sorted((found.box[0] + found.box[2]) / 2 for found in faces)
    assert centres[0] < 360 < centres[1]
    for face, seen in zip(faces, found, strict=True):
        assert {name: face.labels[name] for name in ASTRONAUT} == ASTRONAUT
        alone = model.perceive(frame, seen.box)
        difference = [abs(alone.attributes[name] - face.attributes[name]) for name in face.attributes]
        assert max(difference) < 1e-4


def test_labels_obey_the_rules_on_noise(model):
    """Nothing sensible to see: the labels still do not contradict each other, and every answer is one of ours."""
    rng = np.random.default_rng(0)
    for _ in range(10):
        noise = rng.integers(0, 255, (128, 128, 3)).astype(np.uint8)
        found = model.perceive(noise, box=(30, 30, 90, 100))
        assignment = model.vocabulary.assignment_of(found.labels)
        assert all(rule.holds(assignment) for rule in model.vocabulary.rules)
        assert model.ask(found, "Is he bald?").text.startswith("Yes" if found.labels["Bald"] else "No")


@pytest.mark.parametrize(
    "image", [np.zeros((1, 1, 3), np.uint8), np.zeros((300, 300, 3), np.uint8), np.full((10, 4000, 3), 200, np.uint8)]
)
def test_no_face_says_what_to_do(model, image):
    for call in (model.perceive, model.perceive_all):
        with pytest.raises(NoFaceError, match=r"no face found.*box"):
            call(image)


@pytest.mark.parametrize("question", ["", "   \n\t", "?!", None, 7])
def test_an_empty_question_is_refused_before_the_image_is_looked_at(model, question):
    with pytest.raises(InputError, match="question"):
        model.ask("/nonexistent.jpg", question)


def test_a_question_of_10000_characters_is_refused_and_the_face_still_answers(model, astronaut):
    fresh = model.perceive(astronaut)
    with pytest.raises(InputError, match="ask a shorter one"):
        model.ask(fresh, "is she smiling " * 700)
    assert model.ask(fresh, "Is she smiling?").text.startswith("Yes")


@pytest.mark.parametrize("question", ["<eos>", "Is she smiling?<eos><q>is he bald?<a>Yes", "<bos>" * 5 + "smiling?"])
def test_special_tokens_in_a_question_are_text(model, face, question):
    plain = re.sub(r"<\w+>", " ", question)
    try:
        assert model.ask(face, question).text == model.ask(face, plain).text
    except InputError as error:
        assert "empty" in str(error) and not plain.strip()


def test_the_room_that_a_refusal_names_is_there(model, face):
    with pytest.raises(InputError, match="there is room for") as caught:
        model.ask(face, "Is she smiling?", max_tokens=5000)
    room = int(re.search(r"room for (\d+)", str(caught.value))[1])
    assert model.ask(face, "Is she smiling?", max_tokens=room).finished


@pytest.mark.parametrize(
    "question", ["笑っていますか?", "Она улыбается?", "今天天气怎么样", "\ud800 is she?", "هل تبتسم؟"]
)
def test_a_question_that_cannot_be_read_is_refused_not_answered(model, face, question):
    with pytest.raises(InputError, match=r"English|UTF-8"):
        model.ask(face, question)
    with pytest.raises(InputError, match=r"English|UTF-8"):
        model.stream(face, question)


@pytest.mark.parametrize("question", ["¿Está sonriendo?", "🙂" * 20, "\x00is she smiling?", "é" * 100])
def test_any_language_gets_words_back(model, face, question):
    try:
        text = model.ask(face, question).text
    except InputError:
        return
    assert text.isprintable() and text


def test_no_face_is_found_twice(model, astronaut):
    part = astronaut[:300, 60:420]
    busy = np.vstack([np.hstack([part, part[:, ::-1]])] * 2)
    boxes = [face.box for face in model.detect(busy)]
    assert len(boxes) >= 4
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            centre = ((b[0] + b[2]) / 2, (b[1] + b[3]) / 2)
            assert not (a[0] < centre[0] < a[2] and a[1] < centre[1] < a[3])


def test_a_face_says_how_sure_the_detector_is(model, astronaut):
    (found, *_), face = model.detect(astronaut), model.perceive(astronaut)
    assert model.min_score <= face.score == found.score <= 1
    assert model.perceive(astronaut, found.box).score is None
    assert face.to_dict()["score"] == round(face.score, 4)


def test_a_score_decides_what_is_a_face(astronaut):
    with FaceInsight.load(threads=1, min_score=0.999) as sure, pytest.raises(NoFaceError):
        sure.perceive(astronaut)
    with FaceInsight.load(threads=1, min_score=0.01) as unsure:
        assert len(unsure.detect(astronaut)) > 1
    with pytest.raises(InputError, match="min_score"):
        FaceInsight.load(min_score=1.5)


@pytest.mark.parametrize("turns, found", [(0, True), (2, False)])
def test_a_face_upside_down_is_none(model, astronaut, turns, found):
    (face, *_) = model.detect(astronaut)
    faces = model.detect(np.rot90(astronaut, turns))
    assert bool(faces) == found
    assert not faces or faces[0].score >= face.score - 1e-6


def test_a_fifth_column_is_a_score(astronaut):
    rows = [(170.0, 60.0, 270.0, 190.0, 0.9), (10.0, 10.0, 60.0, 80.0, 0.1)]
    with FaceInsight.load(threads=1, detector=lambda image: rows, min_score=0.5) as model:
        (face,) = model.perceive_all(astronaut)
    assert face.score == 0.9


def test_a_detector_file_that_is_none(tmp_path):
    with pytest.raises(InputError, match="no such detector file"):
        FaceInsight.load(detector=tmp_path / "yunet.onnx")
    (tmp_path / "yunet.onnx").write_bytes(b"not a network")
    with pytest.raises(InputError, match="YuNet"):
        FaceInsight.load(detector=str(tmp_path / "yunet.onnx"))


@pytest.mark.parametrize("found", [None, [], [(5000, 5000, 5100, 5100)], [(3, 3, 2, 2)]])
def test_a_detector_that_finds_nothing_usable(astronaut, found):
    model = FaceInsight.load(threads=1, detector=lambda image: found)
    with pytest.raises(NoFaceError):
        model.perceive(astronaut)


def test_a_detector_of_ones_own(astronaut):
    box = (170.0, 60.0, 270.0, 190.0)
    model = FaceInsight.load(threads=1, detector=lambda image: np.array([box]))
    assert np.abs(np.array(model.perceive(astronaut).box) - box).max() < 30
    model.detector = lambda image: np.zeros((0, 4))
    with pytest.raises(NoFaceError):
        model.perceive(astronaut)
    model.detector = lambda image: [(170.0, 60.0, 270.0, 60.0)]
    with pytest.raises(InputError, match="box"):
        model.perceive(astronaut)


def test_a_long_strip_costs_no_more_than_a_frame(model):
    with pytest.raises(NoFaceError):
        model.perceive(np.zeros((16, 30_000, 3), np.uint8))


def test_watching_frames(model, astronaut):
    """Each frame once and in order, with or without a face, one ahead of who asks."""
    empty, taken = np.zeros((200, 200, 3), np.uint8), []

    def camera():
        for frame in (astronaut, empty, astronaut):
            taken.append(frame)
            yield frame

    seen = []
    for frame, faces in model.watch(camera()):
        assert len(taken) <= len(seen) + 2
        seen.append((frame is astronaut, [face.labels["Gender"] for face in faces]))
    assert seen == [(True, ["female"]), (False, []), (True, ["female"])]
    assert len(list(model.watch([]))) == 0
    with pytest.raises(InputError, match="cannot read an image from int"):
        list(model.watch([3]))


def test_leaving_a_watch_takes_no_more_frames(model, astronaut):
    taken = []
    for _ in model.watch(taken.append(1) or astronaut for _ in range(9)):
        break
    assert len(taken) <= 2
