"""A set is scored by groups of its faces, by values of its choices, and by how well probabilities are calibrated."""

from __future__ import annotations

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from faceinsight.benchmarks.accuracy import Tally, evaluate
from faceinsight.benchmarks.breakdown import by_column, by_luminance
from faceinsight.benchmarks.reliability import Reliability, expected_calibration_error
from faceinsight.benchmarks.survey import Survey
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.vocabulary import Vocabulary

from .stand_ins import save_faces

VOCABULARY = Vocabulary.from_json(
    {
        "labels": {
            "Wearing_Helmet": {"kind": "flag", "prompt": "a helmet"},
            "Visor": {"kind": "flag", "prompt": "a visor"},
            "Paint": {
                "kind": "choice",
                "values": {
                    "brown": "brown paint",
                    "gray": {"prompt": "gray paint", "coarse": "pale"},
                    "white": {"prompt": "white paint", "coarse": "pale"},
                },
            },
            "Mood": {"kind": "choice", "values": {mood: f"a {mood} face" for mood in ("calm", "glad", "sad", "cross")}},
            "Wear": {
                "kind": "number", "prompt": "a worn face", "unit": "years", "range": [0, 90],
                "groups": {"name": "Worn", "values": {"new": [0, 30], "used": [30, 60], "old": [60, 90]}},
            },
        }
    }
)  # fmt: skip


def attributes(helmet=0.0, paint="brown", mood="calm"):
    values = {f"Paint_{name.title()}": float(name == paint) for name in ("brown", "gray", "white")}
    values |= {f"Mood_{name.title()}": float(name == mood) for name in ("calm", "glad", "sad", "cross")}
    return {"Wearing_Helmet": helmet, "Visor": 0.0} | values


class Model:
    """Tells of each face what was written for it, and answers nothing; which one it is stands in the first pixel."""

    vocabulary = VOCABULARY

    def __init__(self, *told, skin=np.s_[:0]):
        """told: attributes and number of each face; None fails. skin: rows and columns of it in the parse map."""
        self.told = told
        self.parse_map = np.zeros((64, 64), np.uint8)
        self.parse_map[skin] = 1

    def perceive(self, image, box=None):
        told = self.told[image[0, 0, 0] // 10]
        if told is None:
            raise InputError("no face")
        found, wear = told
        labels = VOCABULARY.decide(found, {"Wear": wear})
        box = (8.0, 8.0, 56.0, 56.0)
        return SimpleNamespace(box=box, attributes=found, labels=labels, parse_map=self.parse_map)


def told_of(**labels):
    return VOCABULARY.decide(attributes(), {"Wear": 20.0}) | labels


def tally(pairs, **options):
    """pairs: a person's labels and the model's."""
    survey = Survey(VOCABULARY, [labels for labels, _ in pairs], **options)
    found = Tally(survey)
    for labels, told in pairs:
        found.add(labels, survey.stated(told))
    return found.labels()


@pytest.fixture
def folder(tmp_path):
    faces = [
        {"Wearing_Helmet": True, "Wear": 20, "Place": "town"},
        {"Wearing_Helmet": False, "Wear": 40, "Place": "town"},
        {"Wearing_Helmet": False, "Wear": 70, "Place": "sea"},
        {"Wearing_Helmet": True, "Wear": 80},
    ]
    return save_faces(tmp_path / "data", faces)


WRONG_IN_TOWN = (attributes(1.0), 24.0), (attributes(0.8), 46.0), (attributes(0.0), 71.0), (attributes(1.0), 80.0)


def test_scores_are_given_again_for_every_value_of_a_column(folder):
    found = evaluate(Model(*WRONG_IN_TOWN), folder, by=["Place", "Wear:30,75"], ask=False)
    assert found["labels"]["Wearing_Helmet"]["accuracy"] == 3 / 4
    assert found["numbers"]["Wear"]["mae"] == pytest.approx(11 / 4)
    sea, town = (found["by"]["Place"][name] for name in ("sea", "town"))
    assert (sea["faces"], town["faces"]) == (1, 2)  # the last face is of neither
    assert town["labels"]["Wearing_Helmet"]["balanced_accuracy"] == 0.5 and town["numbers"]["Wear"][
        "mae"
    ] == pytest.approx(5)
    assert sea["labels"]["Wearing_Helmet"]["accuracy"] == 1
    assert sea["labels"]["Wearing_Helmet"]["balanced_accuracy"] is None
    assert town["calibration"]["labels"]["Wearing_Helmet"]["error"] == pytest.approx(0.4)
    assert {name: group["faces"] for name, group in found["by"]["Wear:30,75"].items()} == {
        "under 30": 1, "30-75": 2, "75 up": 1,
    }  # fmt: skip


def test_no_question_is_asked_where_only_labels_are_scored(folder):
    found = evaluate(Model(*WRONG_IN_TOWN), folder, ask=False)  # it has no `ask`
    assert found["answers_asked"] == 0 and found["answers_agree"] is found["contradictions"] is None


def test_a_face_that_fails_is_wrong_in_its_group(folder):
    found = evaluate(Model(*WRONG_IN_TOWN[:2], None, WRONG_IN_TOWN[3]), folder, by=["Place"], ask=False)
    sea = found["by"]["Place"]["sea"]
    assert (found["failed"], sea["failed"]) == (1, 1) and sea["labels"]["Wearing_Helmet"]["accuracy"] == 0
    assert sea["numbers"]["Wear"]["unclear"] == 1 and sea["calibration"]["error"] is None


def test_a_bound_belongs_to_the_band_above_it_and_a_range_to_the_band_that_holds_it():
    cells = ["29.9", "30", "59", "60", "30..60", "20..31", "60..70", ""]
    groups = by_column("Wear:30,60", [{"Wear": cell} for cell in cells])
    assert groups == {"under 30": [0], "30-60": [1, 2, 4], "60 up": [3, 6]}
    assert by_column("Wear:30", [{"Wear": "40"}]) == {"30 up": [0]}


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("Plaice", "no face has anything in a column 'Plaice'; its columns are Place, Wear"),
        ("Wear:60,30", "'Wear:60,30' has no bounds that rise"),
        ("Wear:old", "'Wear:old' has no bounds that rise"),
        ("Place:3", "Place is 'town', not a number; leave the bounds out"),
        ("Wear", "Wear has 30 values; divide it into bands, such as Wear:BOUND,BOUND"),
    ],
)
def test_a_division_that_cannot_be_made_is_refused(by, message):
    with pytest.raises(InputError, match=message):
        by_column(by, [{"Place": "town", "Wear": str(wear)} for wear in range(30)])


def test_faces_are_divided_at_the_median_luminance_of_what_the_parse_map_calls_skin(tmp_path):
    images = np.zeros((4, 64, 64, 3), np.uint8)
    images[:, :32] = 255  # above the skin
    images[:, 32:] = np.array([200, 40, 120, 80])[:, None, None, None]
    images[:, 0, 0] = np.array([0, 10, 20, 30])[:, None]  # which face it is
    faces = [{"Wearing_Helmet": helmet} for helmet in (True, False, True, False)]
    data = save_faces(tmp_path / "data", faces, images)
    skin = np.s_[40:, :]
    found = evaluate(Model(*[(attributes(1.0), 20.0)] * 4, skin=skin), data, by=["skin"], ask=False)
    darker, lighter = (found["by"]["skin"][name]["labels"]["Wearing_Helmet"] for name in ("darker", "lighter"))
    assert darker["accuracy"] == 0 and lighter["accuracy"] == 1 and darker["faces"] == lighter["faces"] == 2
    grey = [cv2.cvtColor(np.full((1, 1, 3), v / 255, np.float32), cv2.COLOR_RGB2LAB)[0, 0, 0] for v in (80, 120)]
    assert found["skin_luminance"] == pytest.approx(np.mean(grey), abs=0.1)
    bare = evaluate(Model(*[(attributes(1.0), 20.0)] * 4), data, by=["skin"], ask=False)
    assert bare["by"]["skin"] == {} and bare["skin_luminance"] is None


def test_a_face_without_skin_is_neither_darker_nor_lighter():
    assert by_luminance([30.0, None, 50.0, 40.0]) == (40.0, {"darker": [0], "lighter": [2, 3]})


MOODS = [
    ({"Mood": "calm"}, told_of(Mood="calm")), ({"Mood": "calm"}, told_of(Mood="sad")),
    ({"Mood": "sad"}, told_of(Mood="cross")), ({"Mood": "cross"}, told_of(Mood="glad")),
    ({"Mood": "glad"}, told_of(Mood="glad")), ({"Wearing_Helmet": True}, told_of(Mood="glad")),
]  # fmt: skip


def test_values_of_a_choice_are_scored_against_its_others():
    found = tally(MOODS, values={"Mood": [["sad", "cross"], ["calm"]]})
    both = found["Mood sad or cross"]
    assert both["faces"] == 5 and both["accuracy"] == 3 / 5
    assert both["balanced_accuracy"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert both["confusion"] == {"False": {"False": 2, "True": 1}, "True": {"True": 1, "False": 1}}
    assert found["Mood calm"]["balanced_accuracy"] == (1 / 2 + 1) / 2
    assert list(tally(MOODS)) == ["Wearing_Helmet", "Mood"]
    each = {f"Mood {mood}" for mood in ("calm", "glad", "sad", "cross")}
    assert set(tally(MOODS, values={"Mood": [[]]})) == {"Wearing_Helmet", "Mood"} | each


def test_a_value_that_cannot_be_scored_is_refused():
    with pytest.raises(InputError, match="Mood has no value 'joy'; the model tells calm, glad, sad, cross"):
        tally(MOODS, values={"Mood": [["joy"]]})
    with pytest.raises(InputError, match="values of Visor are not scored on their own; of Paint, Mood are"):
        tally(MOODS, values={"Visor": [["True"]]})


def test_a_set_that_has_one_of_two_alike_values_means_both_by_it():
    found = tally(
        [({"Paint": "gray"}, told_of(Paint="white")), ({"Paint": "gray"}, told_of(Paint="gray")),
         ({"Paint": "brown"}, told_of(Paint="white")), ({"Paint": "gray"}, told_of(Paint="brown"))],
        values={"Paint": [["gray"]]},
    )  # fmt: skip
    assert found["Paint"]["accuracy"] == 2 / 4 and found["Paint pale"]["accuracy"] == 2 / 4
    assert set(found) == {"Paint", "Paint pale"}  # of gray alone it says nothing


def test_alike_values_that_a_set_tells_apart_are_also_scored_as_one():
    found = tally([({"Paint": "gray"}, told_of(Paint="white")), ({"Paint": "white"}, told_of(Paint="white")),
                   ({"Paint": "brown"}, told_of(Paint="white"))])  # fmt: skip
    assert found["Paint"]["accuracy"] == 1 / 3 and found["Paint coarse"]["accuracy"] == 2 / 3
    assert set(found["Paint coarse"]["confusion"]) == {"pale", "brown"}


def test_a_column_of_one_value_is_scored_where_the_choice_is_not_known(tmp_path):
    faces = [{"Paint": "brown", "Paint_Gray": 0}, {"Paint_Gray": 1}, {"Paint_Gray": 1}, {"Paint_Gray": 0}, {"Visor": 0}]
    told = [(attributes(paint=paint), 20.0) for paint in ("brown", "white", "gray", "gray", "gray")]
    found = evaluate(Model(*told), save_faces(tmp_path / "data", faces), ask=False)["labels"]
    assert found["Paint"]["faces"] == 1 and found["Paint_Gray"]["faces"] == 4
    assert found["Paint_Gray"]["confusion"] == {"False": {"False": 1, "True": 1}, "True": {"True": 2}}
    damaged = save_faces(tmp_path / "damaged", [{"Paint_Gray": "yes", "Visor": 0}])
    with pytest.raises(InputError, match=r"row of 0.png: Paint_Gray is 'yes'; use 0, 1 or nothing"):
        evaluate(Model(*told), damaged, ask=False)


def test_groups_of_a_number_are_scored_where_a_set_has_nothing_finer():
    pairs = [({"Worn": "new"}, told_of(Wear=20, Worn="new")), ({"Worn": "used"}, told_of(Wear=63, Worn="old")),
             ({"Worn": "old"}, told_of(Wear=20, Worn="new"))]  # fmt: skip
    found = tally(pairs)
    assert found["Worn"]["accuracy"] == 1 / 3 and found["Worn"]["within_one"] == 2 / 3


def test_calibration_is_the_distance_of_probability_and_frequency_in_each_bin():
    # the bin of 0.9 to 0.93: 0.91 against 1/2; that of 0.2 to 0.27: 0.24 against 0; 1.0 is in the last bin
    assert expected_calibration_error([0.91, 0.91, 0.22, 0.26], [True, False, False, False]) == pytest.approx(
        (2 * 0.41 + 2 * 0.24) / 4
    )
    assert expected_calibration_error([1.0, 0.95], [True, False]) == pytest.approx((2 * 0.475) / 2)
    assert expected_calibration_error([0.7] * 10, [True] * 7 + [False] * 3) == pytest.approx(0)


def test_calibration_of_flags_and_values_and_of_all_together():
    faces = [{"Wearing_Helmet": True, "Paint": "gray"}, {"Wearing_Helmet": False, "Paint": "brown"}]
    found = Reliability(Survey(VOCABULARY, faces))
    found.add(faces[0], attributes(0.9) | {"Paint_Brown": 0.2, "Paint_Gray": 0.4, "Paint_White": 0.3})
    found.add(faces[1], attributes(0.1))
    scores = found.scores()
    errors = {name: entry["error"] for name, entry in scores["labels"].items()}
    # the set has no white paint: gray and white are one value, of which their sum is the probability
    assert errors == pytest.approx({"Wearing_Helmet": 0.1, "Paint brown": 0.1, "Paint pale": 0.15})
    assert scores["probabilities"] == 6 and scores["labels"]["Paint pale"]["faces"] == 2
    assert 0 < scores["error"] < 0.2


def test_labels_that_only_one_side_has_are_named_once(tmp_path):
    data = save_faces(tmp_path / "data", [{"Visor": True, "Smiling": 1, "Blur": 3}, {"Visor": False, "Smiling": 0}])
    model = Model((attributes(), 20.0), (attributes(), 20.0))
    found = evaluate(model, data, values=["Beards", "Mood:sad"], ask=False)
    assert found["not_scored"]["model"] == ["Smiling", "Beards"]
    assert found["not_scored"]["data"] == ["Wearing_Helmet", "Paint", "Mood", "Wear", "Mood sad"]
    assert list(found["labels"]) == ["Visor"]


def test_the_report_has_a_line_for_each_label(command, folder, monkeypatch):
    monkeypatch.setattr(
        "faceinsight.commands.evaluate.FaceInsight.load", lambda *arguments: Model(*WRONG_IN_TOWN, skin=np.s_[40:, :])
    )
    arguments = "evaluate", "--data", str(folder), "--labels-only", "--by", "Place", "--by", "skin"
    lines = command.succeeds(*arguments).splitlines()
    assert any(line.startswith("Wearing_Helmet\t0.750\t") and "\t0.750\t4\t0." in line for line in lines)
    after = lines[lines.index("label\tsea (1)\ttown (2)") :]
    assert after[1].split("\t")[:2] == ["Wearing_Helmet", "1.000* (.21-1.00)"]
    assert after[1].split("\t")[2].startswith("0.500 (")
    assert any(line.startswith("Wear error\t1.00 (1.00-1.00)\t5.00 (") for line in after)
    assert any("proxy of skin tone" in line for line in lines)
    assert lines[-1] == "not scored, as no face of the data has them: Visor, Paint, Mood"
    found = json.loads(command.succeeds(*arguments, "--json"))
    assert found["by"]["Place"]["town"]["faces"] == 2 and found["calibration"]["probabilities"] == 4
    command.fails("--phrasings asks questions", *arguments, "--phrasings", "2")
    command.fails("do not apply to a peer", "evaluate", "--data", str(folder), "--by", "Place", "--peer", "dir")
