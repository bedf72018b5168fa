"""Files that appear whole, or leave everything as it was."""

import os

import pytest

from visloc_ros.core.atomic_write import atomic_folder, atomic_write, restore
from visloc_ros.core.errors import OutputError


def test_the_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert os.listdir(path.parent) == ["file.txt"]


def test_what_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError), atomic_write(path) as temporary:
        temporary.write_bytes(b"half" + "\ud800".encode())
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/new\.txt"), atomic_write(tmp_path / "file" / "new.txt"):
        pass


def test_what_a_killed_process_left_beside_a_whole_folder_goes_when_that_is_opened(tmp_path):
    (tmp_path / "map").mkdir()
    (tmp_path / ".map.partial" / "new" / "map").mkdir(parents=True)
    (tmp_path / ".map.partial" / "lock").write_text("")
    restore(tmp_path / "map")
    assert os.listdir(tmp_path) == ["map"]


def test_what_is_just_being_written_stays_when_the_old_one_is_opened(tmp_path):
    (tmp_path / "map").mkdir()
    with atomic_folder(tmp_path / "map") as folder:
        (folder / "new.txt").write_text("new")
        restore(tmp_path / "map")
        assert os.listdir(tmp_path / "map") == []
    assert os.listdir(tmp_path / "map") == ["new.txt"]
    assert os.listdir(tmp_path) == ["map"]
