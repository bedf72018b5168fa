"""The Sim(3) group: axioms, exponential and logarithm against matrices, adjoint and Jacobian."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.linalg import expm

from visloc_ros.core.geometry import Sim3
from visloc_ros.core.similarities import Similarities, inverse_left_jacobians
from visloc_ros.core.tangent import skew

COUNT = 6
tangents = arrays(np.float64, (COUNT, 7), elements=st.floats(-1.5, 1.5, width=32))


def matrices(similarities):
    """Homogeneous matrices (N, 4, 4)."""
    result = np.tile(np.eye(4), (len(similarities), 1, 1))
    result[:, :3, :3] = similarities.scales[:, None, None] * similarities.rotations
    result[:, :3, 3] = similarities.translations
    return result


@settings(max_examples=50, deadline=None)
@given(tangents)
def test_the_exponential_is_that_of_matrices(xi):
    generators = np.zeros((COUNT, 4, 4))
    generators[:, :3, :3] = [skew(row[3:6]) + row[6] * np.eye(3) for row in xi]
    generators[:, :3, 3] = xi[:, :3]
    np.testing.assert_allclose(matrices(Similarities.exp(xi)), expm(generators), atol=1e-10)


@settings(max_examples=50, deadline=None)
@given(tangents)
def test_the_logarithm_undoes_the_exponential(xi):
    np.testing.assert_allclose(Similarities.exp(xi).log(), xi, atol=1e-9)


@pytest.mark.parametrize("angle", [0.0, 1e-300, 1e-9, 1e-4, np.pi - 1e-6])
@pytest.mark.parametrize("sigma", [0.0, 1e-12, -0.7])
def test_small_and_large_angles_and_scales_are_exact(angle, sigma):
    xi = np.array([[1.0, -2.0, 0.5, 0.6 * angle, 0.0, 0.8 * angle, sigma]])
    np.testing.assert_allclose(Similarities.exp(xi).log(), xi, atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(tangents, tangents, tangents)
def test_the_group_axioms_hold(a, b, c):
    a, b, c = Similarities.exp(a), Similarities.exp(b), Similarities.exp(c)
    np.testing.assert_allclose(matrices((a @ b) @ c), matrices(a @ (b @ c)), atol=1e-7)
    np.testing.assert_allclose(matrices(a @ a.inverse), np.tile(np.eye(4), (COUNT, 1, 1)), atol=1e-9)
    np.testing.assert_allclose(matrices(a @ b), matrices(a) @ matrices(b), atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(tangents, tangents)
def test_the_adjoint_carries_a_tangent_through(a, xi):
    a = Similarities.exp(a)
    carried = np.einsum("nij,nj->ni", a.adjoint(), xi)
    expected = matrices(a @ Similarities.exp(xi))
    np.testing.assert_allclose(matrices(Similarities.exp(carried) @ a), expected, atol=1e-6 * np.abs(expected).max())


@settings(max_examples=50, deadline=None)
@given(tangents)
def test_the_inverse_jacobian_is_the_derivative_of_the_logarithm(xi):
    step, base = 1e-6, Similarities.exp(xi)
    jacobian = inverse_left_jacobians(xi)
    for axis in range(7):
        small = np.zeros((COUNT, 7))
        small[:, axis] = step
        change = (Similarities.exp(small) @ base).log() - (Similarities.exp(-small) @ base).log()
        np.testing.assert_allclose(jacobian[:, :, axis], change / (2.0 * step), atol=1e-5)


def test_stacking_taking_and_single_members_agree():
    one = Sim3(2.0, np.eye(3), [1.0, 2.0, 3.0])
    stack = Similarities.concatenate(Similarities.stack(one, one.inverse), Similarities.exp(np.zeros((1, 7))))
    assert len(stack) == 3
    back = stack.take(np.array([1])).member(0)
    assert back.scale == 0.5
    np.testing.assert_allclose(back.translation, one.inverse.translation)
