"""Rows for the terminal: the numbers of the results in words, judged against their targets."""

import pytest
from synthetic_run import make_synthetic_run, walk

from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import Reason, Rejection, State
from visloc_ros.evaluation import PairSelection
from visloc_ros.evaluation.odometry_errors import evaluate_odometry
from visloc_ros.evaluation.records import FrameRecord, RunRecord
from visloc_ros.evaluation.summary import summarize
from visloc_ros.evaluation.table import (
    UNKNOWN,
    error_statistics,
    format_length,
    format_number,
    odometry_rows,
    summary_rows,
    trajectory_rows,
)
from visloc_ros.evaluation.trajectories import evaluate_trajectories


def by_label(rows):
    return {row.label: row for row in rows}


@pytest.mark.parametrize(
    ("value", "words"), [(None, UNKNOWN), (0.0004, "0.4 mm"), (0.0123, "1.23 cm"), (0.5, "50 cm"), (2.345, "2.35 m")]
)
def test_lengths_read_like_lengths(value, words):
    assert format_length(value, "m") == words


def test_lengths_of_an_unscaled_map_stay_as_they_are():
    assert format_length(0.0123, "units") == "0.0123 units"


@pytest.mark.parametrize(("value", "words"), [(1432.4, "1432 MB"), (12.345, "12.3 MB"), (None, UNKNOWN)])
def test_numbers_have_three_digits(value, words):
    assert format_number(value, "MB") == words


def test_summary_rows_of_a_whole_run():
    summary = summarize(make_synthetic_run(200))
    rows = by_label(summary_rows(summary))
    assert rows["frames localized"].value.startswith(f"{summary['localized_frames']} of 200")
    assert f"median {format_length(summary['position_error_m']['median'], 'm')}" in rows["position error"].value
    assert rows["odometry"].met is True
    assert rows["pose age"].target == "p95 ≤ 50 ms"


def test_a_missed_budget_is_said():
    frames = tuple(FrameRecord(i, State.LOST, odometry_ms=100.0) for i in range(9))
    row = by_label(summary_rows(summarize(RunRecord("slow", frames))))["odometry"]
    assert row.met is False
    assert row.value == "10 frames/s, p50 100 ms, p95 100 ms"


def test_unknown_figures_are_dashes_not_zeros():
    rows = by_label(summary_rows(summarize(RunRecord("nothing", ()))))
    for label in ("position error", "anchor latency", "pose age", "odometry", "peak memory", "first fix after"):
        assert rows[label].value == UNKNOWN
        assert rows[label].met is None
    assert "no frame has a pose in the map" in rows["frames localized"].value


def test_trajectory_rows_name_alignment_and_both_recalls():
    rows = by_label(trajectory_rows(evaluate_trajectories(walk(50), walk(100), "none", tolerance_s=0.02)))
    assert "true" in rows["matched poses"].value
    assert rows["alignment"].value == "none, scale 1.0000"
    assert "% of matched" in rows["within 5 cm and 5 deg"].value


def test_odometry_rows_list_losses():
    lost = [Rejection(int(stamp), Reason.FEW_MATCHES) for stamp in walk(10).stamps_ns]
    rows = by_label(odometry_rows(evaluate_odometry(lost, walk(10))))
    assert rows["frames without pose"].value == "FEW_MATCHES 10"
    assert rows["position error (Sim3 ATE)"].value == UNKNOWN


def test_poses_without_a_partner_and_missing_pairs_are_explained():
    sparse = walk(100)
    few = Trajectory(sparse.stamps_ns[:40] * 20, sparse.poses[:40])
    errors = evaluate_trajectories(few, sparse, pair_selection=PairSelection(1e6, "m"))
    assert "most have no partner" in by_label(trajectory_rows(errors))["matched poses"].value
    label, figures = error_statistics(errors)[2]
    assert figures is None
    assert "no two matched poses are so far apart" in label
