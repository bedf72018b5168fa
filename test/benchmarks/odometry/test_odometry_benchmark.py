"""The odometry benchmark on a tiny sequence, and the parts that its figures rest on."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.odometry.stress import StressResult
from benchmarks.odometry.tables import still_words, stress_table
from visloc_ros.simulation import SimulationConfig, simulate, write_folder

REPOSITORY = Path(__file__).resolve().parents[3]
ATE_COLUMN = 5


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Sections of one run on two seconds of a simulated walk that goes by a real sequence's name."""
    folder = tmp_path_factory.mktemp("benchmark")
    config = SimulationConfig(width=320, height=240, focal_px=240.0, rate_hz=15.0, duration_s=2.0, samples=1)
    write_folder(simulate(config, "map"), folder / "data" / "kitti_06")
    options = ["--data", "data", "--work", "work", "--markdown", "odometry.md", "--runs", "1"]
    command = [sys.executable, "-m", "benchmarks.odometry.sequences", *options, "--sequences", "kitti_06"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])}
    finished = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return folder


def test_the_worst_and_the_repeatable_run_are_rows_with_all_their_figures(measured):
    rows = rows_of(measured / "odometry.md")
    assert rows["kitti_06"][1] == "repeatable"
    assert rows["kitti_06"][2].endswith("of 30")
    assert all(np.isfinite(float(cell)) for cell in rows["kitti_06"][3:])
    assert float(rows["kitti_06"][ATE_COLUMN]) < 10.0


def test_the_peers_and_a_plain_klt_stand_beside_it(measured):
    rows = rows_of(measured / "odometry.md")
    assert rows["kitti_06: ORB-SLAM3"][1:] == ["7.5-9.3", "14", "measured elsewhere"]
    assert float(rows["kitti_06: plain Python KLT"][1]) > float(rows["kitti_06"][ATE_COLUMN])


def rows_of(path):
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    return {row[0]: row for row in cells}


def test_motion_that_a_still_camera_never_made_is_reported(tmp_path):
    path = tmp_path / "still.tum"
    path.write_text("0.0 1 0 0 0 0 0 1\n1.0 1 0.003 0 0 0 0 1\n2.0 1 0 0.004 0 0 0 1\n")
    run = {"tracked_frames": 3, "frames": 5, "losses": {"DEGENERATE_MOTION": 2}, "path": str(path)}
    assert "2.50 thousandths of a unit a second" in still_words("still", [run])
    assert "not started" in still_words("still", [run | {"tracked_frames": 0}])


def test_an_incident_that_was_flagged_is_reported_with_its_figures():
    losses = {"FEW_FEATURES": 15}
    result = StressResult("black", 240, 217, 1, losses, 0.27, 1, 0.1, 0.012, 0.4, 0, None)
    row = stress_table([result]).splitlines()[2]
    assert row == "| black | flagged | 217 of 240 | 0.10 | 1.20 |"
