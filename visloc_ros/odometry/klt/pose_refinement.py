"""Pose of one camera from 2D-3D pairs: robust Gauss-Newton on undistorted rays."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array, nearest_rotation, rotation_matrix

MIN_DEPTH = 1e-6
_CONVERGED = 3e-6  # radians and map units
_SHARPEST = 0.3  # scale of the weights, as a share of the largest inlier error, that is not undercut


@dataclass(frozen=True, eq=False)
class PoseFit:
    """``camera_from_odom``, the reprojection errors (N,) in pixels, and which pairs (N,) support the pose."""

    camera_from_odom: SE3
    errors_px: Array
    inliers: NDArray[np.bool_]

    @property
    def num_inliers(self) -> int:
        """Number of supporting pairs."""
        return int(np.count_nonzero(self.inliers))


def refine_pose(
    start: SE3, points: Array, rays: Array, pixels_per_ray: Array, max_error_px: float, iterations: int = 10
) -> PoseFit:
    """Refine ``camera_from_odom`` from points (N, 3) in odom and their undistorted rays (N, 2) at depth 1.

    ``pixels_per_ray`` (N,) turns ray differences into pixels. Cauchy weights at the scale of the median error
    keep outliers out, also while the start value is far off.
    """
    pose = start
    for step in range(iterations):
        change = _step(pose, points, rays, pixels_per_ray, _SHARPEST * max_error_px)
        pose = SE3(rotation_matrix(change[:3]), change[3:]) @ pose
        if step >= 3 and np.abs(change).max() < _CONVERGED:
            break
    pose = SE3(nearest_rotation(pose.rotation), pose.translation)  # or rounding errors grow from frame to frame
    errors = reprojection_errors(pose, points, rays, pixels_per_ray)
    return PoseFit(pose, errors, errors < max_error_px)


def reprojection_errors(camera_from_odom: SE3, points: Array, rays: Array, pixels_per_ray: Array) -> Array:
    """Distance (N,) in pixels between projected points (N, 3) and rays (N, 2); behind the camera it is infinite."""
    x, y, z = (camera_from_odom @ points).T
    depth = np.maximum(z, MIN_DEPTH)
    errors = np.hypot(x / depth - rays[:, 0], y / depth - rays[:, 1]) * pixels_per_ray
    return np.where(z > MIN_DEPTH, errors, np.inf)


def find_pose(points: Array, rays: Array, pixels_per_ray: Array, max_error_px: float) -> PoseFit | None:
    """Find ``camera_from_odom`` without a start value (P3P in RANSAC, always the same draws), then refine it."""
    if len(points) < 6:
        return None
    threshold = 2.0 * max_error_px / float(np.median(pixels_per_ray))
    found, vector, translation, _ = cv2.solvePnPRansac(
        points, rays, np.eye(3), None, iterationsCount=200, reprojectionError=threshold, flags=cv2.SOLVEPNP_P3P
    )
    if not found:
        return None
    start = SE3.from_rotation_vector(vector.ravel(), translation.ravel())
    return refine_pose(start, points, rays, pixels_per_ray, max_error_px)


def _step(pose: SE3, points: Array, rays: Array, pixels_per_ray: Array, least_scale_px: float) -> Array:
    """One Gauss-Newton step (6,), rotation first, applied from the left to ``camera_from_odom``."""
    x, y, z = (pose @ points).T
    valid = z > MIN_DEPTH
    inverse = 1.0 / np.where(valid, z, 1.0)
    u, v = x * inverse, y * inverse
    residuals = np.stack([u - rays[:, 0], v - rays[:, 1]]) * pixels_per_ray
    squares = np.square(residuals).sum(axis=0)
    weights = np.where(valid, 1.0 / (1.0 + squares / max(least_scale_px**2, float(np.median(squares)))), 0.0)
    zero = np.zeros_like(u)
    jacobian = np.stack(
        [
            np.stack([-u * v, 1.0 + u * u, -v, inverse, zero, -u * inverse]),
            np.stack([-1.0 - v * v, u * v, u, zero, inverse, -v * inverse]),
        ]
    )
    jacobian *= pixels_per_ray
    flat = jacobian.transpose(1, 0, 2).reshape(6, -1)
    weighted = flat * np.tile(weights, 2)
    hessian = weighted @ flat.T
    hessian[np.diag_indices(6)] *= 1.0 + 1e-9
    hessian[np.diag_indices(6)] += 1e-12
    return np.asarray(np.linalg.solve(hessian, -weighted @ residuals.ravel()))
