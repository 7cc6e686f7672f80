"""A recipe file runs the stages in order; each stage resumes from its checkpoint or is skipped when it is done."""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import json
import math
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import PartialState
from safetensors import safe_open

from faceinsight.models.checkpoint import model_directory
from faceinsight.models.config import FaceInsightConfig
from faceinsight.models.data.dataset import read_faces
from faceinsight.models.data.joined import JoinedFaces
from faceinsight.models.data.sampling import draws
from faceinsight.models.data.scenes import (
    BOXES,
    PICTURES,
    Picture,
    face_pictures,
    read_frames,
    read_negatives,
)
from faceinsight.models.data.targets import known_labels
from faceinsight.models.data.tokenizer import backbone_tokenizer, train_tokenizer, unknown_tokens
from faceinsight.models.faceinsight import WEIGHTS, FaceInsightModel
from faceinsight.runtime.errors import InputError, reason
from faceinsight.runtime.files import replacing_file
from faceinsight.runtime.prompt import Prompter
from faceinsight.runtime.vocabulary import Vocabulary

from . import stages
from .detector import Pictures, train_detector
from .faces import Faces
from .gallery import encode_faces, encode_nominal
from .instruct import Instruction, Text, subjects, train_instruct, train_language
from .trainer import PRECISIONS, Schedule

RECIPES = Path(__file__).with_name("recipes")
RUN = "run.json"
"""Says in a run's folder what is trained there."""


@dataclasses.dataclass(frozen=True)
class Crops:
    """synthetic: share of rendered faces. jitter: how far crops are off, see `models.data.augment.random_matrix`."""

    synthetic: float = 0.0
    jitter: float = 1.0


@dataclasses.dataclass(frozen=True)
class Seeing(Crops):
    """glasses: share of the real faces without eyeglasses that get a drawn pair."""

    glasses: float = 0.0


@dataclasses.dataclass(frozen=True)
class Labelling(Seeing):
    """logic: weight of L_c beside L_bce."""

    logic: float = 0.0


@dataclasses.dataclass(frozen=True)
class Vision(Labelling):
    """What of `train_vision` only it knows."""

    parse: float = 0.0
    pretrained: bool = False
    frozen: int = 0
    numbers: float = 1.0
    tight: float = 0.0
    rare: float = 0.0


@dataclasses.dataclass(frozen=True)
class Alignment(Labelling):
    """faces: how many the frozen encoders see, once. The others: see `train_alignment`."""

    faces: int = 6000
    blind: float = 0.0
    parts_only: bool = False
    parts: float = 1.0


@dataclasses.dataclass(frozen=True)
class Instruct(Instruction, Crops):
    """faces: how many are encoded to speak of."""

    faces: int = 6000


@dataclasses.dataclass(frozen=True)
class Scenes:
    """The detector's scenes have no options."""


_OPTIONS = {
    "language": Text, "detector": Scenes, "refiner": Crops, "vision": Vision, "parser": Seeing, "alignment": Alignment,
    "instruct": Instruct,
}  # fmt: skip
STAGES = tuple(_OPTIONS)
_SHARES = ("synthetic", "glasses", "tight", "rare", "gentle", "blind", "invented", "ema", "keep")
_POSITIVE = ("steps", "batch", "accumulate", "validate_every", "checkpoint_every", "faces", "tokens", "clip")


@dataclasses.dataclass(frozen=True)
class Stage:
    """One [stage] table of a recipe. options: what only this stage knows."""

    schedule: Schedule
    options: Text | Scenes | Crops


@dataclasses.dataclass(frozen=True)
class Recipe:
    """seed: of the initial weights. stages: name -> Stage, in the order of STAGES."""

    seed: int
    stages: dict[str, Stage]

    @classmethod
    def load(cls, name: str | Path) -> Recipe:
        """name: a recipe shipped with the project ("nano") or a TOML file. Raises InputError."""
        path = Path(name)
        if path.suffix != ".toml":
            path = RECIPES / f"{name}.toml"
        if not path.is_file():
            known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
            raise InputError(f"no such recipe: {name}; give a .toml file or one of: {known}")
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
            tables = data["stage"]
            seed = data.get("seed", 0)
            if set(data) - {"seed", "stage"} or type(seed) is not int or not 0 <= seed < 2**31:
                raise TypeError("beside its [stage] tables a recipe has one setting, seed, a whole number below 2^31")
            unknown = set(tables) - set(STAGES)
            if unknown or not tables:
                raise TypeError(f"unknown stage {', '.join(sorted(unknown)) or '(none given)'}; known: {STAGES}")
            stages = {name: _stage(name, dict(tables[name])) for name in STAGES if name in tables}
            return cls(seed, stages)
        except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is not a usable recipe: {error}") from error


def _stage(name: str, table: dict) -> Stage:
    """Raises TypeError for a key that the stage does not know or a value of another type, ValueError for one that is
    out of range."""
    options = _OPTIONS[name]
    wanted = {f.name: f.type for kind in (Schedule, options) for f in dataclasses.fields(kind)}
    for key, value in table.items():
        if key not in wanted:
            raise TypeError(f"stage {name} has no setting {key!r}; known: {', '.join(sorted(wanted))}")
        kinds = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}[wanted[key]]
        if type(value) not in kinds:
            raise TypeError(f"stage {name}: {key} must be of type {wanted[key]}, not {value!r}")
        if key == "precision":
            if value not in PRECISIONS:
                raise ValueError(f"stage {name}: precision is {value!r}; use one of {', '.join(PRECISIONS)}")
        elif not 0 <= value < math.inf or (value == 0 and key in _POSITIVE) or (value > 1 and key in _SHARES):
            raise ValueError(f"stage {name}: {key} is {value}")
    own = {f.name for f in dataclasses.fields(Schedule)}
    schedule = Schedule(**{key: value for key, value in table.items() if key in own})
    return Stage(schedule, options(**{key: value for key, value in table.items() if key not in own}))


@dataclasses.dataclass(frozen=True)
class Split:
    """One split of what is trained on. faces: None for rendered ones only. frames: whole photographs with a marked
    face. negatives: photographs without a face."""

    faces: Faces | None = None
    frames: Sequence[Picture] = ()
    negatives: Sequence[Picture] = ()

    @property
    def pictures(self) -> Pictures:
        """What scenes are composed of."""
        return Pictures(face_pictures(self.faces), self.frames, self.negatives)


def train(
    recipe: Recipe,
    config: FaceInsightConfig,
    data: str | Path | Sequence[str | Path],
    out: str | Path,
    threads: int = 0,
    cpu: bool = False,
) -> Path:
    """Trains a model from scratch (or from the backbones its config names) and saves it to `out/model`.

    Without photographs that have no face, or without the stage `detector`, the detector is nano's.

    data: folders of faces in our own form or in that of a public set (see `read_faces`), for the detector also of whole
    photographs (boxes.csv) and of such without a face (pictures.csv); or "synthetic" for rendered faces only. cpu:
    leave the GPU alone. Under `accelerate launch` or `torchrun` the processes share every step's batches. Checkpoints
    and logs lie in `out`; running again continues there. Raises InputError if `out` was begun with another recipe,
    config or data.
    """
    import cv2

    cv2.setNumThreads(1)
    _keep_freed_memory()
    workers = PartialState(cpu=cpu)
    if threads:
        torch.set_num_threads(threads)
    out = Path(out)
    data = [data] if isinstance(data, (str, Path)) else list(data)
    about = _about(recipe, config, data)
    _same_run(about, out)
    undrawn = [label.name for label in config.vocabulary if not draws(label)]
    rendered = [str(folder) for folder in data] == ["synthetic"]
    if rendered and undrawn:
        raise InputError(f"rendered faces have no {' and no '.join(undrawn)}; give --data a set that has")
    train_set, val_set = (Split(), Split()) if rendered else _read(data, config.vocabulary)
    detecting = "detector" in recipe.stages and bool(train_set.faces and train_set.negatives)
    with workers.main_process_first():
        try:
            out.mkdir(parents=True, exist_ok=True)
            with replacing_file(out / RUN) as beside:
                beside.write_text(json.dumps(about, indent=1), encoding="utf-8")
        except OSError as error:
            raise InputError(f"cannot train into {out}: {error.strerror}; give --out another folder") from error
    torch.manual_seed(recipe.seed)
    model = FaceInsightModel(config)
    if not detecting:
        _take_detector(model)
        print(f"the detector is nano's: to train one, give --data also a folder with {PICTURES}", file=sys.stderr)
    model.to(workers.device)
    model.vision.to(memory_format=torch.channels_last)
    with workers.main_process_first():
        _takes_tokens(recipe, config)
        model.take_tokenizer(_tokenizer(out, config, model.language.vocab_size))
    prompter = Prompter(model.tokenizer_json, config.prompt, model.language.vocab_size, config.vocabulary)
    for name, stage in recipe.stages.items():
        if name == "detector" and not detecting:
            continue
        torch.manual_seed(recipe.seed)  # what a stage adds starts alike after a resume, too
        _STAGES[name](model, stage, prompter, train_set, val_set, out)
    model.take_spreads()
    if workers.is_main_process:
        model.save_pretrained(out / "model")
    return out / "model"


def _take_detector(model: FaceInsightModel) -> None:
    """Gives a model whose recipe trains no detector the bundled nano's. Raises InputError where its form is another."""
    nano = FaceInsightConfig.load(model_directory(None))
    if nano.detector != dataclasses.replace(model.config.detector, least=nano.detector.least):
        raise InputError(
            "no detector is trained, and nano's has another form than the config's; train one (see docs/training.md), "
            "or leave the config's detector as it is"
        )
    with safe_open(model_directory(None) / WEIGHTS, "pt") as file:
        prefix = "detector."
        state = {n.removeprefix(prefix): file.get_tensor(n) for n in list(file.keys()) if n.startswith(prefix)}
    model.detector.load_state_dict(state)
    model.config = dataclasses.replace(model.config, detector=nano.detector)


def _keep_freed_memory() -> None:
    """Lets glibc keep large blocks: giving each tensor back to the system costs a quarter of a step in page faults."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "mallopt"):
        trim_threshold, top_pad, mmap_max = -1, -2, -4
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, -1)
        libc.mallopt(top_pad, 256 << 20)


def _about(recipe: Recipe, config: FaceInsightConfig, data: Sequence[str | Path]) -> dict:
    """What is trained, as JSON has it."""
    about = {"recipe": dataclasses.asdict(recipe), "config": json.loads(config.to_json())}
    about["data"] = [_place(folder) for folder in data]
    return json.loads(json.dumps(about))


def _same_run(about: dict, out: Path) -> None:
    """Raises InputError when `out` was begun with something else."""
    path = out / RUN
    if not path.is_file():
        return
    try:
        begun = json.loads(path.read_text(encoding="utf-8"))
        changed = [name for name in about if begun.get(name) != about[name]]
    except (ValueError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({reason(error)}); give --out another folder") from error
    if changed:
        raise InputError(f"{out} was begun with another {' and '.join(changed)}; give --out another folder")


def _read(folders: Sequence[str | Path], vocabulary: Vocabulary) -> tuple[Split, Split]:
    """The train and the val split of all folders together."""
    of_kind: dict[str, list[str | Path]] = {BOXES: [], PICTURES: [], "faces": []}
    for folder in folders:
        named = [table for table in (BOXES, PICTURES) if (Path(folder) / table).is_file()]
        of_kind[named[0] if named else "faces"].append(folder)
    if not of_kind["faces"]:
        raise InputError(f"{', '.join(map(str, folders))} has no labelled faces; give --data a folder that has")
    splits = []
    for split in ("train", "val"):
        faces = [read_faces(folder, split, vocabulary) for folder in of_kind["faces"]]
        frames = [picture for folder in of_kind[BOXES] for picture in read_frames(folder, split)]
        negatives = [picture for folder in of_kind[PICTURES] for picture in read_negatives(folder, split)]
        splits.append(Split(faces[0] if len(faces) == 1 else JoinedFaces(faces), frames, negatives))
    known = known_labels(splits[0].faces.targets, vocabulary)
    # what nano tells can be learnt from rendered faces; of other labels only data can tell
    untaught = [label.name for label in vocabulary if not known[label.name] and not draws(label)]
    if untaught:
        raise InputError(
            f"no face of {', '.join(map(str, folders))} has the label {', '.join(untaught)}; leave it out, or give "
            "data with such a column"
        )
    for split in splits:
        for what, why in split.faces.skipped.items():
            print(f"skipped {what}: {why}", file=sys.stderr)
    return splits[0], splits[1]


def _takes_tokens(recipe: Recipe, config: FaceInsightConfig) -> None:
    """Raises InputError when a language model that stays as it is would have to write a token that it does not know."""
    instruct = recipe.stages.get("instruct")
    if not config.language.name or not instruct or not (instruct.options.lora or instruct.options.projectors_only):
        return
    unknown = unknown_tokens(config.language.name, config.prompt)
    if unknown:
        raise InputError(
            f"{config.language.name} does not know {', '.join(unknown)}; adapters and projectors cannot teach it that: "
            "change the config's prompt, or tune all of the language model (lora = 0)"
        )


def _tokenizer(out: Path, config: FaceInsightConfig, vocab_size: int) -> str:
    path, backbone = out / "tokenizer.json", config.language.name
    if not path.is_file():
        if backbone:
            content = backbone_tokenizer(backbone, config.prompt)
        else:
            content = train_tokenizer(config.prompt, vocab_size, config.vocabulary)
        with replacing_file(path) as beside:
            beside.write_text(content, encoding="utf-8")
    return path.read_text(encoding="utf-8")


def _place(data: str | Path) -> str:
    return "synthetic" if str(data) == "synthetic" else str(Path(data).resolve())


def _language(model, stage, prompter, train_set, val_set, out):
    train_language(model, prompter, stage.options, stage.schedule, out)


def _detector(model, stage, prompter, train_set, val_set, out):
    least = train_detector(model.detector, train_set.pictures, val_set.pictures, stage.schedule, out)
    model.config = dataclasses.replace(model.config, detector=dataclasses.replace(model.config.detector, least=least))


def _refiner(model, stage, prompter, train_set, val_set, out):
    options = dataclasses.asdict(stage.options)
    size = model.config.refiner.size
    stages.train_refiner(model.refiner, train_set.faces, val_set.faces, stage.schedule, out=out, size=size, **options)


def _vision(model, stage, prompter, train_set, val_set, out):
    stages.set_text_features(model, prompter.encode)
    options = dataclasses.asdict(stage.options)
    stages.train_vision(model, train_set.faces, val_set.faces, stage.schedule, out=out, **options)


def _parser(model, stage, prompter, train_set, val_set, out):
    options = dataclasses.asdict(stage.options)
    size = model.config.parser.size
    stages.train_parser(model.parser, train_set.faces, val_set.faces, stage.schedule, out=out, size=size, **options)


def _alignment(model, stage, prompter, train_set, val_set, out):
    stages.set_text_features(model, prompter.encode)
    options = dataclasses.asdict(stage.options)
    stages.train_alignment(model, train_set.faces, val_set.faces, stage.schedule, out=out, **options)


def _instruct(model, stage, prompter, train_set, val_set, out):
    options = stage.options

    @functools.cache  # a stage that is finished encodes nothing
    def people():
        seed, crops = stage.schedule.seed + 1, {"synthetic": options.synthetic, "jitter": options.jitter}
        return subjects(model, encode_faces(model, train_set.faces, options.faces, seed=seed, occlude=False, **crops))

    @functools.cache
    def held_out():
        return subjects(model, encode_nominal(model, val_set.faces)) if val_set.faces else people()

    train_instruct(model, prompter, people, held_out, options, stage.schedule, out)


_STAGES = {
    "language": _language, "detector": _detector, "refiner": _refiner, "vision": _vision, "parser": _parser,
    "alignment": _alignment, "instruct": _instruct,
}  # fmt: skip
