"""A map reduced to what one way of searching has prepared: nothing else is written, and nothing is lost."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from visloc_ros.core.errors import ConfigError, ManifestError, MapError, OutputError
from visloc_ros.core.manifest import UncertaintyInfo, read_manifest
from visloc_ros.core.map import open_map, pack_map
from visloc_ros.core.map_archive import unpacked
from visloc_ros.core.map_check import check_map
from visloc_ros.core.map_export import export_map
from visloc_ros.core.map_folder import read_entry
from visloc_ros.core.map_preparation import add_prepared
from visloc_ros.core.map_reduction import write_reduced

OF_MAP = UncertaintyInfo(1e-4, 1e-5, np.eye(6).tolist(), np.eye(6).tolist(), 0.1, 0.2)


def writes(text):
    def write(folder):
        (folder / "part").mkdir()
        (folder / "part" / "words.txt").write_text(text)
        return {"length": len(text)}

    return write


@pytest.fixture
def whole(broken):
    """A map that two ways of searching have prepared."""
    add_prepared(broken, "one", writes("of one"))
    add_prepared(broken, "two", writes("of two"))
    (broken / "map.html").write_text("card")
    return broken


@pytest.fixture
def reduced(whole, tmp_path):
    write_reduced(open_map(whole), whole, tmp_path / "small", "one", OF_MAP)
    return tmp_path / "small"


def test_only_what_one_way_prepared_is_written(whole, reduced):
    files = sorted(path.relative_to(reduced).as_posix() for path in reduced.rglob("*") if path.is_file())
    assert files == ["manifest.json", "one/part/words.txt"]
    before, after = read_manifest(whole), read_manifest(reduced)
    assert (after.prepared, after.uncertainty, list(after.files)) == ({"one": {"length": 6}}, OF_MAP, files[1:])
    assert after.whole_files == before.files
    same = {"files": before.files, "prepared": before.prepared, "uncertainty": before.uncertainty, "reduced": None}
    assert replace(after, **same) == before


def test_it_opens_where_that_suffices_and_is_refused_elsewhere(whole, reduced):
    small = open_map(reduced, reduced=True)
    assert small.prepared == {"one": {"part/words.txt": b"of one"}}
    assert (len(small.images), small.points.shape) == (0, (0, 3))
    assert small.identity == open_map(whole).identity
    with pytest.raises(MapError, match=r"--search one.*bring the whole map"):
        open_map(reduced)
    assert len(open_map(whole, reduced=True).images) > 0


def test_it_is_listed_checked_packed_and_exported_as_other_maps_are(reduced, tmp_path):
    entry = read_entry(reduced)
    assert (entry.problem, entry.manifest.reduced.search) == ("", "one")
    check_map(reduced)
    small = open_map(reduced, reduced=True)
    archive = pack_map(reduced, tmp_path / "packed.tar.gz")
    export_map(archive, small.manifest, tmp_path / "exported.tar.gz")
    assert open_map(tmp_path / "exported.tar.gz", reduced=True).prepared == small.prepared


def test_an_archive_is_reduced_to_an_archive(whole, reduced, tmp_path):
    archive = pack_map(whole, tmp_path / "whole.tar.gz")
    write_reduced(open_map(archive), archive, tmp_path / "small.tar.gz", "one", OF_MAP)
    with unpacked(tmp_path / "small.tar.gz") as folder:
        assert read_manifest(folder) == read_manifest(reduced)


def test_nothing_is_overwritten_unasked_and_never_the_whole_map(whole, tmp_path):
    loaded = open_map(whole)
    for name in ("small", "small.tar.gz"):
        write_reduced(loaded, whole, tmp_path / name, "one", OF_MAP)
        with pytest.raises(OutputError, match="already"):
            write_reduced(loaded, whole, tmp_path / name, "two", OF_MAP)
        write_reduced(loaded, whole, tmp_path / name, "two", OF_MAP, overwrite=True)
        assert open_map(tmp_path / name, reduced=True).prepared.keys() == {"two"}
    with pytest.raises(ConfigError, match="would be lost"):
        write_reduced(loaded, whole, whole, "one", OF_MAP, overwrite=True)
    (tmp_path / "folder").mkdir()
    archive = pack_map(whole, tmp_path / "folder" / "reference.tar.gz")
    for output in (archive, archive.parent):
        with pytest.raises(ConfigError, match="would be lost"):
            write_reduced(loaded, archive.parent, output, "one", OF_MAP, overwrite=True)
    assert len(open_map(whole).images) == len(open_map(archive).images)


def test_what_was_there_stays_where_writing_fails(whole, reduced, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OutputError, match="free some space"):
        write_reduced(open_map(whole), whole, reduced, "two", OF_MAP, overwrite=True)
    assert open_map(reduced, reduced=True).prepared.keys() == {"one"}
    assert not list(reduced.parent.glob(".*"))


def test_a_map_that_is_not_prepared_for_it_cannot_be_reduced(whole, saved, tmp_path):
    with pytest.raises(MapError, match="prepared for one and two, not for three"):
        write_reduced(open_map(whole), whole, tmp_path / "small", "three", OF_MAP)
    with pytest.raises(MapError, match="prepared for no way of searching, not for one"):
        write_reduced(open_map(saved), saved, tmp_path / "small", "one", OF_MAP)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"reduced": {"search": "two", "files": {}}}, "garbled"),
        ({"reduced": {"search": ["one"], "files": {}}}, "garble"),
        ({"reduced": {"search": "one"}}, "garbles"),
        ({"reduced": {"search": "one", "files": {"a": 1}}}, "garbles"),
        ({"reduced": "one"}, "garbles"),
        ({"uncertainty": None}, "reduce the whole map again"),
        ({"files": {"one/part/words.txt": {"sha256": "", "size": 1}}}, r"words\.txt has 6 bytes instead of 1"),
    ],
)
def test_a_garbled_one_is_refused_in_words(reduced, change, complaint):
    path = reduced / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises((MapError, ManifestError), match=complaint):
        open_map(reduced, reduced=True)


def test_what_is_prepared_in_it_does_not_lie_outside(reduced, tmp_path):
    shutil.move(reduced / "one" / "part" / "words.txt", tmp_path / "words.txt")
    (reduced / "one" / "part" / "words.txt").symlink_to(tmp_path / "words.txt")
    with pytest.raises(MapError):
        open_map(reduced, reduced=True)
