"""The table of targets is the only place that has to be told of one."""

from __future__ import annotations

import sys

import pytest

from faceinsight.runtime.errors import InputError
from faceinsight.runtime.targets import TARGETS, find_target


@pytest.mark.parametrize("name", TARGETS)
def test_a_missing_library_is_one_line_that_says_how_to_get_it(monkeypatch, name):
    target = find_target(name)
    monkeypatch.setitem(sys.modules, target.module, None)
    with pytest.raises(InputError, match=f"target {name} needs the module {target.module}") as caught:
        target.library()
    assert target.install in str(caught.value) and "\n" not in str(caught.value)


def test_an_unknown_target_is_one_line_that_names_the_known_ones():
    with pytest.raises(InputError, match="unknown target 'npu'; use cpu, cuda, tensorrt, tensorrt-rtx"):
        find_target("npu")


def test_the_command_line_names_every_target(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert "|".join(TARGETS) in command.succeeds("build", "--help")
