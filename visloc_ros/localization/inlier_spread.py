"""The spread of a pose's inliers over the image and in depth."""

from __future__ import annotations

import math

import numpy as np
import pycolmap

from visloc_ros.core.geometry import Array


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
