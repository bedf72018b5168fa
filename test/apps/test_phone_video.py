"""A portrait video of a phone without calibration becomes a map, and another is found in it."""

import json

import numpy as np
import pytest
from phone_videos import sign, write_video
from visloc_command import succeed

from visloc_ros.core.map import open_map
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.simulation.path import CameraPath, Wave

QUARTER = np.pi / 2
WIDTH, HEIGHT = 270, 480
FOCAL_PX = 390.0  # 0.81 times the longer side, as of main cameras of phones: the guess is 1.2 times
WITHIN = 0.02

# Two walks past a wall of the room, the camera turning to both sides.
MAP_WALK = CameraPath(
    x=Wave(3.0, ((1.3, 8.0, -QUARTER),)),
    y=Wave(1.5, ((0.35, 5.0, 0.3),)),
    z=Wave(1.4, ((0.15, 4.1, 0.0),)),
    yaw=Wave(QUARTER, ((0.55, 8.0, 0.5 - QUARTER),)),
    pitch=Wave(-0.1, ((0.15, 3.1, 1.0),)),
    roll=Wave(0.0, ((0.04, 2.7, 0.0),)),
)
QUERY_WALK = CameraPath(
    x=Wave(3.1, ((0.9, 9.0, 1.0),)),
    y=Wave(1.8, ((0.3, 4.0, 2.3),)),
    z=Wave(1.55, ((0.1, 4.7, 1.0),)),
    yaw=Wave(QUARTER, ((0.45, 7.0, 0.5),)),
    pitch=Wave(-0.12, ((0.1, 3.7, 2.0),)),
    roll=Wave(0.0, ((0.05, 3.3, 1.0),)),
)


def film(path, walk, pass_name, rate_hz):
    """Eight seconds, stored landscape by a sensor that is turned, as all phones do that are held upright."""
    config = SimulationConfig(
        width=WIDTH, height=HEIGHT, focal_px=FOCAL_PX, rate_hz=rate_hz, duration_s=8.0, exposure_ms=2.0, samples=2,
        light="day",
    )  # fmt: skip
    write_video(path, [frame.image for frame in simulate(config, pass_name, path=walk)], rate_hz, turns=1)
    sign(path, {"com.apple.quicktime.make": "Apple", "com.apple.quicktime.model": "iPhone 13"})


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phone")
    film(folder / "map.mp4", MAP_WALK, "map", 1.5)
    film(folder / "query.mp4", QUERY_WALK, "localize", 1.25)
    return folder


def test_a_portrait_video_without_calibration_is_mapped_and_another_is_found(videos):
    told = succeed("build-map", videos / "map.mp4", "-o", videos / "map").output
    assert "Apple iPhone 13" in told
    assert "move slowly" in told
    place = open_map(videos / "map")
    camera = place.images[0].camera
    assert (camera.width, camera.height) == (WIDTH, HEIGHT)
    assert camera.mean_focal_length() == pytest.approx(FOCAL_PX, rel=WITHIN)
    (known,) = place.manifest.cameras.values()
    assert known["source"] == "structure from motion"
    assert abs(camera.mean_focal_length() / FOCAL_PX - 1.0) < 3.0 * known["focal_sigma"] < 0.06
    assert f"focal length {camera.mean_focal_length():.1f} px to" in told
    assert known["source"] in (videos / "map" / "map.html").read_text()
    found = succeed("localize", videos / "map", videos / "query.mp4", "-o", videos / "out").output
    summary = json.loads((videos / "out" / "summary.json").read_text())
    assert summary["localized"] >= 0.9 * summary["images"] == 9.0
    assert summary["camera"]["focal_length_px"] == pytest.approx(FOCAL_PX, rel=WITHIN)
    assert f"focal length {summary['camera']['focal_length_px']:.1f} px to" in found
