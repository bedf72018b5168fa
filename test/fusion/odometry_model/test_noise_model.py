from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from testing.fusion_runs import simulate_run
from testing.fusion_scenario import FusionScenario
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.types import OdometryPose
from visloc_ros.fusion.config import OdometryNoiseConfig
from visloc_ros.fusion.odometry_model.history import ANGLE, DISTANCE, DURATION, OdometryHistory, RelativeMotion
from visloc_ros.fusion.odometry_model.noise_model import (
    CameraState,
    OdometryModel,
    StateEstimate,
    effective_path_moments,
    odometry_noise_covariance,
    transition_matrix,
)

CONFIG = OdometryNoiseConfig()
MOTION = RelativeMotion.of_step(SE3(rotation_matrix([0.1, -0.2, 0.3]), np.array([0.4, 0.1, 1.5])), seconds=2.0)
STATE = CameraState(SE3(rotation_matrix([1.0, 0.5, -0.7]), np.array([3.0, -2.0, 1.0])), float(np.log(0.7)))


def disturbed(state, error):
    pose = state.map_from_camera
    moved = SE3(rotation_matrix(error[3:6]) @ pose.rotation, pose.translation + error[:3])
    return CameraState(moved, state.log_scale + error[6])


def difference(a, b):
    return np.append(pose_difference(a.map_from_camera, b.map_from_camera), a.log_scale - b.log_scale)


def test_transition_is_the_derivative_of_the_motion():
    motion = STATE.moved(MOTION).map_from_camera.translation - STATE.map_from_camera.translation
    step = 1e-6
    columns = [
        difference(disturbed(STATE, step * unit).moved(MOTION), STATE.moved(MOTION)) / step for unit in np.eye(7)
    ]
    np.testing.assert_allclose(transition_matrix(motion), np.array(columns).T, atol=1e-5)


def half_circle(steps):
    angles = np.linspace(0.0, np.pi, steps + 1)
    return np.column_stack([1.0 - np.cos(angles), np.sin(angles), np.zeros(steps + 1)])


@pytest.mark.parametrize(
    "path", [np.outer(np.arange(41) / 10.0, [1.0, 0.0, 0.0]), half_circle(40)], ids=["straight", "half a circle"]
)
def test_drift_is_that_of_many_small_random_steps(path):
    """Monte Carlo of the random walks, each step with its own error of position, rotation and scale."""
    rng = np.random.default_rng(0)
    config = OdometryNoiseConfig(
        position=0.02, rotation_deg=1.0, scale=0.02, rotation_scale_sigma=0.0, distance_per_radian=0.0
    )
    steps, runs = np.diff(path, axis=0), 4000
    shape, root = (runs, len(steps), 3), np.sqrt(np.linalg.norm(steps, axis=1))
    spins = np.cumsum(rng.normal(0, np.deg2rad(1.0), shape) * root[:, None], axis=1)
    scales = np.cumsum(rng.normal(0, 0.02, shape[:2]) * root, axis=1)
    bent = np.cross(spins, steps) + scales[..., None] * steps + rng.normal(0, 0.02, shape) * root[:, None]
    errors = np.column_stack([bent.sum(axis=1), spins[:, -1], scales[:, -1]])
    motion = motion_through(SE3(np.eye(3), point) for point in path)
    expected = StateEstimate(CameraState(SE3.identity(), 0.0), np.zeros((7, 7))).moved(motion, config).covariance
    deviations = np.outer(np.sqrt(np.diag(expected)), np.sqrt(np.diag(expected)))
    np.testing.assert_allclose(np.cov(errors.T) / deviations, expected / deviations, atol=0.08)


def motion_through(poses):
    """From the first to the last, all at one instant but for rounding."""
    history = OdometryHistory(1.0, 1.0)
    samples = [history.append(OdometryPose(stamp, pose, 0, 100)) for stamp, pose in enumerate(poses)]
    return samples[0].motion_to(samples[-1])


def test_drift_gathers_alike_at_once_and_frame_by_frame():
    """On a curved walk with turns, forwards and backwards in time, without the rotation scale error."""
    history, config = OdometryHistory(100.0, 1.0), OdometryNoiseConfig(rotation_scale_sigma=0.0)
    samples = [history.append(pose) for pose in simulate_run(FusionScenario(rate_hz=5.0), 3).odometry[:60]]
    there = StateEstimate(STATE, 1e-4 * np.eye(7))
    for sequence in (samples, samples[::-1]):
        gradually = there
        for start, end in pairwise(sequence):
            gradually = gradually.moved(start.motion_to(end), config)
        at_once = there.moved(sequence[0].motion_to(sequence[-1]), config)
        deviations = np.sqrt(np.diag(at_once.covariance))
        difference = (gradually.covariance - at_once.covariance) / np.outer(deviations, deviations)
        np.testing.assert_allclose(difference, 0.0, atol=1e-6)


def test_stacks_give_what_single_motions_give():
    steps = [MOTION, RelativeMotion.of_step(MOTION.camera_from_camera.inverse, 0.5)]
    axes, scales = np.array([np.eye(3), rotation_matrix([0.3, 0.0, -0.1])]), np.array([0.7, 1.2])
    jacobians = np.array([STATE.rotation_scale_jacobian(step) for step in steps])
    paths = effective_path_moments(np.array([step.moments for step in steps]), scales, axes, CONFIG)
    stacked, motions = odometry_noise_covariance(paths, jacobians, CONFIG), paths[:, 3, :3]
    for index, step in enumerate(steps):
        path = effective_path_moments(step.moments, scales[index], axes[index], CONFIG)
        np.testing.assert_allclose(stacked[index], odometry_noise_covariance(path, jacobians[index], CONFIG))
        np.testing.assert_allclose(transition_matrix(motions)[index], transition_matrix(motions[index]))


def test_uncertainty_grows_with_distance_turning_and_time():
    there = StateEstimate(STATE, np.zeros((7, 7)))
    base = there.moved(MOTION, CONFIG).covariance

    def grown(what):
        longer = MOTION.moments.copy()
        longer[what] *= 4.0
        return np.trace(there.moved(replace(MOTION, moments=longer), CONFIG).covariance) > np.trace(base)

    assert grown(DISTANCE)
    assert grown(ANGLE)
    assert grown(DURATION)


def test_there_and_back_is_the_same_pose():
    back = RelativeMotion.of_step(MOTION.camera_from_camera.inverse, MOTION.seconds)
    assert STATE.moved(MOTION).moved(back).map_from_camera.is_close(STATE.map_from_camera)


def test_a_camera_that_stands_still_has_noise_too():
    still = RelativeMotion.of_step(SE3.identity(), 0.0)
    assert effective_path_moments(still.moments, STATE.scale, np.eye(3), CONFIG)[3, 3] > 0
    covariance = StateEstimate(STATE, np.zeros((7, 7))).moved(still, CONFIG).covariance
    assert np.linalg.eigvalsh(covariance)[0] > 0
    assert np.sqrt(covariance[0, 0]) == pytest.approx(0.02 * 1e-2)


def test_where_odometry_reports_more_than_it_mostly_does_there_is_as_much_more_noise():
    """As at an image that is suddenly blurred: few points hold the pose there."""
    there, usual = StateEstimate(STATE, np.zeros((7, 7))), (2e-4, 3e-5)
    distance = effective_path_moments(MOTION.moments, STATE.scale, STATE.map_from_camera.rotation, CONFIG)[3, 3]
    mostly = distance * np.array(usual) / [STATE.scale**2, 1.0]
    config = replace(CONFIG, rotation_scale_sigma=0.0)
    base = there.moved(MOTION, config).covariance

    def reported(*factors):
        return there.moved(replace(MOTION, reported_variances=mostly * factors), config, usual).covariance

    np.testing.assert_allclose(reported(0.0, 0.5), base)
    np.testing.assert_allclose(reported(50.0, 50.0), 50.0 * base)
    np.testing.assert_allclose(reported(1.0, 50.0)[3:6, 3:6], 50.0 * base[3:6, 3:6])


@pytest.mark.parametrize("usual", [(1e-2, 1e-2), (1e-9, 1e-9), (np.inf, np.inf)])
def test_a_step_has_at_least_the_noise_that_odometry_reports(usual):
    there, turn = StateEstimate(STATE, np.zeros((7, 7))), np.radians(3.0)
    odometry = OdometryModel(replace(CONFIG, position=1e-3, rotation_deg=0.01, rotation_scale_sigma=0.0), 0.0, usual)
    reported = replace(MOTION, reported_variances=np.array([0.0, turn**2]))
    step = odometry.of_steps.propagate(there, reported).covariance
    assert np.sqrt(step[3, 3]) > 0.999 * turn
    quiet = odometry.of_steps.propagate(there, MOTION).covariance
    np.testing.assert_allclose(quiet, odometry.propagate(there, MOTION).covariance)
