from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from testing.fusion_runs import simulate_run
from testing.fusion_scenario import FusionScenario
from visloc_ros.core.geometry import SE3
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.odometry_model.history import OdometryHistory
from visloc_ros.fusion.odometry_model.noise_model import CameraState, OdometryModel
from visloc_ros.fusion.smoothing.factors.relative_motion import (
    NEW_SEGMENT_SCALE_SIGMA,
    MotionMeasurement,
    RelativeMotionFactors,
    TrackedMotionFactors,
)
from visloc_ros.fusion.smoothing.states import States
from visloc_ros.fusion.smoothing.variance_components import VarianceFactors

CONFIG = FusionConfig()
ODOMETRY = OdometryModel(replace(CONFIG.odometry_noise, rotation_scale_sigma=0.0), rotation_scale_error=0.03)
STEP = 1e-6


def samples_of(count=6):
    """Odometry of a curved walk, a second apart."""
    history = OdometryHistory(1000.0, 1.0)
    samples = [history.append(pose) for pose in simulate_run(FusionScenario(rate_hz=10.0), 3).odometry]
    return samples[: 10 * count : 10]


def random_states(samples, seed=0):
    """States near where one similarity has them, none of which fits exactly."""
    rng = np.random.default_rng(seed)
    near = States.stacked([CameraState(sample.odom_from_camera, 0.4) for sample in samples])
    return near.plus(0.1 * rng.normal(size=(len(samples), 7)))


def odometry_factors(motions, states, odometry=ODOMETRY):
    return motions.linearise(states, odometry, np.zeros((len(states), 6, 6)), CONFIG.anchor_noise.correlation_distance)


def test_all_motions_at_once_are_those_one_by_one():
    samples = samples_of()
    motions = RelativeMotionFactors.between(samples)
    for index, (start, end) in enumerate(pairwise(samples)):
        one = start.motion_to(end)
        np.testing.assert_allclose(motions.rotations[index], one.camera_from_camera.rotation, atol=1e-12)
        np.testing.assert_allclose(motions.translations[index], one.camera_from_camera.translation, atol=1e-12)
        np.testing.assert_allclose(motions.rotation_derivatives[index], one.rotation_derivative, atol=1e-12)
        np.testing.assert_allclose(motions.translation_derivatives[index], one.translation_derivative, atol=1e-12)
        np.testing.assert_allclose(motions.moments[index], one.moments, atol=1e-9)
        assert motions.seconds[index] == pytest.approx(one.seconds)


def test_odometry_fits_states_that_it_leads_to_with_its_rotation_scale_error():
    samples = samples_of()
    motions, state = (
        RelativeMotionFactors.between(samples),
        CameraState(SE3(Rotation.random(rng=0).as_matrix(), np.ones(3)), 0.4),
    )
    states = [state]
    for start, end in pairwise(samples):
        states.append(states[-1].moved(start.motion_to(end).corrected(ODOMETRY.rotation_scale_error)))
    factors = odometry_factors(motions, States.stacked(states))
    np.testing.assert_allclose(factors.residuals, 0.0, atol=1e-12)
    more = odometry_factors(
        motions, States.stacked(states), replace(ODOMETRY, rotation_scale_error=ODOMETRY.rotation_scale_error + STEP)
    )
    np.testing.assert_allclose(-more.residuals / STEP, factors.shared_jacobians, atol=0.02)


def test_the_odometry_noise_is_separated_from_changes_of_the_common_error():
    """The rest is how the anchors' common error changes; a leg that counts less does so in both."""
    samples = samples_of()
    motions, states, distance = (
        RelativeMotionFactors.between(samples),
        random_states(samples),
        CONFIG.anchor_noise.correlation_distance,
    )
    alone = odometry_factors(motions, states)
    factors = motions.linearise(states, ODOMETRY, np.tile(np.eye(6), (len(states), 1, 1)), distance)
    np.testing.assert_allclose(factors.own, np.linalg.inv(alone.information), atol=1e-12)
    assert np.all(np.diagonal(np.linalg.inv(factors.information) - factors.own, axis1=1, axis2=2)[:, :6] > 0.1)
    with_robust_weights = factors.with_robust_weights(8.0)
    np.testing.assert_allclose(
        with_robust_weights.own @ with_robust_weights.information, factors.own @ factors.information, atol=1e-9
    )


def test_nothing_is_known_of_the_motion_to_another_segment():
    samples = samples_of()
    samples = [*samples[:3], *(replace(sample, segment=7) for sample in samples[3:])]
    motions, states = RelativeMotionFactors.between(samples), random_states(samples)
    assert motions.is_gap.tolist() == [False, False, True, False, False]
    factors = odometry_factors(motions, states)
    assert factors.information[2, 6, 6] == pytest.approx(NEW_SEGMENT_SCALE_SIGMA**-2)
    assert np.all(factors.information[2].max() < factors.information[1].max() / 100.0)
    np.testing.assert_allclose(factors.residuals[2, :3], states.positions[3] - states.positions[2])


def test_tracked_points_measure_the_motion_in_map_units_and_not_the_scale():
    samples = samples_of()
    states = random_states(samples)
    motions = []
    for first, second in ((0, 1), (0, 4), (2, 4)):
        step = states[first].map_from_camera.inverse @ states[second].map_from_camera
        motions.append(MotionMeasurement(first, second, step, np.diag([1e-4] * 3 + [1e-5] * 3)))
    factors = TrackedMotionFactors.of(motions).linearise(states, VarianceFactors(4.0, 1.0), degrees_of_freedom=1e9)
    assert factors.second.tolist() == [1, 4, 4]
    np.testing.assert_allclose(factors.residuals, 0.0, atol=1e-12)
    assert not factors.jacobians[:, :, 6].any()
    assert not factors.second_jacobians[:, :, 6].any()
    np.testing.assert_allclose(factors.information[0], np.diag([2500.0] * 3 + [1e5] * 3), rtol=1e-6, atol=1e-6)
    assert TrackedMotionFactors.of([]) is None


def test_jacobians_are_derivatives_where_the_residuals_are_small():
    samples = samples_of()
    motions, states = RelativeMotionFactors.between(samples), [CameraState(samples[0].odom_from_camera, 0.4)]
    for start, end in pairwise(samples):
        states.append(states[-1].moved(start.motion_to(end).corrected(ODOMETRY.rotation_scale_error)))
    exact = States.stacked(states)
    motion = MotionMeasurement(1, 3, exact[1].map_from_camera.inverse @ exact[3].map_from_camera, np.eye(6))
    for linearise in (
        lambda moved: odometry_factors(motions, moved),
        lambda moved: TrackedMotionFactors.of([motion]).linearise(moved, VarianceFactors(), degrees_of_freedom=1e9),
    ):
        steps = STEP * np.random.default_rng(1).normal(size=(len(exact), 7))
        before, after = linearise(exact), linearise(exact.plus(steps))
        fall = before.residuals_after(steps, 0.0)
        np.testing.assert_allclose(after.residuals, fall, atol=1e-10)


def test_one_motion_that_odometry_reports_to_be_bad_is_so_and_no_other():
    samples = samples_of()
    states, noise = random_states(samples), CONFIG.odometry_noise
    motions = replace(RelativeMotionFactors.between(samples), reported_variances=np.zeros((len(samples) - 1, 2)))
    assert motions.usually_reported(states, noise) == (np.inf, np.inf)
    alike = np.column_stack([motions.moments[:, 0, 3, 3]] * 2) * [1e-4, 1e-5]
    factors = np.where(np.arange(len(alike)) == 2, 1000.0, 1.0)[:, None]
    usual = replace(motions, reported_variances=alike).usually_reported(states, noise)
    reported = replace(motions, reported_variances=alike * factors)
    np.testing.assert_allclose(reported.usually_reported(states, noise), usual, rtol=0.3)
    odometry = replace(ODOMETRY, usual=reported.usually_reported(states, noise))
    ratios = [
        np.linalg.inv(with_it)[0, 0] / np.linalg.inv(without)[0, 0]
        for with_it, without in zip(
            odometry_factors(reported, states, odometry).information, odometry_factors(motions, states).information,
            strict=True,
        )
    ]  # fmt: skip
    assert ratios[2] > 300.0
    assert max(ratios[:2] + ratios[3:]) < 3.0
