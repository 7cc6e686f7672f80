"""What is asked of a face follows from the vocabulary, and so does what can be true together."""

from __future__ import annotations

import pytest

from faceinsight.benchmarks.survey import Survey
from faceinsight.models.vocabulary import load_vocabulary
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.vocabulary import Vocabulary

NANO = load_vocabulary("nano")
KNOWN = {
    "Gender": "male", "Age": "50-64", "Hair_Color": "gray", "Eyeglasses": True, "Smiling": False,
    "Teeth_Visible": False, "Mustache": True, "Beard": True, "Bald": False, "Receding_Hairline": False,
    "Long_Hair": False, "Wearing_Hat": False, "Wearing_Necktie": False,
}  # fmt: skip
OWN = Vocabulary.from_json(
    {
        "labels": {
            "Wearing_Helmet": {"kind": "flag", "prompt": "a person who wears a helmet"},
            "Helmet_Type": {
                "kind": "choice",
                "values": {"full face": "a full-face helmet", "open face": "an open helmet", "none": {}},
            },
            "Noise": {"kind": "number", "prompt": "a noisy place", "unit": "decibel", "range": [0, 120]},
        },
        "rules": [{"kind": "implies", "names": ["Helmet_Type_Full_Face", "Wearing_Helmet"]}],
    }
)


def names(survey):
    return [question.name for question in survey.questions]


def test_nano_is_asked_the_same_questions_in_the_same_order():
    survey = Survey(NANO, [KNOWN])
    assert names(survey) == [
        "Male", "Eyeglasses", "Smiling", "Teeth_Visible", "Mustache", "Beard", "Bald", "Receding_Hairline",
        "Long_Hair", "Wearing_Hat", "Wearing_Necktie", "Gray_Hair", "Female", "Age", "Hair_Color",
    ]  # fmt: skip
    assert survey.questions[0].text == "Is this a man?" and survey.questions[-4].text == "Is the hair gray or white?"


def test_only_what_somebody_knows_is_asked():
    assert names(Survey(NANO, [{}, {"Gender": "male", "Beard": None}])) == ["Male", "Female"]
    with pytest.raises(InputError, match=r"none of the 2 faces has a label that is asked for: Male, Female, Age,"):
        Survey(NANO, [{}, {"Wearing_Helmet": True}])
    with pytest.raises(InputError, match="Gender is 'man'; use male, female or nothing"):
        Survey(NANO, [{"Gender": "man"}])


def test_a_task_asks_about_all_its_labels_that_the_model_has():
    faces = [KNOWN | {"Expression": "happy"}]
    both = load_vocabulary("nano", "expression")
    assert names(Survey(both, faces, "demographics")) == ["Male", "Female", "Age"]
    assert names(Survey(both, faces, "expression")) == ["Smiling", "Expression"]
    celeba = load_vocabulary("celeba")
    everything = [dict.fromkeys(celeba.names, True)]
    assert names(Survey(celeba, everything, "attributes")) == [*celeba.names, "Female"] and len(celeba.names) == 40
    assert names(Survey(celeba, everything, "demographics")) == ["Male", "Young", "Female"]
    with pytest.raises(InputError, match="has no label of the task 'expression'; it has "):
        Survey(OWN, [{"Wearing_Helmet": True}], "expression")


def test_labels_nobody_wrote_questions_for_are_asked_and_read():
    survey = Survey(OWN, [{"Wearing_Helmet": True, "Helmet_Type": "none", "Noise": 80}])
    replies = {"Wearing_Helmet": "Yes, a helmet.", "Helmet_Type": "An open face helmet.", "Noise": "about 70 decibel"}
    assert names(survey) == list(replies)
    told = survey.told(replies)
    assert told == {"Wearing_Helmet": True, "Helmet_Type": "open face", "Noise": 70}
    assert survey.agreeing(told, {"Wearing_Helmet": True, "Helmet_Type": "none", "Noise": 70}) == 2


def test_a_flag_may_be_asked_for_by_its_opposite():
    survey = Survey(load_vocabulary("celeba"), [{"Male": True, "Beard": True}])
    assert names(survey) == ["Male", "Female"] and survey.known({"Male": True}) == {"Male": True, "Female": False}
    assert survey.told({"Male": "No.", "Female": "Yes."}) == {"Male": False, "Female": True}
    assert survey.contradictory({"Male": False, "Female": False}) and survey.contradictory(
        {"Male": True, "Female": True}
    )
    assert not survey.contradictory({"Male": False, "Female": True})


def known(name, labels, vocabulary=NANO):
    return Survey(vocabulary, [labels]).known(labels)[name]


def test_what_a_data_set_knows():
    assert known("Male", {"Gender": "female"}) is False and known("Female", {"Gender": "female"}) is True
    assert known("Gray_Hair", {"Hair_Color": "white"}) is True and known("Gray_Hair", {"Hair_Color": "red"}) is False
    assert known("Gray_Hair", {"Gray_Hair": True}) is True  # a set that knows just this of the colour
    # CelebA has one value for gray and white, which decides this question, too
    assert known("Gray_Hair", {"Hair_Color": "gray or white"}) is True
    assert known("Age", {"Age_Years": 35}) == "35-49" and known("Age", {"Age_Years": (50.0, 65.0)}) == "50-64"
    assert "Age" not in Survey(NANO, [{"Age_Years": (30.0, 40.0), "Gender": "male"}]).scales


def test_what_a_data_set_knows_of_a_number():
    people = load_vocabulary("demographics")
    for labels, low, high, group in (
        ({"Age_Years": 35}, 35, 35, "35-49"), ({"Age_Years": (30.0, 40.0)}, 30, 40, None),
        ({"Age": "50-64"}, 50, 65, "50-64"), ({"Age_Years": (0.0, 3.0)}, 0, 3, "0-34"),
    ):  # fmt: skip
        found = Survey(people, [labels]).known(labels)
        assert found["Age_Years"] == pytest.approx((low, high)) and found["Age"] == group


@pytest.mark.parametrize(
    ("contradictory", "told"),
    [
        (True, {"Male": False, "Beard": True}),
        (True, {"Male": False, "Mustache": True}),
        (True, {"Female": True, "Beard": True}),
        (True, {"Male": True, "Female": True}),
        (True, {"Male": False, "Female": False}),
        (True, {"Wearing_Hat": True, "Receding_Hairline": True}),
        (True, {"Gray_Hair": True, "Hair_Color": "brown"}),
        (True, {"Gray_Hair": False, "Hair_Color": "gray"}),
        (True, {"Gray_Hair": False, "Hair_Color": "white"}),
        (False, {"Beard": True}),
        (False, {"Male": False, "Beard": False}),
        (False, {"Gray_Hair": True, "Hair_Color": "gray"}),
        (False, {"Gray_Hair": True}),
        (False, {"Bald": True, "Receding_Hairline": True}),
    ],
)
def test_what_contradicts_itself(contradictory, told):
    survey = Survey(NANO, [KNOWN])
    assert survey.contradictory(dict.fromkeys(survey.scales) | told) == contradictory


def test_rules_of_every_vocabulary_hold_between_replies():
    moods = Survey(load_vocabulary("nano", "expression"), [KNOWN | {"Expression": "sad"}])
    untold = dict.fromkeys(moods.scales)
    assert moods.contradictory(untold | {"Expression": "sad", "Smiling": True})
    assert not moods.contradictory(untold | {"Expression": "surprise", "Smiling": True})
    own = Survey(OWN, [{"Wearing_Helmet": True, "Helmet_Type": "none", "Noise": 80}])
    assert own.contradictory({"Wearing_Helmet": False, "Helmet_Type": "full face", "Noise": 70.0})
    assert not own.contradictory({"Wearing_Helmet": False, "Helmet_Type": "open face", "Noise": 70.0})
    assert not own.contradictory({"Wearing_Helmet": True, "Helmet_Type": "none", "Noise": None})
