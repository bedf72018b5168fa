"""Gates between a computed pose and an accepted one: what cannot be trusted gets its reason."""

from __future__ import annotations

import math

import numpy as np
import pycolmap

from visloc_ros.core.geometry import Array
from visloc_ros.core.types import Reason
from visloc_ros.localization.config import GateConfig
from visloc_ros.localization.pose import PoseSolution

_FOCAL_GAIN = 1.5
_FOCAL_CHANGE = 0.1


def spread(pixels: Array, camera: pycolmap.Camera) -> float:
    """Least standard deviation of pixels (N, 2) in any direction, as share of the image diagonal."""
    if len(pixels) < 2:
        return 0.0
    least_variance = float(np.linalg.eigvalsh(np.cov(pixels.T))[0])
    return math.sqrt(max(least_variance, 0.0)) / math.hypot(camera.width, camera.height)


def find_fault(solution: PoseSolution, pixels: Array, camera: pycolmap.Camera, config: GateConfig) -> Reason | None:
    """Why a pose computed from pixels (N, 2) must not be accepted, or None."""
    ratio = solution.num_inliers / len(pixels)
    if solution.num_inliers < config.min_inliers or ratio < config.min_inlier_ratio:
        return Reason.FEW_INLIERS
    if spread(pixels[solution.inliers], camera) < config.min_spread:
        return Reason.FEW_INLIERS
    if solution.median_error_px > config.max_reprojection_error_px:
        return Reason.HIGH_REPROJECTION_ERROR
    return None


def is_focal_length_wrong(fixed: PoseSolution, freed: PoseSolution, config: GateConfig) -> bool:
    """Whether the given focal length is to blame: a clearly different one explains the evidence far better."""
    if freed.num_inliers < max(config.min_inliers, fixed.num_inliers):
        return False
    change = abs(math.log(freed.focal_length / fixed.focal_length))
    more_inliers = freed.num_inliers >= _FOCAL_GAIN * fixed.num_inliers
    smaller_errors = freed.median_error_px * _FOCAL_GAIN <= fixed.median_error_px
    return change >= _FOCAL_CHANGE and (more_inliers or smaller_errors)
