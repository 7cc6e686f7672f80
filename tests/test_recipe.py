"""A recipe runs its stages, each of which trains its own part; what is wrong is found before anything is trained."""

from __future__ import annotations

import dataclasses
import shutil

import cv2
import pytest
import torch
from peft import PeftModel

from faceinsight.models.checkpoint import model_directory
from faceinsight.models.config import DetectorConfig
from faceinsight.models.data.synthetic import generate
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.models.training.recipe import STAGES, Recipe, train
from faceinsight.models.vocabulary import load_vocabulary
from faceinsight.runtime.bundle import NANO as NANO_BUNDLE
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.vocabulary import Vocabulary

from .tiny import tiny_config

NANO = load_vocabulary("nano")


CONFIG = tiny_config(vocab_size=1536)
AGE = Vocabulary((load_vocabulary("demographics")["Gender"], load_vocabulary("demographics")["Age_Years"]))


def small_run(out, stages: dict[str, str], config=CONFIG, data="synthetic"):
    recipe = "".join(f"[stage.{name}]\nsteps = 2\nbatch = 2\nwarmup = 1\n{own}\n" for name, own in stages.items())
    out.mkdir(exist_ok=True)
    (out / "recipe.toml").write_text(recipe)
    shutil.copy(NANO_BUNDLE / "tokenizer.json", out)  # making one takes longer than all else
    return train(Recipe.load(out / "recipe.toml"), config, data, out, 1)


def weights(directory) -> bytes:
    return (directory / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_a_run_that_was_killed_between_stages_gives_the_same_weights(tmp_path):
    """And the parse map's loss, whose layer is made when the stage begins, does train the encoder."""
    stages = {"refiner": "", "vision": "parse = 0.5"}
    whole = weights(small_run(tmp_path / "run", stages))
    (tmp_path / "run" / "vision.last.pt").unlink()
    assert weights(small_run(tmp_path / "run", stages)) == whole
    assert weights(small_run(tmp_path / "without", {"refiner": "", "vision": "parse = 0"})) != whole


@pytest.mark.slow
def test_alignment_of_the_parts_leaves_the_image_side_alone(tmp_path):
    heads = {}
    for only in ("true", "false"):
        settings = f"faces = 50\nblind = 0.5\nparts = 0.25\nparts_only = {only}"
        directory = small_run(tmp_path / only, {"alignment": settings})
        heads[only] = FaceInsightModel.from_pretrained(directory).fusion.head
    torch.manual_seed(0)
    begun = FaceInsightModel(CONFIG).fusion.head
    names = [n for n, _ in begun.named_parameters() if n.split(".")[0] in ("visual", "text")]
    assert names
    # of a choice only one value holds: there the weights of rare values are undone
    names_of = NANO.attribute_names
    flags = torch.tensor([names_of.index(label.name) for label in NANO if label.kind == "flag"])
    assert torch.equal(heads["true"].bias[flags], begun.bias[flags])
    assert heads["true"].bias[names_of.index("Red_Hair")] < begun.bias[names_of.index("Red_Hair")]
    for name in names:
        assert torch.equal(heads["true"].get_parameter(name), begun.get_parameter(name)), name
    assert not torch.equal(heads["false"].bias, begun.bias)
    assert not torch.equal(heads["true"].segmentation.weight, 0.25 * begun.segmentation.weight)


@pytest.mark.slow
def test_adapters_are_saved_and_merged_and_all_else_is_left_alone(tmp_path):
    merged = FaceInsightModel.from_pretrained(small_run(tmp_path, {"instruct": "faces = 50\nlora = 4"}))
    torch.manual_seed(0)
    begun = FaceInsightModel(CONFIG).eval()
    ids = torch.arange(40)[None]

    def logits(backbone):
        with torch.no_grad():
            return backbone(input_ids=ids).logits

    adapted = PeftModel.from_pretrained(begun.language.backbone, tmp_path / "adapter")
    torch.testing.assert_close(logits(merged.language.backbone), logits(adapted), rtol=0, atol=1e-4)
    with adapted.disable_adapter():
        assert (logits(merged.language.backbone) - logits(adapted)).abs().max() > 1e-3
        embedding = merged.language.backbone.get_input_embeddings().weight
        assert torch.equal(embedding, adapted.get_input_embeddings().weight)
    projector = merged.fusion.vision_projector.down.weight
    assert not torch.equal(projector, begun.fusion.vision_projector.down.weight)
    first = weights(tmp_path / "model")
    (tmp_path / "instruct.last.pt").unlink()
    assert weights(small_run(tmp_path, {"instruct": "faces = 50\nlora = 4"})) == first


def test_a_mistyped_data_folder_leaves_the_runs_folder_free(tmp_path):
    recipe = Recipe.load("nano")
    with pytest.raises(InputError, match="no such folder"):
        train(recipe, CONFIG, tmp_path / "nowhere", tmp_path / "run", 1)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_share_of_the_weights_from_before_is_kept(tmp_path):
    ends = {
        keep: FaceInsightModel.from_pretrained(small_run(tmp_path / keep, {"instruct": f"faces = 50\nkeep = {keep}"}))
        for keep in ("0.0", "0.25", "1.0")
    }
    torch.manual_seed(0)
    begun = FaceInsightModel(CONFIG).language.state_dict()
    after, mixed, kept = (ends[keep].language.state_dict() for keep in ends)
    assert all(torch.equal(kept[name], value) for name, value in begun.items())
    moved, some = (torch.cat([(end[n] - begun[n]).flatten() for n in begun]) for end in (after, mixed))
    assert float(some @ moved / (moved @ moved)) == pytest.approx(0.75, abs=0.02)
    assert not torch.equal(after["backbone.model.norm.weight"], begun["backbone.model.norm.weight"])


@pytest.mark.slow
def test_projectors_can_learn_alone(tmp_path):
    trained = FaceInsightModel.from_pretrained(small_run(tmp_path, {"instruct": "faces = 50\nprojectors_only = true"}))
    torch.manual_seed(0)
    begun = FaceInsightModel(CONFIG)
    for one, other in zip(trained.language.parameters(), begun.language.parameters(), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(trained.fusion.vision_projector.up.weight, begun.fusion.vision_projector.up.weight)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[stage.visoin]\nsteps = 2\n", "visoin"),
        ("[stage.vision]\nsteps = 2\nbacth = 4\n", "bacth"),
        ("[stage.vision]\nsteps = '3'\n", "steps must be of type int"),
        ("[stage.vision]\nsteps = 2\nvalidate_every = 0\n", "validate_every is 0"),
        ("[stage.vision]\nsteps = 2\nfaces = 4\n", "faces"),
        ("[stage.vision]\nsteps = 2\nsynthetic = 'half'\n", "synthetic must be of type float"),
        ("[stage.vision]\nsteps = 2\nglasses = 7\n", "glasses is 7"),
        ("[stage.vision]\nsteps = 2\nrate = nan\n", "rate is nan"),
        ("[stage.alignment]\nsteps = 2\nfaces = 0\n", "faces is 0"),
        ("[stage.language]\nsteps = 2\nblind = 0.5\n", "blind"),
        ("seed = 'x'\n[stage.language]\nsteps = 2\n", "seed, a whole number"),
        ("sead = 3\n[stage.language]\nsteps = 2\n", "seed, a whole number"),
        ("seed = 1\n", "stage"),
    ],
)
def test_a_typo_in_a_recipe_is_found_before_anything_is_trained(tmp_path, text, message):
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        Recipe.load(tmp_path / "bad.toml")


def test_recipes_name_what_is_wrong(tmp_path):
    assert set(Recipe.load("nano").stages) == set(STAGES)
    with pytest.raises(InputError, match="no such recipe"):
        Recipe.load("nonesuch")
    (tmp_path / "bad.toml").write_text("[stage.parser]\nbatch = 3\n")
    with pytest.raises(InputError, match="not a usable recipe"):
        Recipe.load(tmp_path / "bad.toml")


# Labels that training has to find


def save_faces(folder, columns: dict[str, list[str]], seeds=range(24)) -> None:
    """A folder of our own form with rendered faces, every third of which is val."""
    (folder / "images").mkdir(parents=True)
    rows = [",".join(["file", "split", *columns])]
    for index, seed in enumerate(seeds):
        cv2.imwrite(str(folder / "images" / f"{seed}.png"), generate(seed).image[..., ::-1])
        cells = (values[index % len(values)] for values in columns.values())
        rows.append(",".join([f"{seed}.png", "train" if index % 3 else "val", *cells]))
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")


def test_a_label_that_nobody_tells_is_an_error(tmp_path):
    recipe = {"refiner": ""}
    config = tiny_config(
        vocabulary=load_vocabulary("nano").combined(Vocabulary((load_vocabulary("demographics")["Race"],)))
    )
    with pytest.raises(InputError, match="rendered faces have no Race; give --data a set that has"):
        small_run(tmp_path / "run", recipe, config)
    save_faces(tmp_path / "faces", {"Gender": ["male", "female"], "Origin": ["white"]})
    with pytest.raises(InputError, match=r"no face of .* has the label Race; leave it out, or give data with such a"):
        small_run(tmp_path / "run", recipe, config, tmp_path / "faces")
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("known", ["nothing but rendered faces", "years", "groups"])
def test_a_number_learns_how_far_it_is_off_and_so_does_a_run_that_was_killed(tmp_path, known):
    config, data = tiny_config(vocab_size=1536, vocabulary=AGE), "synthetic"
    if known != "nothing but rendered faces":
        data = tmp_path / "faces"
        columns = {"Age_Years": ["12", "77", "30..40", "51"]} if known == "years" else {"Age": ["0-34", "65+"]}
        save_faces(data, columns | {"Gender": ["male", "female"]}, range(66))
    stages = {"vision": "jitter = 0.2", "alignment": "faces = 50\njitter = 0.2"}
    directory = small_run(tmp_path / "run", stages, config, data)
    whole, model = weights(directory), FaceInsightModel.from_pretrained(directory)
    spread = model.config.vocabulary["Age_Years"].spread
    assert spread == pytest.approx(121 * model.fusion.head.numbers.log_spread.exp().item(), rel=1e-3)
    # 22 validation faces are enough to calibrate on
    assert model.fusion.head.numbers.slope.item() != 1 and 3 < spread <= 121
    if data != "synthetic":
        (tmp_path / "run" / "alignment.last.pt").unlink()
        assert weights(small_run(tmp_path / "run", stages, config, data)) == whole


@pytest.mark.slow
def test_a_label_of_ones_own_is_trained_under_its_name(tmp_path):
    """And a rendered face that stands beside the photographs says nothing of it."""
    own = {"Hair_Color": {"kind": "choice", "values": {"dark": "dark hair", "fair": "fair hair"}},
           "Wearing_Helmet": {"kind": "flag", "prompt": "a person who wears a helmet"}}  # fmt: skip
    config = tiny_config(vocab_size=1536, vocabulary=Vocabulary.from_json({"labels": own}))
    save_faces(tmp_path / "faces", {"Hair_Color": ["dark", "fair", ""], "Wearing_Helmet": ["0", "1", ""]})
    stages = {
        "vision": "synthetic = 0.5\nlogic = 1.0\nglasses = 0.5",
        "alignment": "synthetic = 0.5\nfaces = 50",
    }
    directory = small_run(tmp_path / "run", stages, config, tmp_path / "faces")
    model = FaceInsightModel.from_pretrained(directory)
    assert model.config.vocabulary.names == ("Hair_Color", "Wearing_Helmet") and model.fusion.head.bias.all()


def test_a_run_is_not_continued_with_another_vocabulary(tmp_path):
    small_run(tmp_path, {"refiner": ""})
    with pytest.raises(InputError, match="was begun with another config"):
        small_run(tmp_path, {"refiner": ""}, tiny_config(vocab_size=1536, vocabulary=AGE))


def test_a_model_without_photographs_for_a_detector_gets_nanos(tmp_path, capsys):
    nano = FaceInsightModel.from_pretrained(model_directory(None))
    for number, stages in enumerate(({"refiner": ""}, {"detector": "", "refiner": ""})):
        model = FaceInsightModel.from_pretrained(small_run(tmp_path / str(number), stages))
        assert "the detector is nano's" in capsys.readouterr().err
        assert model.config.detector == nano.config.detector
        for name, value in nano.detector.state_dict().items():
            assert torch.equal(model.detector.state_dict()[name], value), name
    other = dataclasses.replace(CONFIG, detector=DetectorConfig(size=64))
    with pytest.raises(InputError, match="another form"):
        small_run(tmp_path / "other", {"refiner": ""}, other)
