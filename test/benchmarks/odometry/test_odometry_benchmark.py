"""The odometry benchmark on a tiny sequence, and the parts that its figures rest on."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from benchmarks.odometry.memory import forth_and_back
from benchmarks.odometry.stress import StressResult
from benchmarks.odometry.tables import memory_table, still_table, stress_table
from visloc_ros.core.types import Frame
from visloc_ros.simulation import SimulationConfig, simulate, write_folder

REPOSITORY = Path(__file__).resolve().parents[3]
ATE_COLUMN = 5
CAMERA = pycolmap.Camera(model="PINHOLE", width=8, height=6, params=[5, 5, 4, 3])


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Sections and pictures of one run on two seconds of a simulated walk that goes by a real sequence's name."""
    folder = tmp_path_factory.mktemp("benchmark")
    config = SimulationConfig(width=320, height=240, focal_px=240.0, rate_hz=15.0, duration_s=2.0, samples=1)
    write_folder(simulate(config, "map"), folder / "data" / "kitti_06")
    options = ["--data", "data", "--work", "work", "--markdown", "odometry.md", "--plots", ".", "--runs", "1"]
    command = [sys.executable, "-m", "benchmarks.odometry.sequences", *options, "--sequences", "kitti_06"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])}
    finished = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return folder


def test_every_run_is_a_row_with_all_its_figures(measured):
    rows = rows_of(measured / "odometry.md")
    assert {"live 1", "repeatable"} <= set(rows)
    assert rows["repeatable"][1].endswith("of 30")
    assert all(np.isfinite(float(cell)) for cell in rows["repeatable"][2:])
    assert float(rows["repeatable"][ATE_COLUMN]) < 10.0


def test_the_peers_and_a_plain_klt_stand_beside_it(measured):
    rows = rows_of(measured / "odometry.md")
    assert rows["kitti_06: ORB-SLAM3"][1:4] == ["7.5-9.3", "14", "measured elsewhere"]
    assert float(rows["kitti_06: plain Python KLT"][1]) > float(rows["repeatable"][ATE_COLUMN])
    assert "times as long" in rows["kitti_06: plain Python KLT"][4]


def test_pictures_are_written(measured):
    for name in ("odometry_paths.png", "odometry_latency.png"):
        assert (measured / name).read_bytes().startswith(b"\x89PNG")


def rows_of(path):
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    return {row[0]: row for row in cells}


def test_a_sequence_is_played_forth_and_back_with_increasing_stamps():
    image = np.zeros((6, 8), np.uint8)
    frames = [Frame(stamp, image, CAMERA, str(stamp)) for stamp in (100, 150, 201)]
    played = list(forth_and_back(frames, 8))
    assert [frame.name for frame in played] == ["100", "150", "201", "150", "100", "150", "201", "150"]
    assert np.diff([frame.stamp_ns for frame in played]).tolist() == [50] * 7


def test_motion_that_a_still_camera_never_made_is_told(tmp_path):
    path = tmp_path / "still.tum"
    path.write_text("0.0 1 0 0 0 0 0 1\n1.0 1 0.003 0 0 0 0 1\n2.0 1 0 0.004 0 0 0 1\n")
    run = {"tracked_frames": 3, "frames": 5, "losses": {"DEGENERATE_MOTION": 2}, "path": str(path)}
    assert "2.50 thousandths of a unit a second" in still_table("still", [run])
    assert "not started" in still_table("still", [run | {"tracked_frames": 0}])


def test_an_incident_that_was_flagged_is_told_with_its_figures():
    losses = {"FEW_FEATURES": 15}
    result = StressResult("black", 240, 217, 1, losses, 0.27, 1, 0.1, 0.012, 0.4, 0, None)
    row = stress_table([result]).splitlines()[2]
    assert row == "| black | flagged | 217 of 240 | 1 | 15 FEW_FEATURES | 0.27 | 1 | 0.10 | 1.20 | 0.40 | – |"


def test_memory_is_told_along_the_way():
    curve = {"source": "s", "frames": 100, "mb": list(range(1, 21)), "mb_per_1000": 0.5, "losses": {}, "segments": 1}
    assert memory_table([curve]).splitlines()[2] == "| s | 100 | 1 | 5 | 10 | 15 | 20 | +0.50 | none; 1 segments |"
