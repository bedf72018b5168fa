"""Errors of poses and what becomes of them: against the group's own operations, by differences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visloc_ros.core.geometry import SE3, Sim3, rotation_matrix
from visloc_ros.core.tangent import (
    axes_jacobian,
    inverse_jacobian,
    lever_jacobian,
    move_covariance,
    perturbed,
    perturbed_similarity,
    pose_difference,
    pose_differences,
    skew,
    turn_covariance,
)

STEP = 1e-6
numbers = st.floats(-2.0, 2.0)
vectors = st.tuples(numbers, numbers, numbers).map(np.array)
errors = st.tuples(*[st.floats(-1.0, 1.0)] * 6).map(np.array)


@st.composite
def poses(draw):
    return SE3(rotation_matrix(draw(vectors)), draw(vectors))


def derivative(function, pose):
    """What errors of a pose do to the pose that a function makes of it (6, 6)."""
    steps = STEP * np.eye(6)
    ends = [(function(perturbed(pose, step)), function(perturbed(pose, -step))) for step in steps]
    return np.array([pose_difference(*pair) for pair in ends]).T / (2.0 * STEP)


@given(vectors, vectors)
def test_skew_is_the_cross_product_singly_and_in_stacks(a, b):
    assert np.allclose(skew(a) @ b, np.cross(a, b))
    assert np.array_equal(skew([[a, b]])[0, 1], skew(b))


@given(poses(), errors)
def test_the_difference_to_a_perturbed_pose_is_the_error(pose, error):
    assert np.allclose(pose_difference(perturbed(pose, error), pose), error, atol=1e-9)


@given(poses(), poses(), poses())
def test_stacks_of_poses_differ_as_single_ones_do(a, b, c):
    found = pose_differences(
        np.array([a.translation, b.translation]), np.array([a.rotation, b.rotation]), c.translation, c.rotation
    )
    assert np.allclose(found, [pose_difference(a, c), pose_difference(b, c)])


@given(poses(), vectors)
def test_an_error_appears_at_the_end_of_a_lever(pose, lever):
    """The lever is about the parent's axes: the other frame of the body is where they put it."""
    there = SE3(np.eye(3), pose.rotation.T @ lever)
    assert np.allclose(derivative(lambda one: one @ there, pose), lever_jacobian(lever), atol=1e-6)


@given(poses(), vectors)
def test_an_error_appears_about_other_axes(pose, vector):
    other = SE3(rotation_matrix(vector), np.array([1.0, -2.0, 0.5]))
    assert np.allclose(derivative(lambda one: other @ one, pose), axes_jacobian(other.rotation), atol=1e-6)


@given(poses())
def test_a_step_from_the_left_moves_the_inverse(pose):
    columns = []
    for step in STEP * np.eye(6):
        forward, backward = (SE3(rotation_matrix(one[:3]), one[3:]) @ pose for one in (step, -step))
        columns.append(pose_difference(forward.inverse, backward.inverse) / (2.0 * STEP))
    assert np.allclose(np.array(columns).T, inverse_jacobian(pose.rotation), atol=1e-6)


def test_covariances_move_along_a_lever_as_errors_do():
    rng = np.random.default_rng(0)
    covariance, lever = np.diag([1e-6, 2e-6, 3e-6, 1e-4, 2e-4, 3e-4]), np.array([0.3, -0.8, 0.5])
    sampled_errors = rng.multivariate_normal(np.zeros(6), covariance, size=20_000)
    ends = sampled_errors[:, :3] + np.einsum("nij,j->ni", rotation_matrix(sampled_errors[:, 3:]), lever)
    sampled = np.cov(np.hstack([ends, sampled_errors[:, 3:]]).T)
    np.testing.assert_allclose(move_covariance(covariance, lever), sampled, atol=5e-6)


@pytest.mark.parametrize("count", [1, 4])
def test_covariances_move_and_turn_in_stacks(count):
    rng = np.random.default_rng(count)
    levers, rotations = rng.normal(size=(count, 3)), rotation_matrix(rng.normal(size=(count, 3)))
    factors = rng.normal(size=(count, 6, 6))
    covariances = factors @ np.swapaxes(factors, 1, 2)
    for row in range(count):
        assert np.allclose(move_covariance(covariances, levers)[row], move_covariance(covariances[row], levers[row]))
        turned = turn_covariance(covariances[row], rotations[row])
        assert np.allclose(turn_covariance(covariances, rotations)[row], turned)
        assert np.allclose(turn_covariance(turned, rotations[row].T), covariances[row])


def test_a_similarity_errs_as_its_pose_and_by_its_scale():
    similarity = Sim3(2.0, rotation_matrix([0.1, 0.2, 0.3]), np.array([1.0, 2.0, 3.0]))
    error = np.array([0.1, 0.0, -0.2, 0.02, 0.03, -0.01, 0.5])
    off = perturbed_similarity(similarity, error)
    pose = SE3(similarity.rotation, similarity.translation)
    assert np.allclose(pose_difference(SE3(off.rotation, off.translation), pose), error[:6])
    assert off.scale == pytest.approx(2.0 * np.exp(0.5))
