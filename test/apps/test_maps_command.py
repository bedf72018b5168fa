"""Maps are listed, described, checked and deleted; what is no map is left alone."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from small_map import MANIFEST, synthetic_parts
from visloc_command import DEMO_MAP, visloc

from visloc_ros.core.coordinate_frame import new_uuid
from visloc_ros.core.errors import ConfigError, MapError
from visloc_ros.core.manifest import read_manifest, write_manifest
from visloc_ros.core.map_archive import unpacked
from visloc_ros.core.map_versions import changed_folder, successor
from visloc_ros.core.map_writer import save_map, write_map


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
    assert all(
        word in shown for word in ("made from", "reprojection error", "own error", "aliked-n16", "metres", "yes")
    )
    figures = json.loads(maps("info", folder / name, "--json").output)
    assert figures["gravity_aligned"] is True
    assert figures["own_error"] is None  # of a map that an earlier version built


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


@pytest.fixture
def versions(tmp_path):
    """A map with two earlier versions."""
    path, parts = tmp_path / "office", synthetic_parts()
    save_map(path, *parts, MANIFEST)
    for _ in range(2):
        before = read_manifest(path)
        with changed_folder(path, before, path, overwrite=True) as folder:
            write_map(folder, *parts, successor(before, path, before, "update"))
    return path


def flip_a_byte(path):
    """Damage a file, but not those that are linked to it."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.unlink()
    path.write_bytes(data)


def to_another_map(path):
    save_map(path, *synthetic_parts(32), replace(MANIFEST, frame_uuid=new_uuid()), overwrite=True)


def to_another_number(path):
    write_manifest(path, replace(read_manifest(path), version=7))


def to_a_link(path):
    shutil.move(path, path.parents[2] / "elsewhere")
    path.symlink_to(path.parents[2] / "elsewhere")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: flip_a_byte(path / "features.h5"), "features.h5 has changed"),
        (lambda path: (path / "manifest.json").unlink(), "it is missing"),
        (to_another_map, "is of another map"),
        (to_another_number, "holds version 7"),
        (to_a_link, "is a link or a file, no folder"),
    ],
)
def test_a_damaged_version_is_found_by_the_check_and_the_present_one_stays_sound(versions, change, words):
    assert maps("check", versions).exit_code == 0
    change(versions / "versions" / "1")
    told = maps("check", versions, "--json")
    levels = {one["subject"]: one["level"] for one in json.loads(told.stdout) if one["level"] != "warning"}
    assert (told.exit_code, levels) == (1, {"map": "ok", "version 1": "error", "version 2": "ok"})
    shown = maps("check", versions).output
    assert "office, version 1: " in shown
    assert words in shown
    assert any(cure in shown for cure in ("delete it", "move it out of"))
    flip_a_byte(versions / "features.h5")
    levels = {one["subject"]: one["level"] for one in json.loads(maps("check", versions, "--json").stdout)}
    assert levels == {"map": "error", "version 1": "error", "version 2": "ok"}


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
