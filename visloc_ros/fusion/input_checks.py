"""Checks of what comes in: finite poses, proper rotations, symmetric positive semidefinite covariances."""

from __future__ import annotations

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.types import AnchorPose, LoopClosure


def is_valid_pose(pose: SE3) -> bool:
    """Tell whether a transform is finite and its rotation orthonormal and right-handed."""
    finite = np.all(np.isfinite(pose.rotation)) and np.all(np.isfinite(pose.translation))
    orthonormal = finite and np.allclose(pose.rotation.T @ pose.rotation, np.eye(3), atol=1e-6)
    return bool(orthonormal and np.linalg.det(pose.rotation) > 0.0)


def is_valid_anchor(anchor: AnchorPose) -> bool:
    """Tell whether an anchor has a valid pose and covariance, and a map covariance that is a part of it."""
    if not is_valid_pose(anchor.map_from_camera) or not is_valid_covariance(anchor.covariance):
        return False
    of_map = anchor.map_covariance
    return of_map is None or (is_valid_covariance(of_map) and is_valid_covariance(anchor.covariance - of_map))


def is_valid_loop(loop: LoopClosure) -> bool:
    """Tell whether a loop joins a frame to a later one by a similarity with a positive definite covariance."""
    similarity, covariance = loop.earlier_from_later, np.asarray(loop.covariance, dtype=np.float64)
    if not is_valid_pose(SE3(similarity.rotation, similarity.translation)) or not 0.0 < similarity.scale < np.inf:
        return False
    if covariance.shape != (7, 7) or not np.all(np.isfinite(covariance)):
        return False
    symmetric = np.allclose(covariance, covariance.T, rtol=1e-6, atol=1e-12)
    return bool(loop.earlier_ns < loop.later_ns and symmetric and np.linalg.eigvalsh(covariance)[0] > 0.0)


def is_valid_covariance(matrix: Array) -> bool:
    """Tell whether a matrix is a covariance: finite, (6, 6), symmetric and without negative eigenvalues."""
    covariance: Array = np.asarray(matrix, dtype=np.float64)
    if covariance.shape != (6, 6) or not np.all(np.isfinite(covariance)):
        return False
    symmetric = np.allclose(covariance, covariance.T, rtol=1e-6, atol=1e-12)
    return bool(symmetric and np.linalg.eigvalsh(covariance)[0] >= -1e-12)
