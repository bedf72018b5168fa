"""Pose priors narrow a search down, are turned by odometry, and become uninformative with time."""

import numpy as np
import pytest

from visloc_ros.core.geometry import SE3, rotation_angle_deg
from visloc_ros.fusion.initialization.pose_prior import PosePrior, StampedPosePrior
from visloc_ros.fusion.odometry_model.history import OdometrySample

SECOND = 1_000_000_000
POSE = SE3.from_rotation_vector([0.1, 0.2, 0.3], [1.0, 2.0, 3.0])
COVARIANCE = np.diag(np.repeat([0.25, 0.07], 3))
ODOMETRY = SE3.from_rotation_vector([0.5, -0.5, 0.1], [9.0, 9.0, 9.0])


def sample(seconds: float, odom_from_camera: SE3 = ODOMETRY, segment: int = 0) -> OdometrySample:
    return OdometrySample(round(seconds * SECOND), segment, odom_from_camera)


PRIOR = StampedPosePrior(0, PosePrior(POSE, COVARIANCE), sample(0.0))


def test_a_prior_turns_with_the_camera_and_stays_where_it_was_given():
    step = SE3.from_rotation_vector([0.0, 0.7, 0.0], [1.0, 0.0, 0.0])
    moved = PRIOR.at(sample(2.0, ODOMETRY @ step))
    assert rotation_angle_deg(moved.map_from_camera.rotation, (POSE @ step).rotation) < 1e-6
    np.testing.assert_array_equal(moved.map_from_camera.translation, POSE.translation)
    np.testing.assert_array_equal(moved.covariance[3:, 3:], COVARIANCE[3:, 3:])
    assert np.all(np.diag(moved.covariance)[:3] > 0.25)


def test_without_the_odometry_of_its_frame_a_prior_forgets_its_attitude_too():
    for prior, later in ((PRIOR, sample(2.0, segment=1)), (StampedPosePrior(0, PRIOR.prior, None), sample(2.0))):
        assert np.all(np.diag(prior.at(later).covariance)[3:] > 0.5)


def test_a_prior_becomes_worthless_with_time():
    assert PRIOR.at(sample(1.0)).is_informative
    assert not PRIOR.at(sample(60.0)).is_informative


@pytest.mark.parametrize(
    ("offset", "angle", "allowed"), [(0.0, 0.0, True), (0.8, 0.2, True), (3.0, 0.0, False), (0.0, 1.5, False)]
)
def test_a_belief_allows_what_its_covariance_covers(offset, angle, allowed):
    turned = SE3.from_rotation_vector([0.0, 0.0, angle], np.zeros(3)).rotation @ POSE.rotation
    measured = SE3(turned, POSE.translation + np.array([offset, 0.0, 0.0]))
    assert PosePrior(POSE, COVARIANCE).is_consistent_with(measured, np.eye(6) * 1e-4) is allowed
