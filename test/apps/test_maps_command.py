"""Maps are listed, described, checked and deleted; what is no map is left alone."""

import json
import shutil
from pathlib import Path

import pytest
from visloc_command import DEMO_MAP, visloc

from visloc_ros.core.errors import ConfigError, MapError
from visloc_ros.core.map_archive import unpacked


def maps(*arguments, answer=None):
    return visloc("maps", *arguments, input=answer)


@pytest.fixture
def folder(tmp_path):
    """A map, its archive, a broken one and something else."""
    with unpacked(DEMO_MAP) as room:
        shutil.copytree(room, tmp_path / "room")
    shutil.copy(DEMO_MAP, tmp_path / "packed.tar.gz")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "manifest.json").write_text("{")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "notes.txt").write_text("kept")
    return tmp_path


def test_maps_are_listed_and_broken_ones_say_why(folder):
    shown = maps("list", folder).output
    assert all(name in shown for name in ("room", "packed.tar.gz", "broken", "manifest.json"))
    assert "notes" not in shown
    entries = {Path(one["path"]).name: one for one in json.loads(maps("list", folder, "--json").output)}
    assert entries.keys() == {"room", "packed.tar.gz", "broken"}
    assert entries["broken"]["problem"]
    room = entries["room"]
    assert (room["problem"], room["metric"], room["counts"]["images"] > 10) == ("", True, True)
    assert entries["packed.tar.gz"]["counts"] == room["counts"]


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    assert isinstance(maps("list", tmp_path / "no").exception, ConfigError)


@pytest.mark.parametrize("name", ["room", "packed.tar.gz"])
def test_a_map_is_described(folder, name):
    shown = maps("info", folder / name).output
    assert all(word in shown for word in ("made from", "reprojection error", "aliked-n16", "metres", "yes"))
    assert json.loads(maps("info", folder / name, "--json").output)["gravity_aligned"] is True


def test_a_changed_file_is_found_by_the_check(folder):
    sound = maps("check", folder / "room", folder / "packed.tar.gz")
    assert sound.exit_code == 0, sound.output
    file = next(path for path in (folder / "room").iterdir() if path.suffix == ".h5")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 255
    file.write_bytes(data)
    broken = maps("check", folder / "room", folder / "packed.tar.gz")
    assert (broken.exit_code, file.name in broken.output) == (1, True)
    told = maps("check", folder / "room", folder / "packed.tar.gz", "--json")
    findings = json.loads(told.stdout)
    assert (told.exit_code, {one["level"] for one in findings}) == (1, {"ok", "error"})
    assert [Path(one["path"]).name for one in findings] == ["room", "packed.tar.gz"]
    assert (findings[0]["level"], file.name in findings[0]["text"]) == ("error", True)


def test_maps_that_hold_the_same_images_are_not_merged(folder):
    refused = maps("merge", folder / "room", folder / "packed.tar.gz", "--output", folder / "whole")
    assert isinstance(refused.exception, MapError)
    assert "hold the same images" in str(refused.exception)
    assert not (folder / "whole").exists()


def test_only_maps_are_deleted_and_only_when_all_of_them_are_maps(folder):
    refused = maps("delete", folder / "room", folder / "notes", "--yes")
    assert isinstance(refused.exception, MapError)
    assert (folder / "room").exists()
    assert maps("delete", folder / "room", answer="n\n").exit_code == 1
    assert (folder / "room").exists()
    deleted = maps("delete", folder / "room", folder / "packed.tar.gz", folder / "broken", answer="y\n")
    assert deleted.exit_code == 0, deleted.output
    assert [path.name for path in folder.iterdir()] == ["notes"]
