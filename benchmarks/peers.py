"""Peers are image-text-to-text models of Hugging Face, which are asked about the same faces and scored as ours is.

There are two settings, as in the paper: the image and the question alone, or training-free, where what our model
perceived goes before every question as text.
"""

from __future__ import annotations

import collections
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    GenerationConfig,
)

from faceinsight.models.data.answers import state
from faceinsight.models.data.dataset import read_labelled
from faceinsight.models.vocabulary import load_vocabulary
from faceinsight.runtime.errors import FaceInsightError, InputError
from faceinsight.runtime.image import load_image
from faceinsight.runtime.parse_map import PARSE_CLASSES
from faceinsight.runtime.pipeline import Face, FaceInsight
from faceinsight.runtime.progress import ProgressBar
from faceinsight.runtime.prompt import PromptTemplate
from faceinsight.runtime.vocabulary import Vocabulary

from .accuracy import Tally, share
from .survey import Survey, Told

DTYPES = ("auto", "float32", "bfloat16", "float16")
_KEPT = (
    "bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "suppress_tokens",
    "begin_suppress_tokens",
)  # fmt: skip
_AS_GIVEN = PromptTemplate(lowercase=False, latin=False)
_PARTS = {
    "eye_g": "eyeglasses", "l_eye": "left eye", "r_eye": "right eye", "l_brow": "left eyebrow",
    "r_brow": "right eyebrow", "l_ear": "left ear", "r_ear": "right ear", "mouth": "inside of the mouth",
    "u_lip": "upper lip", "l_lip": "lower lip", "ear_r": "earring", "neck_l": "necklace", "cloth": "clothes",
}  # fmt: skip


class Peer:
    """An image-text-to-text model with its processor. It decodes greedily."""

    def __init__(self, source: str | Path, device: str = "cpu", dtype: str = "auto"):
        """Loads the model; code that comes with it is never run.

        source: a local directory, or else a hub id. device: PyTorch's name of one ("cpu", "cuda:0"). dtype: of the
        weights, one of DTYPES; "auto" is the checkpoint's own. Raises InputError for what is not such a model, lacks
        files or weights, needs a library that is not installed, or does not fit the device.
        """
        if dtype not in DTYPES:
            raise InputError(f"unknown dtype {dtype!r}; use {', '.join(DTYPES)}")
        self.name = str(source)
        config = self._load("config", lambda: AutoConfig.from_pretrained(self.name, trust_remote_code=False))
        if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
            raise InputError(
                f"{self.name} is a {config.model_type} model, which takes no image with a question; give an "
                "image-text-to-text model such as LLaVA, Qwen2-VL or SmolVLM"
            )
        self.processor = self._load(
            "processor", lambda: AutoProcessor.from_pretrained(self.name, trust_remote_code=False)
        )
        if not hasattr(self.processor, "image_processor"):
            raise InputError(f"{self.name} has no image processor; add its processor files, as on the hub")
        self.model = self._load("model", lambda: self._model(dtype))
        try:
            self.model.to(device)
        except (RuntimeError, AssertionError) as error:  # unknown, not there, or too small
            raise InputError(
                f"cannot move {self.name} to device {device!r}: {_sentence(error)} Use another one or a smaller dtype"
            ) from error
        # the likeliest token, whatever was said before: of a checkpoint's own settings only _KEPT stay
        own = self.model.generation_config
        kept = {name: getattr(own, name) for name in _KEPT if getattr(own, name, None) is not None}
        self.model.generation_config = GenerationConfig(do_sample=False, **kept)
        self._control = {t.content for t in self.processor.tokenizer.added_tokens_decoder.values() if t.special}

    def _load(self, what: str, load: Callable):
        """Runs a loader of transformers; whatever it raises becomes an InputError of one line."""
        try:
            return load()
        except InputError:
            raise
        except ImportError as error:
            raise InputError(f"the {what} of {self.name} needs more: {_sentence(error)} Install it with pip") from error
        except Exception as error:  # a damaged directory makes transformers raise nearly anything
            raise InputError(
                f"cannot load the {what} of {self.name}: {_sentence(error)} Give a directory with all files of an "
                "image-text-to-text model, or a hub id that can be reached"
            ) from error

    def _model(self, dtype: str):
        model, found = AutoModelForImageTextToText.from_pretrained(
            self.name, dtype=dtype, trust_remote_code=False, output_loading_info=True
        )
        if missing := sorted(found["missing_keys"]):  # transformers would leave them random
            raise InputError(
                f"{self.name} lacks {len(missing)} weights, among them {missing[0]}; get the whole checkpoint"
            )
        return model

    @torch.inference_mode()
    def ask(self, image: np.ndarray, question: str, max_tokens: int = 32, context: str = "") -> str:
        """Asks a question about an image and returns the newly generated text, stripped.

        image: HxWx3 uint8 RGB. max_tokens: the reply ends after so many. context: text before the question, on lines of
        its own. The processor's chat template makes the prompt; without one it is
        "<image>\\nUSER: {context and question}\\nASSISTANT:", with the processor's own image token. A control token's
        spelling in the text is taken out. Raises InputError for an empty question or an unusable image,
        FaceInsightError where the model cannot answer.
        """
        if max_tokens < 1:
            raise InputError(f"max_tokens is {max_tokens}; at least one is needed")
        text = _AS_GIVEN.normalise(self._without_control(_AS_GIVEN.normalise(question)))
        if context:
            text = f"{self._without_control(context).strip()}\n{text}"
        picture = load_image(image)
        try:
            inputs = self._inputs(picture, text).to(self.model.device, dtype=self.model.dtype)
            ids = self.model.generate(**inputs, max_new_tokens=max_tokens)
        except Exception as error:  # out of memory, or a processor and a model that do not fit each other
            raise FaceInsightError(f"{self.name} could not answer: {_sentence(error)}") from error
        prompt = inputs["input_ids"]
        if torch.equal(ids[:, : prompt.shape[1]], prompt):  # decoders repeat the prompt, encoder-decoders do not
            ids = ids[:, prompt.shape[1] :]
        return self.processor.tokenizer.decode(ids[0], skip_special_tokens=True).strip()

    def _without_control(self, text: str) -> str:
        for token in self._control:
            text = text.replace(token, " ")
        return text

    def _inputs(self, image: np.ndarray, text: str):
        picture = Image.fromarray(image)
        template = getattr(self.processor, "chat_template", None) or self.processor.tokenizer.chat_template
        if template:
            parts = [{"type": "image", "image": picture}, {"type": "text", "text": text}]
            return self.processor.apply_chat_template(
                [{"role": "user", "content": parts}],
                chat_template=template,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            )
        # processors of the BLIP-2 kind put their query tokens in front themselves
        places_image = hasattr(self.processor, "num_query_tokens")
        image_token = "" if places_image else f"{getattr(self.processor, 'image_token', '<image>')}\n"
        return self.processor(images=picture, text=f"{image_token}USER: {text}\nASSISTANT:", return_tensors="pt")


def knowledge_text(face: Face, vocabulary: Vocabulary) -> str:
    """Writes what is known of a perceived face in two lines that a general model understands.

    The first has its consistent labels as sentences, with the confidence in per cent where there is one; the second
    the visible parts of the parse map with their shares of the crop in per cent, largest first, without those under
    0.05. vocabulary: of the model that perceived the face.
    """
    known = "; ".join(_statement(face, label.name, vocabulary) for label in vocabulary)
    shares = np.bincount(face.parse_map.ravel(), minlength=len(PARSE_CLASSES)) / face.parse_map.size
    parts = sorted(zip(shares.tolist(), PARSE_CLASSES, strict=True), reverse=True)
    visible = [
        f"{_PARTS.get(name, name)} {share:.1%}" for share, name in parts if name != "background" and share >= 0.0005
    ]
    return (
        f"A face analysis of this picture found, with its confidence: {known}.\n"
        f"Visible parts and their shares of the area around the face: {', '.join(visible) or 'none'}."
    )


def _statement(face: Face, name: str, vocabulary: Vocabulary) -> str:
    confidence = vocabulary.confidence(name, face.labels, face.attributes)
    sentence = state(face.labels, name, vocabulary)
    return sentence if confidence is None else f"{sentence} ({confidence:.0%})"


def score_peer(
    peer,
    data_folder: str | Path,
    split: str = "val",
    limit: int | None = None,
    model: FaceInsight | None = None,
    vocabulary: Vocabulary | None = None,
    task: str | None = None,
) -> dict:
    """Asks every question of a vocabulary about every face of a labelled folder (see `read_labelled`), each on its own.

    peer: a `Peer`, or anything with its `ask`; it sees the whole image. model: perceives each face, whose
    `knowledge_text` goes before every question (the training-free setting); None: no knowledge. vocabulary: what is
    asked about; the model's by default, and without a model that of the bundled nano. task: asks about the labels of
    this task only.

    Returns {"faces", "failed", "knowledge": whether there was a model, "labels": see `Tally.labels`, and of each
    {"asked", "answered": replies that could be read}, "numbers": see `Tally.numbers`, "contradictions": share of the
    faces asked about whose own replies contradict each other, "ms_per_answer": p50}. A reply that cannot be read and a
    face that cannot be perceived count as wrong; only what is read can contradict. Raises InputError for an unusable
    folder, and where no face has a label that is asked for.
    """
    vocabulary = vocabulary or (load_vocabulary("nano") if model is None else model.vocabulary)
    faces = read_labelled(data_folder, split, vocabulary, limit)
    survey = Survey(vocabulary, [face.labels for face in faces], task)
    tally, answered, times = Tally(survey), collections.Counter(), []
    failed, contradictions = 0, 0
    with ProgressBar("peer", len(faces)) as advance:
        for labelled in faces:
            try:
                image = labelled.load()
                context = ""
                if model is not None:
                    context = knowledge_text(model.perceive(image, labelled.box(image.shape)), model.vocabulary)
                told = _told(peer, image, context, survey, times)
            except FaceInsightError as error:
                failed += 1
                print(f"{labelled.name}: {error}", file=sys.stderr)
                tally.add(labelled.labels, None)
            else:
                tally.add(labelled.labels, told)
                answered.update(name for name, value in told.items() if value is not None)
                contradictions += survey.contradictory(told)
            advance({})
    seen = len(faces) - failed
    return {
        "faces": len(faces),
        "failed": failed,
        "knowledge": model is not None,
        "labels": {
            name: scores | {"asked": seen, "answered": answered[name]} for name, scores in tally.labels().items()
        },
        "numbers": tally.numbers(),
        "contradictions": share(contradictions, seen),
        "ms_per_answer": statistics.median(times) if times else None,
    }


def _told(peer, image: np.ndarray, context: str, survey: Survey, times: list[float]) -> Told:
    """Asks a peer all questions and reads its replies; appends milliseconds to `times`."""
    replies = {}
    for question in survey.questions:
        start = time.perf_counter()
        replies[question.name] = peer.ask(image, question.text, context=context)
        times.append((time.perf_counter() - start) * 1e3)
    return survey.told(replies)


def _sentence(error: Exception) -> str:
    """Cuts an error's text down to its first sentence, in one line of at most 200 characters."""
    words = " ".join(str(error).split()) or type(error).__name__
    return re.split(r"(?<=\.)\s", words)[0][:200].rstrip(".") + "."
