"""Versions of a map: each opens, any can come back to the byte, and numbers are never used twice."""

import json
import shutil

import pytest
from small_map import MANIFEST
from small_versions import PARTS, numbers, own_files, update

from visloc_ros.core.errors import ConfigError, MapError, OutputError, OutputExistsError
from visloc_ros.core.manifest import read_manifest
from visloc_ros.core.map import open_map, pack_map
from visloc_ros.core.map_archive import unpacked
from visloc_ros.core.map_versions import MOST_VERSIONS, changed_folder, list_versions, roll_back, successor
from visloc_ros.core.map_writer import save_map, write_map


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
        assert numbers(path) == (3 + MOST_VERSIONS, list(range(3, 3 + MOST_VERSIONS)))

    def test_going_back_goes_to_the_parent_and_not_to_what_was_rejected(self, path):
        roll_back(path, 1)
        update(path, "wednesday")
        assert roll_back(path).version == 1
        with pytest.raises(ConfigError, match="no earlier one that it was made of is there; choose one of 1, 2"):
            roll_back(path)

    def test_what_a_version_was_made_of_stays_however_many_are_later(self, path):
        """Nine versions, of which the present one is the first."""
        for _ in range(MOST_VERSIONS - 2):
            update(path, "later")
        roll_back(path, 1)
        update(path, "next")
        present, beside = numbers(path)
        assert (present, 1 in beside, len(beside)) == (10, True, MOST_VERSIONS)
        assert roll_back(path).version == 1

    def test_what_was_rejected_makes_room_first(self, path):
        for _ in range(3):
            update(path, "rejected")
            roll_back(path)
        for _ in range(MOST_VERSIONS):
            update(path, "kept")
        beside = numbers(path)[1]
        assert not {4, 5, 6} & set(beside)
        for _ in beside[:-1]:
            roll_back(path)
        assert roll_back(path).version == beside[0]

    def test_no_number_is_used_twice_when_rejected_versions_made_room(self, path):
        roll_back(path, 1)
        seen = {1, 2, 3}
        for _ in range(2 * MOST_VERSIONS):
            update(path, "tried")
            present = numbers(path)[0]
            assert present not in seen
            seen.add(present)
            roll_back(path)

    def test_going_back_passes_over_a_version_that_is_gone(self, path):
        shutil.rmtree(path / "versions" / "2")
        assert roll_back(path).version == 1

    def test_the_versions_of_a_map_without_a_history_know_their_parents(self, path):
        """As they were written before: the last session says which model was the one before."""
        older = {"frame_uuid", "earlier_frames", "history", "built_images"}
        models = [one.manifest.model_id for one in list_versions(path)]
        for one in list_versions(path):
            sessions = [{"name": "x", "version": row + 2, "before": models[row]} for row in range(one.number - 1)]
            values = json.loads((one.folder / "manifest.json").read_text()) | {"sessions": sessions}
            kept = {name: value for name, value in values.items() if name not in older}
            (one.folder / "manifest.json").write_text(json.dumps(kept))
        assert [roll_back(path).version, roll_back(path).version] == [2, 1]

    def test_a_rollback_lists_versions_once_no_other_process_writes(self, path):
        """Else it could link what another process has just put in the place as the version that was there before."""
        with changed_folder(path, read_manifest(path), path, overwrite=True) as folder:
            write_map(folder, *PARTS, successor(MANIFEST, path, read_manifest(path), "update"))
            with pytest.raises(OutputError, match="another process is just writing"):
                roll_back(path)

    def test_a_map_with_versions_is_not_overwritten_by_another_one(self, path):
        before = own_files(path)
        with pytest.raises(OutputExistsError, match="with earlier versions, which would be lost"):
            save_map(path, *PARTS, MANIFEST, overwrite=True)
        assert own_files(path) == before

    def test_what_is_made_of_a_map_that_has_changed_meanwhile_is_refused(self, path):
        before = read_manifest(path)
        update(path, "another process")
        with (
            pytest.raises(MapError, match="another map now than when its change began"),
            changed_folder(path, before, path, overwrite=True),
        ):
            pass

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
        with pytest.raises(ConfigError, match=r"no earlier one that it was made of is there$"):
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
