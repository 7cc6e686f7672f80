"""Runs the whole chain from a frame to an answer.

frame -> detector -> refiner -> crop -> {parser, vision} -> fusion -> prefill -> decode -> answer
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from .answering import Answerer, Progress
from .backend import Backend, open_backend
from .bundle import NANO, Bundle, read_bundle
from .detect import Box, Detection, Detector, YuNet
from .errors import FaceInsightError, InputError, NoFaceError
from .face import Answer, Face
from .frame import DeviceFrame
from .generate import Sampling
from .image import check_box, crop_matrix
from .kv_cache import KVCache
from .parse_map import PARSE_CLASSES
from .reading import read


class FaceInsight:
    """A loaded model that perceives faces and answers questions about them.

    It may be used by several threads. Questions about one face are answered one after the other; a new question ends an
    answer about the same face that is still being streamed.
    """

    def __init__(
        self, bundle: Bundle, backend: Backend, detector: Detector | None = None, min_score: float | None = None
    ):
        """Joins the parts of a model; `load` makes them from a directory.

        bundle: vocabulary, prompt and tokenizer of the model. backend: runs its stages. detector: finds the faces; the
        model's own detector stage by default. min_score: the lowest score of a face, in [0, 1]; the bundle's by
        default. Raises InputError for another score.
        """
        self.bundle, self.vocabulary = bundle, bundle.vocabulary
        self.detector = detector
        self.min_score = bundle.manifest.min_score if min_score is None else min_score
        if not 0 <= self.min_score <= 1:
            raise InputError(f"min_score is {min_score}; it lies between 0 and 1")
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
        detector: Detector | str | Path | None = None,
        min_score: float | None = None,
    ) -> FaceInsight:
        """Loads a bundle.

        bundle: its directory; the bundled nano by default. device: "cpu", "cuda" (the first GPU) or "cuda:N"; it must
        be what the bundle was built for. threads: CPU threads; all by default. detector: finds the faces in the place
        of the model's detector stage: a function, or the path of a YuNet ONNX file. min_score: the lowest score of a
        face, in [0, 1]; by default the one at which the model takes 3 in 100 pictures without a face for one. Raises
        BundleError for a missing or damaged bundle and for one of another device, InputError for an unknown device, a
        missing library, a detector file that cannot be used, or a number of threads or a score that cannot be.
        """
        if isinstance(detector, (str, Path)):
            detector = YuNet(detector)
        opened = read_bundle(NANO if bundle is None else bundle)
        return cls(opened, open_backend(opened, device, threads), detector, min_score)

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

    def detect(self, image) -> list[Detection]:
        """Finds the faces of an image and returns their boxes and scores, the largest first.

        image: see `perceive`. Raises InputError for an unusable image.
        """
        self._check_open()
        return self._detections(self._perception.load(image))

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
        found = [Detection(check_box(box, frame), None)] if box is not None else self._detect(frame)[:1]
        return self._perceive(frame, found, start, loaded)[0]

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

    def _detect(self, frame: np.ndarray | DeviceFrame) -> list[Detection]:
        """Returns the faces that the detector finds, the largest first. Raises NoFaceError if there is none."""
        found = self._detections(frame)
        if not found:
            height, width = frame.shape[:2]
            least = max(12, max(height, width) // 26)
            raise NoFaceError(
                f"no face found in the {width}x{height} image; use a picture with an upright face of at least {least} "
                "pixels, or say where it is with box (x0, y0, x1, y1)"
            )
        return found

    def _detections(self, frame: np.ndarray | DeviceFrame) -> list[Detection]:
        if self.detector is None:
            return self._perception.detect(frame, self.min_score)
        return self._ask_detector(frame)

    def _ask_detector(self, frame: np.ndarray | DeviceFrame) -> list[Detection]:
        """Returns what the user's own detector finds, without boxes that cannot be used: one bad box must not cost the
        other faces."""
        rows = self.detector(frame.source if isinstance(frame, DeviceFrame) else frame)
        found = []
        for row in () if rows is None else rows:
            box, score = tuple(row)[:4], (float(row[4]) if len(row) > 4 else None)
            with contextlib.suppress(InputError):
                box = check_box(box, frame)
                if score is None or score >= self.min_score:
                    found.append(Detection(box, score))
        return found

    def _perceive(self, frame, faces: list[Detection], start: float, loaded: float) -> list[Face]:
        """Perceives the faces. start, loaded: when the call began and when the frame was loaded, in s."""
        detected = time.perf_counter()
        found = self._perception.perceive(frame, [face.box for face in faces])
        timings = {"load_ms": (loaded - start) * 1e3, "detect_ms": (detected - loaded) * 1e3} | found.timings
        timings["perceive_ms"] = (time.perf_counter() - start) * 1e3
        scores = [face.score for face in faces]
        parts = zip(found.boxes, found.parse_maps, found.visual_tokens, found.outputs, scores, strict=True)
        return [self._face(*part, timings) for part in parts]

    def _face(self, box, parse_map, visual_tokens, outputs, score, timings) -> Face:
        attributes, numbers = self.vocabulary.outputs(outputs)
        labels = self.vocabulary.decide(attributes, numbers)
        inverse = np.linalg.inv(np.vstack([crop_matrix(box, 1), [0, 0, 1]]))
        crop_box = tuple(float(v) for corner in ((0, 0, 1), (1, 1, 1)) for v in (inverse @ corner)[:2])
        box = tuple(float(v) for v in box)
        return Face(
            box, crop_box, attributes, numbers, labels, parse_map, score, dict(timings), visual_tokens, self._model_hash
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
