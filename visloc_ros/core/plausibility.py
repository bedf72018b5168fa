"""Bounds on measurements, far beyond those of any camera on Earth, within which the arithmetic is safe.

A finite number from a defect or an attacker can still be absurd: its square overflows, and a difference to it rounds
everything else away.
"""

from __future__ import annotations

import numpy as np

from visloc_ros.core.geometry import SE3, Array

FARTHEST = 1e8
"""Units of the map or the odometry from its origin: metres twice around the Earth."""
LARGEST_SCALE = 1e6
"""Metres in one unit, or units in one metre: the unit of odometry is the depth of what is seen first."""
LARGEST_DRIFT = 100.0
"""Ratio of the scales of odometry at two visits of one place."""
LARGEST_SIGMA = 1e9
"""Standard deviation that still says something: an unknown one is not sent as a number."""
LEAST_SIGMA = 1e-7
"""Units, radians: a tenth of a micrometre in a map in metres."""
LARGEST_ANGULAR_RATE = 100.0
"""Radians a second: gyroscopes of robots measure up to 70 (4000 degrees a second)."""
LARGEST_ACCELERATION = 1e4
"""Metres a second squared: a thousand times gravity."""

_ORTHONORMAL = 1e-6
_ASYMMETRY, _LEAST_ASYMMETRY = 1e-6, 1e-12  # of an entry of a covariance, and in all
_IDENTITY = np.eye(3)


def is_plausible_pose(pose: SE3) -> bool:
    """Whether a transform is near enough to its parent, and its rotation orthonormal and right-handed."""
    if not (np.all(np.isfinite(pose.rotation)) and is_plausible_position(pose.translation)):
        return False
    is_orthonormal = np.abs(pose.rotation.T @ pose.rotation - _IDENTITY).max() <= _ORTHONORMAL
    return bool(is_orthonormal and np.linalg.det(pose.rotation) > 0.0)


def is_plausible_position(position: Array) -> bool:
    """Whether all coordinates of positions (..., 3) are near enough to the origin; false for those not finite."""
    return bool(np.all(np.abs(position) <= FARTHEST))


def is_plausible_vector(vector: Array, largest: float) -> bool:
    """Whether no component of a measurement (N,) is larger than its bound; false for those not finite."""
    return bool(np.all(np.abs(vector) <= largest))


def is_plausible_covariance(covariance: Array) -> bool:
    """Whether a matrix (N, N) is finite, symmetric and without negative eigenvalues, and says something."""
    sizes = np.abs(covariance)
    if not np.all(sizes <= LARGEST_SIGMA**2):
        return False
    is_symmetric = np.abs(covariance - covariance.T) <= _ASYMMETRY * sizes + _LEAST_ASYMMETRY
    return bool(np.all(is_symmetric) and np.linalg.eigvalsh(covariance)[0] >= -1e-12)


def is_plausible_scale(scale: float, largest: float = LARGEST_SCALE) -> bool:
    """Whether a ratio of lengths is positive and neither huge nor tiny."""
    return bool(1.0 / largest <= scale <= largest)
