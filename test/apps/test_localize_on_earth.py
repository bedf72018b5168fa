"""``visloc localize`` reports poses on the earth."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from visloc_command import DEMO_MAP, succeed

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
