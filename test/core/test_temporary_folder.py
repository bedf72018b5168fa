"""Temporary folders vanish, also those of processes that were killed, and none that is in use."""

import os
import signal
import subprocess
import sys
import tempfile

import pytest

from visloc_ros.core.temporary_folder import temporary_folder

KEEPS_ONE = """
import sys
from visloc_ros.core.temporary_folder import temporary_folder
with temporary_folder("test") as folder:
    (folder / "file").write_text("half")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """The folder of temporary ones."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


@pytest.fixture
def other_process():
    """A process that holds a temporary folder."""
    with subprocess.Popen([sys.executable, "-c", KEEPS_ONE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline().strip()
        yield process
        process.kill()


def names(place):
    return [path.name for path in place.iterdir()]


def test_it_is_empty_and_vanishes_with_its_files(place):
    with temporary_folder("test") as folder:
        assert list(folder.iterdir()) == []
        (folder / "file").write_text("x")
    assert names(place) == []


def test_that_of_a_killed_process_is_removed_by_the_next_one(place, other_process):
    os.kill(other_process.pid, signal.SIGKILL)
    other_process.wait()
    left = names(place)
    assert len(left) == 1
    with temporary_folder("another"):
        assert set(left) < set(names(place))
    with temporary_folder("test") as folder:
        assert names(place) == [folder.name]


def test_those_in_use_stay(place, other_process):
    with temporary_folder("test") as outer, temporary_folder("test") as inner:
        assert outer != inner
        assert len(names(place)) == 3


def test_what_others_lay_there_stays(place, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (place / "visloc_test_file").write_text("x")
    (place / "visloc_test_link").symlink_to(elsewhere)
    with temporary_folder("test"):
        pass
    assert sorted(names(place)) == ["visloc_test_file", "visloc_test_link"]
    assert elsewhere.is_dir()
