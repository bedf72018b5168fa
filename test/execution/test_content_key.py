"""The key of a recording: of its content alone, and of all of it."""

import hashlib
import os
import shutil

import pytest

from visloc_ros.core.errors import SourceError
from visloc_ros.execution.content_key import content_key


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "walk"
    (path / "images").mkdir(parents=True)
    (path / "camera.yaml").write_text("fx: 100")
    (path / "images" / "1.jpg").write_bytes(b"first")
    (path / "images" / "2.jpg").write_bytes(b"second")
    return path


def test_a_file_has_the_checksum_that_everybody_knows_also_behind_a_link(tmp_path):
    (tmp_path / "walk.mp4").write_bytes(b"images")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "walk.mp4")
    for name in ("walk.mp4", "link.mp4"):
        assert content_key(tmp_path / name) == hashlib.sha256(b"images").hexdigest()


def test_a_copy_of_a_folder_has_the_same_content_whatever_its_name_times_and_links(folder, tmp_path):
    before = content_key(folder)
    copy = shutil.copytree(folder, tmp_path / "elsewhere" / "copy")
    os.utime(copy / "camera.yaml", (0, 0))
    shutil.move(copy / "images", tmp_path / "large_disk")
    (copy / "images").symlink_to(tmp_path / "large_disk")
    (tmp_path / "alias").symlink_to(copy)
    assert content_key(copy) == content_key(tmp_path / "alias") == before


@pytest.mark.parametrize(
    "change",
    [
        lambda path: (path / "images" / "1.jpg").write_bytes(b"First"),
        lambda path: (path / "camera.yaml").write_text("fx: 101"),
        lambda path: (path / "camera.yaml").unlink(),
        lambda path: (path / "images" / "3.jpg").touch(),
        lambda path: (path / "images" / "1.jpg").rename(path / "images" / "0.jpg"),
        lambda path: (path / "images" / "1.jpg").rename(path / "1.jpg"),
    ],
)
def test_each_change_of_a_folder_changes_it(folder, change):
    before = content_key(folder)
    change(folder)
    assert content_key(folder) != before


def test_a_change_behind_a_link_changes_it(folder, tmp_path):
    shutil.move(folder / "images", tmp_path / "large_disk")
    (folder / "images").symlink_to(tmp_path / "large_disk")
    before = content_key(folder)
    (tmp_path / "large_disk" / "1.jpg").write_bytes(b"First")
    assert content_key(folder) != before


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(SourceError, match="absent"):
        content_key(tmp_path / "absent")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="a pipe or a device"):
        content_key(tmp_path / "pipe")


def test_pipes_and_links_that_lead_back_are_no_content(folder):
    before = content_key(folder)
    os.mkfifo(folder / "pipe")
    (folder / "images" / "again").symlink_to(folder)
    assert content_key(folder) == before
