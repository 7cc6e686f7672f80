"""Makes the input of the language model: visual tokens, facts (the consistent labels in words), and the question."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import InputError
from .reading import read
from .vocabulary import Vocabulary


@dataclass(frozen=True)
class PromptTemplate:
    """The text around the parts of a prompt. It is a part of the bundle: each language model has its own."""

    prefix: str = "<bos>{visual}{facts}"
    """What all questions about a face share. It contains {visual} once and {facts} once."""
    question: str = "<q>{question}<q>"
    """What is added for a question. It contains {question} once."""
    fact_separator: str = " "
    """The text between two facts."""
    lowercase: bool = True
    """Whether questions are converted to lower case, for a small tokenizer that has no capitals."""
    latin: bool = True
    """Whether questions mostly in another script are refused. It is for a tokenizer that has no tokens of other
    scripts."""
    answer: str = "<a>"
    """The token between the reading of the question, which is not shown, and the answer. With "" the model writes no
    reading."""
    stop: str = "<eos>"
    """The token that ends an answer."""

    def __post_init__(self) -> None:
        """Raises ValueError for a text without its parts."""
        for text, slots in ((self.prefix, ("{visual}", "{facts}")), (self.question, ("{question}",))):
            if any(text.count(slot) != 1 for slot in slots):
                raise ValueError(f"the prompt {text!r} must contain {' and '.join(slots)} once")

    def special_tokens(self) -> list[str]:
        """Returns every token of the template that is written between < and >, and the tokens `answer` and `stop`."""
        found = re.findall(r"<[^<> ]+>", self.prefix + self.question)
        return list(dict.fromkeys([*found, *filter(None, (self.answer, self.stop))]))

    def normalise(self, question: str) -> str:
        """Returns a question on one line with single spaces, in lower case if the template says so.

        Raises InputError for a question that is empty, not valid Unicode, or in a script that the model cannot read.
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
        """Loads the tokenizer.

        tokenizer_json: content of tokenizer.json. vocab_size: how many tokens the language model knows; ids from there
        on stand for visual tokens. vocabulary: the labels of the model. Raises InputError for a tokenizer without the
        template's tokens.
        """
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
        """Converts text to token ids; a special token may be spelled out in it."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: list[int]) -> str:
        """Converts token ids to text, without special tokens."""
        return self._tokenizer.decode(ids, skip_special_tokens=True)

    def prefix(self, labels: dict[str, str | bool | float], visual_count: int) -> list[int]:
        """Returns the token ids that all questions about a face share.

        labels: the face's consistent labels. visual_count: how many visual tokens the face has; they get the ids from
        vocab_size on.
        """
        before, after = self.template.prefix.split("{visual}")
        visual = range(self.vocab_size, self.vocab_size + visual_count)
        facts = self.template.fact_separator.join(self.vocabulary.facts(labels))
        return self.encode(before) + list(visual) + self.encode(after.replace("{facts}", facts))

    def question(self, question: str, room: int) -> list[int]:
        """Returns the token ids of a question. Raises InputError if it is unusable or has more than `room` tokens."""
        text = self.template.normalise(question)
        # a user who spells out a special token must not gain control of the prompt
        for token in self._tokenizer.get_added_tokens_decoder().values():
            if token.special:
                text = text.replace(token.content, " ")
        text = self.template.normalise(text)
        ids = self.encode(self.template.question.replace("{question}", text))
        if len(ids) > room:
            raise InputError(f"the question has {len(ids)} tokens; there is room for {room}: ask a shorter one")
        return ids

    def opening(self, reading: list[int], labels: dict[str, str | bool | float]) -> list[int]:
        """Returns the token ids that an answer has to begin with: those of "Yes," or "No,", or none.

        reading: token ids of the model's reading of the question. labels: the face's consistent labels.
        """
        decided = read(self.decode(reading), self.vocabulary).verdict(labels)
        return [] if decided is None else self.encode("Yes," if decided else "No,")

    def answer(self, reading: str, text: str) -> list[int]:
        """Returns the token ids that a model is trained to write after a question.

        They are the reading and the answer token, if the template has one, then the text and the stop token.
        """
        hidden = [] if self.answer_id is None else [*self.encode(reading), self.answer_id]
        return [*hidden, *self.encode(text), self.stop_id]
