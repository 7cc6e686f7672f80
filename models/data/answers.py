"""Right answers: they follow from what a question is read as, and from a face's labels."""

from __future__ import annotations

from collections.abc import Mapping

from faceinsight.runtime.reading import read
from faceinsight.runtime.vocabulary import Vocabulary

from .language.speech import speech_of

IDENTITY = "I describe faces; I do not identify people."
OFF_TOPIC = "That is not something I can tell from a face; ask me about its attributes."


def answer(reading: str, labels: Mapping, vocabulary: Vocabulary) -> str:
    """The right answer to a question about a face.

    reading: what the question asks, see runtime/reading.py. labels: one for each of `vocabulary.names`.
    """
    first, _, rest = reading.partition(" ")
    if reading in ("describe", "who", "other"):
        return {"describe": describe(labels, vocabulary), "who": IDENTITY, "other": OFF_TOPIC}[reading]
    if first == "what":
        return answer_what(labels, rest, vocabulary)
    return answer_yes_no(labels, reading, vocabulary)


def answer_yes_no(labels: Mapping, reading: str, vocabulary: Vocabulary) -> str:
    """Answers a yes/no question with Yes or No and the true state. reading: "beard no", "age 50-64 65+", "age <48"."""
    speech, word = speech_of(vocabulary), reading.split()[0]
    topic, label = speech.topic_of_word(word), speech.label_of_word(word)
    told = speech.sentence(labels, label.name) if label else speech.topic_sentence(labels, topic.name)
    return f"{'Yes' if read(reading, vocabulary).verdict(labels) else 'No'}, {told}."


def answer_what(labels: Mapping, asked: str, vocabulary: Vocabulary) -> str:
    """Answers an open question. asked: name of a topic ("hair color"), or fact word of a label ("age")."""
    speech = speech_of(vocabulary)
    if speech.topic(asked):
        return _sentences([speech.topic_sentence(labels, asked)])
    return _sentences([speech.sentence(labels, speech.label_of_word(asked).name)])


def describe(labels: Mapping, vocabulary: Vocabulary) -> str:
    """The description of the whole face: a few sentences."""
    return _sentences(speech_of(vocabulary).description(labels))


def state(labels: Mapping, name: str, vocabulary: Vocabulary) -> str:
    """The sentence for the true value of a label, without capital and full stop. name: one of `vocabulary.names`."""
    return speech_of(vocabulary).sentence(labels, name)


def _sentences(told: list[str]) -> str:
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in told)
