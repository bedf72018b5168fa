"""Pose of one camera from points and their rays: robust Gauss-Newton on undistorted rays.

A point may be uncertain along a line, as when its distance in an earlier view is uncertain: a residual along that line
then has less weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from visloc_ros.core.geometry import SE3, Array, nearest_rotation, rotation_matrix
from visloc_ros.core.tangent import inverse_jacobian
from visloc_ros.tracking.pixels import Mask

MIN_DEPTH = 1e-6
_ITERATIONS = 10
_FEWEST_ITERATIONS = 3
_CONVERGED = 3e-5  # radians and units of the world: the remaining error is a hundredth of a pixel
_OVER_RELAXATION = 1.5  # of small steps that shrink slowly: each time the new weights go on in their direction
_SMALL, _SLOW = 1e-2, 0.15  # steps in radians and units, and the share of the last one from which they shrink slowly
_CAUCHY = 2.0  # standard deviations at which an observation has lost half its weight
_LEAST_VARIANCE = 0.6  # of errors in standard deviations: residuals do not show the points' common errors
_DAMPING, _LEAST_CURVATURE = 1e-9, 1e-12
_FARTHEST = 1e12  # squared error of a point behind the camera
_RANSAC_ITERATIONS = 200
_SIGMAS = 3.0  # of a pose, by which others may be off
_FEWEST_POINTS = 6  # for a pose


@dataclass(frozen=True, eq=False)
class SeenPoints:
    """Points (N, 3) of the world, any frame, and where a camera sees them: rays (N, 2), ``pixels_per_ray`` (N,).

    Observed pixels have the standard deviation ``sigma_px``, a coordinate. Points may be uncertain along lines:
    ``spreads`` (N, 3) are steps along these by one standard deviation.
    """

    points: Array
    rays: Array
    pixels_per_ray: Array
    sigma_px: float
    spreads: Array | None = None

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, kept: Mask) -> SeenPoints:
        spreads = None if self.spreads is None else self.spreads[kept]
        return SeenPoints(self.points[kept], self.rays[kept], self.pixels_per_ray[kept], self.sigma_px, spreads)

    def residuals_at(self, camera_from_world: SE3) -> Residuals:
        """Reprojection errors of the points."""
        local = camera_from_world.rotation @ self.points.T + camera_from_world.translation[:, None]
        z = local[2]
        ahead = z > MIN_DEPTH
        inverse = 1.0 / (z if ahead.all() else np.where(ahead, z, 1.0))
        places = local[:2] * inverse
        scale = self.pixels_per_ray / self.sigma_px
        along = None
        if self.spreads is not None:
            moved = camera_from_world.rotation @ self.spreads.T
            along = (moved[:2] - places * moved[2]) * (inverse * scale)
        return Residuals((places - self.rays.T) * scale, along, places, inverse, ahead, scale)


@dataclass(frozen=True, eq=False)
class Residuals:
    """Residuals ``values`` (2, N) in standard deviations, and their change ``along`` (2, N) with a step of the spreads.

    ``places`` (2, N) are the points projected to depth 1, ``inverse_depths`` (N,) theirs, ``ahead`` (N,) marks those
    before the camera, and ``scale`` (N,) converts differences of ``places`` to residuals.
    """

    values: Array
    along: Array | None
    places: Array
    inverse_depths: Array
    ahead: Mask
    scale: Array


@dataclass(frozen=True, eq=False)
class PoseFit:
    """``camera_from_world``, errors (N,) in pixels, which points (N,) agree, and the covariance (6, 6).

    Errors are those beyond the spreads, and infinite behind the camera. The covariance is of
    ``world_from_camera`` as in ``core.types``.
    """

    camera_from_world: SE3
    errors_px: Array
    inliers: Mask
    covariance: Array

    @property
    def num_inliers(self) -> int:
        """Number of points that agree."""
        return int(np.count_nonzero(self.inliers))


def fit_pose(start: SE3, seen: SeenPoints, max_error_px: float) -> PoseFit:
    """Refine ``camera_from_world``.

    Cauchy weights at the scale of the median error, at least of two standard deviations, keep outliers out, also while
    the start value is far off.
    """
    pose, last_length = start, np.inf
    for step in range(_ITERATIONS):
        system = _linearise(seen.residuals_at(pose))
        change = np.asarray(np.linalg.solve(system.hessian, -system.gradient), dtype=np.float64)
        length = np.abs(change).max()
        if _SLOW * last_length < length < _SMALL:
            change *= _OVER_RELAXATION
        last_length = length
        pose = SE3(rotation_matrix(change[:3]), change[3:]) @ pose
        if step + 1 >= _FEWEST_ITERATIONS and length < _CONVERGED:
            break
    pose = SE3(nearest_rotation(pose.rotation), pose.translation)  # keeps rounding errors from growing
    residuals = seen.residuals_at(pose)
    system = _linearise(residuals)
    errors = np.where(residuals.ahead, seen.sigma_px * np.sqrt(system.squares), np.inf)
    axes = inverse_jacobian(pose.rotation)
    covariance = axes @ np.linalg.inv(system.hessian) @ axes.T * system.variance
    return PoseFit(pose, errors, errors < max_error_px, covariance)


def find_pose(seen: SeenPoints, max_error_px: float) -> PoseFit | None:
    """Find ``camera_from_world`` without a start value (P3P in RANSAC, always the same draws), then refine it."""
    if len(seen) < _FEWEST_POINTS:
        return None
    threshold = 2.0 * max_error_px / float(np.median(seen.pixels_per_ray))
    found, vector, translation, _ = cv2.solvePnPRansac(
        seen.points,
        seen.rays,
        np.eye(3),
        None,
        iterationsCount=_RANSAC_ITERATIONS,
        reprojectionError=threshold,
        flags=cv2.SOLVEPNP_P3P,
    )
    if not found:
        return None
    return fit_pose(SE3.from_rotation_vector(vector.ravel(), translation.ravel()), seen, max_error_px)


def agree_with(fit: PoseFit, others: SeenPoints, max_error_px: float) -> Mask:
    """Which other points (N,) agree with a pose, whose own uncertainty adds to their errors."""
    residuals = others.residuals_at(fit.camera_from_world)
    squares = np.square(others.sigma_px) * _linearise(residuals).squares
    u, v = residuals.places
    jacobian = pose_jacobian(u, v, residuals.inverse_depths) * others.pixels_per_ray
    back = inverse_jacobian(fit.camera_from_world.rotation.T)
    variances = np.einsum("ain,ij,ajn->n", jacobian, back @ fit.covariance @ back.T, jacobian)
    return np.asarray(residuals.ahead & (squares < max_error_px**2 + _SIGMAS**2 * variances))


def pose_jacobian(u: Array, v: Array, inverse_depth: Array) -> Array:
    """Change of rays u, v (N,) by a left step of ``camera_from_world``, rotation first: (2, 6, N)."""
    jacobian = np.zeros((2, 6, len(u)))
    np.multiply(u, v, out=jacobian[1, 1])
    np.negative(jacobian[1, 1], out=jacobian[0, 0])
    np.add(np.square(u), 1.0, out=jacobian[0, 1])
    np.subtract(-1.0, np.square(v), out=jacobian[1, 0])
    np.negative(v, out=jacobian[0, 2])
    jacobian[1, 2] = u
    jacobian[0, 3] = jacobian[1, 4] = inverse_depth
    np.multiply(-u, inverse_depth, out=jacobian[0, 5])
    np.multiply(-v, inverse_depth, out=jacobian[1, 5])
    return jacobian


@dataclass(frozen=True, eq=False)
class _System:
    """Normal equations (6, 6) and (6,), and squared errors (N,) in standard deviations with their weights (N,)."""

    hessian: Array
    gradient: Array
    squares: Array
    weights: Array

    @property
    def variance(self) -> float:
        """Variance of the errors in units of the expected one."""
        freedoms = max(2.0 * float(self.weights.sum()) - 6.0, 1.0)
        return max(float(self.weights @ self.squares) / freedoms, _LEAST_VARIANCE)


def _linearise(residuals: Residuals) -> _System:
    """A step along the spread d of a point is free at its price: errors have the information (I + d d')^-1."""
    values, along = residuals.values, residuals.along
    squares = np.einsum("an,an->n", values, values)
    if along is not None:
        explained = np.einsum("an,an->n", along, values)
        kept = 1.0 / (1.0 + np.einsum("an,an->n", along, along))
        squares -= kept * np.square(explained)
    squares[~residuals.ahead] = _FARTHEST
    weights = 1.0 / (1.0 + squares / max(_CAUCHY**2, _median(squares)))
    weights[~residuals.ahead] = 0.0
    jacobian = pose_jacobian(residuals.places[0], residuals.places[1], residuals.inverse_depths) * residuals.scale
    weighted = jacobian * weights
    hessian = weighted[0] @ jacobian[0].T + weighted[1] @ jacobian[1].T
    gradient = weighted[0] @ values[0] + weighted[1] @ values[1]
    if along is not None:
        loss = jacobian[0] * along[0] + jacobian[1] * along[1]
        weighted_loss = loss * (weights * kept)
        hessian -= weighted_loss @ loss.T
        gradient -= weighted_loss @ explained
    hessian.flat[::7] += _DAMPING * hessian.trace() + _LEAST_CURVATURE
    return _System(hessian, gradient, squares, weights)


def _median(values: Array) -> float:
    """The upper median, since numpy's median takes longer than all the rest of a step."""
    middle = len(values) // 2
    return float(np.partition(values, middle)[middle])
