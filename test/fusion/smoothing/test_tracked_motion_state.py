"""Followed points whose errors last from frame to frame: what many of them are worth together."""

from dataclasses import replace

import numpy as np
import pytest

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import OdometryPose
from visloc_ros.fusion.config import FusionConfig, TrackingConfig
from visloc_ros.fusion.odometry_model.history import OdometryHistory, RelativeMotion
from visloc_ros.fusion.odometry_model.noise_model import CameraState, OdometryModel, StateEstimate
from visloc_ros.fusion.smoothing.tracked_motion_filter import TrackedMotionState

CONFIG, RATE_HZ, FRAMES = TrackingConfig(), 10, 200
ODOMETRY = OdometryModel(FusionConfig().odometry_noise, rotation_scale_error=0.0)
SIGMAS = np.repeat([0.01, 0.004], 3)


def begin() -> TrackedMotionState:
    return TrackedMotionState.begin(StateEstimate(CameraState(SE3.identity(), 0.0), np.diag([1e-12] * 6 + [0.01**2])))


def forward(metres: float = 0.0) -> RelativeMotion:
    """Odometry of one frame, of a camera that moves along x."""
    history = OdometryHistory(10.0, 1.0)
    poses = [SE3(np.eye(3), np.array([x, 0.0, 0.0])) for x in (0.0, metres)]
    start, end = (
        history.append(OdometryPose(i * NANOSECONDS // RATE_HZ, pose, 0, 100)) for i, pose in enumerate(poses)
    )
    return start.motion_to(end)


def stand(seed: int, config: TrackingConfig) -> float:
    """NEES after 20 seconds; odometry stands still and the camera drifts from it, points err as ``CONFIG`` says."""
    rng, standing, motion = np.random.default_rng(seed), forward(), begin()
    odometry_noise = ODOMETRY.noise
    distance = odometry_noise.distance_per_second / RATE_HZ
    steps = np.repeat([odometry_noise.position, np.deg2rad(odometry_noise.rotation_deg)], 3) * np.sqrt(distance)
    kept, correlated, truth = np.exp(-1.0 / RATE_HZ / CONFIG.correlation_s), rng.normal(size=6), np.zeros(6)
    for _ in range(FRAMES):
        truth += steps * rng.normal(size=6)
        correlated = kept * correlated + np.sqrt(1.0 - kept**2) * rng.normal(size=6)
        noise = np.sqrt(CONFIG.correlated_share) * correlated + np.sqrt(1.0 - CONFIG.correlated_share) * rng.normal(
            size=6
        )
        seen = truth + SIGMAS * noise
        predicted = motion.predicted(standing, ODOMETRY, config)
        innovation = predicted.innovation_of(SE3(rotation_matrix(seen[3:]), seen[:3]), np.diag(SIGMAS**2), config)
        motion = innovation.updated(odometry_noise_factor=1.0)
    error = pose_difference(motion.state.map_from_camera, SE3(rotation_matrix(truth[3:]), truth[:3]))
    return float(error @ np.linalg.solve(motion.estimate.covariance[:6, :6], error))


def test_many_frames_are_no_surer_than_what_their_errors_have_in_common():
    forgetful = replace(CONFIG, correlated_share=0.0)
    assert 5.0 < np.mean([stand(seed, CONFIG) for seed in range(60)]) < 7.2
    assert np.mean([stand(seed, forgetful) for seed in range(10)]) > 30.0


def test_without_a_correlated_error_it_is_a_filter_of_independent_frames():
    """Two looks of one spot, odometry certain: half the variance is left."""
    config = replace(CONFIG, correlation_s=0.0, correlated_share=0.0)
    vague = np.diag([1.0] * 6 + [0.01**2])
    motion = TrackedMotionState.begin(StateEstimate(CameraState(SE3.identity(), 0.0), vague))
    for _ in range(2):
        motion = motion.innovation_of(SE3.identity(), np.diag(SIGMAS**2), config).updated(odometry_noise_factor=1.0)
    np.testing.assert_allclose(np.sqrt(2.0 * np.diag(motion.estimate.covariance)[:6]), SIGMAS, rtol=1e-3)


def test_points_without_any_error_are_believed():
    """A covariance may be of less than full rank: the directions it leaves out are known exactly."""
    flat = np.diag(SIGMAS**2 * [1.0, 1.0, 0.0, 1.0, 1.0, 1.0])
    seen = SE3(np.eye(3), np.array([0.0, 0.0, 0.003]))
    motion = (
        begin()
        .predicted(forward(0.1), ODOMETRY, CONFIG)
        .innovation_of(seen, flat, CONFIG)
        .updated(odometry_noise_factor=1.0)
    )
    assert motion.state.map_from_camera.translation[2] == pytest.approx(0.003)
    assert np.isfinite(motion.covariance).all()


def test_an_error_that_odometry_cannot_explain_makes_the_pose_less_certain():
    """A slip of 3 cm in a step of 10 cm: with slack the points are followed farther, and less is promised."""
    seen, covariance = SE3(np.eye(3), np.array([0.1, 0.03, 0.0])), np.diag((0.3 * SIGMAS) ** 2)
    innovation = begin().predicted(forward(0.1), ODOMETRY, CONFIG).innovation_of(seen, covariance, CONFIG)
    strict, lenient = innovation.updated(odometry_noise_factor=1.0), innovation.updated(odometry_noise_factor=3.0)
    sides = [motion.state.map_from_camera.translation[1] for motion in (strict, lenient)]
    assert sides[0] < sides[1] < 0.03
    assert np.trace(lenient.covariance[:3, :3]) > np.trace(strict.covariance[:3, :3])


def test_an_expected_error_is_no_slip():
    innovation = (
        begin()
        .predicted(forward(0.1), ODOMETRY, CONFIG)
        .innovation_of(SE3(np.eye(3), np.array([0.1, 0, 0])), np.diag(SIGMAS**2), CONFIG)
    )
    np.testing.assert_allclose(innovation.updated(3.0).covariance, innovation.updated(1.0).covariance)
