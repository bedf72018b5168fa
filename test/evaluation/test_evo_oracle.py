"""Errors are those that evo prints, to its last digit, on a dozen trajectories and for all of its alignments."""

import copy
from functools import cache

import numpy as np
import pytest

pytest.importorskip("evo", reason="evo 1.38 needs Python 3.11")
from evo.core import metrics, sync
from evo.core.trajectory import PoseTrajectory3D

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.evaluation import PairSelection, evaluate_trajectories
from visloc_ros.evaluation.metrics import Statistics

STATISTICS = ("rmse", "mean", "median", "std", "min", "max", "sse")
POSITION, ROTATION = metrics.PoseRelation.translation_part, metrics.PoseRelation.rotation_angle_deg
UNITS = {"f": metrics.Unit.frames, "m": metrics.Unit.meters, "d": metrics.Unit.degrees, "r": metrics.Unit.radians}
ALIGNMENTS = {
    "none": {},
    "scale": {"correct_only_scale": True},
    "se3": {},
    "sim3": {"correct_scale": True},
}


def hand_held(times, rng):
    """A room walked through, the camera turned about all axes."""
    positions = np.column_stack([2 * np.sin(0.5 * times), 1.5 * np.cos(0.3 * times), 0.2 * np.sin(2 * times)])
    turns = np.column_stack([0.5 * np.sin(times), 0.4 * times, 0.3 * np.cos(0.7 * times)])
    return positions, turns


def flight(times, rng):
    positions = np.column_stack([np.cos(times), np.sin(times), 0.3 * times])
    return positions, np.column_stack([0 * times, 0 * times, times])


def drive(times, rng):
    """Straight but for two centimetres."""
    return np.column_stack([0.02 * np.sin(times), 0 * times, 8.0 * times]), 0.01 * np.sin(times)[:, None] * np.ones(3)


def floor(times, rng):
    return np.column_stack([times, np.sin(times), 0 * times]), np.outer(np.sin(times), [0.0, 0.0, 1.0])


def still(times, rng):
    return 1e-3 * rng.normal(size=(len(times), 3)), 1e-3 * rng.normal(size=(len(times), 3))


def turning(times, rng):
    return 0.05 * np.column_stack([np.sin(times), np.cos(times), 0 * times]), np.outer(times, [0.2, 1.0, 0.1])


PATHS = (hand_held, flight, drive, floor, still, turning)


def trajectory(path, times, rng, noise=(0.0, 0.0), scale=1.0):
    positions, turns = path(times, rng)
    positions = scale * (positions + rng.normal(0, noise[0], positions.shape).cumsum(axis=0))
    turns = turns + rng.normal(0, noise[1], turns.shape)
    poses = [SE3(rotation_matrix(turn), position) for turn, position in zip(turns, positions, strict=True)]
    return Trajectory(np.round(times * NANOSECONDS).astype(np.int64), tuple(poses))


def moved(trajectory, rng):
    by = SE3(rotation_matrix(rng.normal(size=3)), rng.normal(0, 5, 3))
    return Trajectory(trajectory.stamps_ns, tuple(by @ pose for pose in trajectory.poses))


def pairs_of_trajectories():
    """A dozen estimates with their truths: each path at the truth's own stamps, and at another rate, begin and end."""
    for seed, path in enumerate(PATHS):
        rng = np.random.default_rng(seed)
        times = np.arange(0.0, 12.0, 0.1)
        truth = trajectory(path, times, rng)
        yield f"{path.__name__}, same stamps", moved(trajectory(path, times, rng, (0.003, 0.01), 0.4), rng), truth
        dense = np.arange(2.003, 15.0, 0.025) if seed % 2 else np.arange(0.001, 10.0, 0.15)
        yield f"{path.__name__}, other stamps", moved(trajectory(path, dense, rng, (0.003, 0.01), 2.5), rng), truth


CASES = {name: (estimate, truth) for name, estimate, truth in pairs_of_trajectories()}


def of_evo(trajectory):
    quaternions = np.array([pose.quaternion for pose in trajectory.poses])
    return PoseTrajectory3D(trajectory.positions, quaternions, trajectory.stamps_ns / NANOSECONDS)


@cache
def evo_pair(name, align, n_to_align=None):
    estimate, truth = CASES[name]
    reference, estimated = sync.associate_trajectories(of_evo(truth), of_evo(estimate), max_diff=0.01)
    estimated = copy.deepcopy(estimated)
    if align == "origin":
        estimated.align_origin(reference)
    elif align != "none":
        estimated.align(reference, **ALIGNMENTS[align], n=n_to_align or -1)
    return reference, estimated


def evo_statistics(metric, pair):
    metric.process_data(pair)
    return metric.get_all_statistics()


def assert_same(found, expected):
    assert isinstance(found, Statistics)
    values = {name: getattr(found, name) for name in STATISTICS}
    assert values == pytest.approx({name: expected[name] for name in STATISTICS}, rel=1e-6, abs=2e-6)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("align", ["none", "origin", "scale", "se3", "sim3"])
def test_absolute_errors_are_those_of_evo(name, align):
    estimate, truth = CASES[name]
    pair = evo_pair(name, align)
    errors = evaluate_trajectories(estimate, truth, align)
    assert errors.num_matched == pair[0].num_poses
    assert_same(errors.position_error_m, evo_statistics(metrics.APE(POSITION), pair))
    assert_same(errors.rotation_error_deg, evo_statistics(metrics.APE(ROTATION), pair))


@pytest.mark.parametrize("name", CASES)
def test_an_alignment_by_the_first_poses_is_evos(name):
    estimate, truth = CASES[name]
    errors = evaluate_trajectories(estimate, truth, "sim3", n_to_align=20)
    assert_same(errors.position_error_m, evo_statistics(metrics.APE(POSITION), evo_pair(name, "sim3", 20)))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    ("delta", "unit", "all_pairs"),
    [
        *((1, "f", False), (7, "f", False), (7, "f", True), (0.5, "m", False), (0.5, "m", True)),
        *((10.0, "d", False), (10.0, "d", True), (0.2, "r", False)),
    ],
)
def test_relative_errors_are_those_of_evo(name, delta, unit, all_pairs):
    estimate, truth = CASES[name]
    selection = PairSelection(delta, unit, all_pairs)
    errors = evaluate_trajectories(estimate, truth, "sim3", pair_selection=selection)
    pair = evo_pair(name, "sim3")
    try:
        position, rotation = (
            evo_statistics(metrics.RPE(relation, delta, UNITS[unit], all_pairs=all_pairs), pair)
            for relation in (POSITION, ROTATION)
        )
    except metrics.filters.FilterException:  # no pairs at all
        assert errors.relative_position_error_m is None
        return
    assert_same(errors.relative_position_error_m, position)
    assert_same(errors.relative_rotation_error_deg, rotation)
