"""Frozen configs, one per sub-network. The defaults are the shipped model, nano: this file is its spec sheet."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

from faceinsight.runtime.errors import InputError
from faceinsight.runtime.parse_map import PARSE_CLASSES
from faceinsight.runtime.prompt import PromptTemplate
from faceinsight.runtime.vocabulary import Vocabulary

from .vocabulary import load_vocabulary


@dataclass(frozen=True)
class BackboneConfig:
    """A Hugging Face model: either `name` (a local directory or a hub id) or `model_type` + `config` for a new one.

    config: keyword arguments of the Hugging Face config class of `model_type`.
    size: side of the square crop in pixels (0 for a language model). mean, std: per channel, for pixels in [0, 1].
    """

    model_type: str
    config: dict = field(default_factory=dict)
    name: str | None = None
    size: int = 0
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)


@dataclass(frozen=True)
class DetectorConfig:
    """size: side in pixels of the square that a frame is fitted into. widths: channels of the stem (stride 2) and of
    the stages (strides 4 to 32). depth: blocks of a stage after its first. neck: channels of the feature pyramid.
    least: the lowest score of a face; training finds it. mean, std: per channel, for pixels in [0, 1].
    """

    size: int = 320
    widths: tuple[int, ...] = (16, 32, 64, 96, 128)
    depth: int = 2
    neck: int = 64
    least: float = 0.3
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)


@dataclass(frozen=True)
class RefinerConfig:
    """size: side of its crop in pixels. widths: channels of each convolution, stride 2. hidden: width of the layer
    after them. mean, std: per channel, for pixels in [0, 1].
    """

    size: int = 64
    widths: tuple[int, ...] = (16, 32, 48, 64)
    hidden: int = 64
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)


@dataclass(frozen=True)
class SegmentationConfig:
    """The ViT over the parse map. cell: pixels whose class fractions are averaged into one input pixel of the ViT."""

    size: int = 160
    cell: int = 8
    patch: int = 4
    hidden: int = 96
    layers: int = 2
    heads: int = 4


@dataclass(frozen=True)
class AttributeConfig:
    """The attribute head: the labels' text features against the pooled visual feature.

    width: dimensions of the shared space. text_width: dimensions of T^0, the language model's hidden size. depth: graph
    convolutions of the correlation constraint, 0 for none. tau: conditional probability below which two labels share no
    edge. omega: weight of a label's neighbours beside its own in one convolution. The paper does not give the last
    three: 2, 0.4 and 0.2 are ML-GCN's. places: the number of image tokens, if each of them has a learnt weight for each
    of its channels in the mean over the tokens: in an aligned face a mouth is always in the same tokens. 0 for a plain
    mean.
    """

    width: int = 128
    text_width: int = 256
    depth: int = 2
    tau: float = 0.4
    omega: float = 0.2
    places: int = 0


_NANO_PARSER = BackboneConfig(
    "segformer",
    {
        "patch_sizes": [7, 5, 3, 3],
        "strides": [2, 4, 2, 2],  # logits at half the resolution: at a quarter an eye is three cells by one
        "depths": [1, 1, 2, 1],
        "hidden_sizes": [16, 32, 64, 128],
        "num_attention_heads": [1, 1, 2, 4],
        "mlp_ratios": [2, 4, 4, 4],
        "decoder_hidden_size": 32,
        "drop_path_rate": 0.0,
        "classifier_dropout_prob": 0.0,
        "num_labels": len(PARSE_CLASSES),
    },
    size=160,
)
_NANO_VISION = BackboneConfig(
    "regnet",
    {
        "embedding_size": 16,
        "hidden_sizes": [16, 32, 64, 128, 256],
        "depths": [1, 1, 2, 2, 1],
        "groups_width": 512,  # wider than any stage: no grouped convolutions
        "layer_type": "x",
        "downsample_in_first_stage": False,  # half resolution in the first stage, where the rims of glasses are seen
    },
    size=160,
)
_NANO_LANGUAGE = BackboneConfig(
    "llama",
    {
        "vocab_size": 1536,
        "hidden_size": 256,
        "intermediate_size": 640,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
    },
)


@dataclass(frozen=True)
class FaceInsightConfig:
    """The whole model. vocabulary: the labels that it tells. mirrored: the vision encoder also looks at each crop's
    mirror image. prompt: what the language model reads around facts and question. context: KV cache length in tokens
    that bundles are built with."""

    vocabulary: Vocabulary = field(default_factory=lambda: load_vocabulary("nano"))
    detector: DetectorConfig = DetectorConfig()
    refiner: RefinerConfig = RefinerConfig()
    parser: BackboneConfig = _NANO_PARSER
    vision: BackboneConfig = _NANO_VISION
    mirrored: bool = True
    segmentation: SegmentationConfig = SegmentationConfig()
    attributes: AttributeConfig = AttributeConfig()
    language: BackboneConfig = _NANO_LANGUAGE
    prompt: PromptTemplate = field(default_factory=PromptTemplate)
    context: int = 384

    @property
    def sizes(self) -> dict[str, int]:
        """Stage that sees pixels -> side of its square input in pixels."""
        return {
            "detector": self.detector.size,
            "refiner": self.refiner.size,
            "parser": self.parser.size,
            "vision": self.vision.size,
        }

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self) | {"vocabulary": self.vocabulary.to_json()}, indent=1)

    @classmethod
    def from_json(cls, text: str, where: str = "config") -> FaceInsightConfig:
        """Raises InputError naming `where` when the JSON is not a FaceInsight config."""
        try:
            data = json.loads(text)
            return cls(
                vocabulary=Vocabulary.from_json(data["vocabulary"]),
                detector=DetectorConfig(**_tuples(data["detector"], "widths", "mean", "std")),
                refiner=RefinerConfig(**_tuples(data["refiner"], "widths", "mean", "std")),
                parser=_backbone(data["parser"]),
                vision=_backbone(data["vision"]),
                mirrored=data["mirrored"],
                segmentation=SegmentationConfig(**data["segmentation"]),
                attributes=AttributeConfig(**data["attributes"]),
                language=_backbone(data["language"]),
                prompt=PromptTemplate(**data.get("prompt", {})),
                context=data["context"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{where} is not a FaceInsight config: {error!r}") from error

    @classmethod
    def load(cls, directory: str | Path) -> FaceInsightConfig:
        path = Path(directory) / "config.json"
        if not path.is_file():
            raise InputError(f"{directory} is not a model directory: config.json is missing")
        return cls.from_json(path.read_text(encoding="utf-8"), str(path))


def _backbone(data: dict) -> BackboneConfig:
    return BackboneConfig(**_tuples(data, "mean", "std"))


def _tuples(data: dict, *names: str) -> dict:
    """JSON has no tuples."""
    return data | {name: tuple(data[name]) for name in names}
