"""The chain: frame -> face box -> refiner -> crop -> {parser, vision} -> fusion -> prefill -> decode -> answer."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .bundle import NANO, Bundle, read_bundle
from .detect import Box, CascadeDetector
from .engine import Engine, OnnxEngine
from .errors import BundleError, InputError, NoFaceError
from .generate import READING_TOKENS, Cache, CacheShape, Decoder, Sampling, Usage
from .image import check_box, crop_matrix, load_image, refined_box, warp
from .labels import EXCLUSIVE, GROUPS, PARSE_CLASSES, all_attributes, labels_from_assignment, mentioned
from .rules import consistent_assignment

FAR = 0.12
"""A box that the refiner moves or scales by more than this, in sides of the crop, is looked at once more: from nearly
the right place the refiner is exact."""


@dataclass(frozen=True, eq=False)
class Face:
    """A perceived face: ask as many questions about it as you like, it is encoded once.

    box: xyxy in image pixels, hairline to chin, refined. crop_box: the square the model saw, xyxy in image pixels.
    attributes: {attribute of runtime.labels: probability in [0, 1]}. labels: the most probable ones that obey every
    rule. parse_map: HxW uint8 over the crop, values index runtime.labels.PARSE_CLASSES. timings: {"parser_ms": ...}, of
    the whole batch where several faces were perceived together. visual_tokens: [1, N, width] float32, what the language
    model reads. model_hash: of the model that perceived it.
    """

    box: Box
    crop_box: Box
    attributes: dict[str, float]
    labels: dict[str, str | bool]
    parse_map: np.ndarray
    timings: dict[str, float]
    visual_tokens: np.ndarray = field(repr=False)
    model_hash: str = field(repr=False)


@dataclass(frozen=True, eq=False)
class Answer:
    """text: the answer. attributes: probabilities of what it speaks of. regions: parse classes it rests on.

    confidence: least probability, in [0, 1], of the face's labels that the text speaks of; None for a refusal.
    timings: the face's, and from the question on: "ttft_ms" to the first token, "decode_ms" from there to the end, and
    their sum "answer_ms". tokens: generated. finished: False if max_tokens or the context cut the answer off.
    face: the face asked about.
    """

    text: str
    attributes: dict[str, float]
    regions: tuple[str, ...]
    confidence: float | None
    timings: dict[str, float]
    tokens: int
    finished: bool
    face: Face = field(repr=False)


class FaceInsight:
    """A loaded bundle. Thread-safe; questions about one face are answered one after the other, but a question ends an
    answer about the same face that is still being streamed."""

    def __init__(self, bundle: Bundle, device: str = "cpu", threads: int | None = None, detector=None):
        """Use `load`. detector: image (HxWx3 uint8 RGB) -> xyxy boxes, largest first; default OpenCV's cascades."""
        _check_device(bundle, device)
        if threads is not None and threads < 0:
            raise InputError(f"threads must not be negative: {threads}")
        threads = threads or cpu_count()
        manifest = bundle.manifest
        # parser and vision encoder run side by side, so they share the cores
        share = max(1, threads // 2)
        counts = {"refiner": 1, "parser": share, "vision": share, "fusion": threads, "language": threads}
        self._engines: dict[str, Engine] = {
            stage: OnnxEngine(bundle.files[stage], count, w8a8=stage != "language") for stage, count in counts.items()
        }
        self._side_by_side = ThreadPoolExecutor(1) if threads > 1 else None
        self.bundle = bundle
        self.detector = detector or CascadeDetector()
        self._lock = threading.Lock()
        self._caches: weakref.WeakKeyDictionary[Face, Cache] = weakref.WeakKeyDictionary()
        self._sizes = manifest["sizes"]
        self._rules = bundle.rules
        language = manifest["language"]
        self._prompter = bundle.prompter
        shape = CacheShape(*(language[key] for key in ("layers", "kv_heads", "head_dim", "context")))
        self._decoder = Decoder(self._engines["language"], shape, self._prompter.stop_id, self._prompter.answer_id)

    @classmethod
    def load(
        cls, bundle: str | Path | None = None, device: str = "cpu", threads: int | None = None, detector=None
    ) -> FaceInsight:
        """Loads a bundle directory; the bundled nano when none is given.

        device: "cpu". threads: CPU threads, default all. Raises BundleError for a missing, damaged or foreign bundle,
        InputError for an unknown device or a negative number of threads.
        """
        return cls(read_bundle(NANO if bundle is None else bundle), device, threads, detector)

    def perceive(self, image, box: Box | None = None) -> Face:
        """Perceives one face: the largest, or the one in `box` (xyxy in pixels, hairline to chin; it may be rough).

        image: path, bytes, PIL image, or HxWx3 uint8 RGB array. Raises InputError, NoFaceError.
        """
        start = time.perf_counter()
        pixels = load_image(image)
        loaded = time.perf_counter()
        boxes = [check_box(box, pixels)] if box is not None else self._detect(pixels)[:1]
        timings = {"load_ms": (loaded - start) * 1e3, "detect_ms": (time.perf_counter() - loaded) * 1e3}
        return self._perceive(pixels, boxes, timings)[0]

    def perceive_all(self, image) -> list[Face]:
        """Every face that the detector finds, perceived as one batch, largest first. Raises InputError, NoFaceError."""
        start = time.perf_counter()
        pixels = load_image(image)
        loaded = time.perf_counter()
        boxes = self._detect(pixels)
        timings = {"load_ms": (loaded - start) * 1e3, "detect_ms": (time.perf_counter() - loaded) * 1e3}
        return self._perceive(pixels, boxes, timings)

    def ask(self, face, question: str, box: Box | None = None, **sampling) -> Answer:
        """Answers a question about a face, or about the largest face (or `box`) of an image.

        sampling: temperature (0 is greedy), seed, max_tokens. Raises InputError for an unusable question, option or
        image, NoFaceError.
        """
        self._prompter.template.normalise(question)  # a bad question must not cost a perception
        chosen = Sampling(**sampling)
        face = self._as_face(face, box)
        usage = Usage()
        with self._cache(face).lock:
            ids = list(self._generate(face, question, chosen, usage))
        return self._answer(face, self._prompter.decode(ids).strip(), usage)

    def stream(self, face, question: str, box: Box | None = None, **sampling) -> Iterator[str]:
        """Like `ask`, in pieces of text as they are decoded; raises at once what `ask` raises.

        A later question about the same face ends this answer: going on with it raises FaceInsightError.
        """
        self._prompter.template.normalise(question)
        chosen = Sampling(**sampling)
        face = self._as_face(face, box)
        return self._pieces(self._generate(face, question, chosen, Usage()))

    def _pieces(self, tokens: Iterator[int]) -> Iterator[str]:
        ids: list[int] = []
        text = sent = ""
        for token in tokens:
            ids.append(token)
            text = self._prompter.decode(ids).lstrip()
            # an unfinished multi-byte character decodes to the replacement character
            if not text.endswith("\ufffd") and len(text) > len(sent):
                yield text[len(sent) :]
                sent = text
        if len(text) > len(sent):
            yield text[len(sent) :]

    def _as_face(self, face, box: Box | None) -> Face:
        if isinstance(face, Face):
            if box is not None:
                raise InputError("a box goes with an image; this face was already perceived")
            if face.model_hash != self._model_hash:
                raise InputError("this face was perceived by another model; perceive the image with this one")
            return face
        return self.perceive(face, box)

    @property
    def _model_hash(self) -> str:
        return self.bundle.manifest.get("model_hash", "")

    def _cache(self, face: Face) -> Cache:
        with self._lock:
            if face not in self._caches:
                self._caches[face] = self._decoder.new_cache()
            return self._caches[face]

    def _detect(self, pixels: np.ndarray) -> list[Box]:
        found = self.detector(pixels)
        boxes = [] if found is None else [box for item in found if (box := _usable(item, pixels))]
        if not boxes:
            height, width = pixels.shape[:2]
            least = max(30, min(height, width) // 8)
            raise NoFaceError(
                f"no face found in the {width}x{height} image; use a picture with a frontal face of at least {least} "
                "pixels, or say where it is with box (x0, y0, x1, y1)"
            )
        return boxes

    def _perceive(self, pixels: np.ndarray, boxes: list[Box], timings: dict[str, float]) -> list[Face]:
        start = time.perf_counter()
        boxes, moved = self._refine(pixels, boxes)
        for i in np.flatnonzero(moved > FAR):
            boxes[i] = self._refine(pixels, boxes[i : i + 1])[0][0]
        refined = time.perf_counter()
        sides = self._sizes["parser"], self._sizes["vision"]
        crops = {side: self._crops(pixels, boxes, side) for side in set(sides)}
        cropped = time.perf_counter()
        parse_map, features, stage_ms = self._encode(*(crops[side] for side in sides))
        encoded = time.perf_counter()
        fused = self._engines["fusion"].run({"features": features, "parse_map": parse_map})
        done = time.perf_counter()
        timings = timings | {"refiner_ms": (refined - start) * 1e3, "crop_ms": (cropped - refined) * 1e3}
        timings = timings | stage_ms | {"fusion_ms": (done - encoded) * 1e3}
        timings["perceive_ms"] = sum(timings[k] for k in ("load_ms", "detect_ms")) + (done - start) * 1e3
        return [
            self._face(box, parse_map[i], fused["visual_tokens"][i : i + 1], fused["probabilities"][i], timings)
            for i, box in enumerate(boxes)
        ]

    def _refine(self, pixels: np.ndarray, boxes: list[Box]) -> tuple[list[Box], np.ndarray]:
        """The refined boxes, and how far each was moved or scaled: [n], the most of right, down (in sides of its crop)
        and the logarithm of the scale."""
        crops = self._crops(pixels, boxes, self._sizes["refiner"])
        placements = self._engines["refiner"].run({"pixels": crops})["placement"]
        refined = [refined_box(box, placement) for box, placement in zip(boxes, placements, strict=True)]
        return refined, np.abs(placements).max(1)

    @staticmethod
    def _crops(pixels: np.ndarray, boxes: list[Box], side: int) -> np.ndarray:
        return np.stack([warp(pixels, crop_matrix(box, side), side) for box in boxes])

    def _encode(self, parser_pixels: np.ndarray, vision_pixels: np.ndarray):
        """Parse maps, features and each stage's own time; the two encoders run side by side where cores allow."""

        def timed(stage, pixels, output):
            start = time.perf_counter()
            value = self._engines[stage].run({"pixels": pixels})[output]
            return value, (time.perf_counter() - start) * 1e3

        if self._side_by_side:
            pending = self._side_by_side.submit(timed, "parser", parser_pixels, "parse_map")
            features, vision_ms = timed("vision", vision_pixels, "features")
            parse_map, parser_ms = pending.result()
        else:
            parse_map, parser_ms = timed("parser", parser_pixels, "parse_map")
            features, vision_ms = timed("vision", vision_pixels, "features")
        return parse_map, features, {"parser_ms": parser_ms, "vision_ms": vision_ms}

    def _face(self, box, parse_map, visual_tokens, probabilities, timings) -> Face:
        names = self.bundle.manifest["attributes"]
        attributes = {name: float(p) for name, p in zip(names, probabilities, strict=True)}
        labels = labels_from_assignment(consistent_assignment(attributes, self._rules))
        inverse = np.linalg.inv(np.vstack([crop_matrix(box, 1), [0, 0, 1]]))
        crop_box = tuple(float(v) for corner in ((0, 0, 1), (1, 1, 1)) for v in (inverse @ corner)[:2])
        box = tuple(float(v) for v in box)
        return Face(box, crop_box, attributes, labels, parse_map, dict(timings), visual_tokens, self._model_hash)

    def _generate(self, face: Face, question: str, sampling: Sampling, usage: Usage) -> Iterator[int]:
        prefix = self._prompter.prefix(face.labels, face.visual_tokens.shape[1])
        room = self._decoder.shape.context - len(prefix) - READING_TOKENS - 1
        ids = self._prompter.question(question, room - 1)
        if len(ids) + sampling.max_tokens > room:
            raise InputError(
                f"max_tokens is {sampling.max_tokens}; beside this question's {len(ids)} tokens there is room for "
                f"{room - len(ids)}: ask a shorter one or give a smaller max_tokens"
            )
        return self._decoder.generate(
            self._cache(face),
            prefix,
            ids,
            face.visual_tokens,
            sampling,
            usage,
            opening=lambda reading: self._prompter.opening(reading, face.labels),
        )

    def _answer(self, face: Face, text: str, usage: Usage) -> Answer:
        names = mentioned(text)
        attributes = {name: face.attributes[name] for name in names if name in face.attributes}
        present = {PARSE_CLASSES[i] for i in np.unique(face.parse_map)}
        regions = {region for a in all_attributes() if a.name in attributes for region in a.regions}
        timings = {
            "ttft_ms": usage.ttft_ms,
            "decode_ms": usage.decode_ms,
            "answer_ms": usage.ttft_ms + usage.decode_ms,
        }
        return Answer(
            text,
            attributes,
            tuple(name for name in PARSE_CLASSES if name in regions & present),
            _confidence(face, attributes),
            face.timings | timings,
            usage.tokens,
            usage.finished,
            face,
        )


def _confidence(face: Face, attributes: dict[str, float]) -> float | None:
    """Least probability of an assigned value among `attributes`; of a group only the chosen value counts."""
    held = ((values, face.labels[label]) for label, values in GROUPS.items() if label in face.labels)
    chosen = {name for values, value in held if (name := values[value]) is not None}
    values = [
        p if name in chosen or face.labels.get(name) else 1 - p
        for name, p in attributes.items()
        if name in chosen or name not in EXCLUSIVE
    ]
    return min(values, default=None)


def _usable(box: Box, pixels: np.ndarray) -> Box | None:
    """A detector's box, or None: one that cannot be used must not cost the other faces."""
    try:
        return check_box(box, pixels)
    except InputError:
        return None


def cpu_count() -> int:
    """The CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_device(bundle: Bundle, device: str) -> None:
    if device != "cpu":
        raise InputError(f"unknown device {device!r}; this version runs on: cpu")
    if bundle.target != device or bundle.manifest["engine"]["kind"] != "onnxruntime":
        raise BundleError(
            f"{bundle.directory} was built for the target {bundle.target!r} with {bundle.manifest['engine']['kind']}, "
            f"which does not run on device {device!r}; build one with `faceinsight build --target {device} --out DIR`"
        )
