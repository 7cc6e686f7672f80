"""Configs made of published backbones, by name; each backbone is a hub id that a local directory may take the place of.

`nano` is the bundled model's (models/config.py), `nano2` that of its second edition, whose weights are still being
trained. `edge` fits a Jetson Orin; `paper` is the size that the paper tunes.
"""

from __future__ import annotations

from faceinsight.runtime.errors import InputError
from faceinsight.runtime.prompt import PromptTemplate

from .config import AttributeConfig, BackboneConfig, FaceInsightConfig, SegmentationConfig
from .efficientnet import EFFICIENTNET, EfficientNetLite0
from .vocabulary import load_vocabulary

_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_PARSER = BackboneConfig("segformer", name="jonathandinu/face-parsing", size=512, **_IMAGENET)
# 32 x 32 cells of 16 pixels, 64 tokens
_SEGMENTATION = SegmentationConfig(size=512, cell=16, patch=4, hidden=192, layers=4, heads=4)


def _preset(vision: BackboneConfig, language: BackboneConfig, text_width: int, **prompt: str) -> FaceInsightConfig:
    """text_width: the language model's hidden size. prompt: of its chat format; reading and answer must be parted by a
    token that it knows, because adapters could not teach it a new one."""
    return FaceInsightConfig(
        parser=_PARSER,
        vision=vision,
        mirrored=False,
        segmentation=_SEGMENTATION,
        attributes=AttributeConfig(width=256, text_width=text_width, depth=2),
        language=language,
        prompt=PromptTemplate(lowercase=False, latin=False, **prompt),
        context=1024,
    )


_HALF = (0.5, 0.5, 0.5)
EDGE = _preset(
    BackboneConfig("siglip_vision_model", name="google/siglip-base-patch16-384", size=384, mean=_HALF, std=_HALF),
    BackboneConfig("qwen2", name="Qwen/Qwen2.5-0.5B-Instruct"),
    896,
    prefix="<|im_start|>user\n{visual}\n{facts}\n",
    question="{question}<|im_end|>\n<|im_start|>assistant\n",
    answer="Ċ",  # a new line, in the spelling of byte-level vocabularies
    stop="<|im_end|>",
)
PAPER = _preset(
    BackboneConfig(
        "clip_vision_model",
        name="openai/clip-vit-large-patch14-336",
        size=336,
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
    ),
    BackboneConfig("llama", name="lmsys/vicuna-7b-v1.5"),
    4096,
    prefix="<s>USER: {visual}\n{facts}\n",
    question="{question} ASSISTANT:",
    answer="<0x0A>",  # a new line
    stop="</s>",
)

# EfficientNet-Lite0's own normalisation of pixels
_LITE = BackboneConfig(EFFICIENTNET, size=160, mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
NANO2 = FaceInsightConfig(
    vocabulary=load_vocabulary("nano2"),
    vision=_LITE,
    attributes=AttributeConfig(places=(_LITE.size // EfficientNetLite0.STRIDE) ** 2),
)

PRESETS = {"nano": FaceInsightConfig(), "nano2": NANO2, "edge": EDGE, "paper": PAPER}


def preset(name: str) -> FaceInsightConfig:
    """Raises InputError for an unknown name."""
    if name not in PRESETS:
        raise InputError(f"no such preset: {name}; give a config.json or one of: {', '.join(PRESETS)}")
    return PRESETS[name]
