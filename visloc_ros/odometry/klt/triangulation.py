"""Points from rays in two views, and their reliability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array
from visloc_ros.tracking.pixels import homogeneous

TRACK_SIGMA_PX = 0.5
"""Standard deviation of a followed feature."""

DEPTH_LOG_SIGMA = 0.7
"""Standard deviation of the logarithms of depths in one view: from half to twice the median are usual in a room."""

_DEPTH_STEPS = np.linspace(-2.3, 2.3, 60)  # logarithms: from a tenth to ten times the expected depth, 8 % apart


@dataclass(frozen=True, eq=False)
class ViewRays:
    """One ray a row: ``camera_from_odom`` as rotations (N, 3, 3) and translations (N, 3), rays (N, 2), pixels per ray.

    The rows may belong to different cameras, so that tracks of any age are triangulated in one call.
    """

    rotations: Array
    translations: Array
    rays: Array
    pixels_per_ray: Array

    @property
    def directions(self) -> Array:
        """Unit viewing directions (N, 3) in odom."""
        directions = np.einsum("nji,nj->ni", self.rotations, homogeneous(self.rays))
        return np.asarray(directions / np.linalg.norm(directions, axis=1, keepdims=True))

    @property
    def centres(self) -> Array:
        """Camera centres (N, 3) in odom."""
        return np.asarray(-np.einsum("nji,nj->ni", self.rotations, self.translations))

    def errors_px(self, points: Array) -> Array:
        """Reprojection error (N,) in pixels of points (N, 3); infinite behind the camera."""
        x, y, z = (np.einsum("nij,nj->ni", self.rotations, points) + self.translations).T
        depth = np.where(z > 1e-9, z, 1.0)
        errors = np.hypot(x / depth - self.rays[:, 0], y / depth - self.rays[:, 1]) * self.pixels_per_ray
        return np.where(z > 1e-9, errors, np.inf)


def triangulate(first: ViewRays, second: ViewRays) -> Array:
    """Points (N, 3) in odom where the two rays of each row come closest (linear in the image errors)."""
    rows = np.concatenate([_constraints(first), _constraints(second)], axis=1)
    left, right = rows[:, :, :3], -rows[:, :, 3]
    normal = np.einsum("nki,nkj->nij", left, left)
    normal += 1e-15 * np.eye(3)
    return np.asarray(np.linalg.solve(normal, np.einsum("nki,nk->ni", left, right)[:, :, None])[:, :, 0])


def most_likely_points(first: ViewRays, second: ViewRays, depth: float) -> tuple[Array, Array]:
    """Points (N, 3) on the second view's rays that fit the first and an expected depth; and the errors (N,) of the fit.

    With small parallax the expected depth dominates, with large parallax the views do.
    """
    lengths = np.sqrt(1.0 + np.square(second.rays).sum(axis=1))  # of steps of 1 in depth
    along = second.directions * lengths[:, None]
    points, least = second.centres + depth * along, np.full(len(along), np.inf)
    for step in _DEPTH_STEPS:
        candidates = second.centres + depth * np.exp(step) * along
        cost = np.square(first.errors_px(candidates) / TRACK_SIGMA_PX) + np.square(step / DEPTH_LOG_SIGMA)
        better = cost < least
        points[better], least[better] = candidates[better], cost[better]
    return points, depth * lengths


def parallax_deg(first: ViewRays, second: ViewRays) -> Array:
    """Angle (N,) in degrees between the two viewing directions of each row."""
    crossed = np.linalg.norm(np.cross(first.directions, second.directions), axis=1)
    return np.asarray(np.degrees(np.arcsin(np.clip(crossed, 0.0, 1.0))))


def is_well_seen(
    points: Array, first: ViewRays, second: ViewRays, min_parallax_deg: float, max_error_px: float
) -> NDArray[np.bool_]:
    """Which points (N,) lie before both cameras, reproject well, and have enough parallax."""
    fits = (first.errors_px(points) < max_error_px) & (second.errors_px(points) < max_error_px)
    return np.asarray(fits & (parallax_deg(first, second) >= min_parallax_deg))


def _constraints(view: ViewRays) -> Array:
    """Two homogeneous equations a row (N, 2, 4), scaled by the inverse depth of a first guess being equal."""
    matrix = np.concatenate([view.rotations, view.translations[:, :, None]], axis=2)
    return np.asarray(view.rays[:, :, None] * matrix[:, 2:3, :] - matrix[:, :2, :])
