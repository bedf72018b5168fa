from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.types import OdometryPose
from visloc_ros.fusion.config import DriftConfig
from visloc_ros.fusion.odometry_model.history import Leg, OdometryHistory
from visloc_ros.fusion.odometry_model.noise_model import (
    CameraState,
    StateEstimate,
    drift_covariance,
    drifting_way,
    pose_difference,
    transition_matrix,
)
from visloc_ros.fusion.odometry_model.path_moments import TRAVELLED, TURNED, WAITED
from visloc_ros.simulation import FusionScenario, simulate_run

CONFIG = DriftConfig()
LEG = Leg.of_step(SE3(rotation_matrix([0.1, -0.2, 0.3]), np.array([0.4, 0.1, 1.5])), seconds=2.0)
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


def half_circle(steps):
    angles = np.linspace(0.0, np.pi, steps + 1)
    return np.column_stack([1.0 - np.cos(angles), np.sin(angles), np.zeros(steps + 1)])


@pytest.mark.parametrize(
    "way", [np.outer(np.arange(41) / 10.0, [1.0, 0.0, 0.0]), half_circle(40)], ids=["straight", "half a circle"]
)
def test_drift_is_that_of_many_small_random_steps(way):
    """Monte Carlo of the random walks, each step with its own error of position, rotation and scale."""
    rng = np.random.default_rng(0)
    config = DriftConfig(position=0.02, rotation_deg=1.0, scale=0.02, turning=0.0, turn_as_distance=0.0)
    steps, runs = np.diff(way, axis=0), 4000
    shape, root = (runs, len(steps), 3), np.sqrt(np.linalg.norm(steps, axis=1))
    spins = np.cumsum(rng.normal(0, np.deg2rad(1.0), shape) * root[:, None], axis=1)
    scales = np.cumsum(rng.normal(0, 0.02, shape[:2]) * root, axis=1)
    bent = np.cross(spins, steps) + scales[..., None] * steps + rng.normal(0, 0.02, shape) * root[:, None]
    errors = np.column_stack([bent.sum(axis=1), spins[:, -1], scales[:, -1]])
    leg = leg_through(SE3(np.eye(3), point) for point in way)
    expected = StateEstimate(CameraState(SE3.identity(), 0.0), np.zeros((7, 7))).moved(leg, config).covariance
    deviations = np.outer(np.sqrt(np.diag(expected)), np.sqrt(np.diag(expected)))
    np.testing.assert_allclose(np.cov(errors.T) / deviations, expected / deviations, atol=0.08)


def leg_through(poses):
    """From the first to the last, all at one instant but for rounding."""
    history = OdometryHistory(1.0, 1.0)
    samples = [history.append(OdometryPose(stamp, pose, 0, 100)) for stamp, pose in enumerate(poses)]
    return samples[0].leg_to(samples[-1])


def test_drift_gathers_alike_at_once_and_frame_by_frame():
    """On a curved walk with turns, forwards and backwards in time; the turn gain is one for all, so it must be left."""
    history, config = OdometryHistory(100.0, 1.0), DriftConfig(turning=0.0)
    samples = [history.append(pose) for pose in simulate_run(FusionScenario(rate_hz=5.0), 3).odometry[:60]]
    there = StateEstimate(STATE, 1e-4 * np.eye(7))
    for chain in (samples, samples[::-1]):
        gradually = there
        for start, end in pairwise(chain):
            gradually = gradually.moved(start.leg_to(end), config)
        at_once = there.moved(chain[0].leg_to(chain[-1]), config)
        deviations = np.sqrt(np.diag(at_once.covariance))
        difference = (gradually.covariance - at_once.covariance) / np.outer(deviations, deviations)
        np.testing.assert_allclose(difference, 0.0, atol=1e-6)


def test_stacks_give_what_single_legs_give():
    legs = [LEG, Leg.of_step(LEG.camera_from_camera.inverse, 0.5)]
    axes, scales = np.array([np.eye(3), rotation_matrix([0.3, 0.0, -0.1])]), np.array([0.7, 1.2])
    tangents = np.array([STATE.turn_tangent(leg) for leg in legs])
    ways = drifting_way(np.array([leg.moments for leg in legs]), scales, axes, CONFIG)
    stacked, motions = drift_covariance(ways, tangents, CONFIG), ways[:, 3, :3]
    for index, leg in enumerate(legs):
        way = drifting_way(leg.moments, scales[index], axes[index], CONFIG)
        np.testing.assert_allclose(stacked[index], drift_covariance(way, tangents[index], CONFIG))
        np.testing.assert_allclose(transition_matrix(motions)[index], transition_matrix(motions[index]))


def test_uncertainty_grows_with_distance_turning_and_time():
    there = StateEstimate(STATE, np.zeros((7, 7)))
    base = there.moved(LEG, CONFIG).covariance

    def grown(what):
        longer = LEG.moments.copy()
        longer[what] *= 4.0
        return np.trace(there.moved(replace(LEG, moments=longer), CONFIG).covariance) > np.trace(base)

    assert grown(TRAVELLED)
    assert grown(TURNED)
    assert grown(WAITED)


def test_there_and_back_is_the_same_pose():
    back = Leg.of_step(LEG.camera_from_camera.inverse, LEG.seconds)
    assert STATE.moved(LEG).moved(back).map_from_camera.is_close(STATE.map_from_camera)


def test_two_looks_from_one_spot_still_differ():
    still = Leg.of_step(SE3.identity(), 0.0)
    assert drifting_way(still.moments, STATE.scale, np.eye(3), CONFIG)[3, 3] > 0
    covariance = StateEstimate(STATE, np.zeros((7, 7))).moved(still, CONFIG).covariance
    assert np.linalg.eigvalsh(covariance)[0] > 0
    assert np.sqrt(covariance[0, 0]) == pytest.approx(0.02 * 1e-2)
