"""The summary of a run: every figure by hand, unknown ones null, valid JSON whatever happened."""

import dataclasses
import json

import numpy as np
import pytest
from synthetic_run import STEP_NS, make_synthetic_run, perturbed, walk

from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import AnchorPose, Estimate, OdometryPose, Reason, Rejection, State
from visloc_ros.evaluation.records import AnchorRecord, FrameRecord, RunRecord
from visloc_ros.evaluation.report import to_json
from visloc_ros.evaluation.series import run_series
from visloc_ros.evaluation.summary import percentiles, summarize

REQUIRED = {
    "frames", "localized_frames", "localized_share_after_first_fix", "position_error_m", "rotation_error_deg",
    "odometry_fps", "odometry_latency_ms", "frames_dropped", "pose_age_ms", "anchors", "anchor_position_error_m",
    "anchor_rotation_error_deg", "anchor_recall", "anchor_latency_ms", "stage_ms", "time_to_first_fix_s", "nees",
    "peak_rss_mb",
}  # fmt: skip


def frame(row, error_m=None, **fields):
    """A frame of the walk, localized with an error along x if one is given."""
    pose = None if error_m is None else perturbed(walk(100).poses[row], np.array([error_m, 0, 0, 0, 0, 0.0]))
    state = State.INITIALIZING if pose is None else State.LOCALIZED
    return FrameRecord(row * STEP_NS, fields.pop("state", state), map_from_camera=pose, **fields)


def anchor(row, error_m, **fields):
    pose = perturbed(walk(100).poses[row], np.array([error_m, 0, 0, 0, 0, 0.0]))
    return AnchorRecord(row * STEP_NS, True, map_from_camera=pose, **fields)


@pytest.fixture
def record():
    frames = (
        frame(0, reason=Reason.SCALE_UNSET, odometry_ms=10.0),
        frame(1, reason=Reason.SCALE_UNSET, odometry_ms=20.0),
        frame(2, 0.01, odometry_ms=30.0, pose_age_ms=40.0, odometry_tracked=True, odometry_stage_ms={"track": 5.0}),
        frame(3, 0.03, odometry_ms=40.0, pose_age_ms=50.0, odometry_tracked=True, odometry_stage_ms={"track": 7.0}),
        frame(4, reason=Reason.STALE, state=State.LOST),
    )
    anchors = (
        anchor(0, 0.02, latency_ms=500.0, stage_ms={"match": 300.0}, fused=True),
        anchor(2, 0.30, latency_ms=700.0, stage_ms={"match": 500.0}, fused=False, reason=Reason.ODOMETRY_DISAGREES),
        AnchorRecord(3 * STEP_NS, False, Reason.FEW_INLIERS, latency_ms=600.0),
        AnchorRecord(4 * STEP_NS, False, Reason.FEW_INLIERS),
    )
    return RunRecord("by hand", frames, anchors, ground_truth=walk(100), frames_dropped=2, peak_rss_mb=900.0)


def test_coverage(record):
    summary = summarize(record)
    assert summary["frames"] == 5
    assert summary["localized_frames"] == 2
    assert summary["localized_share_after_first_fix"] == pytest.approx(2 / 3)
    assert summary["time_to_first_fix_s"] == pytest.approx(2 * STEP_NS / 1e9)
    assert summary["frames_by_state"] == {"INITIALIZING": 2, "LOCALIZED": 2, "LOST": 1}
    assert summary["unlocalized_by_reason"] == {"SCALE_UNSET": 2, "STALE": 1}
    assert summary["frames_dropped"] == 2


def test_errors_are_causal_and_unaligned(record):
    summary = summarize(record)
    assert summary["position_error_m"] == pytest.approx({"median": 0.02, "p95": 0.029, "max": 0.03})
    assert summary["rotation_error_deg"]["max"] == pytest.approx(0.0, abs=1e-6)


def test_fused_poses_beside_the_anchors_of_their_images(record):
    """Of the images 0 and 2 with an anchor only 2 has a fused pose, too."""
    beside = summarize(record)["at_anchors"]
    assert beside["images"] == 1
    assert beside["fused_position_error_m"]["median"] == pytest.approx(0.01)
    assert beside["anchor_position_error_m"]["median"] == pytest.approx(0.30)
    assert summarize(dataclasses.replace(record, anchors=()))["at_anchors"] is None


def test_recall_counts_frames_without_pose(record):
    """2 of 5 frames, 1 of 4 anchor tries within 5 cm."""
    summary = summarize(record)
    assert summary["recall"][0] == {"within_m": 0.05, "within_deg": 5.0, "percent": 40.0}
    assert [row["percent"] for row in summary["anchor_recall"]] == [25.0, 25.0, 50.0, 50.0]


def test_a_pose_is_wrong_where_it_is_far_off_and_does_not_say_so(record):
    def wrong(error_m, sigma):
        frames = (frame(0, error_m, covariance=sigma**2 * np.eye(6)),)
        return summarize(dataclasses.replace(record, frames=frames))["wrong_frames"]

    assert wrong(0.2, 0.01) == 1
    assert wrong(0.2, 0.1) == 0
    assert wrong(0.05, 0.001) == 0


def test_latencies(record):
    summary = summarize(record)
    assert summary["odometry_fps"] == pytest.approx(40.0)
    assert summary["odometry_latency_ms"] == pytest.approx({"p50": 25.0, "p95": 38.5})
    assert summary["pose_age_ms"] == pytest.approx({"p50": 45.0, "p95": 49.5})
    assert summary["anchor_latency_ms"] == pytest.approx({"p50": 600.0, "p95": 690.0})
    assert summary["stage_ms"]["anchor"]["match"] == pytest.approx({"p50": 400.0, "p95": 490.0})
    assert summary["stage_ms"]["odometry"]["track"] == pytest.approx({"p50": 6.0, "p95": 6.9})


def test_anchors_are_counted_by_what_became_of_them(record):
    assert summarize(record)["anchors"] == {
        "accepted": 2,
        "rejected": {"FEW_INLIERS": 2},
        "refused_by_fusion": {"ODOMETRY_DISAGREES": 1},
    }


def test_without_truth_errors_are_null_and_the_rest_stays(record):
    summary = summarize(dataclasses.replace(record, ground_truth=None))
    of_fused = ("position_error_m", "rotation_error_deg", "recall", "nees", "wrong_frames")
    for key in (*of_fused, "anchor_position_error_m", "anchor_recall"):
        assert summary[key] is None
    assert summary["localized_frames"] == 2


def test_truth_elsewhere_in_time_gives_no_errors(record):
    late = walk(100)
    truth = type(late)(late.stamps_ns + 10**15, late.poses)
    summary = summarize(dataclasses.replace(record, ground_truth=truth))
    assert summary["position_error_m"] is None
    assert summary["recall"] is None


def test_a_run_without_a_fix():
    summary = summarize(make_synthetic_run(60, localized=False))
    assert summary["localized_frames"] == 0
    assert summary["localized_share_after_first_fix"] is None
    assert summary["time_to_first_fix_s"] is None
    assert summary["position_error_m"] is None
    assert summary["recall"][-1]["percent"] == 0.0


def test_nees_of_consistent_and_of_overconfident_covariances():
    consistent = make_synthetic_run(600)
    assert summarize(consistent)["nees"]["mean"] == pytest.approx(6.0, abs=0.5)
    assert summarize(consistent)["nees"]["share_in_band"] == pytest.approx(0.95, abs=0.03)
    overconfident = [
        dataclasses.replace(item, covariance=None if item.covariance is None else item.covariance / 25)
        for item in consistent.frames
    ]
    assert summarize(dataclasses.replace(consistent, frames=tuple(overconfident)))["nees"]["mean"] > 100.0


def test_drawn_errors_come_out_with_the_drawn_size():
    """A vector with sigmas (12, 12, 8) mm has an rms length of 18.8 mm and a median near 17.5 mm."""
    summary = summarize(make_synthetic_run(2000))
    assert summary["position_error_m"]["median"] == pytest.approx(0.0175, rel=0.08)


@pytest.mark.parametrize(
    "run",
    [
        make_synthetic_run(80),
        make_synthetic_run(80, truth=False),
        make_synthetic_run(80, localized=False),
        make_synthetic_run(1),
        RunRecord("nothing", ()),
    ],
)
def test_summary_is_valid_json_with_all_keys(run):
    text = to_json(summarize(run))
    assert "NaN" not in text
    assert "Infinity" not in text
    assert json.loads(text).keys() >= REQUIRED


def test_unknown_numbers_are_left_out_not_counted_as_zero():
    assert percentiles([None, float("nan"), 4.0]) == {"p50": 4.0, "p95": 4.0}
    assert percentiles([None]) is None
    assert summarize(RunRecord("x", (), peak_rss_mb=float("nan")))["peak_rss_mb"] is None


def test_uncertainty_is_that_of_the_worst_axis():
    covariance = np.diag(np.square([0.1, 0.3, 0.2, np.radians(2.0), np.radians(1.0), np.radians(0.5)]))
    series = run_series(RunRecord("one", (frame(1, 0.0, covariance=covariance), frame(2, 0.0)))).frames
    assert series.sigma_position[0] == pytest.approx(0.3)
    assert series.sigma_rotation_deg[0] == pytest.approx(2.0)
    assert np.isnan([series.sigma_position[1], series.sigma_rotation_deg[1]]).all()


def test_records_are_kept_in_the_order_of_their_stamps():
    run = RunRecord("late", (frame(3), frame(1)), (anchor(5, 0.0), anchor(2, 0.0)))
    assert [item.stamp_ns for item in run.frames] == [STEP_NS, 3 * STEP_NS]
    assert [item.stamp_ns for item in run.anchors] == [2 * STEP_NS, 5 * STEP_NS]


def test_records_take_over_results_as_they_are():
    pose = SE3(np.eye(3), [1.0, 2.0, 3.0])
    found = AnchorPose(7, pose, np.eye(6), 50, 80, 0.9, stage_ms={"pnp": 3.0})
    taken = AnchorRecord.from_result(found, fused=True)
    assert (taken.accepted, taken.num_inliers, taken.fused) == (True, 50, True)
    assert (taken.stage_ms, taken.latency_ms) == ({"pnp": 3.0}, 3.0)
    assert taken.map_from_camera is pose
    refused = AnchorRecord.from_result(Rejection(7, Reason.NO_RETRIEVAL, stage_ms={"extract": 9.0}))
    assert (refused.accepted, refused.reason, refused.map_from_camera) == (False, Reason.NO_RETRIEVAL, None)


def test_frame_records_compose_the_pose_of_the_estimate():
    map_from_odom, odom_from_camera = SE3(np.eye(3), [1.0, 0.0, 0.0]), SE3(np.eye(3), [0.0, 2.0, 0.0])
    estimate = Estimate(9, State.LOCALIZED, None, map_from_odom, odom_from_camera, np.eye(6))
    odometry = OdometryPose(9, odom_from_camera, 0, 120, stage_ms={"track": 4.0})
    taken = FrameRecord.from_estimate(estimate, odometry)
    assert taken.map_from_camera.translation.tolist() == [1.0, 2.0, 0.0]
    assert (taken.odometry_tracked, taken.odometry_stage_ms, taken.odometry_ms) == (True, {"track": 4.0}, 4.0)
    lost = FrameRecord.from_estimate(Estimate(9, State.LOST, Reason.STALE), Rejection(9, Reason.FEW_FEATURES))
    assert (lost.odometry_tracked, lost.map_from_camera, lost.reason) == (False, None, Reason.STALE)
