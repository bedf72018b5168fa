"""Versions that are damaged, of another map, or links: refused in one line that says what to do, and no obstacle."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from small_map import MANIFEST, synthetic_parts
from small_versions import PARTS, own_files, update
from typer.testing import CliRunner

from visloc_ros.apps.cli import app
from visloc_ros.core.coordinate_frame import CoordinateFrame
from visloc_ros.core.errors import MapError, VislocError
from visloc_ros.core.geometry import SE3, Sim3
from visloc_ros.core.manifest import in_frame, read_manifest, write_manifest
from visloc_ros.core.map import open_map, pack_map
from visloc_ros.core.map_versions import list_damaged, list_versions, roll_back
from visloc_ros.core.map_writer import save_map


@pytest.fixture(scope="module")
def three_versions(tmp_path_factory):
    path = tmp_path_factory.mktemp("versions") / "room"
    save_map(path, *PARTS, MANIFEST)
    update(path, "monday")
    update(path, "tuesday")
    return path


@pytest.fixture
def path(three_versions, tmp_path):
    """A map with versions 1 and 2 beside version 3."""
    return shutil.copytree(three_versions, tmp_path / "room")


def manifest_with(**values):
    def change(folder):
        file = folder / "manifest.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return change


def flip_last_byte(folder):
    content = (folder / "features.h5").read_bytes()
    (folder / "features.h5").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def replace_by_another_map(folder):
    shutil.rmtree(folder)
    save_map(folder, *synthetic_parts(32), replace(MANIFEST, frame_uuid=CoordinateFrame.new().uuid))


def replace_by_another_map_of_that_name_and_history(folder):
    manifest = read_manifest(folder)
    replace_by_another_map(folder)
    write_manifest(folder, replace(read_manifest(folder), name=manifest.name, created_from=manifest.created_from))


def move_away_and_link(folder):
    shutil.move(folder, folder.parents[2] / "elsewhere")
    folder.symlink_to(folder.parents[2] / "elsewhere")


def link_out(name):
    def change(folder):
        target = folder.parents[2] / "elsewhere"
        shutil.move(folder / name, target)
        (folder / name).symlink_to(target)

    return change


def link_card(folder):
    (folder / "map.html").symlink_to("/etc/passwd")


DAMAGES = {
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "an empty manifest": lambda folder: (folder / "manifest.json").write_text(""),
    "a manifest that is cut off": lambda folder: os.truncate(folder / "manifest.json", 200),
    "a manifest of a newer program": manifest_with(format_version=99),
    "a manifest with a garbled history": manifest_with(history=[{"version": "one"}]),
    "a manifest with a garbled frame": manifest_with(earlier_frames=[{"uuid": "x", "scale": "large"}]),
    "a number that is none": manifest_with(version=-1),
    "the number of another version": manifest_with(version=7),
    "the number of the present version": manifest_with(version=3),
    "a file that is missing": lambda folder: (folder / "features.h5").unlink(),
    "a file that is cut off": lambda folder: os.truncate(folder / "vlad.h5", 100),
    "a file with another byte": flip_last_byte,
    "a file that is empty": lambda folder: (folder / "sfm" / "images.bin").write_bytes(b""),
    "a reduced map": manifest_with(prepared={"fused": {}}, reduced={"search": "fused", "files": {}}),
    "another map": replace_by_another_map,
    "another map that is called alike": replace_by_another_map_of_that_name_and_history,
    "a file in its place": lambda folder: (shutil.rmtree(folder), folder.write_text("")),
    "an empty folder": lambda folder: (shutil.rmtree(folder), folder.mkdir()),
    "a link to a folder": move_away_and_link,
    "a link that leads nowhere": lambda folder: (shutil.rmtree(folder), folder.symlink_to("nowhere")),
    "a link to itself": lambda folder: (shutil.rmtree(folder), folder.symlink_to(folder)),
    "a manifest that is a link": link_out("manifest.json"),
    "a manifest that is a link to itself": lambda folder: (
        (folder / "manifest.json").unlink(),
        (folder / "manifest.json").symlink_to("manifest.json"),
    ),
    "features that are a link": link_out("features.h5"),
    "a model that is a link": link_out("sfm"),
    "a card that is a link to a file of the system": link_card,
    "a pipe": lambda folder: os.mkfifo(folder / "pipe"),
    "a manifest that is a pipe": lambda folder: (
        (folder / "manifest.json").unlink(),
        os.mkfifo(folder / "manifest.json"),
    ),
}


def lists_and_rolls_back(path):
    """Whether all that is sound of a map goes on."""
    assert 2 in [one.number for one in list_versions(path)]
    assert pack_map(path, path.with_name("packed.tar.gz")).stat().st_size > 0
    two, three = own_files(path / "versions" / "2"), own_files(path)
    assert roll_back(path, 2).version == 2
    assert own_files(path) == two
    assert roll_back(path, 3).version == 3
    assert own_files(path) == three
    update(path, "wednesday")
    assert open_map(path).manifest.version == 4
    assert own_files(path / "versions" / "3") == three


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_version_that_cannot_be_used_is_refused_in_our_words_and_is_no_obstacle(path, damage):
    outside = path.parent / "elsewhere"
    DAMAGES[damage](path / "versions" / "1")
    before = own_files(path)
    with pytest.raises(VislocError) as refused:
        roll_back(path, 1)
    words = str(refused.value)
    assert "\n" not in words
    assert any(cure in words for cure in ("delete it", "move it out", "choose one of")), words
    assert own_files(path) == before
    assert [one.folder.name for one in list_damaged(path, checksums=True)] == ["1"]
    contents = outside.read_bytes() if outside.is_file() else None
    lists_and_rolls_back(path)
    assert not outside.is_file() or outside.read_bytes() == contents


def test_all_versions_as_a_link(path):
    shutil.move(path / "versions", path.parent / "elsewhere")
    (path / "versions").symlink_to(path.parent / "elsewhere")
    assert [one.number for one in list_versions(path)] == [3]
    with pytest.raises(VislocError, match=r"no version 1: choose one of 3"):
        roll_back(path, 1)
    assert "link" in list_damaged(path)[0].problem
    update(path, "wednesday")
    assert [one.number for one in list_versions(path)] == [3, 4]
    assert len(list((path.parent / "elsewhere").iterdir())) == 2


def test_what_is_damaged_stays_until_it_is_mended(path):
    content = (path / "versions" / "1" / "manifest.json").read_bytes()
    (path / "versions" / "1" / "manifest.json").write_bytes(b"")
    update(path, "wednesday")
    (path / "versions" / "1" / "manifest.json").write_bytes(content)
    assert list_damaged(path, checksums=True) == []
    assert roll_back(path, 1).version == 1


def test_a_damaged_version_whose_number_is_needed_makes_room(path):
    manifest_with(version=3)(path / "versions" / "1")
    (path / "versions" / "1").rename(path / "versions" / "3")
    update(path, "wednesday")
    assert [one.number for one in list_versions(path)] == [2, 3, 4]
    assert [one.folder.name for one in list_damaged(path)] == ["3_damaged"]


def test_a_folder_of_an_absurd_number_does_not_use_up_the_numbers(path):
    (path / "versions" / "1").rename(path / "versions" / "999999999")
    update(path, "wednesday")
    assert [one.number for one in list_versions(path)] == [2, 3, 4]


def test_an_ancestor_in_another_frame_is_of_the_same_map(path):
    """That of an aligned map, by the transform; that of a merged one, whose frame is new, by the history."""
    before = read_manifest(path)
    moved = before.frame.moved(
        Sim3.from_se3(SE3.from_quaternion(np.array([0.9, 0.0, 0.0, 0.4]), np.array([3.0, 0.0, 0.0])))
    )
    for frame in (moved, CoordinateFrame.new()):
        write_manifest(path, in_frame(before, frame))
        assert [one.number for one in list_versions(path)] == [1, 2, 3]


def test_the_list_and_the_check_name_what_is_damaged(path):
    flip_last_byte(path / "versions" / "1")
    (path / "versions" / "2" / "manifest.json").write_text("{")
    listed = CliRunner().invoke(app, ["update-map", str(path), "--list", "--json"])
    assert listed.exit_code == 0, listed.output
    values = json.loads(listed.stdout)
    assert [one["version"] for one in values["versions"]] == [1, 3]
    assert values["versions"][1]["made_of"]["version"] == 2
    assert [one["folder"] for one in values["damaged"]] == [str(path / "versions" / "2")]
    checked = CliRunner().invoke(app, ["maps", "check", str(path), "--json"])
    assert checked.exit_code == 1, checked.output
    problems = [one["text"] for one in json.loads(checked.stdout) if one["subject"].startswith("version")]
    assert [f"versions/{number} is damaged" in text for number, text in zip((2, 1), problems, strict=True)] == [
        True
    ] * 2


def test_a_manifest_outside_the_map_is_refused(path):
    link_out("manifest.json")(path)
    with pytest.raises(MapError, match="leads out of"):
        list_versions(path)
