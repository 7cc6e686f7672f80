"""JSON as frozen dataclasses: what does not fit is named with its path."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from faceinsight.runtime.typed_json import from_json, to_json


@dataclass(frozen=True)
class Gpu:
    name: str
    sm: int


@dataclass(frozen=True)
class Device:
    gpu: Gpu | None
    capabilities: tuple[int, ...] | str
    times: dict[str, float]
    note: str | None = None


GOOD = {"gpu": {"name": "Orin", "sm": 87}, "capabilities": [87], "times": {"parser": 1}}


@pytest.mark.parametrize("changes", [{}, {"gpu": None}, {"capabilities": "any"}, {"note": "here"}])
def test_what_is_written_is_what_was_read(changes):
    assert to_json(from_json(Device, GOOD | changes)) == GOOD | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gpu": {"name": "Orin"}}, "device.gpu.sm is missing"),
        ({"gpu": {"name": "Orin", "sm": True}}, "device.gpu.sm is 'True'; it has to be int"),
        ({"capabilities": [87, "8.9"]}, r"device.capabilities\[1\] is '8.9'; it has to be int"),
        ({"times": {"parser": "fast"}}, "device.times.parser is 'fast'; it has to be a number"),
        ({"speed": 1}, "device has the unknown field speed"),
    ],
)
def test_what_does_not_fit_is_named_with_its_path(changes, message):
    with pytest.raises(ValueError, match=message):
        from_json(Device, GOOD | changes, "device")
