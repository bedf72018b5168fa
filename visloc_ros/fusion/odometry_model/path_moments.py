"""Moments of a path: distance, rotation and time of a camera, and where on its way they occurred, as sums.

An error made at a point ``p`` of the path moves all that comes later: a rotation error there shifts the end ``e`` by
its cross product with ``e - p``. The position covariance at the end thus depends on the integrals of ``1``, ``p`` and
``p p^T`` over the path: one matrix (4, 4), the integral of ``q q^T`` with ``q = (p, 1)``. Odometry noise grows with
distance, with rotation and with time, and by a share of each step to a recovered pose, whose variance is that step's
squared length: there is one matrix for each and moments are (4, 4, 4). Functions take any leading shape (...).
"""

from __future__ import annotations

import numpy as np

from visloc_ros.core.geometry import Array

DISTANCE, ANGLE, DURATION, RECOVERED = range(4)
NO_MOMENTS: Array = np.zeros((4, 4, 4))


def step_moments(start: Array, end: Array, angle: float, seconds: float, is_recovered: bool = False) -> Array:
    """Moments (4, 4, 4) of a straight, uniform step from ``start`` to ``end`` (3,) that turns by ``angle`` (rad)."""
    middle, along = np.append((start + end) / 2.0, 1.0), np.append(end - start, 0.0)
    spread = np.outer(middle, middle) + np.outer(along, along) / 12.0
    length = np.linalg.norm(along)
    return np.array([length, angle, seconds, length**2 if is_recovered else 0.0])[:, None, None] * spread


def moments_about(origin: Array, rotation: Array, moments: Array) -> Array:
    """Moments (..., 4, 4, 4) with positions relative to ``origin`` (..., 3) and turned by ``rotation`` (..., 3, 3)."""
    transform = np.zeros((*origin.shape[:-1], 4, 4))
    transform[..., :3, :3], transform[..., 3, 3] = rotation, 1.0
    transform[..., :3, 3] = -(rotation @ origin[..., None])[..., 0]
    transform = transform[..., None, :, :]
    return np.asarray(transform @ moments @ np.swapaxes(transform, -1, -2))


def totals(moments: Array) -> Array:
    """Total distance, rotation (rad), time (s) and squared recovered steps of a path: (..., 4)."""
    return np.asarray(moments[..., 3, 3])
