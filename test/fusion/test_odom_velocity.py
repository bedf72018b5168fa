"""Velocity and uncertainty of the continuous odometry."""

import numpy as np
import pytest

from visloc_ros.core.geometry import SE3
from visloc_ros.core.plausibility import covariance_fault
from visloc_ros.fusion.config import OdometryNoiseConfig
from visloc_ros.fusion.odom_velocity import UNKNOWN_VARIANCE, OdomState

SECOND = 1_000_000_000
STEP = SE3.from_rotation_vector([0.0, 0.0, 0.02], [0.05, 0.0, 0.0])  # of the base, each 0.1 s
START = SE3.from_rotation_vector([0.3, -0.2, 1.0], [4.0, 5.0, 6.0])


def drive(frames: int) -> list[OdomState]:
    motions, pose = [OdomState.begin(0, START, OdometryNoiseConfig())], START
    for index in range(1, frames):
        pose = pose @ STEP
        motions.append(motions[-1].moved(index * SECOND // 10, pose, OdometryNoiseConfig()))
    return motions


def test_the_velocity_is_about_the_axes_of_the_base():
    np.testing.assert_allclose(drive(5)[-1].velocity, [0.5, 0.0, 0.0, 0.0, 0.0, 0.2], atol=1e-6)


def test_the_covariance_grows_from_that_of_one_pose_and_stays_a_covariance():
    motions = drive(40)
    assert np.sqrt(np.diag(motions[0].covariance)).max() < 1e-3
    traces = [np.trace(motion.covariance[:3, :3]) for motion in motions]
    assert np.all(np.diff(traces) > 0)
    for motion in motions:
        assert covariance_fault(motion.covariance) is None
        assert covariance_fault(motion.velocity_covariance) is None


def test_the_drift_of_a_straight_metre_is_the_configured_one():
    motion, ahead = (
        OdomState.begin(0, SE3.identity(), OdometryNoiseConfig()),
        SE3(np.eye(3), np.array([1e-3, 0.0, 0.0])),
    )
    pose, config = SE3.identity(), OdometryNoiseConfig()
    for index in range(1, 1001):
        pose = pose @ ahead
        motion = motion.moved(index * SECOND // 1000, pose, config)
    assert np.sqrt(motion.covariance[3, 3]) == pytest.approx(np.deg2rad(config.rotation_deg), rel=0.1)
    # Along the way: the drift of the position, and of the scale, whose walk bends its integral.
    assert np.sqrt(motion.covariance[0, 0]) == pytest.approx(np.hypot(config.position, config.scale / 3**0.5), rel=0.1)


def test_what_happened_in_a_gap_is_unknown():
    last = drive(5)[-1]
    after = last.moved(last.stamp_ns + 2 * SECOND, last.odom_from_base, OdometryNoiseConfig())
    assert not after.velocity.any()
    assert np.all(np.diag(after.velocity_covariance) == UNKNOWN_VARIANCE)
    assert np.all(np.diag(after.covariance)[:3] > 0.9)
