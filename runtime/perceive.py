"""Perceives the faces of a frame: refines their boxes, crops them, and runs parser, vision encoder and fusion.

`Perception` has the steps, which are the same on every device. Its subclasses compute them: `HostPerception` here, with
arrays in host memory, and `GpuPerception` in gpu_perception.py.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from .detect import Box, Detection, detections
from .engine import Engine
from .errors import InputError
from .frame import on_device
from .image import crop_matrix, fit, load_image, refined_box, warp

FAR = 0.12
"""A box that the refiner moves or scales by more than this, in sides of the crop, is refined once more: the refiner is
exact when it starts near the right place."""


@dataclass(frozen=True)
class Perceived:
    """The outputs of the stages for n faces."""

    boxes: list[Box]
    """The refined boxes, xyxy in image pixels."""
    parse_maps: np.ndarray
    """[n, H, W] uint8; a value is an index into PARSE_CLASSES."""
    visual_tokens: Sequence
    """One array [1, N, width] for each face, on the device of the language model."""
    outputs: np.ndarray
    """[n, attributes + numbers] in [0, 1], see `Vocabulary.outputs`."""
    timings: dict[str, float]
    """Stage -> time in ms of the whole batch, such as {"parser_ms": 3.1}."""


class Perception(ABC):
    """The stages before the language model."""

    def load(self, image) -> object:
        """Loads an image as the frame that the other methods take; a frame has a `shape` (height, width, ...).

        Raises InputError for an image that cannot be used.
        """
        if on_device(image):
            raise InputError(
                f"this {type(image).__name__} is in CUDA memory, which this bundle's engines do not read; copy it to "
                "the host first, or load a bundle of the target tensorrt or tensorrt-rtx"
            )
        return load_image(image)

    def close(self) -> None:  # noqa: B027 - most subclasses have no thread to end
        """Ends the threads that the stages run on."""

    def detect(self, frame, least: float) -> list[Detection]:
        """Finds the faces of a frame, the largest first. least: the lowest score of a face."""
        return detections(self._faces(frame), frame.shape, least)

    def perceive(self, frame, boxes: Sequence[Box]) -> Perceived:
        """Perceives the faces in rough boxes (xyxy in pixels)."""
        start = time.perf_counter()
        boxes = self._refined(frame, boxes)
        refined = time.perf_counter()
        found = self._encoded(frame, boxes)
        timings = {"refiner_ms": (refined - start) * 1e3} | found.timings
        return Perceived(boxes, found.parse_maps, found.visual_tokens, found.outputs, timings)

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
    def _faces(self, frame) -> np.ndarray:
        """Runs the detector on the whole frame and returns its output, [cells, 15] float32, see `detections`."""

    @abstractmethod
    def _placements(self, frame, boxes: Sequence[Box]) -> np.ndarray:
        """Runs the refiner on the boxes' crops and returns its output, [n, 3] float32, see `refined_box`."""

    @abstractmethod
    def _encoded(self, frame, boxes: list[Box]) -> Perceived:
        """Crops the boxes and runs parser, vision encoder and fusion on them. The timings begin with "crop_ms"."""


class HostPerception(Perception):
    """Perception with crops by OpenCV and engines that take arrays in host memory."""

    def __init__(self, engines: Mapping[str, Engine], sizes: Mapping[str, int], side_by_side: bool):
        """engines: of the stages before the language model. sizes: stage -> side of its input in pixels.
        side_by_side: parser and vision encoder run at the same time, which needs more than one core.
        """
        self._engines, self._sizes = engines, sizes
        self._other_thread = ThreadPoolExecutor(1) if side_by_side else None

    def close(self):
        if self._other_thread:
            self._other_thread.shutdown()

    def _faces(self, frame):
        size = self._sizes["detector"]
        return self._engines["detector"].run({"pixels": fit(frame, size)[None]})["faces"][0]

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
        """Returns parse maps, features and the time of both stages."""

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
