import numpy as np
import pytest

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.fusion.config import DriftConfig
from visloc_ros.fusion.drift import (
    CameraState,
    StateEstimate,
    drift_covariance,
    drifting_distance,
    pose_difference,
    transition_matrix,
)
from visloc_ros.fusion.history import Leg

CONFIG = DriftConfig()
LEG = Leg(SE3(rotation_matrix([0.1, -0.2, 0.3]), np.array([0.4, 0.1, 1.5])), path=1.6, turning=0.4, seconds=2.0)
STATE = CameraState(SE3(rotation_matrix([1.0, 0.5, -0.7]), np.array([3.0, -2.0, 1.0])), float(np.log(0.7)))


def disturbed(state, error):
    pose = state.map_from_camera
    moved = SE3(rotation_matrix(error[3:6]) @ pose.rotation, pose.translation + error[:3])
    return CameraState(moved, state.log_scale + error[6])


def difference(a, b):
    return np.append(pose_difference(a.map_from_camera, b.map_from_camera), a.log_scale - b.log_scale)


def test_transition_is_the_derivative_of_the_motion():
    motion = STATE.moved(LEG).map_from_camera.translation - STATE.map_from_camera.translation
    step = 1e-6
    columns = [difference(disturbed(STATE, step * unit).moved(LEG), STATE.moved(LEG)) / step for unit in np.eye(7)]
    np.testing.assert_allclose(transition_matrix(motion), np.array(columns).T, atol=1e-5)


def test_drift_of_a_straight_leg_is_that_of_many_small_random_steps():
    """Monte Carlo of the random walks along 4 m, each step with its own error of position, rotation and scale."""
    rng = np.random.default_rng(0)
    config = DriftConfig(position=0.02, rotation_deg=1.0, scale=0.02, turning=0.0, standing_as_distance=0.0)
    steps, runs, length = 40, 4000, 4.0
    root = np.sqrt(length / steps)
    spins = np.cumsum(rng.normal(0, np.deg2rad(1.0) * root, (runs, steps, 3)), axis=1)
    scales = np.cumsum(rng.normal(0, 0.02 * root, (runs, steps)), axis=1)
    way = np.array([length / steps, 0.0, 0.0])
    bent = np.cross(spins, way) + scales[..., None] * way + rng.normal(0, 0.02 * root, (runs, steps, 3))
    errors = np.column_stack([bent.sum(axis=1), spins[:, -1], scales[:, -1]])
    expected = drift_covariance(np.array([length, 0.0, 0.0]), np.asarray(length), np.zeros(3), config)
    deviations = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(
        np.cov(errors.T) / np.outer(deviations, deviations), expected / np.outer(deviations, deviations), atol=0.08
    )


def test_stacks_give_what_single_legs_give():
    motions = np.array([[1.0, 2.0, 3.0], [0.0, 0.5, -1.0]])
    distances, turns = np.array([4.0, 1.2]), np.array([[0.3, 0.0, -0.1], [0.0, 0.0, 0.0]])
    stacked = drift_covariance(motions, distances, turns, CONFIG)
    for index in range(2):
        alone = drift_covariance(motions[index], distances[index], turns[index], CONFIG)
        np.testing.assert_allclose(stacked[index], alone)
        np.testing.assert_allclose(transition_matrix(motions)[index], transition_matrix(motions[index]))


def test_uncertainty_grows_with_distance_turning_and_time():
    there = StateEstimate(STATE, np.zeros((7, 7)))
    base = there.moved(LEG, CONFIG).covariance

    def grown(**changes):
        leg = Leg(**{**LEG.__dict__, **changes})
        return np.trace(there.moved(leg, CONFIG).covariance) > np.trace(base)

    assert grown(path=3.0)
    assert grown(turning=1.0)
    assert grown(seconds=20.0)


def test_there_and_back_is_the_same_pose():
    back = Leg(LEG.camera_from_camera.inverse, LEG.path, LEG.turning, LEG.seconds)
    assert STATE.moved(LEG).moved(back).map_from_camera.is_close(STATE.map_from_camera)


def test_two_looks_from_one_spot_still_differ():
    assert drifting_distance(0.0, 0.0, 0.0, CONFIG) > 0
    still = Leg(SE3.identity(), 0.0, 0.0, 0.0)
    covariance = StateEstimate(STATE, np.zeros((7, 7))).moved(still, CONFIG).covariance
    assert np.linalg.eigvalsh(covariance)[0] > 0
    assert np.sqrt(covariance[0, 0]) == pytest.approx(0.02 * 1e-2)
