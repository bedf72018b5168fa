"""Where on its way a camera travelled, turned and waited, as moments that add up along the way.

What is misjudged early on a way moves the rest of it: a turn misjudged at ``p`` shifts the end ``e`` by its cross
product with ``e - p``. How far drift can have moved the end thus depends on the integrals of ``1``, ``p`` and
``p p^T`` over the way, which are one matrix (4, 4), that of ``q q^T`` where ``q`` is ``(p, 1)``. There is one for each
thing along which odometry drifts, so moments are (3, 4, 4). Functions take any leading shape (...).
"""

from __future__ import annotations

import numpy as np

from visloc_ros.core.geometry import Array

TRAVELLED, TURNED, WAITED = range(3)
NOTHING: Array = np.zeros((3, 4, 4))


def step_moments(start: Array, end: Array, turned: float, waited: float) -> Array:
    """Moments (3, 4, 4) of one even step from ``start`` to ``end`` (3,) with ``turned`` rad in ``waited`` seconds."""
    middle, along = np.append((start + end) / 2.0, 1.0), np.append(end - start, 0.0)
    place = np.outer(middle, middle) + np.outer(along, along) / 12.0
    return np.array([np.linalg.norm(along), turned, waited])[:, None, None] * place


def moments_about(origin: Array, axes: Array, moments: Array) -> Array:
    """Moments (..., 3, 4, 4) with positions from ``origin`` (..., 3), along axes into which (..., 3, 3) turns."""
    placing = np.zeros((*origin.shape[:-1], 4, 4))
    placing[..., :3, :3], placing[..., 3, 3] = axes, 1.0
    placing[..., :3, 3] = -(axes @ origin[..., None])[..., 0]
    placing = placing[..., None, :, :]
    return np.asarray(placing @ moments @ np.swapaxes(placing, -1, -2))


def amounts(moments: Array) -> Array:
    """What was travelled, turned (rad) and waited (s) in all: (..., 3)."""
    return np.asarray(moments[..., 3, 3])
