"""A recipe file runs the stages in order; each stage resumes from its checkpoint or is skipped when it is done."""

from __future__ import annotations

import ctypes
import dataclasses
import sys
from pathlib import Path

import torch

from faceinsight.models.attributes import AttributeHead
from faceinsight.models.config import FaceInsightConfig
from faceinsight.models.data.portraits import Portraits, read_portraits
from faceinsight.models.data.tokenizer import train_tokenizer
from faceinsight.models.faceinsight import FaceInsightModel
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.prompt import Prompter, PromptTemplate

from . import stages
from .gallery import encode_faces
from .instruct import Instruction, subjects, train_instruct, train_language
from .trainer import Schedule

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RECIPES = Path(__file__).with_name("recipes")
STAGES = ("language", "vision", "parser", "alignment", "instruct")


@dataclasses.dataclass(frozen=True)
class Stage:
    """One [stage] table of a recipe. synthetic: share of rendered faces. options: what only this stage knows."""

    schedule: Schedule
    synthetic: float = 0.0
    options: dict = dataclasses.field(default_factory=dict)


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
            tables = {stage: dict(data["stage"][stage]) for stage in STAGES if stage in data["stage"]}
            return cls(data.get("seed", 0), {stage: _stage(table) for stage, table in tables.items()})
        except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
            raise InputError(f"{path} is not a usable recipe: {error}") from error


def _stage(table: dict) -> Stage:
    known = {f.name for f in dataclasses.fields(Schedule)}
    schedule = Schedule(**{k: table.pop(k) for k in list(table) if k in known})
    return Stage(schedule, table.pop("synthetic", 0.0), table)


def train(recipe: Recipe, config: FaceInsightConfig, data: str | Path, out: str | Path, threads: int = 0) -> Path:
    """Trains a model from scratch (or from the backbones its config names) and saves it to `out/model`.

    data: a folder in our own format (models/data/portraits.py), or "synthetic" for rendered faces only.
    Checkpoints and logs lie in `out`; running again continues there.
    """
    import cv2

    cv2.setNumThreads(1)
    _keep_freed_memory()
    if threads:
        torch.set_num_threads(threads)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    train_set, val_set = (None, None) if str(data) == "synthetic" else _read(data)
    torch.manual_seed(recipe.seed)
    model = FaceInsightModel(config)
    model.vision.to(memory_format=torch.channels_last)
    template = PromptTemplate()
    model.tokenizer_json = _tokenizer(out, template, model.language.vocab_size)
    prompter = Prompter(model.tokenizer_json, template, model.language.vocab_size)
    for name, stage in recipe.stages.items():
        _STAGES[name](model, stage, prompter, train_set, val_set, out)
    model.save_pretrained(out / "model")
    return out / "model"


def _keep_freed_memory() -> None:
    """Lets glibc keep large blocks: giving each tensor back to the system costs a quarter of a step in page faults."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        trim_threshold, top_pad, mmap_max = -1, -2, -4
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, -1)
        libc.mallopt(top_pad, 256 << 20)


def _read(data: str | Path) -> tuple[Portraits, Portraits]:
    return read_portraits(data, "train"), read_portraits(data, "val")


def _tokenizer(out: Path, template: PromptTemplate, vocab_size: int) -> str:
    path = out / "tokenizer.json"
    if not path.is_file():
        path.write_text(train_tokenizer(template, vocab_size), encoding="utf-8")
    return path.read_text(encoding="utf-8")


def _parser(model, stage, prompter, train_set, val_set, out):
    size = model.config.parser.size
    stages.train_parser(model.parser, train_set, val_set, stage.schedule, stage.synthetic, out, size)


def _vision(model, stage, prompter, train_set, val_set, out):
    # this head is thrown away: the alignment stage trains the one that also sees the parse map
    config = model.config
    head = AttributeHead(config.attributes, model.vision.width, config.segmentation.hidden)
    count = len(config.attributes.prompts)
    head.set_text_features(torch.randn(count, config.attributes.text_width))
    size = config.vision.size
    stages.train_vision(model.vision, head, train_set, val_set, stage.schedule, stage.synthetic, out, size)


def _alignment(model, stage, prompter, train_set, val_set, out):
    stages.set_text_features(model, prompter.encode)
    faces = stage.options.get("faces", 6000)
    stages.train_alignment(model, train_set, val_set, stage.schedule, stage.synthetic, faces, out)


def _language(model, stage, prompter, train_set, val_set, out):
    train_language(model, prompter, Instruction(**stage.options), stage.schedule, out)


def _instruct(model, stage, prompter, train_set, val_set, out):
    settings = Instruction(**stage.options)
    gallery = encode_faces(model, train_set, settings.faces, stage.synthetic, stage.schedule.seed + 1, occlude=False)
    train_instruct(model, prompter, subjects(model, gallery), settings, stage.schedule, out)


_STAGES = {"language": _language, "parser": _parser, "vision": _vision, "alignment": _alignment, "instruct": _instruct}
