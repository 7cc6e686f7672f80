"""Files and directories appear whole or not at all."""

from __future__ import annotations

import pytest

from faceinsight.runtime.files import replacing_directory, replacing_file


def test_a_file_is_replaced_when_the_block_ends(tmp_path):
    path = tmp_path / "scales.json"
    path.write_text("old")
    with replacing_file(path) as beside:
        beside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_a_block_that_fails_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "scales.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing_file(path) as beside:
        beside.write_text("half of it")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_file_gets_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    with replacing_file(tmp_path / "written") as beside:
        beside.touch()
    usual, written = ((tmp_path / name).stat().st_mode for name in ("usual", "written"))
    assert written == usual


def test_a_directory_is_replaced_when_the_block_ends(tmp_path):
    """What was in the old one is gone."""
    path = tmp_path / "new folder" / "bundle"
    for name in ("old", "new"):
        with replacing_directory(path) as beside:
            (beside / name).touch()
    assert [entry.name for entry in path.iterdir()] == ["new"] and list(path.parent.iterdir()) == [path]


def test_a_block_that_fails_leaves_the_old_directory_alone(tmp_path):
    path = tmp_path / "bundle"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(OSError, match="full"), replacing_directory(path) as beside:
        (beside / "new").touch()
        raise OSError("the disk is full")
    assert [entry.name for entry in path.iterdir()] == ["old"] and list(tmp_path.iterdir()) == [path]
