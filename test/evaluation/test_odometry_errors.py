"""Odometry alone: each segment aligned by itself, drift by time and path, losses counted, short pieces unmeasured."""

import numpy as np
import pytest
from synthetic_run import STEP_NS, walk

from visloc_ros.core.geometry import SE3, Sim3, rotation_angle_deg, rotation_matrix
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import OdometryPose, Reason, Rejection
from visloc_ros.evaluation.odometry_errors import evaluate_odometry, measure_coverage

FIRST = Sim3(0.31, rotation_matrix([0.2, 0.1, -0.5]), [4.0, 0.0, 1.0])
SECOND = Sim3(2.7, rotation_matrix([-0.4, 0.9, 0.1]), [0.0, -3.0, 0.0])


def tracked(truth, rows, segment, odom_from_world, noise=0.0):
    random = np.random.default_rng(segment)
    poses = [odom_from_world.apply_to_pose(truth.poses[row]) for row in rows]
    return [
        OdometryPose(
            int(truth.stamps_ns[row]),
            type(pose)(pose.rotation, pose.translation + odom_from_world.scale * random.normal(0.0, noise, 3)),
            segment,
            num_tracked=100,
        )
        for row, pose in zip(rows, poses, strict=True)
    ]


def lost(truth, rows, reason):
    return [Rejection(int(truth.stamps_ns[row]), reason) for row in rows]


def run_with_a_loss(noise=0.0):
    truth = walk(300)
    results = [
        *lost(truth, range(0, 15), Reason.DEGENERATE_MOTION),
        *tracked(truth, range(15, 150), 0, FIRST, noise),
        *lost(truth, range(150, 160), Reason.FEW_MATCHES),
        *tracked(truth, range(160, 300), 1, SECOND, noise),
    ]
    return results, truth


def test_segments_of_different_scale_are_each_aligned_by_themselves():
    errors = evaluate_odometry(*run_with_a_loss())
    assert errors.position_error_m.max < 1e-9
    assert errors.worst_rmse_m < 1e-9
    assert [segment.metres_per_unit for segment in errors.segments] == pytest.approx([1 / 0.31, 1 / 2.7])
    assert [segment.num_poses for segment in errors.segments] == [135, 140]
    assert errors.drift.translation_m_per_s.max < 1e-9
    assert errors.drift.translation_percent < 1e-9


def test_coverage_start_and_losses():
    coverage = evaluate_odometry(*run_with_a_loss()).coverage
    assert (coverage.num_frames, coverage.num_tracked) == (300, 275)
    assert coverage.tracked_share == pytest.approx(275 / 300)
    assert coverage.tracked_share_after_start == pytest.approx(275 / 285)
    assert coverage.start_s == pytest.approx(0.5, abs=1e-6)
    assert coverage.lost_frames == {"DEGENERATE_MOTION": 15, "FEW_MATCHES": 10}
    assert coverage.num_losses == 1
    assert coverage.longest_loss_s == pytest.approx(11 / 30, abs=1e-6)


def test_the_start_counts_from_the_first_motion_of_the_truth():
    moving = walk(60)
    standing = Trajectory(np.arange(100) * STEP_NS, [moving.poses[0]] * 40 + list(moving.poses))
    results = lost(standing, range(70), Reason.DEGENERATE_MOTION) + tracked(standing, range(70, 100), 0, FIRST)
    coverage = measure_coverage(results, standing)
    moved = np.linalg.norm(moving.positions - moving.positions[0], axis=1) >= 0.01
    assert coverage.start_s == pytest.approx(70 / 30, abs=1e-6)
    assert coverage.start_after_motion_s == pytest.approx((30 - np.argmax(moved)) / 30, abs=1e-6)


def test_where_nothing_moves_there_is_no_first_motion():
    standing = Trajectory(np.arange(9) * STEP_NS, [walk(1).poses[0]] * 9)
    coverage = measure_coverage(lost(standing, range(9), Reason.DEGENERATE_MOTION), standing)
    assert (coverage.start_s, coverage.start_after_motion_s) == (None, None)


def test_a_new_segment_without_a_gap_and_a_loss_to_the_end_are_losses():
    truth = walk(60)
    results = [
        *tracked(truth, range(20), 0, FIRST),
        *tracked(truth, range(20, 45), 1, SECOND),
        *lost(truth, range(45, 60), Reason.BLURRED),
    ]
    coverage = measure_coverage(results)
    assert coverage.num_losses == 2
    assert coverage.longest_loss_s == pytest.approx(15 / 30, abs=1e-6)


def test_noise_shows_in_metres_of_the_truth_whatever_the_scale():
    errors = evaluate_odometry(*run_with_a_loss(noise=0.01))
    expected = 0.01 * np.sqrt(3.0)
    assert errors.position_error_m.rmse == pytest.approx(expected, rel=0.1)
    ates = [segment.position_error_m.rmse for segment in errors.segments]
    assert ates == pytest.approx([expected, expected], rel=0.15)
    assert errors.worst_rmse_m == max(ates)


def test_rotations_are_judged_apart_from_a_path_too_narrow_to_show_the_turn_about_it():
    """A path of 1.2 m x 4 mm with 2 cm of noise: aligning positions alone turns it about its length at random."""
    random = np.random.default_rng(0)
    along = np.linspace(0.0, 1.2, 200)
    positions = np.column_stack([along, 0.04 * np.sin(9 * along), np.zeros(200)])
    poses = [SE3(rotation_matrix([0.3 * s, 0.2, s]), p) for s, p in zip(along, positions, strict=True)]
    truth = Trajectory(np.arange(200) * STEP_NS, poses)
    noisy = [SE3(pose.rotation, pose.translation + random.normal(0.0, 0.02, 3)) for pose in poses]
    results = tracked(Trajectory(truth.stamps_ns, noisy), range(200), 0, FIRST)
    errors = evaluate_odometry(results, truth)
    turned = rotation_angle_deg(errors.segments[0].truth_from_odom.rotation, FIRST.inverse.rotation)
    assert turned > 3.0
    assert errors.rotation_error_deg.min > 3.0 - 1e-6
    assert errors.aligned_orientation_error_deg.max < 1e-5


def test_a_drift_of_orientation_shows_as_degrees_a_metre_and_a_second():
    """The odometry turns 2 degrees too far about the vertical for every metre, on a straight line at 0.5 m/s."""
    seconds = np.arange(301) / 30.0
    truth = Trajectory(np.arange(301) * STEP_NS, [SE3(np.eye(3), [0.5 * s, 0.0, 0.0]) for s in seconds])
    turned = [SE3(rotation_matrix([0.0, 0.0, np.radians(2.0) * 0.5 * s]), [0.5 * s, 0.0, 0.0]) for s in seconds]
    drift = evaluate_odometry(tracked(Trajectory(truth.stamps_ns, turned), range(301), 0, FIRST), truth).drift
    assert drift.rotation_deg_per_m == pytest.approx(2.0, rel=1e-3)
    assert drift.rotation_deg_per_s.median == pytest.approx(1.0, rel=1e-3)
    assert [stretch.length_m for stretch in drift.stretches] == [1.0, 2.0, 5.0]


def test_a_scale_that_drifts_within_a_segment_is_a_share_of_the_path():
    """Every metre comes out 4 % longer than the one before: no single scale fits all of the path."""
    metres = np.linspace(0.0, 10.0, 501)
    growth = 0.04
    grown = metres + growth * np.square(metres) / 2.0
    truth = Trajectory(np.arange(501) * STEP_NS, [SE3(np.eye(3), [m, 0.0, 0.0]) for m in metres])
    odometry = Trajectory(truth.stamps_ns, [SE3(np.eye(3), [m, 0.0, 0.0]) for m in grown])
    errors = evaluate_odometry(tracked(odometry, range(501), 0, SECOND), truth)
    centred = grown - grown.mean()
    scale = centred @ (metres - metres.mean()) / (centred @ centred)
    by_length = {stretch.length_m: stretch.translation_percent for stretch in errors.drift.stretches}
    for length in (1.0, 5.0):
        begins = np.linspace(0.0, 10.0 - length, 4001)
        moved = scale * (length + growth * (begins * length + length**2 / 2.0))
        assert by_length[length] == pytest.approx(100.0 * np.mean(np.abs(moved - length)) / length, rel=0.01)


def test_the_path_length_is_the_truths():
    results, truth = run_with_a_loss()
    steps = np.linalg.norm(np.diff(truth.positions[15:150], axis=0), axis=1)
    assert evaluate_odometry(results, truth).segments[0].true_path_m == pytest.approx(steps.sum())


def test_a_segment_of_two_poses_is_listed_but_not_measured():
    truth = walk(300)
    errors = evaluate_odometry(tracked(truth, [4, 5], 0, FIRST) + tracked(truth, range(10, 90), 1, SECOND), truth)
    assert errors.segments[0].position_error_m is None
    assert errors.position_error_m.count == 80


def test_without_truth_only_coverage_and_segments_are_reported():
    results, _ = run_with_a_loss()
    errors = evaluate_odometry(results, None)
    assert (errors.coverage.num_tracked, len(errors.segments)) == (275, 2)
    assert (errors.worst_rmse_m, errors.drift.translation_percent, errors.drift.stretches) == (None, None, ())


def test_odometry_that_never_started():
    truth = walk(30)
    errors = evaluate_odometry(lost(truth, range(30), Reason.FEW_FEATURES), truth)
    assert (errors.coverage.tracked_share, errors.coverage.start_s, errors.segments) == (0.0, None, ())
    assert (errors.worst_rmse_m, errors.coverage.tracked_share_after_start) == (None, None)


def test_no_frames_at_all():
    coverage = evaluate_odometry([], walk(3)).coverage
    assert (coverage.num_frames, coverage.tracked_share, coverage.lost_frames) == (0, 0.0, {})
