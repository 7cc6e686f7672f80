"""The results of the runtime: a perceived face, and an answer about it. `to_dict` is the JSON form of each."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .detect import Box


@dataclass(frozen=True, eq=False)
class Face:
    """A perceived face. It is encoded once, and any number of questions can be asked about it."""

    box: Box
    """The refined box, xyxy in image pixels, from hairline to chin."""
    crop_box: Box
    """The square that the model saw, xyxy in image pixels."""
    attributes: dict[str, float]
    """Attribute of the model's vocabulary -> probability in [0, 1]."""
    numbers: dict[str, float]
    """Label that is a number -> value in its unit."""
    labels: dict[str, str | bool | float]
    """Label -> value. They are the most probable ones that obey every rule; numbers are rounded."""
    parse_map: np.ndarray
    """HxW uint8 over the crop; a value is an index into PARSE_CLASSES."""
    score: float | None
    """How sure the detector is that it is a face, in [0, 1]; None for a box that was given, and for a detector that
    does not say."""
    timings: dict[str, float]
    """Stage -> time in ms, such as {"parser_ms": 3.1}, of the whole batch where several faces were perceived at once.
    """
    visual_tokens: object = field(repr=False)
    """What the language model reads of the face, [1, N, width], on the device of the language model."""
    model_hash: str = field(repr=False)
    """The manifest's hash of the model that perceived the face."""

    def to_dict(self) -> dict:
        """Returns the JSON form: boxes to a tenth of a pixel, probabilities to four digits, times in ms, no arrays."""
        return {
            "box": [round(v, 1) for v in self.box],
            "crop_box": [round(v, 1) for v in self.crop_box],
            "score": None if self.score is None else round(self.score, 4),
            "labels": self.labels,
            "attributes": _rounded(self.attributes, 4),
            "numbers": _rounded(self.numbers, 2),
            "timings": _rounded(self.timings, 3),
        }


@dataclass(frozen=True, eq=False)
class Answer:
    """An answer about a face. The fields from `attributes` to `confidence` follow from the reading."""

    question: str
    """The question as it was asked."""
    text: str
    """The answer."""
    reading: str
    """How the model read the question, see runtime/reading.py."""
    attributes: dict[str, float]
    """Probabilities of the attributes, and numbers in their units, of the labels that the answer rests on."""
    regions: tuple[str, ...]
    """Parse classes in which those labels are seen and which this face shows."""
    confidence: float | None
    """The least probability, in [0, 1], of what the answer rests on. None for a refusal and for a number that is only
    stated."""
    timings: dict[str, float]
    """The face's timings, and those of the answer in ms: "ttft_ms" from the question to the first token, "decode_ms"
    from there to the end, "answer_ms" their sum."""
    tokens: int
    """How many tokens the answer has."""
    reading_tokens: int
    """How many tokens the reading has."""
    finished: bool
    """False if max_tokens or the context cut the answer off."""
    face: Face = field(repr=False)
    """The face that was asked about."""

    def to_dict(self) -> dict:
        """Returns the JSON form without the face: probabilities with four digits, timings in ms."""
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
