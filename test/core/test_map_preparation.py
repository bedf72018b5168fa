"""What a way of searching prepares becomes a part of the map, and costs nothing of it where that fails."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from visloc_ros.core.errors import MapError
from visloc_ros.core.manifest import write_manifest
from visloc_ros.core.map import open_map
from visloc_ros.core.map_archive import unpacked
from visloc_ros.core.map_preparation import add_prepared

ROOM = Path(__file__).parents[2] / "maps" / "demo_room.tar.gz"


@pytest.fixture(params=["folder", "archive"])
def room(request, tmp_path):
    if request.param == "archive":
        return Path(shutil.copy(ROOM, tmp_path / "room.tar.gz"))
    with unpacked(ROOM) as folder:
        return Path(shutil.copytree(folder, tmp_path / "room"))


def writes(text):
    def write(folder):
        (folder / "part").mkdir()
        (folder / "words.txt").write_text(text)
        (folder / "part" / "more.txt").write_text(text)
        return {"length": len(text)}

    return write


def test_what_is_prepared_is_read_with_the_map(room):
    before = open_map(room)
    add_prepared(room, "landmarks", writes("abc"))
    after = open_map(room)
    assert after.prepared == {"landmarks": {"words.txt": b"abc", "part/more.txt": b"abc"}}
    assert after.manifest.prepared == {"landmarks": {"length": 3}}
    assert replace(after.manifest, prepared={}, files=before.manifest.files, merged=()) == before.manifest
    assert after.thumbnails == before.thumbnails
    assert not list(room.parent.glob(".*"))


def test_preparing_again_replaces_what_was_there_and_nothing_of_other_ways(room):
    add_prepared(room, "fused", writes("fused"))
    add_prepared(room, "landmarks", writes("abc"))

    def write_another(folder):
        (folder / "new.txt").write_text("")
        return {}

    add_prepared(room, "landmarks", write_another)
    prepared = open_map(room).prepared
    assert prepared["landmarks"] == {"new.txt": b""}
    assert prepared["fused"]["words.txt"] == b"fused"


def test_the_map_stays_as_it_was_where_preparing_fails(room):
    add_prepared(room, "landmarks", writes("abc"))

    def fail(folder):
        (folder / "half.txt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add_prepared(room, "landmarks", fail)
    assert open_map(room).prepared["landmarks"]["words.txt"] == b"abc"
    assert not list(room.parent.glob(".*"))


def test_a_damaged_file_is_told(tmp_path):
    with unpacked(ROOM) as folder:
        room = Path(shutil.copytree(folder, tmp_path / "room"))
    add_prepared(room, "landmarks", writes("abc"))
    (room / "landmarks" / "words.txt").write_text("abe")
    with pytest.raises(MapError, match=r"words\.txt has changed"):
        open_map(room)
    (room / "landmarks" / "words.txt").unlink()
    with pytest.raises(MapError, match=r"words\.txt is missing"):
        open_map(room)


def test_files_do_not_lie_outside_the_map(tmp_path):
    with unpacked(ROOM) as folder:
        room = Path(shutil.copytree(folder, tmp_path / "room"))
    manifest = add_prepared(room, "landmarks", writes("abc"))
    (tmp_path / "words.txt").write_text("abc")
    (room / "landmarks" / "words.txt").unlink()
    (room / "landmarks" / "words.txt").symlink_to(tmp_path / "words.txt")
    write_manifest(room, manifest)
    with pytest.raises(MapError):
        open_map(room)


def test_only_maps_of_this_package(tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(MapError, match="import-hloc"):
        add_prepared(tmp_path / "other", "landmarks", writes("abc"))
