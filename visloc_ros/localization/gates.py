"""Gates that a computed pose must pass to be accepted; each refusal has its reason."""

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
_MIN_INLIER_RATIO = 0.4  # of the correspondences: in a place that only looks like this one, few agree
_STRONG_INLIERS = 150  # fewer may be of a single object, such as a poster, that is also elsewhere
_MIN_PLANAR_SPREAD = 0.15  # a plane that nearly fills the image (0.17 at 4:3): a wall, not a poster on it


def spread(pixels: Array, camera: pycolmap.Camera) -> float:
    """Least standard deviation of pixels (N, 2) in any direction, as share of the image diagonal."""
    if len(pixels) < 2:
        return 0.0
    centred = pixels - pixels.mean(axis=0)
    least_variance = float(np.linalg.eigvalsh(centred.T @ centred)[0]) / (len(pixels) - 1)
    return math.sqrt(max(least_variance, 0.0)) / math.hypot(camera.width, camera.height)


def relative_thickness(points_in_camera: Array) -> float:
    """Thickness of points (N, 3) across the plane that fits them best, as share of their median distance.

    Root mean square; infinite for fewer than four points, which always lie in a plane.
    """
    if len(points_in_camera) < 4:
        return math.inf
    centred = points_in_camera - points_in_camera.mean(axis=0)
    least_variance = float(np.linalg.eigvalsh(centred.T @ centred / len(centred))[0])
    distance = float(np.median(np.linalg.norm(points_in_camera, axis=1)))
    return math.sqrt(max(least_variance, 0.0)) / distance


def check_pose(
    solution: PoseSolution, pixels: Array, points: Array, camera: pycolmap.Camera, config: GateConfig
) -> Reason | None:
    """The reason why a pose computed from pixels (N, 2) and map points (N, 3) must be refused, or None."""
    ratio = solution.num_inliers / len(pixels)
    if solution.num_inliers < config.min_inliers or ratio < _MIN_INLIER_RATIO:
        return Reason.FEW_INLIERS
    covered = spread(pixels[solution.inliers], camera)
    is_weak = solution.num_inliers < _STRONG_INLIERS
    if covered < (config.min_weak_spread if is_weak else config.min_spread):
        return Reason.FEW_INLIERS
    if is_weak and covered < _MIN_PLANAR_SPREAD and _is_planar(solution, points, config):
        return Reason.PLANAR_POINTS
    if solution.median_error_px > config.max_reprojection_error_px:
        return Reason.HIGH_REPROJECTION_ERROR
    return None


def _is_planar(solution: PoseSolution, points: Array, config: GateConfig) -> bool:
    in_camera = solution.map_from_camera.inverse @ points[solution.inliers]
    return relative_thickness(in_camera) < config.min_thickness


def is_focal_length_wrong(fixed: PoseSolution, freed: PoseSolution, config: GateConfig) -> bool:
    """Whether the given focal length is to blame: a clearly different one explains the evidence far better."""
    if freed.num_inliers < max(config.min_inliers, fixed.num_inliers):
        return False
    change = abs(math.log(freed.focal_length / fixed.focal_length))
    more_inliers = freed.num_inliers >= _FOCAL_GAIN * fixed.num_inliers
    smaller_errors = freed.median_error_px * _FOCAL_GAIN <= fixed.median_error_px
    return change >= _FOCAL_CHANGE and (more_inliers or smaller_errors)
