import json

import numpy as np
import pytest

from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import Trajectory, read_tum
from visloc_ros.core.types import State
from visloc_ros.evaluation import FrameRecord, RunRecord, summarize, summary_rows, write_results

STEP_NS = 100_000_000


def frames(offset, first=0):
    """Ten frames along x, off by ``offset`` to the side; those before ``first`` have no pose."""
    return tuple(
        FrameRecord(
            index * STEP_NS,
            State.LOCALIZED if index >= first else State.INITIALIZING,
            map_from_camera=SE3(np.eye(3), [0.1 * index, offset, 0.0]) if index >= first else None,
            covariance=1e-2 * np.eye(6) if index >= first else None,
        )
        for index in range(10)
    )


def run(**smoothed):
    truth = Trajectory(np.arange(10) * STEP_NS, [SE3(np.eye(3), [0.1 * index, 0.0, 0.0]) for index in range(10)])
    return RunRecord("a run", frames(0.05, first=4), ground_truth=truth, **smoothed)


def test_the_trajectory_of_hindsight_is_measured_beside_the_causal_one():
    summary = summarize(run(smoothed=frames(0.02)))
    assert summary["position_error_m"]["median"] == pytest.approx(0.05)
    assert summary["smoothed"]["frames"] == 10
    assert summary["smoothed"]["position_error_m"]["median"] == pytest.approx(0.02)
    assert summary["smoothed"]["nees"]["mean"] == pytest.approx(0.04)
    assert summary["smoothed"]["of_localized_frames"]["position_error_m"]["max"] == pytest.approx(0.02)
    values = {row.label: row.value for row in summary_rows(summary)}
    assert values["position error, smoothed"].startswith("median 2 cm")


def test_a_run_that_was_not_smoothed_says_nothing_of_it(tmp_path):
    summary = summarize(run())
    assert summary["smoothed"] is None
    assert not [row.label for row in summary_rows(summary) if "smoothed" in row.label]
    write_results(run(), tmp_path)
    assert not (tmp_path / "smoothed.tum").exists()


def test_both_trajectories_are_written(tmp_path):
    write_results(run(smoothed=frames(0.02)), tmp_path)
    assert len(read_tum(tmp_path / "trajectory.tum")) == 6
    smoothed = read_tum(tmp_path / "smoothed.tum")
    assert smoothed.positions[:, 1] == pytest.approx(0.02)
    assert (tmp_path / "smoothed_covariances.txt").exists()
    assert json.loads((tmp_path / "summary.json").read_text())["smoothed"]["frames"] == 10
