"""A map of every recording in a folder: one that is broken keeps no other, and what is there is not built again."""

import json

import pytest
from mapped_room import SIMULATION, write_video
from typer.testing import CliRunner

from visloc_ros.apps.cli import app
from visloc_ros.core.errors import VislocError
from visloc_ros.core.map import open_map
from visloc_ros.simulation import simulate, write_folder


def batch(*arguments):
    return CliRunner().invoke(app, ["batch", *map(str, arguments)])


def state_of(maps):
    return {path: path.stat().st_mtime_ns for path in maps.glob("*/manifest.json")}


def test_the_same_command_again_does_what_is_left(tmp_path):
    recordings, maps = tmp_path / "recordings", tmp_path / "recordings" / "maps"
    recordings.mkdir()
    write_folder(simulate(SIMULATION, "map"), recordings / "folder")
    write_video(recordings / "Film.MP4")
    (recordings / "broken.mp4").write_bytes((recordings / "Film.MP4").read_bytes()[:5000])
    (recordings / "notes.txt").write_text("no recording")

    first = batch(recordings, "-o", maps, "--json")
    assert first.exit_code == 1, first.output
    assert {path.parent.name for path in state_of(maps)} == {"folder", "Film"}
    assert all(len(open_map(maps / name).images) == 8 for name in ("folder", "Film"))
    outcomes = {one["source"].rpartition("/")[2]: one for one in json.loads(first.stdout)["recordings"]}
    assert {name: one["state"] for name, one in outcomes.items()} == {
        "Film.MP4": "built",
        "broken.mp4": "failed",
        "folder": "built",
    }
    assert "broken.mp4" in outcomes["broken.mp4"]["error"]
    assert outcomes["folder"]["registered"] == 8

    before = state_of(maps)
    write_video(recordings / "broken.mp4")
    second = batch(recordings, "-o", maps)
    assert second.exit_code == 0, second.output
    after = state_of(maps)
    assert after.keys() - before.keys() == {maps / "broken" / "manifest.json"}
    assert {path: after[path] for path in before} == before


@pytest.mark.parametrize(
    ("names", "words"),
    [((), "holds no video"), (("notes.txt",), "holds no video"), (("a.mp4", "a.MOV"), "a.MOV and a.mp4 would both")],
)
def test_a_folder_without_recordings_or_with_doubled_names_is_refused(tmp_path, names, words):
    for name in names:
        (tmp_path / name).touch()
    refused = batch(tmp_path, "-o", tmp_path / "maps")
    assert refused.exit_code != 0
    assert isinstance(refused.exception, VislocError)
    assert words in str(refused.exception)
    assert not (tmp_path / "maps").exists()


def test_what_is_no_map_is_kept_and_a_map_that_is_broken_is_built_anew(tmp_path):
    recordings, maps = tmp_path / "recordings", tmp_path / "maps"
    write_folder(simulate(SIMULATION, "map"), recordings / "room")
    write_folder(simulate(SIMULATION, "map"), recordings / "hall")
    (maps / "room").mkdir(parents=True)
    (maps / "room" / "precious.txt").write_text("kept")
    (maps / "hall").mkdir()
    (maps / "hall" / "manifest.json").write_text("{")
    ended = batch(recordings, "-o", maps)
    assert ended.exit_code == 1
    assert (maps / "room" / "precious.txt").read_text() == "kept"
    assert len(open_map(maps / "hall").images) == 8
