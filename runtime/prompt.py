"""What the language model reads: visual tokens, the facts (the consistent labels in words), the question."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import InputError
from .reading import read
from .vocabulary import Vocabulary


@dataclass(frozen=True)
class PromptTemplate:
    """Text around the parts; data of the bundle, so each language model has its own.

    prefix: contains {visual} once and {facts} once; what one face's questions share. question: contains {question}.
    lowercase: questions are lower-cased (a small tokenizer knows no other). latin: questions mostly in another script
    are refused (it knows but their bytes). answer: token before which the model writes its reading of the question
    ("beard yes"), which is not shown; "": it answers at once. stop: ends an answer.
    """

    prefix: str = "<bos>{visual}{facts}"
    question: str = "<q>{question}<q>"
    fact_separator: str = " "
    lowercase: bool = True
    latin: bool = True
    answer: str = "<a>"
    stop: str = "<eos>"

    def __post_init__(self) -> None:
        for text, slots in ((self.prefix, ("{visual}", "{facts}")), (self.question, ("{question}",))):
            if any(text.count(slot) != 1 for slot in slots):
                raise ValueError(f"the prompt {text!r} must contain {' and '.join(slots)} once")

    def special_tokens(self) -> list[str]:
        """Every token that stands between < and > in the template, and what ends reading and answer."""
        found = re.findall(r"<[^<> ]+>", self.prefix + self.question)
        return list(dict.fromkeys([*found, *filter(None, (self.answer, self.stop))]))

    def normalise(self, question: str) -> str:
        """One line, single spaces. Raises InputError for an empty question, for one that is not valid Unicode, and with
        `latin` for one in another script.
        """
        if not isinstance(question, str):
            raise InputError(f"a question is text, not {type(question).__name__}")
        question = " ".join(question.split())
        if not any(ch.isalnum() for ch in question):
            raise InputError('the question is empty; ask for example "Is this person smiling?"')
        try:
            question.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError("the question holds bytes that are no text; give it in UTF-8") from error
        letters = [ch for ch in question if ch.isalpha()]
        if self.latin and 2 * sum(ch <= "\u024f" for ch in letters) < len(letters):
            raise InputError("the question is in a script that this model does not read; ask in English")
        return question.lower() if self.lowercase else question


class Prompter:
    """Turns faces and questions into token ids, and token ids into text."""

    def __init__(self, tokenizer_json: str, template: PromptTemplate, vocab_size: int, vocabulary: Vocabulary):
        """vocab_size: tokens that the language model knows; ids from there on stand for visual tokens. vocabulary: of
        the labels. Raises InputError for a tokenizer without the template's tokens."""
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_str(tokenizer_json)
        self.template, self.vocabulary = template, vocabulary
        self.vocab_size = vocab_size
        self.stop_id = self._id(template.stop)
        self.answer_id = self._id(template.answer) if template.answer else None

    def _id(self, token: str) -> int:
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise InputError(f"the tokenizer has no token {token!r}, which the prompt template uses")
        return found

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True)

    def prefix(self, labels: dict[str, str | bool | float], visual_count: int) -> list[int]:
        """Ids shared by all questions about a face; ids from vocab_size up stand for its visual tokens."""
        before, after = self.template.prefix.split("{visual}")
        visual = range(self.vocab_size, self.vocab_size + visual_count)
        facts = self.template.fact_separator.join(self.vocabulary.facts(labels))
        return self.encode(before) + list(visual) + self.encode(after.replace("{facts}", facts))

    def question(self, question: str, room: int) -> list[int]:
        """Ids of one question; raises InputError when they are more than `room`."""
        text = self.template.normalise(question)
        # a special token's spelling in a question is text, never control
        for token in self._tokenizer.get_added_tokens_decoder().values():
            if token.special:
                text = text.replace(token.content, " ")
        text = self.template.normalise(text)
        ids = self.encode(self.template.question.replace("{question}", text))
        if len(ids) > room:
            raise InputError(f"the question has {len(ids)} tokens; there is room for {room}: ask a shorter one")
        return ids

    def opening(self, reading: list[int], labels: dict[str, str | bool | float]) -> list[int]:
        """Ids that the answer has to begin with, once the model has read the question: the verdict, or nothing."""
        decided = read(self.decode(reading), self.vocabulary).verdict(labels)
        return [] if decided is None else self.encode("Yes," if decided else "No,")

    def answer(self, reading: str, text: str) -> list[int]:
        """Ids that a model is trained to write after a question: its reading, if the template has one, and the text."""
        hidden = [] if self.answer_id is None else [*self.encode(reading), self.answer_id]
        return [*hidden, *self.encode(text), self.stop_id]
