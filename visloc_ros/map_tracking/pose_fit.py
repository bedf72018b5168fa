"""Pose of one camera from map points that are known only so well: least across the line of sight, worse along it.

How far away a point is in the view that its patch comes from is known no better than the map knows it, and no better
than what looks from elsewhere have told since. A residual along the line on which other depths would put the point
counts for less by that much.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array, nearest_rotation, rotation_matrix
from visloc_ros.odometry.klt.bundle import pose_jacobian
from visloc_ros.odometry.klt.pose_refinement import MIN_DEPTH

_ITERATIONS = 10
_FEWEST_ITERATIONS = 2
_CONVERGED = 3e-5  # radians and map units
_CAUCHY = 2.0  # standard deviations at which an observation has lost half its weight
_LEAST_VARIANCE = 0.6  # of errors in standard deviations: what points of a view have in common, residuals do not show
_DAMPING = 1e-9
_TINY = 1e-12
_FARTHEST = 1e12  # squared error of a point behind the camera


@dataclass(frozen=True, eq=False)
class SeedObservations:
    """Seeds found in an image: where they are seen, as rays (N, 2) with ``pixels_per_ray`` (N,), and where they lie.

    A point is ``centres + directions / inverse_depths`` (N, 3); the last have standard deviations ``sigmas`` (N,), and
    where points are seen has ``sigma_px``, a coordinate.
    """

    rays: Array
    pixels_per_ray: Array
    centres: Array
    directions: Array
    inverse_depths: Array
    sigmas: Array
    sigma_px: float

    def __len__(self) -> int:
        return len(self.rays)

    def residuals(self, camera_from_map: SE3) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
        """Residuals (2, N) in pixels, their change with pose (2, 6, N) and inverse depth (2, N); who is ahead (N,)."""
        x, y, z = (camera_from_map @ (self.centres + self.directions / self.inverse_depths[:, None])).T
        ahead = z > MIN_DEPTH
        inverse = 1.0 / np.where(ahead, z, 1.0)
        u, v = x * inverse, y * inverse
        residuals = (np.stack([u, v]) - self.rays.T) * self.pixels_per_ray
        away_x, away_y, away_z = -(self.directions @ camera_from_map.rotation.T).T / np.square(self.inverse_depths)
        by_depth = np.stack([away_x - u * away_z, away_y - v * away_z]) * (inverse * self.pixels_per_ray)
        return residuals, pose_jacobian(u, v, inverse) * self.pixels_per_ray, by_depth, ahead


@dataclass(frozen=True, eq=False)
class PoseFit:
    """``camera_from_map``, errors (N,) in pixels that depths do not explain, who agrees (N,), and a covariance (6, 6).

    The covariance is of ``map_from_camera`` as in ``core.types``.
    """

    camera_from_map: SE3
    errors_px: Array
    inliers: NDArray[np.bool_]
    covariance: Array

    @property
    def num_inliers(self) -> int:
        """Number of agreeing observations."""
        return int(np.count_nonzero(self.inliers))


def fit_pose(start: SE3, seen: SeedObservations, max_error_px: float) -> PoseFit:
    """Refine ``camera_from_map``: robust Gauss-Newton, each residual whitened by what its depth leaves open."""
    pose = start
    for step in range(_ITERATIONS):
        system = _linearise(pose, seen)
        change = np.asarray(np.linalg.solve(system.hessian, -system.gradient), dtype=np.float64)
        pose = SE3(rotation_matrix(change[:3]), change[3:]) @ pose
        if step >= _FEWEST_ITERATIONS and np.abs(change).max() < _CONVERGED:
            break
    pose = SE3(nearest_rotation(pose.rotation), pose.translation)
    system = _linearise(pose, seen)
    errors = seen.sigma_px * np.sqrt(system.squares)
    turn = _map_axes(pose.rotation)
    covariance = turn @ np.linalg.inv(system.hessian) @ turn.T * system.variance
    return PoseFit(pose, errors, errors < max_error_px, covariance)


def learn_depths(pose: SE3, seen: SeedObservations) -> tuple[Array, Array]:
    """Inverse depths (N,) and their standard deviations (N,) after a look from ``camera_from_map``."""
    residuals, _, by_depth, _ = seen.residuals(pose)
    information = np.square(by_depth).sum(axis=0) / seen.sigma_px**2
    total = information + 1.0 / np.square(seen.sigmas)
    step = -(by_depth * residuals).sum(axis=0) / seen.sigma_px**2 / total
    return np.maximum(seen.inverse_depths + step, 0.2 * seen.inverse_depths), 1.0 / np.sqrt(total)


@dataclass(frozen=True, eq=False)
class _System:
    """Normal equations (6, 6) and (6,), and squared errors (N,) in standard deviations with their weights (N,)."""

    hessian: Array
    gradient: Array
    squares: Array
    weights: Array

    @property
    def variance(self) -> float:
        """How much larger errors are than their standard deviations say."""
        weighted = np.where(self.weights > 0.0, self.weights * np.minimum(self.squares, _FARTHEST), 0.0)
        freedoms = max(2.0 * self.weights.sum() - 6.0, 1.0)
        return float(max(weighted.sum() / freedoms, _LEAST_VARIANCE))


def _linearise(pose: SE3, seen: SeedObservations) -> _System:
    residuals, jacobian, by_depth, ahead = seen.residuals(pose)
    lengths = np.maximum(np.sqrt(np.square(by_depth).sum(axis=0)), _TINY)
    along = by_depth / lengths
    shrink = 1.0 / np.sqrt(1.0 + np.square(lengths * seen.sigmas / seen.sigma_px)) - 1.0
    white = (residuals + along * (shrink * (along * residuals).sum(axis=0))) / seen.sigma_px
    slopes = (jacobian + along[:, None] * (shrink * (along[:, None] * jacobian).sum(axis=0))) / seen.sigma_px
    squares = np.where(ahead, np.square(white).sum(axis=0), _FARTHEST)
    weights = np.where(ahead, 1.0 / (1.0 + squares / max(_CAUCHY**2, float(np.median(squares)))), 0.0)
    flat = slopes.transpose(1, 0, 2).reshape(6, -1)
    weighted = flat * np.tile(weights, 2)
    hessian = weighted @ flat.T
    hessian[np.diag_indices(6)] += _DAMPING * np.trace(hessian) + _TINY
    return _System(hessian, weighted @ white.ravel(), squares, weights)


def _map_axes(rotation: Array) -> Array:
    """Turn a left step of ``camera_from_map``, rotation first, into one of ``map_from_camera`` in map axes."""
    turn = np.zeros((6, 6))
    turn[:3, 3:] = turn[3:, :3] = -rotation.T
    return turn
