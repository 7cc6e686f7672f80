"""Figures of accuracy are right, counted by hand: of labels, of numbers, of parse maps, of what contradicts itself."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from faceinsight.benchmarks.accuracy import PARTS, Tally, confusion_pictures, evaluate, interval
from faceinsight.benchmarks.peers import score_peer
from faceinsight.benchmarks.survey import Survey
from faceinsight.models.data.synthetic import generate
from faceinsight.models.vocabulary import load_vocabulary
from faceinsight.runtime.errors import InputError

from .stand_ins import FACES, QUESTIONS, StandIn, replies, save_faces

PEOPLE = load_vocabulary("demographics")


@pytest.fixture
def folder(tmp_path):
    return save_faces(tmp_path / "data", FACES)


def test_a_perfect_peer_is_right_everywhere(folder):
    found = score_peer(StandIn(*map(replies, FACES)), folder)
    assert found["faces"] == 3 and found["failed"] == 0 and not found["knowledge"] and found["contradictions"] == 0
    # nobody knows more than No of a necktie and a receding hairline, which is asked all the same
    assert set(found["labels"]) == set(QUESTIONS.values()) and found["ms_per_answer"] > 0
    for name, scores in found["labels"].items():
        unknown = name in ("Gray_Hair", "Hair_Color", "Wearing_Hat")
        assert scores["faces"] == 3 - unknown and scores["accuracy"] == 1 and scores["asked"] == 3
        assert scores["answered"] == (2 if name == "Hair_Color" else 3)
        assert scores["within_one"] == (1 if name == "Age" else None)
    assert found["labels"]["Beard"]["balanced_accuracy"] == found["labels"]["Age"]["balanced_accuracy"] == 1
    assert found["labels"]["Wearing_Necktie"]["balanced_accuracy"] is None  # only one of its values is there


def test_errors_are_counted_by_hand(folder):
    first = replies(FACES[0], Eyeglasses="No.", Age="He is 70.", Gray_Hair="Perhaps.")
    second = replies(FACES[1], Smiling="No.", Age="In her fifties.", Hair_Color="blond")
    third = replies(FACES[2], Male="No.", Age="It is hard to say.", Bald="")
    found = score_peer(StandIn(first, second, third), folder)
    scores = found["labels"]
    # Wilson: none of one is 0 to .7935, two of two .3424 to 1
    bounds = pytest.approx((0.5 - 0.6576 / 2, 0.5 + 0.7935 / 2), abs=1e-4)
    assert scores["Eyeglasses"] == {
        "question": "Is this person wearing eyeglasses?", "values": ["True", "False"], "faces": 3, "accuracy": 2 / 3,
        "accuracy_interval": pytest.approx((0.2077, 0.9385), abs=1e-4), "balanced_accuracy": 0.5, "interval": bounds,
        "within_one": None, "within_one_interval": None, "asked": 3, "answered": 3,
        "confusion": {"True": {"False": 1}, "False": {"False": 2}},
    }  # fmt: skip
    assert scores["Male"]["accuracy"] == 2 / 3 and scores["Male"]["balanced_accuracy"] == 0.75
    assert scores["Bald"]["accuracy"] == 2 / 3 and scores["Bald"]["answered"] == 2
    assert scores["Bald"]["balanced_accuracy"] == 0.5
    assert scores["Gray_Hair"]["accuracy"] == 0.5 and scores["Hair_Color"]["accuracy"] == 0.5
    assert scores["Age"]["accuracy"] == 0
    assert scores["Age"]["within_one"] == 1 / 3  # 65+ for 50-64; 50-64 for 0-34 is two off, no reply is wrong
    assert found["contradictions"] == 1 / 3  # the third is neither a man nor a woman


def test_a_peer_that_refuses_is_wrong_but_never_contradictory(folder):
    sorry = dict.fromkeys(QUESTIONS.values(), "I'm sorry, but I can't help with identifying people.")
    found = score_peer(StandIn(sorry, sorry, sorry), folder)
    assert all(s["accuracy"] == 0 and s["answered"] == 0 and s["asked"] == 3 for s in found["labels"].values())
    assert found["labels"]["Male"]["balanced_accuracy"] == 0
    assert found["labels"]["Age"]["within_one"] == found["contradictions"] == 0


def test_contradictory_faces_are_counted_once(folder):
    first = replies(FACES[0], Male="No.", Wearing_Hat="Yes.", Bald="Yes.")
    second = replies(FACES[1], Male="Yes.")
    assert score_peer(StandIn(first, second, replies(FACES[2])), folder)["contradictions"] == 2 / 3
    assert score_peer(StandIn(first), folder, limit=1)["contradictions"] == 1


def tally(told, vocabulary=PEOPLE):
    """told: pairs of a person's labels and what was told of them."""
    found = Tally(Survey(vocabulary, [labels for labels, _ in told]))
    for labels, said in told:
        found.add(labels, None if said is None else dict.fromkeys(found.survey.wanted(labels)) | said)
    return found


def test_a_number_is_scored_by_how_far_off_it_is():
    found = tally(
        [
            ({"Age_Years": 42}, {"Age_Years": 45.0, "Age": "35-49"}),
            ({"Age_Years": 30}, {"Age_Years": 36.0, "Age": "35-49"}),
            ({"Age_Years": (20.0, 30.0)}, {"Age_Years": 33.0, "Age": "0-34"}),  # three above the range
            ({"Age_Years": (20.0, 30.0)}, {"Age_Years": 24.0, "Age": "0-34"}),
            ({"Age": "65+"}, {"Age_Years": 60.0, "Age": "50-64"}),
            ({"Age_Years": 50}, {"Age_Years": None, "Age": None}),
            ({"Age_Years": 50}, None),
            ({"Gender": "male"}, {"Age_Years": 20.0, "Age": "0-34"}),
        ]
    )
    errors = np.array([3, 6, 3, 0, 5])
    half = 1.96 * errors.std(ddof=1) / 5**0.5
    scores = found.numbers()["Age_Years"]
    assert scores["mae"] == pytest.approx(3.4) and scores["interval"] == pytest.approx((3.4 - half, 3.4 + half))
    assert scores["faces"] == 5 and scores["unclear"] == 2 and scores["unit"] == "years"
    groups = found.labels()["Age"]
    assert groups["faces"] == 7 and groups["accuracy"] == 3 / 7 and groups["within_one"] == 5 / 7
    assert groups["confusion"]["50-64"] == {"None": 2} and groups["values"][0] == "0-34"


def test_a_number_is_told_in_words_and_scored(tmp_path):
    folder = save_faces(tmp_path / "data", [{"Age_Years": 42}, {"Age_Years": 67}])
    said = ({"Age_Years": "in his forties"}, {"Age_Years": "He looks about 60 years old."})
    peer = StandIn(*said, questions={"How old does this person look, in years?": "Age_Years"})
    found = score_peer(peer, folder, vocabulary=PEOPLE)
    assert found["numbers"]["Age_Years"]["mae"] == pytest.approx((3 + 7) / 2)
    assert found["labels"]["Age"]["accuracy"] == 0.5 and found["labels"]["Age"]["within_one"] == 1
    assert list(found["labels"]) == ["Age"] and found["labels"]["Age"]["answered"] == 2


def test_a_set_that_tells_fewer_values_apart_is_scored_on_those():
    found = tally([({"Race": "asian"}, {"Race": "east asian"}), ({"Race": "other"}, {"Race": "indian"}),
                   ({"Race": "latino"}, {"Race": "latino"}), ({"Race": "east asian"}, {"Race": "asian"})])  # fmt: skip
    assert found.labels()["Race"]["accuracy"] == 2 / 4


def test_an_interval_holds_the_share_and_is_wilsons_of_one():
    assert interval([(2, 2)]) == pytest.approx((0.3424, 1), abs=1e-4)
    assert interval([(45, 50), (5, 10)])[0] < 0.7 < interval([(45, 50), (5, 10)])[1]


def test_confusion_is_drawn_for_every_label(folder, tmp_path):
    pytest.importorskip("matplotlib")
    found = score_peer(StandIn(*(replies(face, Age="Hm") for face in FACES)), folder)
    files = confusion_pictures(found["labels"], tmp_path)
    assert {file.stem for file in files} == set(found["labels"]) and all(file.stat().st_size for file in files)


def test_a_bad_folder_is_refused(tmp_path, folder):
    with pytest.raises(InputError, match=r"labels\.csv is our own format"):
        score_peer(StandIn(), tmp_path)
    with pytest.raises(InputError, match="no row in split 'test'"):
        score_peer(StandIn(), folder, split="test")


def rendered(folder, count):
    """A folder of rendered faces with their parse maps and one label."""
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    rows = ["file,split,Gender"]
    for seed in range(count):
        sample = generate(seed)
        Image.fromarray(sample.image).save(folder / "images" / f"{seed}.png")
        Image.fromarray(sample.parse_map).save(folder / "masks" / f"{seed}.png")
        rows.append(f"{seed}.png,val,{sample.labels['Gender']}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder


def test_evaluate_scores_the_parse_maps_of_a_folder(model, tmp_path):
    folder = rendered(tmp_path, 2)
    found = evaluate(model, folder)
    scores = found["parse_map"]
    assert set(scores) == {*PARTS, "mean"} and scores["mean"] > 0.5 and scores["background"] > 0.8
    assert list(found["labels"]) == ["Male", "Female"] and found["answers_asked"] == 4
    (folder / "masks" / "0.png").write_bytes(b"damaged")
    (folder / "masks" / "1.png").unlink()
    assert evaluate(model, folder)["parse_map"] is None


def test_phrasings_are_asked_about_faces_all_over_the_folder(model, tmp_path, monkeypatch):
    """With two of four faces they are the first and the third."""
    asked = []
    monkeypatch.setattr(
        "faceinsight.benchmarks.accuracy.agreement", lambda model, faces, questions: asked.append(faces) or {}
    )
    found = evaluate(model, rendered(tmp_path, 4), phrasings=2)
    boxes = [model.perceive(generate(seed).image).box for seed in (0, 2)]
    assert set(found["phrasings"]) == {"everyday", "roundabout"}
    assert [face.box for face in asked[0]] == boxes
