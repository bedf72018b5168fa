"""The commands that people run, on the simulated room and the demo map."""

import json

import cv2
import numpy as np
import pytest
from visloc_command import DEMO_MAP, run_program, succeed

from visloc_ros.core.advice import ADVICE
from visloc_ros.core.trajectory_files import read_tum
from visloc_ros.core.types import Reason
from visloc_ros.sources import SourceConfig, open_source


def told(*arguments: object) -> str:
    return succeed(*arguments).stdout


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    config = folder / "config.yaml"
    config.write_text("duration_s: 2.4\nrate_hz: 10.0\nsamples: 1\n")
    told("simulate", folder / "bag", "--pass", "localize", "--bag", "--config", config)
    return folder / "bag"


@pytest.fixture(scope="module")
def runs(bag, tmp_path_factory):
    """One here, and one in its own process."""
    folders = [tmp_path_factory.mktemp("run") / "out" for _ in range(2)]
    told("run", DEMO_MAP, bag, "--output", folders[0])
    finished = run_program("run", DEMO_MAP, bag, "--output", folders[1])
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return folders


def test_a_run_localizes_the_camera(runs):
    summary = json.loads((runs[0] / "summary.json").read_text())
    assert summary["frames"] == 24
    assert summary["localized_share_after_first_fix"] == 1.0
    assert summary["time_to_first_fix_s"] < 2.0
    assert summary["position_error_m"]["median"] < 0.02
    assert summary["position_error_m"]["max"] < 0.15
    assert summary["rotation_error_deg"]["median"] < 0.3


def test_a_run_gives_the_same_poses_twice(runs):
    first, second = ((folder / "trajectory.tum").read_text() for folder in runs)
    assert first == second
    assert len(read_tum(runs[0] / "trajectory.tum")) > 10


def test_localize_shows_every_frame_and_writes_them(bag, tmp_path):
    output = told("localize", DEMO_MAP, bag, "--every", 11, "--output", tmp_path / "out")
    assert "localized 3 of 3 frames" in output
    lines = [json.loads(line) for line in (tmp_path / "out" / "poses.jsonl").read_text().splitlines()]
    assert [line["success"] for line in lines] == [True, True, True]
    assert len(read_tum(tmp_path / "out" / "poses.tum")) == 3
    assert {line["camera"]["source"] for line in lines} == {"recorded"}
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["images"], summary["localized"], summary["rejected"]) == (3, 3, {})
    assert summary["anchor_position_error_m"]["max"] < 0.05
    assert cv2.imread(str(tmp_path / "out" / "poses.png")) is not None


@pytest.fixture(scope="module")
def photos(bag, tmp_path_factory):
    """Images of the second pass without calibration, and two that do not show the room."""
    folder = tmp_path_factory.mktemp("photos")
    for number, frame in enumerate(open_source(bag, SourceConfig(every=4))):
        cv2.imwrite(str(folder / f"{number:02d}.jpg"), cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
    for number in (98, 99):
        cv2.imwrite(str(folder / f"{number}.jpg"), np.full_like(frame.image, 128))
    return folder


def test_without_calibration_the_maps_camera_is_confirmed_and_reported(photos, tmp_path):
    output = told("localize", DEMO_MAP, photos, "--output", tmp_path / "out")
    assert "the map's camera, confirmed by frames found" in output
    assert "localized 6 of 8 frames" in output
    assert f"2 x FEW_FEATURES: {ADVICE[Reason.FEW_FEATURES]}" in output
    lines = [json.loads(line) for line in (tmp_path / "out" / "poses.jsonl").read_text().splitlines()]
    assert [line["camera"]["source"] for line in lines if line["success"]] == ["map"] * 6
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["camera"]["source"], summary["poses_by_calibration"]) == ("map", {"map": 6})
    assert summary["rejected"] == {"FEW_FEATURES": 2}


def test_without_calibration_a_run_says_which_camera_it_took(photos, tmp_path):
    assert "the map's camera" in told("run", DEMO_MAP, photos, "--output", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["camera"]["source"] == "map"


def test_track_measures_the_odometry(bag, tmp_path):
    figures = json.loads(told("track", bag, "--output", tmp_path / "odom.tum", "--json"))
    assert figures["tracked_frames"] > 22
    assert figures["ate_sim3_m"] < 0.02
    assert len(read_tum(tmp_path / "odom.tum")) == figures["tracked_frames"]
