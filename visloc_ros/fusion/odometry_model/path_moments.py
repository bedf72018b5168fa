"""Moments of a path: distance, rotation and time of a camera, and where on its way they occurred, as sums.

An error made at a point ``p`` of the path moves all that comes later: a rotation error there shifts the end ``e`` by
its cross product with ``e - p``. The position covariance at the end thus depends on the integrals of ``1``, ``p`` and
``p p^T`` over the path: one matrix (4, 4), the integral of ``q q^T`` with ``q = (p, 1)``. Odometry noise grows with
distance, with rotation and with time, so there is one matrix for each and moments are (3, 4, 4). Functions take any
leading shape (...).
"""

from __future__ import annotations

import numpy as np

from visloc_ros.core.geometry import Array

DISTANCE, ANGLE, DURATION = range(3)
NO_MOMENTS: Array = np.zeros((3, 4, 4))


def step_moments(start: Array, end: Array, angle: float, seconds: float) -> Array:
    """Moments (3, 4, 4) of a straight, uniform step from ``start`` to ``end`` (3,) that turns by ``angle`` (rad)."""
    middle, along = np.append((start + end) / 2.0, 1.0), np.append(end - start, 0.0)
    spread = np.outer(middle, middle) + np.outer(along, along) / 12.0
    return np.array([np.linalg.norm(along), angle, seconds])[:, None, None] * spread


def moments_about(origin: Array, rotation: Array, moments: Array) -> Array:
    """Moments (..., 3, 4, 4) with positions relative to ``origin`` (..., 3) and turned by ``rotation`` (..., 3, 3)."""
    transform = np.zeros((*origin.shape[:-1], 4, 4))
    transform[..., :3, :3], transform[..., 3, 3] = rotation, 1.0
    transform[..., :3, 3] = -(rotation @ origin[..., None])[..., 0]
    transform = transform[..., None, :, :]
    return np.asarray(transform @ moments @ np.swapaxes(transform, -1, -2))


def totals(moments: Array) -> Array:
    """Total distance, rotation (rad) and time (s) of a path: (..., 3)."""
    return np.asarray(moments[..., 3, 3])
