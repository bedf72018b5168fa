"""Two trajectories compared: alignments recovered, statistics by hand, every refusal in words."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_run import walk

from visloc_ros.core.errors import ConfigError, SourceError
from visloc_ros.core.geometry import SE3, Sim3, rotation_matrix
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.evaluation import PairSelection
from visloc_ros.evaluation.trajectories import evaluate_trajectories

vectors = st.lists(st.floats(-3.0, 3.0), min_size=3, max_size=3)


def moved(trajectory, similarity):
    return Trajectory(trajectory.stamps_ns, tuple(similarity.apply_to_pose(pose) for pose in trajectory.poses))


@settings(max_examples=30, deadline=None)
@given(vectors, vectors, st.floats(0.05, 20.0))
def test_sim3_alignment_undoes_any_similarity(axis, translation, scale):
    truth_from_estimate = Sim3(scale, rotation_matrix(axis), translation)
    errors = evaluate_trajectories(moved(walk(60), truth_from_estimate.inverse), walk(60), "sim3")
    assert errors.position_error_m.max < 1e-9
    assert errors.rotation_error_deg.max < 1e-5
    assert errors.truth_from_estimate.scale == pytest.approx(scale)


@settings(max_examples=30, deadline=None)
@given(vectors, vectors)
def test_se3_alignment_undoes_any_motion_but_keeps_the_scale(axis, translation):
    rigid = Sim3(1.0, rotation_matrix(axis), translation)
    assert evaluate_trajectories(moved(walk(60), rigid), walk(60), "se3").position_error_m.max < 1e-9
    doubled = evaluate_trajectories(moved(walk(60), Sim3(2.0, rigid.rotation, translation)), walk(60), "se3")
    assert doubled.truth_from_estimate.scale == 1.0
    assert doubled.position_error_m.rmse > 1.0


def test_without_alignment_the_offset_is_the_error():
    shifted = moved(walk(60), Sim3(1.0, rotation_matrix([0.0, 0.0, np.radians(2.0)]), [0.0, 0.0, 0.0]))
    errors = evaluate_trajectories(shifted, walk(60))
    assert errors.rotation_error_deg.median == pytest.approx(2.0)
    radii = np.linalg.norm(walk(60).positions[:, :2], axis=1)
    assert errors.position_error_m.max == pytest.approx(2 * np.sin(np.radians(1.0)) * radii.max())
    assert errors.relative_position_error_m.max < 1e-9  # a constant offset is no drift


def test_on_a_straight_line_the_errors_by_orientations_stand_beside():
    """Positions on a line leave the turn about it open: 1 mm of noise decides it."""
    random = np.random.default_rng(2)
    poses = tuple(SE3(rotation_matrix([0.1, 0.2, 0.3]), [0.1 * i, 0.0, 0.0]) for i in range(100))
    truth = Trajectory(np.arange(100) * 33_000_000, poses)
    truth_from_estimate = Sim3(2.5, rotation_matrix([0.4, -1.0, 0.7]), [1.0, 2.0, 3.0])
    noisy = tuple(SE3(p.rotation, p.translation + random.normal(0, 1e-3, 3)) for p in poses)
    estimate = moved(Trajectory(truth.stamps_ns, noisy), truth_from_estimate.inverse)
    errors = evaluate_trajectories(estimate, truth, "sim3")
    assert errors.truth_from_estimate.scale == pytest.approx(2.5, rel=1e-3)
    assert errors.rotation_error_deg.min > 1.0
    assert errors.position_error_m.max < 6e-3
    position, rotation = errors.by_orientations
    assert rotation.max < 1e-5
    assert errors.position_error_m.rmse < position.rmse < 6e-3
    assert evaluate_trajectories(estimate, truth).by_orientations is None


def test_recall_is_over_all_true_poses_and_over_the_matched_ones():
    """Half of the truth has no estimate, so nothing can exceed 50 % of all."""
    truth = walk(100)
    half = Trajectory(truth.stamps_ns[:50], truth.poses[:50])
    errors = evaluate_trajectories(half, truth)
    assert (errors.num_estimates, errors.num_truths, errors.num_matched) == (50, 100, 50)
    assert [row.percent for row in errors.recall] == [50.0] * 4
    assert [row.percent for row in errors.recall_of_matched] == [100.0] * 4


def test_relative_error_over_metres_grows_with_the_scale_error():
    stretched = moved(walk(400), Sim3(1.05, np.eye(3), np.zeros(3)))
    errors = evaluate_trajectories(stretched, walk(400), pair_selection=PairSelection(0.5, "m", all_pairs=True))
    assert errors.relative_position_error_m.median == pytest.approx(0.05 * 0.5, rel=0.1)


def test_unknown_alignment_lists_the_known_ones():
    with pytest.raises(ConfigError, match="none, origin, scale, se3, sim3"):
        evaluate_trajectories(walk(10), walk(10), "affine")


def test_two_poses_cannot_be_aligned():
    with pytest.raises(SourceError, match="too few to align"):
        evaluate_trajectories(walk(2), walk(2), "se3")
    assert evaluate_trajectories(walk(2), walk(2), "none").position_error_m.max == 0.0


def test_an_estimate_that_stands_still_cannot_be_aligned():
    truth = walk(30)
    still = Trajectory(truth.stamps_ns, (truth.poses[0],) * 30)
    with pytest.raises(SourceError, match="does not move"):
        evaluate_trajectories(still, truth, "sim3")


def test_covariances_of_other_stamps_are_refused():
    with pytest.raises(SourceError, match="no covariance has the stamp of a matched pose"):
        evaluate_trajectories(walk(10), walk(10), covariances={-1: np.eye(6)})
