"""Runs the whole chain from a frame to an answer.

frame -> face box -> refiner -> crop -> {parser, vision} -> fusion -> prefill -> decode -> answer
"""

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
"""A function that finds the faces of an image.

It takes an image, HxWx3 uint8 RGB, or a frame in device memory as the caller gave it. It returns a box for each face,
xyxy in pixels from hairline to chin, the largest face first.
"""


class FaceInsight:
    """A loaded model that perceives faces and answers questions about them.

    It may be used by several threads. Questions about one face are answered one after the other; a new question ends an
    answer about the same face that is still being streamed.
    """

    def __init__(self, bundle: Bundle, backend: Backend, detector: Detector | None = None):
        """Joins the parts of a model; `load` makes them from a directory.

        bundle: vocabulary, prompt and tokenizer of the model. backend: runs its stages. detector: finds the faces;
        OpenCV's cascades by default.
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
        """Loads a bundle.

        bundle: its directory; the bundled nano by default. device: "cpu", "cuda" (the first GPU) or "cuda:N"; it must
        be what the bundle was built for. threads: CPU threads; all by default. detector: finds the faces; OpenCV's
        cascades by default. Raises BundleError for a missing or damaged bundle and for one of another device,
        InputError for an unknown device, a missing library or a negative number of threads.
        """
        opened = read_bundle(NANO if bundle is None else bundle)
        return cls(opened, open_backend(opened, device, threads), detector)

    def close(self) -> None:
        """Gives back threads, engines and device memory. Faces stay readable, but no more questions can be asked."""
        if self._backend is not None:
            self._backend.close()
        self._caches.clear()
        self._backend = self._perception = self._answerer = None

    def __enter__(self) -> FaceInsight:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def perceive(self, image, box: Box | None = None) -> Face:
        """Perceives one face of an image.

        image: a path, encoded bytes, a PIL image or an HxWx3 uint8 RGB array; TensorRT engines also take an array in
        CUDA memory. box: roughly where the face is, xyxy in pixels from hairline to chin; by default the largest face
        that the detector finds. Raises InputError for an unusable image or box, NoFaceError where no face is found.
        """
        start = time.perf_counter()
        self._check_open()
        frame = self._perception.load(image)
        loaded = time.perf_counter()
        boxes = [check_box(box, frame)] if box is not None else self._detect(frame)[:1]
        return self._perceive(frame, boxes, start, loaded)[0]

    def perceive_all(self, image) -> list[Face]:
        """Perceives every face of an image as one batch and returns them, the largest first.

        image: see `perceive`. Raises InputError for an unusable image, NoFaceError where no face is found.
        """
        start = time.perf_counter()
        self._check_open()
        frame = self._perception.load(image)
        loaded = time.perf_counter()
        return self._perceive(frame, self._detect(frame), start, loaded)

    def watch(self, frames: Iterable) -> Iterator[tuple[object, list[Face]]]:
        """Yields every frame of a camera or a film with its faces, the largest first, or with an empty list.

        The next frame is perceived while the caller asks about this one; on a GPU both run at the same time. frames:
        images as `perceive` takes them. One frame is always taken ahead. Raises InputError for an unusable frame.
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
        """Answers a question about a face.

        face: a perceived face, or an image of which one face is perceived first. box: see `perceive`; only with an
        image. sampling: the fields of `Sampling`, which are temperature, seed and max_tokens. Raises InputError for an
        unusable question, option, image or box, NoFaceError where no face is found.
        """
        self._check_open()
        self._prompter.template.normalise(question)  # before the image is perceived, which takes long
        chosen = Sampling(**sampling)
        face = self._as_face(face, box)
        progress = Progress()
        cache = self._cache(face)
        with cache.lock:
            tokens = self._answerer.answer(cache, face.labels, face.visual_tokens, question, chosen, progress)
            ids = list(tokens)
        return self._answer(face, question, self._prompter.decode(ids).strip(), progress)

    def stream(self, face, question: str, box: Box | None = None, **sampling) -> Iterator[str]:
        """Answers a question about a face and yields the answer's text in pieces, as the model writes it.

        It takes what `ask` takes and raises at once what `ask` raises. If another question about the same face begins
        before this answer ended, the next piece raises FaceInsightError.
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
        """Returns the usable boxes that the detector finds, xyxy in frame pixels. Raises NoFaceError if there is none.

        OpenCV's cascades need an image in host memory; any other detector is given the frame as the caller gave it.
        """
        given, scale = frame, 1.0
        if isinstance(self.detector, CascadeDetector):
            given, scale = self._perception.host_image(frame)
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
        """Perceives the faces in the boxes. start, loaded: when the call began and when the frame was loaded, in s."""
        detected = time.perf_counter()
        found = self._perception.perceive(frame, boxes)
        timings = {"load_ms": (loaded - start) * 1e3, "detect_ms": (detected - loaded) * 1e3} | found.timings
        timings["perceive_ms"] = (time.perf_counter() - start) * 1e3
        parts = zip(found.boxes, found.parse_maps, found.visual_tokens, found.outputs, strict=True)
        return [self._face(*part, timings) for part in parts]

    def _face(self, box, parse_map, visual_tokens, outputs, timings) -> Face:
        attributes, numbers = self.vocabulary.outputs(outputs)
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
    """Returns a detector's box, or None if it cannot be used: one bad box must not cost the other faces."""
    try:
        return check_box(box, frame)
    except InputError:
        return None
