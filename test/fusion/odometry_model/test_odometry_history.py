from dataclasses import replace

import numpy as np
import pytest

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.types import OdometryPose
from visloc_ros.fusion.config import OdometryNoiseConfig
from visloc_ros.fusion.odometry_model.history import RECOVERED, OdometryHistory, totals
from visloc_ros.fusion.odometry_model.noise_model import RECOVERED_SHARE, CameraState, StateEstimate

SECOND = 1_000_000_000


def pose(seconds, x, segment=0, yaw=0.0):
    placed = SE3(rotation_matrix([0, 0, yaw]), np.array([x, 0.0, 0.0]))
    return OdometryPose(round(seconds * SECOND), placed, segment, 100)


def history_of(*poses, keep_s=60.0, max_gap_s=0.25):
    history = OdometryHistory(keep_s, max_gap_s)
    for item in poses:
        history.append(item)
    return history


def test_path_and_turning_add_up_within_a_segment():
    history = history_of(pose(0.0, 0), pose(0.1, 1, yaw=0.2), pose(0.2, -1, yaw=0.1), pose(0.3, 5, segment=1))
    motion = history.at(0).motion_to(history.at(SECOND // 5))
    assert totals(motion.moments) == pytest.approx([3.0, 0.3, 0.2, 0.0])
    np.testing.assert_allclose(motion.camera_from_camera.translation, [-1, 0, 0])
    assert history.latest.path == 0.0


def test_the_step_to_a_recovered_pose_is_as_uncertain_as_a_share_of_its_length():
    config, scale = OdometryNoiseConfig(), 3.0
    seen = history_of(pose(0.0, 0), pose(0.1, 1), pose(0.3, 3))
    recovered = history_of(pose(0.0, 0), pose(0.1, 1), replace(pose(0.3, 3), is_recovered=True))
    start = StateEstimate(CameraState(SE3.identity(), np.log(scale)), np.zeros((7, 7)))
    before, after = (
        start.moved(history.at(0).motion_to(history.latest), config).covariance for history in (seen, recovered)
    )
    assert after[0, 0] - before[0, 0] >= (RECOVERED_SHARE * scale * 2.0) ** 2
    assert after[6, 6] > before[6, 6]
    half = [history.at(SECOND // 5).moments[RECOVERED, 3, 3] for history in (seen, recovered)]
    assert half == pytest.approx([0.0, 1.0])


def test_earlier_frames_come_before_the_pose_that_brings_them():
    earlier = {one.stamp_ns: one.odom_from_camera for one in (pose(0.1, 9), pose(0.3, -1), pose(0.4, 0))}
    begun = replace(pose(0.5, 2, segment=1), earlier=earlier)
    history = history_of(pose(0.2, 7), begun)
    assert [one.stamp_ns * 10 // SECOND for one in history.samples] == [2, 3, 4, 5]
    assert [one.segment for one in history.samples] == [0, 1, 1, 1]
    assert history.latest.path == pytest.approx(3.0)
    np.testing.assert_allclose(history.at(round(0.35 * SECOND)).odom_from_camera.translation, [-0.5, 0, 0])
    assert history.at(SECOND // 4) is None


def test_the_drift_that_odometry_reports_is_that_of_each_step_alone():
    """A rotation error made before a step turns it, which is not the step's fault."""
    turned = np.diag([0.0] * 3 + [0.01] * 3)
    carried = np.eye(6)
    carried[:3, 3:] = [[0, 0, 0], [0, 0, 2.0], [0, -2.0, 0]]
    after = carried @ turned @ carried.T + np.diag([0.04] * 3 + [0.02] * 3)
    reported = [replace(pose(0.0, 0), covariance=turned), replace(pose(0.1, 2), covariance=after), pose(0.2, 3)]
    history = history_of(*reported, replace(pose(0.3, 4), covariance=np.full((6, 6), np.nan)))
    np.testing.assert_allclose(history.latest.reported_variances, [0.04, 0.02])


def test_stamps_between_frames_are_interpolated_over_short_gaps_only():
    history = history_of(pose(0.0, 0), pose(0.2, 2), pose(0.6, 4), pose(0.7, 9, segment=1))
    between = history.at(SECOND // 10)
    assert between.stamp_ns == SECOND // 10
    assert between.path == pytest.approx(1.0)
    np.testing.assert_allclose(between.odom_from_camera.translation, [1, 0, 0])
    assert history.at(round(0.4 * SECOND)) is None
    assert history.at(round(0.65 * SECOND)) is None


def test_nothing_before_or_after_what_is_known():
    history = history_of(pose(1.0, 0), pose(1.1, 1))
    assert history.at(round(0.9 * SECOND)) is None
    assert history.at(round(1.2 * SECOND)) is None
    assert history.at(round(1.1 * SECOND)) is history.latest
    assert OdometryHistory(1.0, 1.0).at(0) is None
    assert OdometryHistory(1.0, 1.0).latest is None


def test_old_samples_are_forgotten():
    history = history_of(*[pose(t / 10, t) for t in range(100)], keep_s=2.0)
    assert history.is_forgotten(round(7.0 * SECOND))
    assert not history.is_forgotten(round(8.0 * SECOND))
    assert history.at(round(5.0 * SECOND)) is None
