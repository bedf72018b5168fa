"""A map of every recording in a folder: one that is broken keeps no other, and what is there is not built again."""

import json
import multiprocessing
import shutil
import threading
import time

import numpy as np
import pytest
from mapped_room import write_video
from small_map import MANIFEST, synthetic_parts
from visloc_command import succeed, visloc

from visloc_ros.core.errors import VislocError
from visloc_ros.core.map import open_map, save_map
from visloc_ros.simulation import SimulationConfig, simulate, write_folder

NUM_IMAGES = 4
SMALL = SimulationConfig(width=320, height=240, focal_px=240.0, duration_s=2.0, rate_hz=2.0, noise_std=1.0)


CONFIG = (
    "features: {name: sift}\nmatcher: {name: nearest, ratio: 0.85}\n"  # no worker loads torch
    "reconstruction: {threads: 1}\n"  # several threads add up in another order each time
)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


def two_walks(folder):
    """Two recordings of the simulated room."""
    for name in ("one", "two"):
        write_folder(simulate(SMALL, "map"), folder / name)


def batch(*arguments):
    return visloc("batch", *arguments)


def contents(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def state_of(maps):
    return {path: path.stat().st_mtime_ns for path in maps.glob("*/manifest.json")}


def test_the_same_command_again_does_what_is_left(tmp_path, config):
    recordings, maps = tmp_path / "recordings", tmp_path / "recordings" / "maps"
    recordings.mkdir()
    write_folder(simulate(SMALL, "map"), recordings / "folder")
    write_video(recordings / "Film.MP4", SMALL)
    (recordings / "broken.mp4").write_bytes((recordings / "Film.MP4").read_bytes()[:5000])
    (recordings / "notes.txt").write_text("no recording")
    (recordings / "taken.mp4").write_bytes((recordings / "Film.MP4").read_bytes())
    (maps / "taken").mkdir(parents=True)
    (maps / "taken" / "precious.txt").write_text("no map, and kept")
    (maps / "folder").mkdir()

    first = batch(recordings, "-o", maps, "--json", "--workers", 2, "--config", config)
    assert first.exit_code == 1, first.output
    assert {path.parent.name for path in state_of(maps)} == {"folder", "Film"}
    assert all(len(open_map(maps / name).images) == NUM_IMAGES for name in ("folder", "Film"))
    outcomes = {one["source"].rpartition("/")[2]: one for one in json.loads(first.stdout)["recordings"]}
    assert {name: one["state"] for name, one in outcomes.items()} == {
        "Film.MP4": "built",
        "broken.mp4": "failed",
        "folder": "built",
        "taken.mp4": "failed",
    }
    assert "broken.mp4" in outcomes["broken.mp4"]["error"]
    assert outcomes["folder"]["registered"] == NUM_IMAGES
    assert [path.name for path in (maps / "taken").iterdir()] == ["precious.txt"]
    assert (maps / "taken" / "precious.txt").read_text() == "no map, and kept"

    (recordings / "taken.mp4").unlink()
    before = state_of(maps)
    write_video(recordings / "broken.mp4", SMALL)
    second = batch(recordings, "-o", maps, "--config", config)
    assert second.exit_code == 0, second.output
    after = state_of(maps)
    assert after.keys() - before.keys() == {maps / "broken" / "manifest.json"}
    assert {path: after[path] for path in before} == before


def newer_format(path):
    values = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(values | {"format_version": 99}))


def circle_of_links(path):
    shutil.rmtree(path)
    path.symlink_to(path.name)


SPOILT = {
    "newer": (newer_format, "format version 99"),
    "garbled": (lambda path: (path / "manifest.json").write_text("{"), "cannot read"),
    "incomplete": (lambda path: (path / "features.h5").unlink(), "features.h5 is missing"),
    "circle": (circle_of_links, "cannot be used"),
}


def test_maps_that_cannot_be_read_are_kept_and_named_and_the_others_are_built(tmp_path, config):
    recordings, maps = tmp_path / "recordings", tmp_path / "maps"
    for name, (spoil, _) in SPOILT.items():
        write_folder(simulate(SMALL, "map"), recordings / name)
        save_map(maps / name, *synthetic_parts(), MANIFEST)
        spoil(maps / name)
    write_folder(simulate(SMALL, "map"), recordings / "other")
    before = contents(maps)
    told = batch(recordings, "-o", maps, "--json", "--config", config)
    after = contents(maps)
    assert {path: after.get(path, "gone") for path in before} == before
    outcomes = {one["source"].rpartition("/")[2]: one for one in json.loads(told.stdout)["recordings"]}
    assert told.exit_code == 1
    assert outcomes.pop("other")["state"] == "built"
    assert outcomes.keys() == SPOILT.keys()
    for name, one in outcomes.items():
        assert one["state"] == "failed"
        assert all(words in one["error"] for words in (SPOILT[name][1], f"{maps / name} is kept", "--force"))


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


def kill_first_worker():
    """Kill a worker as soon as there is one."""
    while not (children := multiprocessing.active_children()):
        time.sleep(0.01)
    children[0].kill()


def poses_of(path):
    """Poses by image, relative to the first one, with the mean distance from it as unit: a map's scale is free."""
    absolute = {image.name: image.map_from_camera for image in open_map(path).images}
    relative = {name: absolute[min(absolute)].inverse @ pose for name, pose in absolute.items()}
    unit = np.mean([np.linalg.norm(pose.translation) for pose in relative.values()])
    return {name: (pose.translation / unit, pose.rotation) for name, pose in relative.items()}


def assert_alike(folder, other):
    """Two folders with maps of both walks have the same poses."""
    for name in ("one", "two"):
        expected, found = poses_of(folder / name), poses_of(other / name)
        assert found.keys() == expected.keys()
        for image, pose in found.items():
            np.testing.assert_allclose(pose[0], expected[image][0], atol=0.01)
            np.testing.assert_allclose(pose[1], expected[image][1], atol=1e-3)


def test_maps_are_the_same_from_processes_of_which_one_is_killed(tmp_path, config):
    two_walks(tmp_path / "recordings")
    succeed("batch", tmp_path / "recordings", "-o", tmp_path / "in_order", "--config", config)
    killer = threading.Thread(target=kill_first_worker)
    killer.start()
    succeed("batch", tmp_path / "recordings", "-o", tmp_path / "processes", "--workers", 2, "--config", config)
    killer.join()
    assert_alike(tmp_path / "in_order", tmp_path / "processes")
