"""From a frame and rough boxes to what is known of the faces: refine, crop, parse, see, fuse. The same steps on every
device; where and how each is computed is the subclass's."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from .detect import Box
from .engine import Engine
from .errors import InputError
from .frame import on_device
from .image import crop_matrix, load_image, refined_box, warp

FAR = 0.12
"""A box that the refiner moves or scales by more than this, in sides of the crop, is looked at once more: from nearly
the right place the refiner is exact."""


@dataclass(frozen=True)
class Perceived:
    """Of n faces. boxes: refined, xyxy in image pixels. parse_maps: [n, H, W] uint8. visual_tokens: n times
    [1, N, width], on the device of the language model. probabilities: [n, attributes]. timings: {"parser_ms": ...} of
    the whole batch."""

    boxes: list[Box]
    parse_maps: np.ndarray
    visual_tokens: Sequence
    probabilities: np.ndarray
    timings: dict[str, float]


class Perception(ABC):
    """The engines before the language model."""

    def load(self, image) -> object:
        """The frame that the other methods take; it has a `shape` (height, width, ...). Raises InputError."""
        if on_device(image):
            raise InputError(
                f"this {type(image).__name__} is in CUDA memory, which this bundle's engines do not read; copy it to "
                "the host first, or load a bundle of the target tensorrt or tensorrt-rtx"
            )
        return load_image(image)

    def close(self) -> None:  # noqa: B027 - most have nothing to end
        """Ends what runs beside the caller's thread."""

    def picture(self, frame) -> tuple[np.ndarray, float]:
        """HxWx3 uint8 RGB in host memory to find faces in, and its scale: frame pixels times scale are its pixels."""
        return frame, 1.0

    def perceive(self, frame, boxes: Sequence[Box]) -> Perceived:
        """boxes: xyxy in pixels, rough."""
        start = time.perf_counter()
        boxes = self._refined(frame, boxes)
        refined = time.perf_counter()
        found = self._encoded(frame, boxes)
        timings = {"refiner_ms": (refined - start) * 1e3} | found.timings
        return Perceived(boxes, found.parse_maps, found.visual_tokens, found.probabilities, timings)

    def _refined(self, frame, boxes: Sequence[Box]) -> list[Box]:
        placements = self._placements(frame, boxes)
        refined = [refined_box(box, placement) for box, placement in zip(boxes, placements, strict=True)]
        far = np.flatnonzero(np.abs(placements).max(1) > FAR)
        if len(far):
            again = self._placements(frame, [refined[i] for i in far])
            for i, placement in zip(far, again, strict=True):
                refined[i] = refined_box(refined[i], placement)
        return refined

    @abstractmethod
    def _placements(self, frame, boxes: Sequence[Box]) -> np.ndarray:
        """The refiner's [n, 3] for the boxes' crops, see `refined_box`."""

    @abstractmethod
    def _encoded(self, frame, boxes: list[Box]) -> Perceived:
        """What the crops of these boxes show; timings from "crop_ms" on."""


class HostPerception(Perception):
    """Crops by OpenCV; engines that take host arrays. Parser and vision encoder run side by side."""

    def __init__(self, engines: Mapping[str, Engine], sizes: Mapping[str, int], side_by_side: bool):
        """engines: refiner, parser, vision, fusion. sizes: their crops' sides in pixels. side_by_side: there is more
        than one core."""
        self._engines, self._sizes = engines, sizes
        self._other_thread = ThreadPoolExecutor(1) if side_by_side else None

    def close(self):
        if self._other_thread:
            self._other_thread.shutdown()

    def _placements(self, frame, boxes):
        return self._engines["refiner"].run({"pixels": self._crops(frame, boxes, self._sizes["refiner"])})["placement"]

    def _encoded(self, frame, boxes):
        start = time.perf_counter()
        sides = self._sizes["parser"], self._sizes["vision"]
        crops = {side: self._crops(frame, boxes, side) for side in set(sides)}
        cropped = time.perf_counter()
        parse_maps, features, timings = self._encode(*(crops[side] for side in sides))
        encoded = time.perf_counter()
        fused = self._engines["fusion"].run({"features": features, "parse_map": parse_maps})
        timings = {"crop_ms": (cropped - start) * 1e3} | timings
        timings["fusion_ms"] = (time.perf_counter() - encoded) * 1e3
        tokens = [fused["visual_tokens"][i : i + 1] for i in range(len(boxes))]
        return Perceived(boxes, parse_maps, tokens, fused["probabilities"], timings)

    def _encode(self, parser_pixels: np.ndarray, vision_pixels: np.ndarray):
        """Parse maps, features and each stage's own time."""

        def timed(stage, pixels, output):
            start = time.perf_counter()
            value = self._engines[stage].run({"pixels": pixels})[output]
            return value, (time.perf_counter() - start) * 1e3

        if self._other_thread:
            pending = self._other_thread.submit(timed, "parser", parser_pixels, "parse_map")
            features, vision_ms = timed("vision", vision_pixels, "features")
            parse_maps, parser_ms = pending.result()
        else:
            parse_maps, parser_ms = timed("parser", parser_pixels, "parse_map")
            features, vision_ms = timed("vision", vision_pixels, "features")
        return parse_maps, features, {"parser_ms": parser_ms, "vision_ms": vision_ms}

    @staticmethod
    def _crops(frame: np.ndarray, boxes: Sequence[Box], side: int) -> np.ndarray:
        return np.stack([warp(frame, crop_matrix(box, side), side) for box in boxes])
