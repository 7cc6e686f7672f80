"""What the runtime gives: a perceived face, and an answer about it. `to_dict` is the one JSON form of each."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .detect import Box


@dataclass(frozen=True, eq=False)
class Face:
    """A perceived face: ask as many questions about it as you like, it is encoded once.

    box: xyxy in image pixels, hairline to chin, refined. crop_box: the square that the model saw, xyxy in image pixels.
    attributes: {attribute of the model's vocabulary: probability in [0, 1]}. numbers: {label: value in its unit}.
    labels: the most probable ones that obey every rule, numbers rounded. parse_map: HxW uint8 over the crop, values
    index PARSE_CLASSES. timings: {"parser_ms": ...}, of the whole batch where several faces were perceived together.
    visual_tokens: [1, N, width], what the language model reads, on its device. model_hash: of the model that perceived
    it.
    """

    box: Box
    crop_box: Box
    attributes: dict[str, float]
    numbers: dict[str, float]
    labels: dict[str, str | bool | float]
    parse_map: np.ndarray
    timings: dict[str, float]
    visual_tokens: object = field(repr=False)
    model_hash: str = field(repr=False)

    def to_dict(self) -> dict:
        """Boxes in tenths of a pixel, probabilities with four digits, timings in ms; without arrays."""
        return {
            "box": [round(v, 1) for v in self.box],
            "crop_box": [round(v, 1) for v in self.crop_box],
            "labels": self.labels,
            "attributes": _rounded(self.attributes, 4),
            "numbers": _rounded(self.numbers, 2),
            "timings": _rounded(self.timings, 3),
        }


@dataclass(frozen=True, eq=False)
class Answer:
    """An answer about a face.

    question: as it was asked. text: the answer. reading: how the model read the question (see runtime/reading.py);
    attributes, regions and confidence follow from it. attributes: probabilities, and numbers in their units, of the
    labels that the answer rests on. regions: parse classes of the face in which they are seen. confidence: least
    probability, in [0, 1], of what it rests on; None for a refusal and for a number that is only told. timings: the
    face's, and from the question on: "ttft_ms" to the first token, "decode_ms" from there to the end, and their sum
    "answer_ms". tokens: of the answer; reading_tokens: of the reading. finished: False if max_tokens or the context cut
    the answer off. face: the face asked about.
    """

    question: str
    text: str
    reading: str
    attributes: dict[str, float]
    regions: tuple[str, ...]
    confidence: float | None
    timings: dict[str, float]
    tokens: int
    reading_tokens: int
    finished: bool
    face: Face = field(repr=False)

    def to_dict(self) -> dict:
        """All but the face; probabilities with four digits, timings in ms."""
        return {
            "question": self.question,
            "text": self.text,
            "reading": self.reading,
            "attributes": _rounded(self.attributes, 4),
            "regions": list(self.regions),
            "confidence": None if self.confidence is None else round(self.confidence, 4),
            "timings": _rounded(self.timings, 3),
            "tokens": self.tokens,
            "reading_tokens": self.reading_tokens,
            "finished": self.finished,
        }


def _rounded(values: dict[str, float], digits: int) -> dict[str, float]:
    return {name: round(value, digits) for name, value in values.items()}
