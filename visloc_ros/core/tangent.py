"""The tangent space of poses: small errors, differences of poses, and how covariances move with frames.

The error (6,) of a pose ``a_from_b`` is of its position, then a rotation vector, both about the axes of the parent
frame a: ``t = t_hat + d[:3]``, ``R = exp(d[3:]) @ R_hat``. Covariances (6, 6) are of such errors (REP 103). A body's
pose errs by ``lever_jacobian @ d`` at another of its points, and by ``axes_jacobian @ d`` about the axes of another
parent: these are the two halves of the adjoint. The error (7,) of a similarity has the logarithm of its scale last.

Functions of arrays take any leading shape (...).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from visloc_ros.core.geometry import SE3, Array, Sim3, rotation_matrix, rotation_vector


def perturbed(pose: SE3, error: Array) -> SE3:
    """The pose that differs from another one by an error (6,)."""
    return SE3(rotation_matrix(error[3:]) @ pose.rotation, pose.translation + error[:3])


def perturbed_similarity(similarity: Sim3, error: Array) -> Sim3:
    """The similarity that differs from another one by an error (7,)."""
    scale = similarity.scale * float(np.exp(error[6]))
    return Sim3(scale, rotation_matrix(error[3:6]) @ similarity.rotation, similarity.translation + error[:3])


def pose_difference(a: SE3, b: SE3) -> Array:
    """Error (6,) that takes ``b`` to ``a``: the inverse of ``perturbed``."""
    return np.concatenate([a.translation - b.translation, rotation_vector(a.rotation @ b.rotation.T)])


_MOST_DOUBT = np.array([1e3, np.pi])  # metres, radians: a pose that may be off by more is none


def covariance_of_doubt(error: Array) -> Array:
    """Covariance (6, 6) of a pose that may be off by as much as an error (6,), in any direction."""
    lengths = np.minimum(np.linalg.norm(error.reshape(2, 3), axis=1), _MOST_DOUBT)
    return np.diag(np.repeat(np.square(lengths), 3))


def pose_differences(positions: Array, rotations: Array, from_positions: Array, from_rotations: Array) -> Array:
    """Errors (N, 6) of poses given by positions (N, 3) and rotations (N, 3, 3), as ``pose_difference``."""
    turns = rotation_vector(rotations @ np.swapaxes(from_rotations, -1, -2))
    return np.concatenate([positions - from_positions, turns], axis=-1)


def skew(vectors: ArrayLike) -> Array:
    """Cross-product matrices (..., 3, 3) of vectors (..., 3)."""
    given = np.asarray(vectors, dtype=np.float64)
    x, y, z = given[..., 0], given[..., 1], given[..., 2]
    matrices = np.zeros((*given.shape, 3))
    matrices[..., 0, 1], matrices[..., 0, 2], matrices[..., 1, 2] = -z, y, -x
    matrices[..., 1, 0], matrices[..., 2, 0], matrices[..., 2, 1] = z, -y, x
    return matrices


def lever_jacobian(levers: ArrayLike) -> Array:
    """Jacobian of a pose's error at a point of the same body a lever (..., 3) away, in parent axes: (..., 6, 6)."""
    given = np.asarray(levers, dtype=np.float64)
    jacobians = np.zeros((*given.shape[:-1], 6, 6))
    jacobians[...] = np.eye(6)
    jacobians[..., :3, 3:] = -skew(given)
    return jacobians


def similarity_lever_jacobian(lever: ArrayLike) -> Array:
    """Jacobian (7, 7) of a similarity's error at a point of its child frame a lever (3,) away, in parent axes."""
    jacobian = np.eye(7)
    jacobian[:3, 3:6], jacobian[:3, 6] = -skew(lever), lever
    return jacobian


def axes_jacobian(rotations: Array) -> Array:
    """Jacobian of errors about the axes of another parent frame, turned by rotations (..., 3, 3): (..., 6, 6)."""
    jacobians = np.zeros((*rotations.shape[:-2], 6, 6))
    jacobians[..., :3, :3], jacobians[..., 3:, 3:] = rotations, rotations
    return jacobians


def inverse_jacobian(camera_from_odom: Array) -> Array:
    """Jacobian (6, 6) of ``odom_from_camera`` by a step of ``camera_from_odom``, by the rotation (3, 3) of the latter.

    The step is of optimisers: a rotation vector, then a translation, that multiply ``camera_from_odom`` from the left.
    """
    jacobian = np.zeros((6, 6))
    jacobian[:3, 3:] = jacobian[3:, :3] = -camera_from_odom.T
    return jacobian


def move_covariance(covariance: Array, lever: ArrayLike) -> Array:
    """Covariances (..., 6, 6) of another frame on the same body, ``lever`` (..., 3) away about the parent's axes."""
    return _transported(covariance, lever_jacobian(lever))


def pose_of_other(a_from_b: SE3, covariance: Array, b_from_c: SE3) -> tuple[SE3, Array]:
    """The pose of another frame c on the body of b, and its covariance (6, 6)."""
    return a_from_b @ b_from_c, move_covariance(covariance, a_from_b.rotation @ b_from_c.translation)


def turn_covariance(covariance: Array, rotation: Array) -> Array:
    """Covariances (..., 6, 6) about the axes of another parent frame, turned by a rotation (..., 3, 3)."""
    return _transported(covariance, axes_jacobian(rotation))


def rescale_covariance(covariance: Array, a_from_b: Sim3) -> Array:
    """Covariances (..., 6, 6) of poses in b about the axes and in the units of a."""
    jacobian = axes_jacobian(a_from_b.rotation)
    jacobian[:3, :3] *= a_from_b.scale
    return _transported(covariance, jacobian)


def _transported(covariance: Array, jacobian: Array) -> Array:
    return np.asarray(jacobian @ covariance @ np.swapaxes(jacobian, -1, -2))
