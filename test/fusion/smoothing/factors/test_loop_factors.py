"""Loops that odometry closes: what they tell where there are no anchors, and what must not be believed."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from testing.fusion_replay import largest_odom_jump, play, pose_errors
from testing.fusion_runs import simulate_run
from testing.fusion_scenario import FusionScenario
from visloc_ros.core.geometry import SE3, Sim3, rotation_matrix
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import ACCEPTED, LoopClosure, Reason
from visloc_ros.fusion import Fuser, FusionConfig, RecordedMeasurements, smooth
from visloc_ros.fusion.input_checks import is_valid_loop
from visloc_ros.fusion.smoothing.factors.relative_motion import LoopFactors
from visloc_ros.fusion.smoothing.states import States

ROUND = FusionScenario(
    path="circle", duration_s=50.0, rate_hz=5.0, gaps=((12.0, 1000.0),), rotation_drift_deg=1.0, scale_drift=0.02
)
"""Two rounds, anchors only at the beginning of the first."""
SEEDS = range(2)
WITH_LOOPS = replace(ROUND, loop_period_s=2.0)
SIGMAS = np.array([0.01, 0.01, 0.01, 0.005, 0.005, 0.005, 0.01])


def random_states(rng, count):
    return States(
        rng.normal(size=(count, 3)), rotation_matrix(rng.normal(size=(count, 3))), 0.3 * rng.normal(size=count)
    )


def loop_between(states, earlier, later):
    """The loop that fits two states exactly; stamps are their numbers."""
    first, second = states[earlier], states[later]
    relative = first.map_from_camera.inverse @ second.map_from_camera
    similarity = Sim3(second.scale / first.scale, relative.rotation, relative.translation / first.scale)
    return LoopClosure(earlier, later, similarity, np.diag(SIGMAS**2))


def smoothed_errors(run, loops):
    measurements = RecordedMeasurements()
    for result in (*run.odometry, *(anchor for _, anchor in run.anchors), *loops):
        measurements.add(result)
    found = {pose.stamp_ns: pose.map_from_camera for pose in smooth(measurements, FusionConfig()).poses}
    return np.array(
        [
            np.linalg.norm(found[stamp_ns].translation - true.translation)
            for stamp_ns, true in zip(run.stamps_ns, run.truth, strict=True)
        ]
    )


def fused_errors(run):
    fuser = Fuser(FusionConfig(), metric=True)
    estimates = play(fuser, run)
    return fuser, estimates, np.linalg.norm(pose_errors(run, estimates)[:, :3], axis=1)


@cache
def around(seed, false_share=0.0):
    """A run with loops; all else in it is the same for each share of false ones."""
    return simulate_run(replace(WITH_LOOPS, false_loop_share=false_share), seed)


def without_loops(seed):
    return replace(around(seed), loops=())


@cache
def fused_with_loops(seed, false_share=0.0):
    return fused_errors(around(seed, false_share))


@cache
def fused_without_loops(seed):
    return fused_errors(without_loops(seed))


@cache
def smoothed_without_loops(seed):
    return smoothed_errors(without_loops(seed), ())


def test_a_loop_that_fits_has_no_residual_and_its_slopes_are_right():
    rng = np.random.default_rng(0)
    states, step = random_states(rng, 4), 1e-6
    loops = LoopFactors.of([loop_between(states, 0, 3), loop_between(states, 1, 2)], {row: row for row in range(4)})
    factors = loops.linearise(states)
    np.testing.assert_allclose(factors.residuals, 0.0, atol=1e-9)
    for state, element in ((0, 1), (0, 4), (0, 6), (3, 0), (3, 5), (3, 6)):
        errors = np.zeros((4, 7))
        errors[state, element] = step
        slope = -loops.linearise(states.plus(errors)).residuals[0] / step
        jacobian = factors.jacobians[0] if state == 0 else factors.second_jacobians[0]
        np.testing.assert_allclose(jacobian[:, element], slope, atol=1e-5)


def test_a_loop_is_only_as_sure_as_its_covariance_in_map_units():
    states = States(np.zeros((2, 3)), np.tile(np.eye(3), (2, 1, 1)), np.log([2.0, 2.0]))
    factors = LoopFactors.of([loop_between(states, 0, 1)], {0: 0, 1: 1}).linearise(states)
    sigmas = np.sqrt(np.diag(np.linalg.inv(factors.information[0])))
    np.testing.assert_allclose(sigmas, SIGMAS * np.repeat([2.0, 1.0], [3, 4]))


def test_loops_without_a_state_at_either_end_are_left_out():
    states = random_states(np.random.default_rng(1), 2)
    assert LoopFactors.of([loop_between(states, 0, 1)], {0: 0}) is None


@pytest.mark.parametrize("false_share", [0.0, 0.2])
def test_the_end_of_a_round_without_anchors_is_found_again(false_share):
    """The error at the end of the path falls; of loops to another place it does not rise."""
    runs = [around(seed, false_share) for seed in SEEDS]
    alone = np.array([smoothed_without_loops(seed) for seed in SEEDS])
    closed = np.array([smoothed_errors(run, run.loops) for run in runs])
    assert closed[:, -1].mean() < 0.3 * alone[:, -1].mean()
    assert np.median(closed) < 0.4 * np.median(alone)


@pytest.mark.parametrize("false_share", [0.0, 0.3])
def test_loops_hold_the_pose_while_it_is_made(false_share):
    closed, alone = [], []
    for seed in SEEDS:
        fuser, _, errors = fused_with_loops(seed, false_share)
        closed.append(errors[-100:])
        alone.append(fused_without_loops(seed)[2][-100:])
        assert fuser.loop_counts["ACCEPTED"] > 5
        assert (fuser.loop_counts.get("ODOMETRY_DISAGREES", 0) > 0) == (false_share > 0.0)
    assert np.median(closed) < 0.4 * np.median(alone)


def test_the_way_around_a_loop_brings_no_drift():
    """Two rounds of 12.6 m are too far to trust odometry; back where the anchors were they are one short way."""
    _, estimates, _ = fused_with_loops(0)
    _, alone, _ = fused_without_loops(0)
    assert alone[-1].distance_since_fix > 20.0
    assert estimates[-1].distance_since_fix < 14.0
    assert (alone[-1].state.value, estimates[-1].state.value) == ("LOST", "DEGRADED")


def test_a_closed_loop_moves_the_map_and_not_the_odometry():
    """``odom_from_camera`` goes on as odometry says; the correction is slewed in ``map_from_odom``."""
    _, estimates, _ = fused_with_loops(1)
    assert largest_odom_jump(around(1), estimates) < 1e-9


def test_loops_are_forgotten_with_the_anchors_before_them():
    """With anchors all the time the window moves on, and nothing but anchors stays in it."""
    run = simulate_run(replace(WITH_LOOPS, gaps=(), loop_gap_s=3.0, path="stop_and_go"), 2)
    fuser, _, errors = fused_errors(run)
    _, _, alone = fused_errors(replace(run, loops=()))
    assert fuser.loop_counts["ACCEPTED"] > 5
    assert np.nanmedian(errors) < 1.1 * np.nanmedian(alone)


def test_what_cannot_be_joined_is_refused_with_its_reason():
    run = simulate_run(WITH_LOOPS, 0)
    fuser = Fuser(FusionConfig(), metric=True)
    good = run.loops[-1]
    for odometry in run.odometry:
        fuser.add_odometry(odometry)
    assert fuser.add_loop(good).reason is Reason.STALE  # there is no fix that it could hold
    play(fuser := Fuser(FusionConfig(), metric=True), replace(run, loops=()))
    future = good.later_ns + 10 * NANOSECONDS
    assert fuser.add_loop(replace(good, later_ns=future)).reason is Reason.NO_TRANSFORM
    assert fuser.add_loop(replace(good, earlier_ns=run.stamps_ns[0])).reason is Reason.STALE  # before all anchors
    backward = replace(good, earlier_ns=good.later_ns, later_ns=good.earlier_ns)
    assert fuser.add_loop(backward).reason is Reason.BAD_MESSAGE
    away = Sim3(1.0, np.eye(3), np.array([50.0, 0.0, 0.0]))
    assert fuser.add_loop(replace(good, earlier_from_later=away)).reason is Reason.ODOMETRY_DISAGREES
    assert fuser.add_loop(good) is ACCEPTED
    assert fuser.loop_counts == {
        "NO_TRANSFORM": 1,
        "STALE": 1,
        "BAD_MESSAGE": 1,
        "ODOMETRY_DISAGREES": 1,
        "ACCEPTED": 1,
    }


def test_a_loop_needs_a_similarity_and_a_positive_covariance():
    good = LoopClosure(1, 2, Sim3.from_se3(SE3.identity()), np.eye(7))
    assert is_valid_loop(good)
    assert not is_valid_loop(replace(good, later_ns=1))
    assert not is_valid_loop(replace(good, covariance=np.eye(6)))
    assert not is_valid_loop(replace(good, covariance=np.diag([1.0] * 6 + [0.0])))
    assert not is_valid_loop(replace(good, covariance=np.full((7, 7), np.nan)))
    assert not is_valid_loop(replace(good, earlier_from_later=Sim3(0.0, np.eye(3), np.zeros(3))))
    assert not is_valid_loop(replace(good, earlier_from_later=Sim3(1.0, 2.0 * np.eye(3), np.zeros(3))))
