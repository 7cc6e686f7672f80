"""The chain: frame -> face box -> refiner -> crop -> {parser, vision} -> fusion -> prefill -> decode -> answer."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .backend import open_backend
from .bundle import NANO, Bundle, read_bundle
from .detect import Box, CascadeDetector
from .errors import InputError, NoFaceError
from .frame import DeviceFrame
from .generate import READING_TOKENS, Cache, CacheShape, Decoder, Sampling, Usage
from .image import check_box, crop_matrix
from .parse_map import PARSE_CLASSES
from .reading import read


@dataclass(frozen=True, eq=False)
class Face:
    """A perceived face: ask as many questions about it as you like, it is encoded once.

    box: xyxy in image pixels, hairline to chin, refined. crop_box: the square the model saw, xyxy in image pixels.
    attributes: {attribute of the model's vocabulary: probability in [0, 1]}. numbers: {label: value in its unit}.
    labels: the most probable ones that obey every rule. parse_map: HxW uint8 over the crop, values index PARSE_CLASSES. timings: {"parser_ms": ...}, of
    the whole batch where several faces were perceived together. visual_tokens: [1, N, width], what the language model
    reads, on its device. model_hash: of the model that perceived it.
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
        backend = open_backend(bundle, device, threads)
        self._perception, self._engines = backend.perception, backend.engines
        manifest = bundle.manifest
        self.bundle = bundle
        self.detector = detector or CascadeDetector()
        self._lock = threading.Lock()
        self._caches: weakref.WeakKeyDictionary[Face, Cache] = weakref.WeakKeyDictionary()
        self.vocabulary = bundle.vocabulary
        self._prompter = bundle.prompter
        shape = CacheShape.of_manifest(manifest)
        self._decoder = Decoder(backend.language, shape, self._prompter.stop_id, self._prompter.answer_id)

    @classmethod
    def load(
        cls, bundle: str | Path | None = None, device: str = "cpu", threads: int | None = None, detector=None
    ) -> FaceInsight:
        """Loads a bundle directory; the bundled nano when none is given.

        device: "cpu", "cuda" (the first GPU) or "cuda:N"; a bundle runs on what it was built for. threads: CPU threads,
        default all. Raises BundleError for a missing, damaged or foreign bundle, InputError for an unknown device, a
        missing library or a negative number of threads.
        """
        return cls(read_bundle(NANO if bundle is None else bundle), device, threads, detector)

    def perceive(self, image, box: Box | None = None) -> Face:
        """Perceives one face: the largest, or the one in `box` (xyxy in pixels, hairline to chin; it may be rough).

        image: path, bytes, PIL image, or HxWx3 uint8 RGB array. Raises InputError, NoFaceError.
        """
        start = time.perf_counter()
        frame = self._perception.load(image)
        loaded = time.perf_counter()
        boxes = [check_box(box, frame)] if box is not None else self._detect(frame)[:1]
        return self._perceive(frame, boxes, start, loaded)[0]

    def perceive_all(self, image) -> list[Face]:
        """Every face that the detector finds, perceived as one batch, largest first. Raises InputError, NoFaceError."""
        start = time.perf_counter()
        frame = self._perception.load(image)
        loaded = time.perf_counter()
        return self._perceive(frame, self._detect(frame), start, loaded)

    def watch(self, frames: Iterable) -> Iterator[tuple[object, list[Face]]]:
        """Every frame with its faces (none: an empty list), largest first. The next frame is perceived while the caller
        asks about this one: on a GPU both go on at once.

        frames: of a camera or a film, each as `perceive` takes it; one is always taken ahead. Raises InputError.
        """
        frames = iter(frames)

        def look() -> tuple[object, list[Face]] | None:
            for frame in frames:
                try:
                    return frame, self.perceive_all(frame)
                except NoFaceError:
                    return frame, []
            return None

        with ThreadPoolExecutor(1) as ahead:
            pending = ahead.submit(look)
            while (seen := pending.result()) is not None:
                pending = ahead.submit(look)
                yield seen

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

    def _detect(self, frame: np.ndarray | DeviceFrame) -> list[Box]:
        """A detector of the caller's own is given the frame as the caller gave it."""
        given, scale = frame, 1.0
        if isinstance(self.detector, CascadeDetector):
            given, scale = self._perception.picture(frame)
        elif isinstance(frame, DeviceFrame):
            given = frame.source
        found = self.detector(given)
        if scale != 1.0:
            found = [[v / scale for v in box] for box in found]
        boxes = [] if found is None else [box for item in found if (box := _usable(item, frame))]
        if not boxes:
            height, width = frame.shape[:2]
            least = max(30, min(height, width) // 8)
            raise NoFaceError(
                f"no face found in the {width}x{height} image; use a picture with a frontal face of at least {least} "
                "pixels, or say where it is with box (x0, y0, x1, y1)"
            )
        return boxes

    def _perceive(self, frame, boxes: list[Box], start: float, loaded: float) -> list[Face]:
        """start, loaded: when the call began, and when the frame was there."""
        detected = time.perf_counter()
        found = self._perception.perceive(frame, boxes)
        timings = {"load_ms": (loaded - start) * 1e3, "detect_ms": (detected - loaded) * 1e3} | found.timings
        timings["perceive_ms"] = (time.perf_counter() - start) * 1e3
        parts = zip(found.boxes, found.parse_maps, found.visual_tokens, found.probabilities, strict=True)
        return [self._face(*part, timings) for part in parts]

    def _face(self, box, parse_map, visual_tokens, probabilities, timings) -> Face:
        attributes, numbers = self.vocabulary.outputs(probabilities)
        labels = self.vocabulary.decide(attributes, numbers)
        inverse = np.linalg.inv(np.vstack([crop_matrix(box, 1), [0, 0, 1]]))
        crop_box = tuple(float(v) for corner in ((0, 0, 1), (1, 1, 1)) for v in (inverse @ corner)[:2])
        box = tuple(float(v) for v in box)
        return Face(box, crop_box, attributes, numbers, labels, parse_map, dict(timings), visual_tokens, self._model_hash)

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
        reading = read(self._prompter.decode(usage.reading), self.vocabulary)
        rests_on = [self.vocabulary[name] for name in reading.labels]
        known = face.attributes | face.numbers
        names = [a.name for label in rests_on for a in label.attributes or (label,)]
        present = {PARSE_CLASSES[i] for i in np.unique(face.parse_map)}
        regions = {region for label in rests_on for region in label.regions}
        timings = {
            "ttft_ms": usage.ttft_ms,
            "decode_ms": usage.decode_ms,
            "answer_ms": usage.ttft_ms + usage.decode_ms,
        }
        return Answer(
            text,
            {name: known[name] for name in names},
            tuple(name for name in PARSE_CLASSES if name in regions & present),
            reading.confidence(self.vocabulary, face.labels, face.attributes, face.numbers),
            face.timings | timings,
            usage.tokens,
            usage.finished,
            face,
        )


def _usable(box: Box, frame: np.ndarray | DeviceFrame) -> Box | None:
    """A detector's box, or None: one that cannot be used must not cost the other faces."""
    try:
        return check_box(box, frame)
    except InputError:
        return None
