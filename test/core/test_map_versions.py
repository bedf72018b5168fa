"""Versions of a map: each opens, any can come back to the byte, and numbers are never used twice."""

from dataclasses import replace

import pytest
from small_map import MANIFEST, synthetic_parts

from visloc_ros.core.errors import ConfigError, MapError
from visloc_ros.core.map import open_map, pack_map
from visloc_ros.core.map_archive import unpacked
from visloc_ros.core.map_versions import MOST_VERSIONS, keep_versions, list_versions, next_version, roll_back
from visloc_ros.core.map_writer import save_map, staged_folder, write_map

PARTS = synthetic_parts()


def update(path, created_from):
    """Write another version of a map in its place."""
    with staged_folder(path, overwrite=True) as folder:
        manifest = replace(MANIFEST, created_from=created_from, version=next_version(path))
        write_map(folder, *PARTS, manifest)
        keep_versions(path, folder)


def own_files(path):
    """The map's files and their contents, without its earlier versions."""
    files = [file for file in path.rglob("*") if file.is_file()]
    names = {file.relative_to(path) for file in files}
    return {name: (path / name).read_bytes() for name in names if name.parts[0] != "versions"}


@pytest.fixture
def path(tmp_path):
    """A map that was updated twice."""
    save_map(tmp_path / "room", *PARTS, MANIFEST)
    update(tmp_path / "room", "monday")
    update(tmp_path / "room", "tuesday")
    return tmp_path / "room"


class TestVersions:
    def test_all_versions_are_listed_and_open(self, path):
        versions = list_versions(path)
        assert [(one.number, one.is_present) for one in versions] == [(1, False), (2, False), (3, True)]
        made_from = [open_map(one.folder).manifest.created_from for one in versions]
        assert made_from == ["synthetic", "monday", "tuesday"]

    def test_a_rollback_restores_every_byte_and_keeps_what_it_replaces(self, path):
        present = own_files(path)
        before = own_files(path / "versions" / "2")
        assert roll_back(path).version == 2
        assert own_files(path) == before
        assert roll_back(path, 3).version == 3
        assert own_files(path) == present
        assert [one.number for one in list_versions(path)] == [1, 2, 3]

    def test_no_number_is_used_twice_after_a_rollback(self, path):
        roll_back(path, 1)
        update(path, "wednesday")
        assert [one.number for one in list_versions(path)] == [1, 2, 3, 4]
        assert open_map(path).manifest.created_from == "wednesday"

    def test_old_versions_make_room(self, path):
        for _ in range(MOST_VERSIONS):
            update(path, "later")
        numbers = [one.number for one in list_versions(path)]
        assert numbers == list(range(3, 4 + MOST_VERSIONS))

    def test_a_version_takes_no_space_for_what_it_shares(self, path):
        roll_back(path, 2)
        kept = path / "features.h5"
        assert kept.stat().st_nlink == 1  # version 2 itself, which is not kept twice
        update(path, "wednesday")
        roll_back(path, 2)
        assert (path / "features.h5").read_bytes() == (path / "versions" / "3" / "features.h5").read_bytes()

    def test_an_archive_leaves_versions_out(self, path, tmp_path):
        with unpacked(pack_map(path, tmp_path / "room.tar.gz")) as folder:
            assert not (folder / "versions").exists()


class TestRefusals:
    def test_a_first_version_has_nothing_to_go_back_to(self, tmp_path):
        save_map(tmp_path / "room", *PARTS, MANIFEST)
        with pytest.raises(ConfigError, match="has no earlier one"):
            roll_back(tmp_path / "room")

    def test_an_unknown_version_is_named_with_those_that_exist(self, path):
        with pytest.raises(ConfigError, match="no version 7: choose one of 1, 2, 3"):
            roll_back(path, 7)

    def test_a_damaged_version_does_not_replace_a_sound_map(self, path):
        file = path / "versions" / "2" / "features.h5"
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        before = own_files(path)
        with pytest.raises(MapError, match="has changed"):
            roll_back(path)
        assert own_files(path) == before

    def test_what_is_no_map_folder_is_refused(self, tmp_path):
        (tmp_path / "notes").mkdir()
        with pytest.raises(MapError, match="no folder of a map"):
            list_versions(tmp_path / "notes")
