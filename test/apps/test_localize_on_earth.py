"""``visloc localize`` with hints, and its poses on the earth."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from visloc_command import DEMO_MAP, succeed, visloc

from visloc_ros.core.manifest import read_manifest, write_manifest
from visloc_ros.core.map_archive import unpacked
from visloc_ros.simulation import SimulationConfig, simulate

LATITUDE, LONGITUDE = 55.7, 13.2
DEGREE_M = 111_350.0  # north, there
ROOM = simulate(SimulationConfig(duration_s=2.0, rate_hz=1.0), "localize")


@pytest.fixture(scope="module")
def on_earth(tmp_path_factory):
    """The map of the simulated room with an origin on the earth, and photos of the room."""
    folder = tmp_path_factory.mktemp("earth")
    with unpacked(DEMO_MAP) as room:
        shutil.copytree(room, folder / "room")
    origin = {"latitude": LATITUDE, "longitude": LONGITUDE, "altitude": 60.0}
    write_manifest(folder / "room", replace(read_manifest(folder / "room"), geo_origin=origin))
    (folder / "walk.yaml").write_text("{duration_s: 2.0, rate_hz: 1.0, samples: 1}")
    succeed("simulate", folder / "walk", "--pass", "localize", "--config", folder / "walk.yaml")
    return folder


def test_poses_are_reported_on_the_earth(on_earth):
    told = succeed("localize", on_earth / "room", on_earth / "walk", "--json")
    assert f"lat {LATITUDE:.3f}" in told.stderr
    for frame, pose in zip(json.loads(told.stdout)["frames"], (ROOM.pose(0), ROOM.pose(1)), strict=True):
        found = frame["geo_pose"]
        assert found["latitude"] == pytest.approx(LATITUDE + pose.translation[1] / DEGREE_M, abs=1e-6)
        assert found["altitude"] == pytest.approx(60.0 + pose.translation[2], abs=0.05)
        east, north, _ = pose.rotation[:, 2]
        assert found["heading_deg"] == pytest.approx(np.degrees(np.arctan2(east, north)) % 360.0, abs=0.5)
        assert found["covariance"][0][0] == pytest.approx(25.0, rel=0.01)


@pytest.mark.parametrize(
    ("words", "localized"),
    [
        (("--gps", f"{LATITUDE} {LONGITUDE}"), 1),
        (("--gps", f"{LATITUDE + 500 / DEGREE_M} {LONGITUDE}"), 0),
        (("--position", "-300 0"), 0),
    ],
)
def test_a_rough_position_decides_where_images_are_searched(on_earth, words, localized):
    words = (*words, "--position-sigma", 5, "--max-frames", 1, "--json")
    told = succeed("localize", on_earth / "room", on_earth / "walk", *words)
    assert json.loads(told.stdout)["localized"] == localized


def test_a_heading_is_clockwise_from_the_y_axis(on_earth):
    east, north, _ = ROOM.pose(0).rotation[:, 2]
    heading = np.degrees(np.arctan2(east, north))
    for turned, localized in ((0.0, 1), (120.0, 0)):
        words = ("--heading", heading + turned, "--heading-sigma", 2, "--max-frames", 1, "--json")
        told = succeed("localize", on_earth / "room", on_earth / "walk", *words)
        assert json.loads(told.stdout)["localized"] == localized


def test_what_cannot_be_is_an_error_before_anything_is_written(on_earth, tmp_path):
    for map_path, words, complaint in (
        (DEMO_MAP, ("--gps", "55 13", "--position-sigma", 5), "visloc align-map --gps"),
        (on_earth / "room", ("--position", "1 2"), "standard deviation"),
    ):
        failed = visloc("localize", map_path, on_earth / "walk", *words, "--output", tmp_path / "out")
        assert failed.exit_code == 1
        assert complaint in str(failed.exception)
    assert not (tmp_path / "out").exists()


def test_texts_go_with_the_images_of_their_names(on_earth, tmp_path):
    np.savez(tmp_path / "texts.npz", **{"nobody.jpg": np.ones(8)})
    words = ("localize", on_earth / "room", on_earth / "walk", "--texts", tmp_path / "texts.npz", "--json")
    frames = json.loads(succeed(*words).stdout)["frames"]
    assert all(frame["success"] for frame in frames)
    np.savez(tmp_path / "texts.npz", **{frame["name"]: np.ones(8) for frame in frames})
    assert "leave the text out" in str(visloc(*words).exception)
