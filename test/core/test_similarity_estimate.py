"""Similarities with covariances: against samples of their errors, and against the axioms of a group."""

import numpy as np
import pytest

from visloc_ros.core.geometry import SE3, Sim3, rotation_matrix, rotation_vector
from visloc_ros.core.similarity_estimate import SimilarityEstimate
from visloc_ros.core.tangent import perturbed_similarity, pose_difference

SAMPLES = 4000


def estimate(seed, size=1e-4):
    rng = np.random.default_rng(seed)
    root = size * (np.eye(7) + 0.3 * rng.normal(size=(7, 7)))
    known = Sim3(np.exp(rng.normal(0.0, 0.5)), rotation_matrix(rng.normal(size=3)), 3.0 * rng.normal(size=3))
    return SimilarityEstimate(known, root @ root.T)


def samples(one, seed=9):
    errors = np.random.default_rng(seed).multivariate_normal(np.zeros(7), one.covariance, SAMPLES)
    return [perturbed_similarity(one.a_from_b, error) for error in errors]


def differences(sampled, known):
    turns = [rotation_vector(one.rotation @ known.rotation.T) for one in sampled]
    moves = [one.translation - known.translation for one in sampled]
    stretches = [one.scale / known.scale for one in sampled]
    return np.column_stack([moves, turns, np.log(stretches)])


def assert_covers(covariance, errors):
    """The covariance of the errors in the axes in which they should be of one variance."""
    root = np.linalg.cholesky(covariance)
    whitened = np.linalg.solve(root, errors.T)
    assert np.cov(whitened) == pytest.approx(np.eye(len(root)), abs=0.12)


def test_the_inverse():
    one = estimate(1)
    assert_covers(one.inverse.covariance, differences([each.inverse for each in samples(one)], one.inverse.a_from_b))
    assert one.inverse.inverse.covariance == pytest.approx(one.covariance, abs=1e-12)


def test_one_after_the_other():
    one, other = estimate(2), estimate(3)
    both = [first @ second for first, second in zip(samples(one), samples(other, 10), strict=True)]
    assert_covers((one @ other).covariance, differences(both, (one @ other).a_from_b))


def test_a_pose_that_it_moves():
    one, pose = estimate(4), SE3(rotation_matrix([0.3, -1.0, 0.2]), np.array([4.0, -2.0, 1.0]))
    moved = one.a_from_b.apply_to_pose(pose)
    errors = np.array([pose_difference(each.apply_to_pose(pose), moved) for each in samples(one)])
    assert_covers(one.of_pose(moved), errors)


def test_two_estimates_differ_by_their_covariances():
    one = estimate(5)
    others = [SimilarityEstimate(each, np.zeros((7, 7))) for each in samples(one)]
    distances = [one.squared_distance(other) for other in others]
    assert np.mean(distances) == pytest.approx(7.0, rel=0.05)
    assert one.squared_distance(one) == 0.0
