from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from testing.drifting_odometry import simulate_odometry
from testing.fusion_replay import play, position_errors
from testing.fusion_runs import FusionRun, simulate_anchors
from testing.fusion_scenario import FusionScenario
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.trajectory import NANOSECONDS as SECOND
from visloc_ros.core.types import OdometryPose, OdometryScale
from visloc_ros.fusion import Fuser, FusionConfig, RecordedMeasurements, smooth
from visloc_ros.fusion.config import SensorConfig
from visloc_ros.fusion.initialization.sim3_alignment import NO_PRIOR
from visloc_ros.fusion.odometry_model.history import OdometrySample, step_moments
from visloc_ros.fusion.odometry_model.noise_model import CameraState, StateEstimate
from visloc_ros.fusion.smoothing.factors.sensors import (
    LEAST_SCALE_SIGMA,
    SCALE_MEMORY,
    GravityFactors,
    PlanarMotionFactors,
    ScaleFactors,
    make_sensor_factors,
    scale_prior,
    update_with_sensors,
)
from visloc_ros.fusion.smoothing.states import States

SENSORS = SensorConfig()
UP = np.array([0.0, 0.0, 1.0])


def travelled(length):
    return step_moments(np.zeros(3), np.array([length, 0.0, 0.0]), angle=0.1, seconds=1.0)


def chain_of(count=4, seed=0):
    """States and samples that fit each other exactly: a random path, odometry with a scale and an origin of its own."""
    rng = np.random.default_rng(seed)
    poses = [SE3(Rotation.random(rng=rng).as_matrix(), rng.normal(size=3)) for _ in range(count)]
    odom_from_map, scale = SE3(Rotation.random(rng=rng).as_matrix(), rng.normal(size=3)), 2.5
    samples = []
    for index, pose in enumerate(poses):
        seen = odom_from_map @ pose
        placed = SE3(seen.rotation, seen.translation / scale)
        samples.append(OdometrySample(index * SECOND, 0, placed, travelled(0.4 * index)))
    states = States.stacked([CameraState(pose, np.log(scale)) for pose in poses])
    return states, samples, odom_from_map.rotation @ UP


def is_derivative(source, states, samples):
    """Whether the Jacobians tell how residuals fall as the states move."""
    before, rng = source.linearise(states, samples), np.random.default_rng(1)
    step = 1e-6 * rng.normal(size=(len(states), 7))
    after = source.linearise(states.plus(step), samples)
    fall = before.residuals - after.residuals
    expected = np.einsum("nij,nj->ni", before.jacobians, step[before.first])
    expected += np.einsum("nij,nj->ni", before.second_jacobians, step[before.first + 1])
    return np.allclose(fall, expected, atol=1e-10)


def test_sensors_that_agree_have_no_residual_and_right_derivatives():
    states, samples, up_in_odom = chain_of()
    samples = [replace(one, scale=OdometryScale(2.5, 0.05), up_in_odom=up_in_odom) for one in samples]
    for source in (ScaleFactors(SENSORS), GravityFactors()):
        assert np.allclose(source.linearise(states, samples).residuals, 0.0, atol=1e-12)
        assert is_derivative(source, states, samples)
    assert is_derivative(PlanarMotionFactors(), states, samples)


def test_only_motion_parallel_to_the_floor_fits_it():
    _, samples, _ = chain_of()
    tilt = rotation_matrix([0.2, -0.1, 0.0])
    poses = [SE3(rotation_matrix([0, 0, 0.3 * i]) @ tilt, [0.5 * i, 0.1 * i, 0.8]) for i in range(4)]
    level = States.stacked([CameraState(pose, 0.0) for pose in poses])
    assert np.allclose(PlanarMotionFactors().linearise(level, samples).residuals, 0.0, atol=1e-12)
    risen = States.stacked(
        [CameraState(SE3(p.rotation, p.translation + 0.1 * i * UP), 0.0) for i, p in enumerate(poses)]
    )
    assert np.allclose(PlanarMotionFactors().linearise(risen, samples).residuals[:, 0], -0.1)


def test_nothing_is_estimated_across_segments_or_without_a_reading():
    states, samples, up_in_odom = chain_of()
    samples = [replace(samples[0], up_in_odom=up_in_odom), *samples[1:3], replace(samples[3], segment=1)]
    assert len(ScaleFactors(SENSORS).linearise(states, samples).residuals) == 0
    assert len(GravityFactors().linearise(states, samples).residuals) == 0
    assert PlanarMotionFactors().linearise(states, samples).first.tolist() == [0, 1]


def test_a_running_estimate_counts_once_however_often_it_is_given():
    few, many = chain_of(3), chain_of(41)

    def information(states, samples, length):
        reported = [
            replace(one, moments=travelled(length * i / (len(samples) - 1)), scale=OdometryScale(2.5, 0.05))
            for i, one in enumerate(samples)
        ]
        return ScaleFactors(SENSORS).linearise(states, reported).information.sum()

    way = SCALE_MEMORY / 2.5  # in units of the odometry
    assert information(*few[:2], way) == pytest.approx(0.05**-2, rel=1e-6)
    assert information(*many[:2], way) == pytest.approx(0.05**-2, rel=1e-6)


def test_a_sensor_far_off_counts_for_nothing():
    states, samples, _ = chain_of()
    right = ScaleFactors(SENSORS).linearise(states, [replace(s, scale=OdometryScale(2.5, 0.02)) for s in samples])
    wrong = ScaleFactors(SENSORS).linearise(states, [replace(s, scale=OdometryScale(5.0, 0.02)) for s in samples])
    assert np.all(wrong.information < 1e-3 * right.information)


def test_a_map_only_passes_on_what_its_frame_allows():
    config = SensorConfig(two_d_mode=True)
    assert make_sensor_factors(config, metric=False, gravity_aligned=False) == ()
    assert make_sensor_factors(config, metric=True, gravity_aligned=False) == (ScaleFactors(config),)
    kinds = [type(source) for source in make_sensor_factors(config, metric=True, gravity_aligned=True)]
    assert kinds == [ScaleFactors, GravityFactors, PlanarMotionFactors]
    off = SensorConfig(use_scale=False, use_gravity=False)
    assert make_sensor_factors(off, metric=True, gravity_aligned=True) == ()
    _, samples, _ = chain_of()
    reported = replace(samples[0], scale=OdometryScale(2.5, 0.001))
    assert scale_prior(reported, config, metric=True).sigma == LEAST_SCALE_SIGMA
    assert scale_prior(reported, config, metric=False) is NO_PRIOR
    assert scale_prior(samples[0], config, metric=True) is NO_PRIOR


def test_what_is_carried_on_from_a_fix_stays_upright_and_level():
    """By hand: 2 degrees and 0.2 m of drift, known to be as large as that, over a leg that the floor holds."""
    _, samples, _ = chain_of()
    start = StateEstimate(CameraState(SE3(np.eye(3), [0, 0, 1.0]), 0.0), 1e-8 * np.eye(7))
    leant = SE3(rotation_matrix([np.deg2rad(2.0), 0, 0]), [1.0, 0, 1.2])
    end = StateEstimate(CameraState(leant, 0.0), np.diag([0.04] * 3 + [1e-3] * 3 + [1e-4]))
    held = update_with_sensors(start, end, (samples[0], samples[1]), (PlanarMotionFactors(),))
    assert abs(held.state.map_from_camera.translation[2] - 1.0) < 0.02
    assert np.degrees(np.arccos(held.state.map_from_camera.rotation[2, 2])) < 0.3
    assert held.covariance[2, 2] < 1e-3
    np.testing.assert_allclose(held.covariance[0, 0], 0.04)
    assert update_with_sensors(start, end, (samples[0], samples[1]), (ScaleFactors(SENSORS),)) is end


GROUND = FusionScenario(rate_hz=8.0, duration_s=30.0, speed=0.5, anchor_period_s=1.0)


def ground_run(scenario, seed, straight=False):
    """A robot on level floor with its camera tilted down; nothing nods, unlike on the other simulated paths."""
    rng, count = np.random.default_rng(seed), int(scenario.duration_s * scenario.rate_hz)
    way = scenario.speed * np.arange(count) / scenario.rate_hz
    angles = np.zeros(count) if straight else way / 2.0
    positions = np.column_stack([2.0 * np.cos(angles), 2.0 * np.sin(angles), np.full(count, 0.8)])
    if straight:
        positions[:, 0] = way
    robots = Rotation.from_euler(
        "ZYX", np.column_stack([angles + np.pi / 2 * (not straight), np.full((count, 2), 0.1)])
    )
    rotations = robots.as_matrix() @ np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    stamps_ns = SECOND + np.round(np.arange(count) / scenario.rate_hz * SECOND).astype(np.int64)
    odometry = simulate_odometry(scenario, stamps_ns.tolist(), rotations, positions, np.zeros(count, dtype=bool), rng)
    seconds = (stamps_ns - SECOND) / SECOND
    seen = np.arange(2, count, round(scenario.anchor_period_s * scenario.rate_hz))
    for start, length in scenario.gaps:
        seen = seen[(seconds[seen] < start) | (seconds[seen] >= start + length)]
    arrivals = simulate_anchors(scenario, stamps_ns[seen], rotations[seen], positions[seen], rng)
    return FusionRun(
        stamps_ns.tolist(),
        [SE3(rotation, position) for rotation, position in zip(rotations, positions, strict=True)],
        odometry.results,
        [(arrival.stamp_ns, arrival.anchor) for arrival in arrivals],
        odometry.scales,
        frozenset(),
    )


def aided(run, scale=None, up_tilt_deg=None):
    """The run with sensors: the true scale times a factor, the true up tilted."""
    tilted = rotation_matrix([np.deg2rad(up_tilt_deg or 0.0), 0, 0]) @ UP
    odometry = []
    for result, true, metres in zip(run.odometry, run.truth, run.scales, strict=True):
        assert isinstance(result, OdometryPose)
        odom_from_map = result.odom_from_camera.rotation @ true.rotation.T
        odometry.append(
            replace(
                result,
                scale=None if scale is None else OdometryScale(metres * scale, 0.02),
                up_in_odom=None if up_tilt_deg is None else odom_from_map @ tilted,
            )
        )
    return replace(run, odometry=odometry)


def causal(run, config=None):
    return play(Fuser(config or FusionConfig(), metric=True, gravity_aligned=True), run)


def tilts_deg(run, poses):
    return np.array(
        [
            np.degrees(np.arccos(min(1.0, (pose.rotation @ true.rotation.T)[2, 2])))
            for pose, true in zip(poses, run.truth, strict=True)
            if pose is not None
        ]
    )


def smoothed(run, config=None):
    measurements = RecordedMeasurements()
    for result in [*run.odometry, *(anchor for _, anchor in run.anchors)]:
        measurements.add(result)
    return [pose.map_from_camera for pose in smooth(measurements, config or FusionConfig(), True, True).poses]


def test_the_floor_holds_height_and_tilt_where_anchors_are_missing():
    level = FusionConfig(sensors=SensorConfig(two_d_mode=True))
    heights, tilts = [], []
    for seed in range(2):
        run = ground_run(replace(GROUND, gaps=((10.0, 15.0),)), seed)
        for poses_of in (lambda r, c: [e.map_from_camera for e in causal(r, c)], smoothed):
            free, held = poses_of(run, FusionConfig()), poses_of(run, level)
            rise = [[abs(p.translation[2] - 0.8) for p in poses if p is not None] for poses in (free, held)]
            heights.append(np.percentile(rise[1], 95) / np.percentile(rise[0], 95))
            tilts.append(np.percentile(tilts_deg(run, held), 95) / np.percentile(tilts_deg(run, free), 95))
    assert np.median(heights) < 0.8
    assert np.median(tilts) < 0.8


def test_gravity_keeps_the_camera_upright():
    runs = [ground_run(replace(GROUND, anchor_period_s=4.0, rotation_drift_deg=1.0), seed) for seed in range(1, 5)]
    free = [np.median(tilts_deg(run, smoothed(run))) for run in runs]
    held = [np.median(tilts_deg(run, smoothed(aided(run, up_tilt_deg=0.2)))) for run in runs]
    assert np.mean(held) < 0.85 * np.mean(free)


def test_wheels_let_a_straight_and_short_way_be_a_start():
    """Three anchors over 0.5 m do not tell the scale to 7 %; wheels that know it do, and the pose is right at once."""
    run = ground_run(replace(GROUND, speed=0.12, anchor_period_s=1.5, duration_s=14.0), 3, straight=True)
    alone, with_wheels = causal(run), causal(aided(run, scale=1.0))
    first_alone, first_aided = (
        next((i for i, e in enumerate(estimates) if e.map_from_camera is not None), len(estimates))
        for estimates in (alone, with_wheels)
    )
    assert first_aided < first_alone
    assert np.median(position_errors(run, with_wheels)) < 0.06
    estimate = with_wheels[-1]
    assert estimate.scale == pytest.approx(run.scales[-1], rel=0.06)


@pytest.fixture(scope="module")
def unaided():
    """A run without sensors, its estimates, and its path in hindsight."""
    run = ground_run(GROUND, 4)
    return run, causal(run), smoothed(run)


@pytest.mark.parametrize("wrong", [{"scale": 1.4}, {"up_tilt_deg": 12.0}])
def test_a_wrong_sensor_does_not_spoil_the_fix(unaided, wrong):
    run, alone, path = unaided
    misled = causal(aided(run, **wrong))
    assert np.median(position_errors(run, misled)) < 1.1 * np.median(position_errors(run, alone))
    distances = [
        np.linalg.norm(a.translation - b.translation) for a, b in zip(path, smoothed(aided(run, **wrong)), strict=True)
    ]
    assert max(distances) < 0.01
