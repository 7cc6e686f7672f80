"""The chain: frame -> face box -> refiner -> crop -> {parser, vision} -> fusion -> prefill -> decode -> answer."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from .answering import Answerer, Progress
from .backend import Backend, open_backend
from .bundle import NANO, Bundle, read_bundle
from .detect import Box, CascadeDetector
from .errors import FaceInsightError, InputError, NoFaceError
from .face import Answer, Face
from .frame import DeviceFrame
from .generate import Sampling
from .image import check_box, crop_matrix
from .kv_cache import KVCache
from .parse_map import PARSE_CLASSES
from .reading import read

Detector = Callable[[object], Sequence[Box]]
"""Finds faces in an image (HxWx3 uint8 RGB, or a device frame as the caller gave it): boxes xyxy in pixels, hairline to
chin, largest first."""


class FaceInsight:
    """A loaded bundle. Thread-safe; questions about one face are answered one after the other, but a question ends an
    answer about the same face that is still being streamed."""

    def __init__(self, bundle: Bundle, backend: Backend, detector: Detector | None = None):
        """bundle: says what the model tells and how. backend: runs it. detector: OpenCV's cascades by default.

        `load` does all of it.
        """
        self.bundle, self.vocabulary = bundle, bundle.vocabulary
        self.detector = detector or CascadeDetector()
        self._backend, self._perception = backend, backend.perception
        self._prompter = bundle.prompter
        self._answerer = Answerer(backend.language, bundle.manifest.language.cache, self._prompter)
        self._lock = threading.Lock()
        self._caches: weakref.WeakKeyDictionary[Face, KVCache] = weakref.WeakKeyDictionary()

    @classmethod
    def load(
        cls,
        bundle: str | Path | None = None,
        device: str = "cpu",
        threads: int | None = None,
        detector: Detector | None = None,
    ) -> FaceInsight:
        """Loads a bundle directory; the bundled nano when none is given.

        device: "cpu", "cuda" (the first GPU) or "cuda:N"; a bundle runs on what it was built for. threads: CPU threads,
        default all. detector: finds faces in the place of OpenCV's cascades. Raises BundleError for a missing, damaged
        or foreign bundle, InputError for an unknown device, a missing library or a negative number of threads.
        """
        opened = read_bundle(NANO if bundle is None else bundle)
        return cls(opened, open_backend(opened, device, threads), detector)

    def close(self) -> None:
        """Gives back threads, engines and device memory. Faces stay readable, but nothing more can be asked."""
        self._backend.close()
        self._caches.clear()
        self._perception = self._answerer = None

    def __enter__(self) -> FaceInsight:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def perceive(self, image, box: Box | None = None) -> Face:
        """Perceives one face: the largest, or the one in `box` (xyxy in pixels, hairline to chin; it may be rough).

        image: path, bytes, PIL image, or HxWx3 uint8 RGB array. Raises InputError, NoFaceError.
        """
        start = time.perf_counter()
        self._check_open()
        frame = self._perception.load(image)
        loaded = time.perf_counter()
        boxes = [check_box(box, frame)] if box is not None else self._detect(frame)[:1]
        return self._perceive(frame, boxes, start, loaded)[0]

    def perceive_all(self, image) -> list[Face]:
        """Every face that the detector finds, perceived as one batch, largest first. Raises InputError, NoFaceError."""
        start = time.perf_counter()
        self._check_open()
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
        self._check_open()
        self._prompter.template.normalise(question)  # a bad question must not cost a perception
        chosen = Sampling(**sampling)
        face = self._as_face(face, box)
        progress = Progress()
        cache = self._cache(face)
        with cache.lock:
            tokens = self._answerer.answer(cache, face.labels, face.visual_tokens, question, chosen, progress)
            ids = list(tokens)
        return self._answer(face, question, self._prompter.decode(ids).strip(), progress)

    def stream(self, face, question: str, box: Box | None = None, **sampling) -> Iterator[str]:
        """Like `ask`, in pieces of text as they are decoded; raises at once what `ask` raises.

        A later question about the same face ends this answer: going on with it raises FaceInsightError.
        """
        self._check_open()
        self._prompter.template.normalise(question)
        chosen = Sampling(**sampling)
        face = self._as_face(face, box)
        cache = self._cache(face)
        tokens = self._answerer.answer(cache, face.labels, face.visual_tokens, question, chosen, Progress())
        return self._pieces(tokens)

    def _check_open(self) -> None:
        if self._answerer is None:
            raise FaceInsightError("this model was closed; load it again")

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
        return self.bundle.manifest.model_hash

    def _cache(self, face: Face) -> KVCache:
        with self._lock:
            if face not in self._caches:
                self._caches[face] = self._answerer.new_cache()
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
        return Face(
            box, crop_box, attributes, numbers, labels, parse_map, dict(timings), visual_tokens, self._model_hash
        )

    def _answer(self, face: Face, question: str, text: str, progress: Progress) -> Answer:
        written = self._prompter.decode(progress.reading).strip()
        reading = read(written, self.vocabulary)
        rests_on = [self.vocabulary[name] for name in reading.labels]
        names = [output for label in rests_on for output in label.outputs]
        present = {PARSE_CLASSES[i] for i in np.unique(face.parse_map)}
        seen_in = {region for label in rests_on for region in label.regions}
        timings = {
            "ttft_ms": progress.ttft_ms,
            "decode_ms": progress.decode_ms,
            "answer_ms": progress.ttft_ms + progress.decode_ms,
        }
        return Answer(
            question,
            text,
            written,
            {name: face.attributes.get(name, face.numbers.get(name)) for name in names},
            tuple(name for name in PARSE_CLASSES if name in seen_in & present),
            reading.confidence(self.vocabulary, face.labels, face.attributes, face.numbers),
            face.timings | timings,
            progress.tokens,
            len(progress.reading),
            progress.finished,
            face,
        )


def _usable(box: Box, frame: np.ndarray | DeviceFrame) -> Box | None:
    """A detector's box, or None: one that cannot be used must not cost the other faces."""
    try:
        return check_box(box, frame)
    except InputError:
        return None
