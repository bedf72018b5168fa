"""Bounds on measurements, far beyond those of any camera on Earth, within which the arithmetic is safe.

A finite number from a defect or an attacker can still be absurd: its square overflows, and a difference to it rounds
everything else away.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

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
"""Units, radians: no pose is measured better. Ten thousand keypoints, each exact to a twentieth of a pixel, give so
small an error of the direction through a lens of five thousand pixels of focal length."""
LARGEST_ANGULAR_RATE = 100.0
"""Radians a second: gyroscopes of robots measure up to 70 (4000 degrees a second)."""
LARGEST_ACCELERATION = 1e4
"""Metres a second squared: a thousand times gravity."""

_ORTHONORMAL = 1e-6
_ASYMMETRY = 1e-6  # of a correlation: nothing depends on so small a one
_ROUNDED = 1e-9  # of a variance, by which a file with nine digits makes another one negative
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


def covariance_fault(matrix: ArrayLike, size: int = 6, *, is_part: bool = False) -> str | None:
    """What is wrong with a covariance (size, size); None where it is one.

    One of a measurement is finite, symmetric, and positive definite, with a standard deviation from ``LEAST_SIGMA`` to
    ``LARGEST_SIGMA`` along every direction. ``is_part``: it is added to another covariance, and may be zero along some
    directions. Positions and rotations have different units, so definiteness is that of the correlations: with a unit
    diagonal the condition is nearly the best of all scalings (van der Sluis 1969), and the Cholesky factor exists
    beyond the rounding errors (Demmel 1989; Higham, Accuracy and Stability of Numerical Algorithms, theorem 10.7).
    """
    covariance: Array = np.asarray(matrix, dtype=np.float64)
    if covariance.shape != (size, size):
        return f"it is of the shape {covariance.shape}, not {(size, size)}"
    largest = float(np.abs(covariance).max())
    if not largest <= LARGEST_SIGMA**2:  # NaN is not
        return f"it is not finite, or has standard deviations of more than {LARGEST_SIGMA:g}"
    rounded = size * (size + 1) * float(np.finfo(np.float64).eps)
    spare = LEAST_SIGMA**2 + rounded * largest if is_part else -(LEAST_SIGMA**2)
    beyond = covariance + spare * np.eye(size)
    if np.diag(beyond).min() <= 0.0:
        return f"along some axis its variance is negative, or less than {LEAST_SIGMA**2:g}"
    sigmas = np.sqrt(np.diag(beyond))
    if np.any(np.abs(covariance - covariance.T) > _ASYMMETRY * np.outer(sigmas, sigmas) + LEAST_SIGMA**2):
        return "it is not symmetric"
    if np.linalg.eigvalsh(beyond / np.outer(sigmas, sigmas))[0] <= (-_ROUNDED if is_part else rounded):
        return "it is not positive definite: along some direction its variance is negative, or none"
    return None


def shared_covariance_fault(covariance: ArrayLike, shared: ArrayLike | None) -> str | None:
    """What is wrong with a covariance (6, 6), with the part of it that other measurements share, or with the rest."""
    if shared is None:
        return covariance_fault(covariance)
    of_each = covariance_fault(covariance) or covariance_fault(shared, is_part=True)
    return of_each or covariance_fault(np.subtract(covariance, shared))


def is_plausible_sigma(sigma: float) -> bool:
    """Whether a number is the standard deviation of a measurement, in units or radians; false for NaN."""
    return LEAST_SIGMA <= sigma <= LARGEST_SIGMA


def is_plausible_scale(scale: float, largest: float = LARGEST_SCALE) -> bool:
    """Whether a ratio of lengths is positive and neither huge nor tiny."""
    return bool(1.0 / largest <= scale <= largest)
