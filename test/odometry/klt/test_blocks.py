import numpy as np
import pytest

from visloc_ros.odometry.klt.blocks import back_substitute, cholesky, damped, forward_substitute


@pytest.fixture
def blocks():
    factors = np.random.default_rng(0).normal(size=(20, 3, 3))
    return np.moveaxis(factors @ factors.transpose(0, 2, 1) + 0.1 * np.eye(3), 0, -1)


def test_factors_are_those_of_numpy(blocks):
    expected = np.linalg.cholesky(np.moveaxis(blocks, -1, 0))
    np.testing.assert_allclose(np.moveaxis(cholesky(blocks), -1, 0), expected, atol=1e-12)


def test_substituting_forwards_and_back_solves_the_blocks(blocks):
    right = np.random.default_rng(1).normal(size=(2, 3, 20))
    factor = cholesky(blocks)
    found = back_substitute(factor, forward_substitute(factor, right))
    np.testing.assert_allclose(np.einsum("ijl,mjl->mil", blocks, found), right, atol=1e-10)


def test_damping_raises_the_diagonal_only(blocks):
    raised = damped(blocks, 0.5)
    diagonal = np.arange(3)
    np.testing.assert_allclose(raised[diagonal, diagonal], 1.5 * blocks[diagonal, diagonal], atol=1e-8)
    np.testing.assert_array_equal(raised[0, 1], blocks[0, 1])


def test_a_block_without_any_curvature_still_has_a_finite_factor():
    factor = cholesky(damped(np.zeros((3, 3, 2)), 0.0))
    assert np.all(np.isfinite(forward_substitute(factor, np.ones((1, 3, 2)))))
