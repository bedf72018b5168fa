"""Odometry alone: each segment aligned by itself, losses counted, short pieces left unmeasured."""

import numpy as np
import pytest
from synthetic_run import walk

from visloc_ros.core.geometry import Sim3, rotation_matrix
from visloc_ros.core.types import OdometryPose, Reason, Rejection
from visloc_ros.evaluation.odometry_errors import evaluate_odometry

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
    assert [segment.metres_per_unit for segment in errors.segments] == pytest.approx([1 / 0.31, 1 / 2.7])
    assert [segment.num_poses for segment in errors.segments] == [135, 140]
    assert errors.segments[0].relative_position_error_m.max < 1e-9


def test_coverage_start_and_losses():
    errors = evaluate_odometry(*run_with_a_loss())
    assert (errors.num_frames, errors.num_tracked) == (300, 275)
    assert errors.tracked_share == pytest.approx(275 / 300)
    assert errors.start_s == pytest.approx(0.5, abs=1e-6)
    assert errors.losses == {"DEGENERATE_MOTION": 15, "FEW_MATCHES": 10}


def test_noise_shows_in_metres_of_the_truth_whatever_the_scale():
    errors = evaluate_odometry(*run_with_a_loss(noise=0.01))
    expected = 0.01 * np.sqrt(3.0)
    assert errors.position_error_m.rmse == pytest.approx(expected, rel=0.1)
    assert errors.segments[0].position_error_m.rmse == pytest.approx(expected, rel=0.15)
    assert errors.segments[1].position_error_m.rmse == pytest.approx(expected, rel=0.15)


def test_the_path_length_is_the_truths():
    results, truth = run_with_a_loss()
    steps = np.linalg.norm(np.diff(truth.positions[15:150], axis=0), axis=1)
    assert evaluate_odometry(results, truth).segments[0].true_path_m == pytest.approx(steps.sum())


def test_a_segment_of_two_poses_is_listed_but_not_measured():
    truth = walk(300)
    errors = evaluate_odometry(tracked(truth, [4, 5], 0, FIRST) + tracked(truth, range(10, 90), 1, SECOND), truth)
    assert errors.segments[0].position_error_m is None
    assert errors.position_error_m.count == 80


def test_odometry_that_never_started():
    truth = walk(30)
    errors = evaluate_odometry(lost(truth, range(30), Reason.FEW_FEATURES), truth)
    assert (errors.tracked_share, errors.start_s, errors.segments, errors.position_error_m) == (0.0, None, (), None)


def test_no_frames_at_all():
    errors = evaluate_odometry([], walk(3))
    assert (errors.num_frames, errors.tracked_share, errors.losses) == (0, 0.0, {})
