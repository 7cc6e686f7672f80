"""FaceInsight, whole: detector, box refiner, parser, vision and segmentation encoder, projectors, attribute head,
language model.

The exported stages are `detector`, `refiner`, `parser`, `vision`, `fusion` and `language`; each is one module here, so
that a stage's ONNX graph and its PyTorch reference are the same code.
"""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from faceinsight.runtime.errors import InputError
from faceinsight.runtime.files import replacing_file

from .attributes import AttributeHead
from .backbone import resolve
from .config import FaceInsightConfig
from .detector import FaceDetector
from .language_model import LanguageModel
from .parser import FaceParser
from .projector import Projector
from .refiner import BoxRefiner
from .segmentation import SegmentationEncoder
from .vision import VisionEncoder

WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"


class Fusion(nn.Module):
    """Segmentation encoder, both projectors and the attribute head: all that follows the two encoders of pixels."""

    def __init__(self, config: FaceInsightConfig, vision_width: int, language_width: int):
        super().__init__()
        self.segmentation = SegmentationEncoder(config.segmentation)
        self.vision_projector = Projector(vision_width, language_width)
        self.segmentation_projector = Projector(self.segmentation.width, language_width)
        self.head = AttributeHead(config.attributes, config.vocabulary, vision_width, self.segmentation.width)

    def attributes(self, features: Tensor, parse_map: Tensor) -> Tensor:
        """Logits [B, L] of the attribute head."""
        return self.head(features, self.segmentation(parse_map))

    def forward(self, features: Tensor, parse_map: Tensor) -> tuple[Tensor, Tensor]:
        """features: F_v [B, N, C]; parse_map: [B, S, S] uint8.

        Returns visual_tokens [B, N + M, language width] (image first, then segmentation) and the attribute head's
        outputs [B, L] in [0, 1]: probabilities of the attributes, then the numbers as shares of their ranges.
        """
        parts = self.segmentation(parse_map)
        tokens = torch.cat([self.vision_projector(features), self.segmentation_projector(parts)], dim=1)
        return tokens, self.head(features, parts).sigmoid()


def check_sizes(config: FaceInsightConfig) -> None:
    """Raises InputError for numbers that do not fit each other."""
    segmentation, sizes = config.segmentation, config.sizes
    if not all(type(size) is int and size > 0 for size in sizes.values()):
        raise InputError(f"the crops' sides must be positive whole numbers of pixels, not {sizes}")
    if sizes["detector"] % 32:
        raise InputError(f"detector.size is {sizes['detector']}; it must be a multiple of 32")
    cells = segmentation.size // max(1, segmentation.cell)
    if not cells or cells % segmentation.patch:
        raise InputError(
            f"segmentation.size / segmentation.cell is {cells}; it must be a multiple of segmentation.patch, which is "
            f"{segmentation.patch}"
        )
    if config.parser.size % cells:
        raise InputError(
            f"parser.size is {config.parser.size}; it must be a multiple of segmentation.size / segmentation.cell, "
            f"which is {cells}"
        )


class FaceInsightModel(nn.Module):
    """The PyTorch model. `tokenizer_json` is the tokenizer's file content, kept with the weights."""

    def __init__(self, config: FaceInsightConfig, weights: bool = True):
        """weights: load the backbones that `config` names from their own source.

        Raises InputError for parts that do not fit each other.
        """
        super().__init__()
        self.config = dataclasses.replace(
            config, parser=resolve(config.parser), vision=resolve(config.vision), language=resolve(config.language)
        )
        check_sizes(config)
        self.detector = FaceDetector(config.detector)
        self.refiner = BoxRefiner(config.refiner)
        self.parser = FaceParser(config.parser, weights)
        self.vision = VisionEncoder(config.vision, weights, config.mirrored)
        self.language = LanguageModel(config.language, weights)
        if config.attributes.text_width != self.language.width:
            raise InputError(
                f"attributes.text_width is {config.attributes.text_width}; the language model's width is "
                f"{self.language.width}, and both must be the same"
            )
        self.fusion = Fusion(config, self.vision.width, self.language.width)
        self.tokenizer_json = ""

    def take_tokenizer(self, tokenizer_json: str) -> None:
        """The language model's tokenizer; its embedding table grows by rows for tokens that it does not know yet."""
        from tokenizers import Tokenizer

        self.tokenizer_json = tokenizer_json
        if (count := Tokenizer.from_str(tokenizer_json).get_vocab_size()) > self.language.vocab_size:
            self.language.grow(count)
            written = self.config.language.config | {"vocab_size": count}
            language = dataclasses.replace(self.config.language, config=written)
            self.config = dataclasses.replace(self.config, language=language)

    @torch.no_grad()
    def take_spreads(self) -> None:
        """Writes how far the numbers are off, as training found it, into the config's vocabulary."""
        if self.fusion.head.numbers is None:
            return
        spreads = iter(self.fusion.head.numbers.log_spread.exp().tolist())
        labels = tuple(
            dataclasses.replace(label, spread=float(f"{next(spreads) * (label.bounds[1] - label.bounds[0]):.4g}"))
            if label.kind == "number"
            else label
            for label in self.config.vocabulary
        )
        self.config = dataclasses.replace(
            self.config, vocabulary=dataclasses.replace(self.config.vocabulary, labels=labels)
        )

    @torch.no_grad()
    def perceive(self, parser_pixels: Tensor, vision_pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """uint8 crops [B, S, S, 3] for each encoder. Returns parse maps, visual tokens, the head's outputs."""
        parse_map = self.parser(parser_pixels)
        return parse_map, *self.fusion(self.vision(vision_pixels), parse_map)

    def save_pretrained(self, directory: str | Path) -> None:
        """Writes config.json, model.safetensors and tokenizer.json; each file appears whole or not at all."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        seen: set[int] = set()
        state = {}
        for name, value in self.state_dict().items():
            if value.data_ptr() not in seen or value.numel() == 0:
                state[name] = value.contiguous()
            seen.add(value.data_ptr())
        texts = {"config.json": self.config.to_json(), TOKENIZER: self.tokenizer_json}
        with contextlib.ExitStack() as files:  # none is renamed before all are written
            for name, text in texts.items():
                files.enter_context(replacing_file(directory / name)).write_text(text, encoding="utf-8")
            save_file(state, files.enter_context(replacing_file(directory / WEIGHTS)))

    @classmethod
    def from_pretrained(cls, directory: str | Path) -> FaceInsightModel:
        """Loads what `save_pretrained` wrote; raises InputError naming what is missing or does not fit."""
        directory = Path(directory)
        config = FaceInsightConfig.load(directory)
        for name in (WEIGHTS, TOKENIZER):
            if not (directory / name).is_file():
                raise InputError(f"{directory} is not a whole model directory: {name} is missing")
        model = cls(config, weights=False)
        try:
            state = load_file(directory / WEIGHTS)
            missing, unexpected = model.load_state_dict(state, strict=False)
        except Exception as error:
            raise InputError(f"{directory / WEIGHTS} cannot be loaded into this config: {error}") from error
        tied = {name for name in missing if name.endswith("lm_head.weight")}
        if set(missing) - tied or unexpected:
            raise InputError(
                f"{directory / WEIGHTS} does not fit its config: missing {missing}, unexpected {unexpected}"
            )
        model.tokenizer_json = (directory / TOKENIZER).read_text(encoding="utf-8")
        return model.eval()
