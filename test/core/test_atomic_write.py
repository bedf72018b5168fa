"""Files that appear whole, or leave everything as it was."""

import fcntl
import os

import pytest

from visloc_ros.core import atomic_write as module
from visloc_ros.core.atomic_write import atomic_folder, atomic_write, read_whole, restore
from visloc_ros.core.errors import MapError, OutputError


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


def test_a_process_that_reads_and_looks_for_leftovers_does_not_keep_another_from_writing(tmp_path, monkeypatch):
    (tmp_path / ".map.partial").mkdir()
    lock = os.open(tmp_path / ".map.partial" / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)  # as a reader does for a moment
    monkeypatch.setattr(module.time, "sleep", lambda _: fcntl.flock(lock, fcntl.LOCK_UN))
    with atomic_folder(tmp_path / "map") as folder:
        (folder / "new.txt").write_text("new")
    assert os.listdir(tmp_path) == ["map"]
    os.close(lock)


@pytest.mark.parametrize("breaks", [True, False])
def test_what_is_replaced_while_it_is_read_is_read_again(tmp_path, breaks):
    """Else half of what is read would be of one folder, and half of the other."""
    (tmp_path / "map").mkdir()
    (tmp_path / "map" / "number").write_text("1")
    found = []

    def read():
        found.append((tmp_path / "map" / "number").read_text())
        if len(found) == 1:
            with atomic_folder(tmp_path / "map") as folder:
                (folder / "number").write_text("2")
            if breaks:
                raise MapError("its files do not belong together")
        return found[-1]

    assert read_whole(tmp_path / "map", read) == "2"


def test_what_is_broken_is_not_read_again(tmp_path):
    def read():
        raise MapError("broken")

    with pytest.raises(MapError, match="broken"):
        read_whole(tmp_path, read)


def test_what_is_neither_file_nor_folder_does_not_block(tmp_path):
    with atomic_folder(tmp_path / "map") as folder:
        os.mkfifo(folder / "pipe")
        (folder / "link").symlink_to("nowhere")
    assert sorted(os.listdir(tmp_path / "map")) == ["link", "pipe"]
