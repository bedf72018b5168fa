"""What the photo's own metadata say about its pose, joined with what the views say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from visloc_geo.orientation import angles_of, heading_difference_deg
from visloc_geo.solving.types import PhotoPose, Tag
from visloc_ros.core.geometry import Array
from visloc_ros.core.plausibility import covariance_fault
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.tangent import perturbed

_AGREES = 0.99  # probability of a smaller difference of two right measurements


def with_prior(pose: PhotoPose, prior: Tag | None) -> PhotoPose:
    """The pose joined with the prior's position, height and heading.

    Each is left out if it contradicts the pose, or if its standard deviation is none or infinite.
    """
    if prior is None:
        return pose
    if prior.position is not None:
        level, height = np.arange(2), np.array([2])
        pose = _joined(pose, level, (prior.position - pose.position)[level], np.full(2, prior.position_sigma_m**2))
        pose = _joined(pose, height, (prior.position - pose.position)[height], np.array([prior.height_sigma_m**2]))
    if prior.rotation is not None and pose.rotation is not None:
        turn = -heading_difference_deg(angles_of(prior.rotation)[0], angles_of(pose.rotation)[0])
        pose = _joined(pose, np.array([5]), np.radians([turn]), np.radians([prior.heading_sigma_deg]) ** 2)
    return pose


def _joined(pose: PhotoPose, measured: NDArray[np.intp], difference: Array, variances: Array) -> PhotoPose:
    """The pose after a measurement of some of its six numbers, which lies a difference from it (Kalman 1960)."""
    if covariance_fault(np.diag(variances), len(variances)) is not None:
        return pose
    known = np.arange(6 if pose.rotation is not None else 3)
    covariance = pose.covariance[np.ix_(known, known)]
    innovation = covariance[np.ix_(measured, measured)] + np.diag(variances)
    distance = float(difference @ np.linalg.solve(innovation, difference))
    if distance > chi_square_quantile(_AGREES, len(measured)):
        return pose
    gain = np.linalg.solve(innovation, covariance[measured]).T
    error, left = gain @ difference, covariance - gain @ covariance[measured]
    joined = pose.covariance.copy()
    joined[np.ix_(known, known)] = (left + left.T) / 2.0
    if pose.enu_from_camera is None:
        return replace(pose, position=pose.position + error, covariance=joined)
    moved = perturbed(pose.enu_from_camera, error)
    return replace(pose, position=moved.translation, rotation=moved.rotation, covariance=joined)
