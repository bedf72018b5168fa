"""Rigid motions as rows of seven numbers, batched in torch.

A pose is (tx ty tz qx qy qz qw), quaternion scalar last; a tangent is (translation, rotation), perturbing from the
left: ``exp(xi)`` of (..., 6) is V(phi) tau and the rotation by phi. Leading dimensions broadcast. Quaternions are
normalised wherever they are read, so a stored pose may drift off the unit sphere without harm.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

POSE_SIZE, TANGENT_SIZE = 7, 6
_SERIES_BELOW = 0.01  # squared angle under which the series is exact to double precision and the quotients are not
_TINY = 1e-20


def identity(*shape: int, device: torch.device | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """Identity poses (*shape, 7)."""
    poses = torch.zeros(*shape, POSE_SIZE, device=device, dtype=dtype)
    poses[..., 6] = 1.0
    return poses


def exp(xi: Tensor) -> Tensor:
    """Pose (..., 7) of a tangent (..., 6)."""
    tau, phi = xi[..., :3], xi[..., 3:]
    squared = phi.square().sum(-1, keepdim=True)
    angle = squared.clamp(min=_TINY).sqrt()
    half = 0.5 * angle
    vector = torch.where(squared < _SERIES_BELOW, _sine_quotient_series(squared), half.sin() / angle) * phi
    return torch.cat((_left_jacobian_times(phi, squared, tau), vector, half.cos()), -1)


def log(pose: Tensor) -> Tensor:
    """Tangent (..., 6) of a pose (..., 7), with a rotation of at most pi."""
    vector, scalar = _vector_and_scalar(_unit_quaternion(pose))
    squared_sine = vector.square().sum(-1, keepdim=True)
    sine = squared_sine.clamp(min=_TINY).sqrt()
    series = (2.0 - (2.0 / 3.0) * squared_sine / scalar.square()) / scalar
    quotient = torch.where(squared_sine < 1e-8, series, 2.0 * torch.atan(sine / scalar) / sine)
    phi = quotient * vector
    return torch.cat((_inverse_left_jacobian_times(phi, pose[..., :3]), phi), -1)


def compose(a: Tensor, b: Tensor) -> Tensor:
    """Pose ``a @ b``: first ``b``, then ``a``."""
    a_quaternion = _unit_quaternion(a)
    translation = a[..., :3] + _rotate(a_quaternion, b[..., :3])
    return torch.cat((translation, _multiply(a_quaternion, _unit_quaternion(b))), -1)


def inverse(a: Tensor) -> Tensor:
    """The opposite motion."""
    vector, scalar = _vector_and_scalar(_unit_quaternion(a))
    conjugate = torch.cat((-vector, scalar), -1)
    return torch.cat((-_rotate(conjugate, a[..., :3]), conjugate), -1)


def transform(pose: Tensor, points: Tensor) -> Tensor:
    """Homogeneous points (..., 4) moved: R X + t w, and the fourth entry w stays."""
    moved = _rotate(_unit_quaternion(pose), points[..., :3]) + pose[..., :3] * points[..., 3:]
    return torch.cat((moved, points[..., 3:].expand(*moved.shape[:-1], 1)), -1)


def rotation(pose: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3)."""
    quaternion = _unit_quaternion(pose)
    if pose.is_cuda:  # two kernels instead of forty
        products = (quaternion[..., :, None] * quaternion[..., None, :]).flatten(-2)
        rotations: Tensor = products @ _rotation_of_products(pose.device, pose.dtype)
        return rotations.view(*pose.shape[:-1], 3, 3)
    x, y, z, w = quaternion.unbind(-1)
    rows = (
        *(1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        *(2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        *(2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack(rows, -1).view(*pose.shape[:-1], 3, 3)


def adjoint(pose: Tensor) -> Tensor:
    """Matrices (..., 6, 6) with ``pose @ exp(xi) == exp(adjoint(pose) xi) @ pose``."""
    turn = rotation(pose)
    result = turn.new_zeros(*turn.shape[:-2], TANGENT_SIZE, TANGENT_SIZE)
    result[..., :3, :3] = result[..., 3:, 3:] = turn
    result[..., :3, 3:] = torch.linalg.cross(pose[..., :3, None], turn, dim=-2)
    return result


def retract(pose: Tensor, xi: Tensor) -> Tensor:
    """Pose perturbed from the left: ``exp(xi) @ pose``."""
    return compose(exp(xi), pose)


def _unit_quaternion(pose: Tensor) -> Tensor:
    quaternion = pose[..., 3:]
    norm: Tensor = torch.linalg.vector_norm(quaternion, dim=-1, keepdim=True)
    return quaternion / norm


def _vector_and_scalar(quaternion: Tensor) -> tuple[Tensor, Tensor]:
    return quaternion[..., :3], quaternion[..., 3:]


def _rotate(unit_quaternion: Tensor, vectors: Tensor) -> Tensor:
    vector, scalar = _vector_and_scalar(unit_quaternion)
    twice = 2.0 * _cross(vector, vectors)
    return vectors + scalar * twice + _cross(vector, twice)


def _multiply(a: Tensor, b: Tensor) -> Tensor:
    a_vector, a_scalar = _vector_and_scalar(a)
    b_vector, b_scalar = _vector_and_scalar(b)
    vector = a_scalar * b_vector + b_scalar * a_vector + _cross(a_vector, b_vector)
    return torch.cat((vector, a_scalar * b_scalar - (a_vector * b_vector).sum(-1, keepdim=True)), -1)


@cache
def _rotation_of_products(device: torch.device, dtype: torch.dtype) -> Tensor:
    """What the products (16,) of the parts of a unit quaternion contribute to the rotation matrix (9,)."""
    x, y, z, w = torch.eye(16, dtype=dtype).view(4, 4, 16)
    rows = (
        *(x[0] - y[1] - z[2] + w[3], 2 * (x[1] - z[3]), 2 * (x[2] + y[3])),
        *(2 * (x[1] + z[3]), y[1] - x[0] - z[2] + w[3], 2 * (y[2] - x[3])),
        *(2 * (x[2] - y[3]), 2 * (y[2] + x[3]), z[2] - x[0] - y[1] + w[3]),
    )
    return torch.stack(rows, 1).to(device)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    if a.is_cuda:  # one kernel instead of ten
        shape = torch.broadcast_shapes(a.shape, b.shape)  # type: ignore[no-untyped-call]
        product: Tensor = torch.linalg.cross(a.expand(shape), b.expand(shape))
        return product
    ax, ay, az = a.unbind(-1)
    bx, by, bz = b.unbind(-1)
    return torch.stack((ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx), -1)


def _left_jacobian_times(phi: Tensor, squared: Tensor, tau: Tensor) -> Tensor:
    """V(phi) tau with V = I + (1 - cos)/angle^2 [phi]x + (angle - sin)/angle^3 [phi]x^2."""
    angle = squared.clamp(min=_TINY).sqrt()
    small = squared < _SERIES_BELOW
    first = 0.5 * torch.where(small, 2.0 * _sine_quotient_series(squared), 2.0 * (0.5 * angle).sin() / angle).square()
    series = 1 / 6 - squared * (1 / 120 - squared * (1 / 5040 - squared / 362880))
    second = torch.where(small, series, (angle - angle.sin()) / (angle * squared.clamp(min=_TINY)))
    turned = _cross(phi, tau)
    return tau + first * turned + second * _cross(phi, turned)


def _inverse_left_jacobian_times(phi: Tensor, tau: Tensor) -> Tensor:
    """V(phi)^-1 tau with V^-1 = I - [phi]x / 2 + (1 - (angle/2) cot(angle/2))/angle^2 [phi]x^2."""
    squared = phi.square().sum(-1, keepdim=True)
    half = 0.5 * squared.clamp(min=_TINY).sqrt()
    series = 1 / 12 + squared * (1 / 720 + squared * (1 / 30240 + squared / 1209600))
    quotient = (1.0 - half / half.tan()) / squared.clamp(min=_TINY)
    turned = _cross(phi, tau)
    return tau - 0.5 * turned + torch.where(squared < _SERIES_BELOW, series, quotient) * _cross(phi, turned)


def _sine_quotient_series(squared: Tensor) -> Tensor:
    """sin(angle / 2) / angle around zero."""
    return 0.5 - squared * (1 / 48 - squared * (1 / 3840 - squared / 645120))
