"""Axioms of the group of rigid motions, and the tangent space at small and large angles."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import RigidTransform

from visloc_dpvo import lie

seeds = st.integers(0, 2**32 - 1)


def tangents(seed: int, count: int = 4, largest: float = 3.0) -> torch.Tensor:
    """Double precision tangents with rotations below ``largest``."""
    random = np.random.default_rng(seed)
    xi = random.normal(size=(count, 6))
    xi[:, 3:] *= random.uniform(0, largest, (count, 1)) / np.linalg.norm(xi[:, 3:], axis=1, keepdims=True)
    return torch.from_numpy(xi)


def as_scipy(pose: torch.Tensor) -> RigidTransform:
    from scipy.spatial.transform import Rotation

    return RigidTransform.from_components(pose[..., :3].numpy(), Rotation.from_quat(pose[..., 3:].numpy()))


def same(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-10) -> bool:
    """Whether poses agree; a quaternion and its negative are one rotation."""
    sign = torch.sign((a[..., 3:] * b[..., 3:]).sum(-1, keepdim=True))
    return torch.allclose(a, torch.cat((b[..., :3], sign * b[..., 3:]), -1), rtol=0, atol=tolerance)


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_group_axioms(seed):
    a, b, c = lie.exp(tangents(seed, 3))
    assert same(lie.compose(lie.compose(a, b), c), lie.compose(a, lie.compose(b, c)))
    one = lie.identity(dtype=torch.float64)
    assert same(lie.compose(a, one), a)
    assert same(lie.compose(one, a), a)
    assert same(lie.compose(a, lie.inverse(a)), one)
    assert same(lie.compose(lie.inverse(a), a), one)


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_agrees_with_scipy(seed):
    xi = tangents(seed)
    poses, rotation_first = lie.exp(xi), xi[:, [3, 4, 5, 0, 1, 2]].numpy()
    expected = RigidTransform.from_exp_coords(rotation_first)
    assert np.allclose(as_scipy(poses).as_matrix(), expected.as_matrix(), atol=1e-10)
    assert np.allclose(as_scipy(lie.compose(poses[0], poses[1])).as_matrix(), (expected[0] * expected[1]).as_matrix())
    assert np.allclose(lie.rotation(poses).numpy(), expected.rotation.as_matrix(), atol=1e-12)
    assert torch.allclose(lie.log(poses), xi, atol=1e-9)


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_points_move_as_the_composition_says(seed):
    a, b = lie.exp(tangents(seed, 2))
    points = torch.from_numpy(np.random.default_rng(seed).normal(size=(5, 4)))
    moved = lie.transform(lie.compose(a, b), points)
    assert torch.allclose(moved, lie.transform(a, lie.transform(b, points)), atol=1e-10)
    assert torch.equal(moved[:, 3], points[:, 3])
    direct = points[:, :3] @ lie.rotation(a).mT + a[:3] * points[:, 3:]
    assert torch.allclose(lie.transform(a, points)[:, :3], direct, atol=1e-12)


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_adjoint_moves_a_perturbation_to_the_other_side(seed):
    pose, xi = lie.exp(tangents(seed, 1)), tangents(seed + 1, 1)
    assert same(lie.compose(pose, lie.exp(xi)), lie.retract(pose, (lie.adjoint(pose) @ xi[..., None])[..., 0]), 1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-7, 1e-4, 1e-2, 0.0999, 0.1001, 1.0, 3.0, math.pi - 1e-3])
def test_exp_and_log_are_inverse_at_every_angle(angle, dtype):
    xi = torch.tensor([0.3, -2.0, 1.0, 0.48 * angle, -0.6 * angle, 0.64 * angle], dtype=dtype)
    tolerance = 1e-5 if dtype is torch.float32 else 1e-12
    back = lie.log(lie.exp(xi))
    assert torch.allclose(back, xi, rtol=0, atol=tolerance)
    expected = RigidTransform.from_exp_coords(xi[[3, 4, 5, 0, 1, 2]].double().numpy())
    assert np.allclose(as_scipy(lie.exp(xi).double()).as_matrix(), expected.as_matrix(), atol=tolerance)


def test_log_takes_the_short_way_round():
    pose = lie.exp(torch.tensor([1.0, 2.0, 3.0, 0.0, 0.5, 0.0], dtype=torch.float64))
    negative = torch.cat((pose[:3], -pose[3:]))
    assert torch.allclose(lie.log(negative), lie.log(pose))
    half_turn = torch.tensor([0.0, 0, 0, 0, 0, 1, 0], dtype=torch.float64)
    assert torch.allclose(lie.log(half_turn)[3:], torch.tensor([0, 0, math.pi], dtype=torch.float64))


def test_leading_dimensions_broadcast():
    poses = lie.exp(tangents(0, 6)).view(2, 3, 7)
    one, points = poses[0, 0], torch.ones(3, 4, dtype=torch.float64)
    assert lie.compose(poses[:, None], one).shape == (2, 1, 3, 7)
    assert lie.transform(poses, points).shape == (2, 3, 4)
    assert lie.adjoint(poses).shape == (2, 3, 6, 6)
    assert torch.equal(lie.compose(poses, poses[:1])[1, 2], lie.compose(poses[1, 2], poses[0, 2]))


def test_a_quaternion_off_the_unit_sphere_is_normalised_when_read():
    a, b = lie.exp(tangents(1, 2))
    scaled = torch.cat((a[:3], 1.01 * a[3:]))
    assert same(lie.compose(scaled, b), lie.compose(a, b))
    assert same(lie.inverse(scaled), lie.inverse(a))
    assert torch.allclose(lie.adjoint(scaled), lie.adjoint(a))
