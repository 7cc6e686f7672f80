"""Vocabularies that hypothesis makes up, and faces that they tell of."""

from __future__ import annotations

import itertools
import math

from hypothesis import strategies as st

from faceinsight.runtime.vocabulary import Vocabulary

SHARES = st.floats(0, 1)


@st.composite
def _choice(draw, name: str) -> dict:
    count = draw(st.integers(2, 4))
    values: dict = {f"v {i}": {"prompt": f"{name} is {i}"} for i in range(count)}
    if draw(st.booleans()):
        values["none of them"] = {}
    if coarse := draw(st.lists(st.sampled_from(sorted(values)), max_size=2)):
        for value in coarse:
            values[value]["coarse"] = "some"
    entry = {"kind": "choice", "values": values, "odds": draw(st.sampled_from(("equal", "natural", "colour")))}
    if draw(st.booleans()):
        entry["source"] = f"{name}_Measure"
        for i, value in enumerate(values.values()):
            value["range"] = [10 * i, 10 * i + 10]
    return entry


@st.composite
def _number(draw, name: str) -> dict:
    step = draw(st.sampled_from((1, 5, 0.5, 0.1)))
    least, length = draw(st.integers(-20, 20)), draw(st.integers(3, 60))
    entry = {"kind": "number", "prompt": f"how much {name}", "unit": "units", "step": step}
    entry["range"] = [round(least * step, 6), round((least + length) * step, 6)]
    if draw(st.booleans()):
        cuts = sorted({least, least + length, *draw(st.lists(st.integers(least, least + length), max_size=3))})
        bounds = [[round(a * step, 6), round(b * step, 6)] for a, b in itertools.pairwise(cuts)]
        entry["groups"] = {"name": f"{name}_Group", "values": {f"g {i}": both for i, both in enumerate(bounds)}}
    return entry


@st.composite
def vocabulary_data(draw) -> dict:
    """The JSON form of a usable vocabulary: every kind of label, rules and topics."""
    kinds = draw(st.lists(st.sampled_from(("flag", "choice", "number")), min_size=1, max_size=6))
    labels = {}
    for index, kind in enumerate(kinds):
        name = f"Label_{index}"
        make = {"flag": st.just({"kind": "flag", "prompt": f"{name} is so"}), "choice": _choice(name),
                "number": _number(name)}[kind]  # fmt: skip
        labels[name] = draw(make)
        if draw(st.booleans()):
            labels[name]["regions"] = draw(st.lists(st.sampled_from(("hair", "skin", "hat")), min_size=1, unique=True))
    data: dict = {"labels": labels}
    flags = [name for name, entry in labels.items() if entry["kind"] == "flag"]
    if len(flags) > 1 and draw(st.booleans()):
        data["rules"] = [{"kind": draw(st.sampled_from(("implies", "excludes"))), "names": flags}]
    if draw(st.booleans()):
        about = draw(st.lists(st.sampled_from(sorted(labels)), min_size=1, unique=True))
        data["topics"] = {"things": {"labels": about}}
    if flags and draw(st.booleans()):
        data.setdefault("topics", {})["flags"] = {"labels": flags, "word": "any"}
    return data


def vocabularies() -> st.SearchStrategy[Vocabulary]:
    return vocabulary_data().map(Vocabulary.from_json)


def outputs(draw, vocabulary: Vocabulary) -> list[float]:
    """What the head may give for one face."""
    count = len(vocabulary.attributes) + len(vocabulary.numbers)
    return draw(st.lists(SHARES, min_size=count, max_size=count))


@st.composite
def told(draw, of: st.SearchStrategy[Vocabulary]) -> tuple[Vocabulary, dict, dict, dict]:
    """A vocabulary, attributes and numbers of one face, and the labels that follow."""
    vocabulary = draw(of)
    attributes, numbers = vocabulary.outputs(outputs(draw, vocabulary))
    return vocabulary, attributes, numbers, vocabulary.decide(attributes, numbers)


def is_multiple(value: float, step: float) -> bool:
    return math.isclose(value / step, round(value / step), abs_tol=1e-6)
