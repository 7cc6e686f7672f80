"""Peers: any image-text-to-text model of Hugging Face, asked about the same faces and scored the same way as ours.

Two settings, as in the paper: the image and the question alone, or training-free, where what our model perceived goes
before every question as text.
"""

from __future__ import annotations

import collections
import itertools
import re
import statistics
import sys
import time
from collections.abc import Callable, Hashable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoConfig, AutoModelForImageTextToText, AutoProcessor

from faceinsight.models.data.answers import state
from faceinsight.models.data.portraits import read_rows, row_labels
from faceinsight.runtime.errors import FaceInsightError, InputError
from faceinsight.runtime.image import load_image
from faceinsight.runtime.labels import GROUPS, PARSE_CLASSES, assignment_from_labels
from faceinsight.runtime.pipeline import Face, FaceInsight
from faceinsight.runtime.progress import ProgressBar
from faceinsight.runtime.prompt import PromptTemplate
from faceinsight.runtime.rules import RULES, Rule, consistent_assignment

from .accuracy import AGES, QUESTIONS, stated
from .phrasings import yes_or_no

DTYPES = ("auto", "float32", "bfloat16", "float16")
GREEDY = {
    "do_sample": False, "num_beams": 1, "temperature": None, "top_p": None, "top_k": None, "repetition_penalty": 1.0,
}  # fmt: skip
"""Over a checkpoint's own settings: the likeliest token, whatever was said before."""

ASKED = QUESTIONS | {
    "Female": "Is this a woman?",
    "Age": "Which age group fits this person best: under 35, 35 to 49, 50 to 64, or 65 and older?",
    "Hair_Color": "Which hair color fits this person best: black, brown, blond, red, gray, or white?",
}
RELATED = (
    Rule("excludes", ("Female", "Male", "Mustache", "Beard")),
    Rule("excludes", ("Gray_Or_White", "Black_Hair", "Brown_Hair", "Blond_Hair", "Red_Hair")),
    Rule("implies", ("Gray_Hair", "Gray_Or_White")),
    Rule("implies", ("White_Hair", "Gray_Or_White")),
)
"""Rules between questions of ASKED that ask for one thing twice; Gray_Or_White is the yes/no question of Gray_Hair."""

_AS_GIVEN = PromptTemplate(lowercase=False, latin=False)
_PARTS = {
    "eye_g": "eyeglasses", "l_eye": "left eye", "r_eye": "right eye", "l_brow": "left eyebrow",
    "r_brow": "right eyebrow", "l_ear": "left ear", "r_ear": "right ear", "mouth": "inside of the mouth",
    "u_lip": "upper lip", "l_lip": "lower lip", "ear_r": "earring", "neck_l": "necklace", "cloth": "clothes",
}  # fmt: skip


class Peer:
    """An image-text-to-text model with its processor; it decodes greedily."""

    def __init__(self, source: str | Path, device: str = "cpu", dtype: str = "auto"):
        """source: a local directory, or else a hub id. device: PyTorch's name of one ("cpu", "cuda:0").

        dtype: of the weights, one of DTYPES; "auto" is the checkpoint's own. Code that comes with a model is never run.
        Raises InputError for what is not such a model, lacks files or weights, needs a library that is not installed,
        or does not fit the device.
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
        """The model's reply: its newly generated text, stripped; at most max_tokens tokens.

        image: HxWx3 uint8 RGB. context: text before the question, on lines of its own. The processor's chat template
        makes the prompt; without one it is "<image>\\nUSER: {context and question}\\nASSISTANT:", with the processor's
        own image token. A control token's spelling in the text is taken out. Raises InputError for an empty question
        or an unusable image.
        """
        if max_tokens < 1:
            raise InputError(f"max_tokens is {max_tokens}; at least one is needed")
        text = _AS_GIVEN.normalise(self._without_control(_AS_GIVEN.normalise(question)))
        if context:
            text = f"{self._without_control(context).strip()}\n{text}"
        inputs = self._inputs(load_image(image), text).to(self.model.device, dtype=self.model.dtype)
        ids = self.model.generate(**inputs, max_new_tokens=max_tokens, **GREEDY)
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
        if getattr(self.processor, "chat_template", None):
            parts = [{"type": "image", "image": picture}, {"type": "text", "text": text}]
            return self.processor.apply_chat_template(
                [{"role": "user", "content": parts}],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            )
        # processors of the BLIP-2 kind put their query tokens in front themselves
        places_image = hasattr(self.processor, "num_query_tokens")
        image_token = "" if places_image else f"{getattr(self.processor, 'image_token', '<image>')}\n"
        return self.processor(images=picture, text=f"{image_token}USER: {text}\nASSISTANT:", return_tensors="pt")


def knowledge_text(face: Face) -> str:
    """What is known of a perceived face, in two lines of words that a general model understands.

    Its consistent labels as sentences, each with its confidence in per cent; then the visible parts of the parse map
    with their shares of the crop in per cent, largest first, those under 0.05 left out.
    """
    known = "; ".join(f"{state(face.labels, label)} ({_confidence(face, label):.0%})" for label in face.labels)
    shares = np.bincount(face.parse_map.ravel(), minlength=len(PARSE_CLASSES)) / face.parse_map.size
    parts = sorted(zip(shares.tolist(), PARSE_CLASSES, strict=True), reverse=True)
    visible = [
        f"{_PARTS.get(name, name)} {share:.1%}" for share, name in parts if name != "background" and share >= 0.0005
    ]
    return (
        f"A face analysis of this picture found, with its confidence: {known}.\n"
        f"Visible parts and their shares of the area around the face: {', '.join(visible) or 'none'}."
    )


def _confidence(face: Face, label: str) -> float:
    """The probability of a label's value; of one that holds when the others do not, what they leave."""
    value = face.labels[label]
    if label not in GROUPS:
        return face.attributes[label] if value else 1 - face.attributes[label]
    chosen = GROUPS[label][value]
    return face.attributes[chosen] if chosen else 1 - sum(face.attributes[n] for n in GROUPS[label].values() if n)


def score_peer(
    peer, data_folder: str | Path, split: str = "val", limit: int | None = None, model: FaceInsight | None = None
) -> dict:
    """Asks every question of ASKED about every face of a data folder (labels.csv and images/), each on its own.

    peer: a `Peer`, or anything with its `ask`; it sees the whole image. model: perceives each face, whose
    `knowledge_text` goes before every question (the training-free setting); None: no knowledge.

    Returns {"faces", "failed", "knowledge", "labels": {name of ASKED: {"faces": whose label is known, "accuracy",
    "balanced_accuracy", "asked", "answered": replies that could be read}}, "age_exact", "age_within_one_group",
    "contradictions": share of the faces asked about whose own replies contradict each other, "ms_per_answer": p50}.
    A reply that cannot be read and a face that cannot be perceived count as wrong; only what is read can contradict.
    Raises InputError for an unusable folder.
    """
    rows = read_rows(data_folder, split, limit)
    pairs = {name: collections.Counter() for name in ASKED}
    answered, times = collections.Counter(), []
    failed, contradictory = 0, 0
    with ProgressBar("peer", len(rows)) as advance:
        for row in rows:
            said: dict[str, str | bool | None] = dict.fromkeys(ASKED)
            try:
                image = load_image(Path(data_folder) / "images" / row["file"])
                context = "" if model is None else knowledge_text(model.perceive(image))
            except FaceInsightError as error:
                failed += 1
                print(f"{row['file']}: {error}", file=sys.stderr)
            else:
                said = _replies(peer, image, context, times)
                contradictory += _contradictory(said)
            for name, wanted in _wanted(row_labels(row)).items():
                answered[name] += said[name] is not None
                if wanted is not None:
                    pairs[name][wanted, said[name]] += 1
            advance({})
    asked = len(rows) - failed
    counts = {name: {"asked": asked, "answered": answered[name]} for name in ASKED}
    return {
        "faces": len(rows),
        "failed": failed,
        "knowledge": model is not None,
        "labels": {name: _scores(found) | counts[name] for name, found in pairs.items()},
        "age_exact": _within(pairs["Age"], 0),
        "age_within_one_group": _within(pairs["Age"], 1),
        "contradictions": contradictory / max(1, asked),
        "ms_per_answer": statistics.median(times) if times else None,
    }


def says_yes(reply: str) -> bool | None:
    """The Yes or No that a reply begins with, also behind "The answer is"; None for any other beginning."""
    reply = re.sub(r"^\W*(?:(?:the |my )?answer(?: is\b|\s*:)\W*)?", "", reply, flags=re.IGNORECASE)
    if re.match(r"yes\s*(?:/|or|and)\s*no\b|no (?:idea|clue|way|one)\b", reply, re.IGNORECASE):
        return None
    return yes_or_no(reply)


_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_ONES = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
}  # fmt: skip
_OLDEST = 120
_STARTS = (*(int(re.match(r"\d+", group)[0]) for group in AGES), _OLDEST + 1)
_SPANS = dict(zip(AGES, itertools.pairwise(_STARTS), strict=True))
_FROM, _UNTIL = {"early": 0, "mid": 4, "late": 7}, {"early": 4, "mid": 7, "late": 10}
_N = r"(?<![\d.])(\d{1,3})(?!\d|\.\d|\s*(?:%|percent))"
_YEARS = r"(?:\s*-?years?\b(?:[ -]old| of age)?)?"
_AGE_MENTIONS: tuple[tuple[str, Callable[..., tuple[int, int]]], ...] = (
    (rf"{_N}s?{_YEARS}\s*(?:-|to|and|or|through)\s*{_N}(s?)", lambda a, b, s: (int(a), int(b) + (10 if s else 0))),
    (rf"(?:under|below|less than|younger than)\s+(?:the age of\s+)?{_N}", lambda a: (0, int(a))),
    (rf"{_N}{_YEARS}\s*(?:and|or)\s*(?:under|below|younger|less)", lambda a: (0, int(a) + 1)),
    (rf"(?:over|above|more than|older than)\s+(?:the age of\s+)?{_N}", lambda a: (int(a) + 1, _OLDEST + 1)),
    (rf"at least\s+{_N}", lambda a: (int(a), _OLDEST + 1)),
    (
        rf"{_N}(?:\s*\+|[\s-]*plus\b|{_YEARS},?\s*(?:and|or)\s*(?:over|older|above|up|more))",
        lambda a: (int(a), _OLDEST + 1),
    ),
    (
        rf"(?:\b(early|mid|late)(?:\s*(?:-|to)\s*(mid|late))?[\s-]+)?{_N}'?s\b",
        lambda first, last, a: (int(a) + _FROM.get(first, 0), int(a) + _UNTIL.get(last or first, 10)),
    ),
    (rf"{_N}{_YEARS}", lambda a: (int(a), int(a) + 1)),
)
"""Ways to speak of an age, in the order in which they are looked for, and the ages [first, last) that each means."""
_AGE_WORDS = {"0-34": r"young|child|baby|toddler|teen\w*|boy|girl", "65+": r"elderly|senior"}


def age_group(reply: str) -> str | None:
    """The one group of AGES that everything in a reply agrees with ("sixty-five", "35 to 49", "in his fifties").

    A range ends before its last number. None if nothing speaks of an age or it fits several groups or none.
    """
    text = _without_denials(re.sub("[‐-―]", "-", reply.lower().replace("’", "'")))
    text = _digits(text)
    left = set(AGES)
    mentioned = False
    for pattern, ages in _AGE_MENTIONS:
        for match in re.finditer(pattern, text):
            first, last = ages(*match.groups())
            if last > 10 and first <= _OLDEST:  # below: likelier a count than a face's age
                mentioned = True
                left &= {group for group, (start, end) in _SPANS.items() if first < end and start < last}
        text = re.sub(pattern, " ", text)
    if not mentioned:
        left = {group for group, words in _AGE_WORDS.items() if re.search(rf"\b(?:{words})\b", text)}
    return left.pop() if len(left) == 1 else None


def _digits(text: str) -> str:
    """Numbers from twenty to ninety-nine in digits: "sixty-five" as 65, "fifties" as 50s."""
    text = re.sub(r"\b(\w+t)ies\b", lambda m: f"{_TENS[m[1] + 'y']}s" if m[1] + "y" in _TENS else m[0], text)
    words = rf"\b({'|'.join(_TENS)})(?:[ -]({'|'.join(_ONES)}))?\b"
    return re.sub(words, lambda m: str(_TENS[m[1]] + _ONES.get(m[2], 0)), text)


_COLOURS = {
    "black": "black",
    "brown": "brown|brunette?|chestnut",
    "blond": "blonde?|golden|flaxen",
    "red": "red|reddish|redhead|ginger|auburn|copper",
    "gray": "gr[ae]y(?:ing|ish)?|silver|salt[ -]and[ -]pepper",
    "white": "white",
}
_COLOUR = rf"\b(?:{'|'.join(_COLOURS.values())})\b"
_RUN = rf"{_COLOUR}(?:(?:[\s,/-]|\band\b|\bor\b|{_COLOUR})*{_COLOUR})?"


def hair_colour(reply: str) -> str | None:
    """The one value of GROUPS["Hair_Color"] that a reply names, or its synonym; None for no colour or several.

    Where colours stand next to the word hair, the others (of clothes, of the photograph) are left out.
    """
    text = _without_denials(reply.lower())
    beside = re.findall(rf"({_RUN})[\s,-]+(?:\w+\s+)?hair", text)
    beside += re.findall(
        rf"hair(?:\s+colou?r)?(?:\s*:|\s+(?:is|looks|appears|seems))(?:\s+\w+){{0,2}}?\s+({_RUN})", text
    )
    where = " / ".join(beside) or text
    named = [colour for colour, words in _COLOURS.items() if re.search(rf"\b(?:{words})\b", where)]
    return named[0] if len(named) == 1 else None


def _without_denials(text: str) -> str:
    """The text without what it says is not so, up to the clause's end."""
    return re.sub(r"(?:\bnot\b|n't\b).*?(?=[,.;]|\bbut\b|$)", " ", text, flags=re.DOTALL)


_READERS: dict[str, Callable[[str], str | bool | None]] = {"Age": age_group, "Hair_Color": hair_colour}


def _replies(peer, image: np.ndarray, context: str, times: list[float]) -> dict[str, str | bool | None]:
    """What the peer says to each question of ASKED, None where it cannot be read; appends milliseconds to `times`."""
    said = {}
    for name, question in ASKED.items():
        start = time.perf_counter()
        reply = peer.ask(image, question, context=context)
        times.append((time.perf_counter() - start) * 1e3)
        said[name] = _READERS.get(name, says_yes)(reply)
    return said


def _wanted(known: dict[str, str | bool | None]) -> dict[str, str | bool | None]:
    """What a person's labels say to each question of ASKED; None where they do not know."""
    wanted = {name: stated(known, name) for name in QUESTIONS}
    female = None if known["Gender"] is None else known["Gender"] == "female"
    return wanted | {"Female": female, "Age": known["Age"], "Hair_Color": known["Hair_Color"]}


def _contradictory(said: dict[str, str | bool | None]) -> bool:
    """Whether no face could have everything that was said: the nearest assignment that obeys the rules differs."""
    assignment = assignment_from_labels(said) | {name: said[name] for name in ("Male", "Female")}
    assignment["Gray_Or_White"] = said["Gray_Hair"]
    probabilities = {name: 0.5 if value is None else float(value) for name, value in assignment.items()}
    nearest = consistent_assignment(probabilities, RULES + RELATED)
    return any(value is not None and nearest[name] != value for name, value in assignment.items())


def _scores(found: collections.Counter[tuple[Hashable, Hashable]]) -> dict:
    """As in benchmarks.accuracy, for any number of values; found: (wanted, said) -> faces."""
    total = sum(found.values())
    wanted = collections.Counter()
    for (value, _), times in found.items():
        wanted[value] += times
    rates = [found[value, value] / of for value, of in wanted.items()]
    return {
        "faces": total,
        "accuracy": sum(found[value, value] for value in wanted) / max(1, total),
        "balanced_accuracy": sum(rates) / len(rates) if len(rates) > 1 else None,
    }


def _within(found: collections.Counter[tuple[str, str | None]], steps: int) -> float:
    """Share of faces whose age group was said to within so many groups."""
    near = sum(
        times
        for (wanted, said), times in found.items()
        if said is not None and abs(AGES.index(wanted) - AGES.index(said)) <= steps
    )
    return near / max(1, found.total())


def _sentence(error: Exception) -> str:
    """The first sentence of an error, in one line, at most 200 characters."""
    words = " ".join(str(error).split()) or type(error).__name__
    return re.split(r"(?<=\.)\s", words)[0][:200].rstrip(".") + "."
