"""The covariance of a rig's pose: what its residuals justify, and the errors that residuals do not show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.tangent import move_covariance
from visloc_ros.localization.map_uncertainty import MapUncertainty
from visloc_ros.localization.motion_blur import smear_covariance
from visloc_ros.localization.rig.camera import CameraSearch
from visloc_ros.localization.rig.solving import RigSolution
from visloc_ros.localization.rig.view import RigView
from visloc_ros.localization.uncertainty import covariance_by_smear


def rig_covariance(
    solution: RigSolution, views: Sequence[RigView], cameras: Mapping[str, CameraSearch], of_map: MapUncertainty
) -> tuple[Array, Array]:
    """Covariance (6, 6) of ``map_from_rig``, and the part of it that poses nearby share.

    The cameras share the map's error, nobody knows how much of it: the joint pose errs no less than the mean of what
    each would err, weighted by its share of the pose, which is right for errors that are all the same, and an upper
    bound for others (Jensen's inequality). Smears by motion, and errors of the motion between images that were not
    taken at once, are each camera's own.
    """
    by_pixels, by_noise = solution.shared_covariance, solution.covariance - solution.shared_covariance
    shared, own = np.zeros((6, 6)), by_noise
    for view, rows, share in zip(views, solution.inliers, solution.shares, strict=True):
        if not rows.any():
            continue
        camera, weight = cameras[view.name], float(np.trace(share)) / 6.0
        map_from_camera = camera.map_from_camera(solution.map_from_rig)
        points, pixels = view.points[rows], view.pixels[rows]
        lever = map_from_camera.translation - solution.map_from_rig.translation
        noise_there, pixels_there = move_covariance(by_noise, lever), move_covariance(by_pixels, lever)
        by_map = of_map.of_pose(map_from_camera, noise_there, pixels_there, points)
        shared = shared + weight * move_covariance(by_map, -lever)
        by_motion = _by_smear(camera, map_from_camera, pixels, points, lever)
        by_time = view.motion_in_map(solution.map_from_rig)
        by_motion = by_motion if by_time is None else by_motion + by_time
        own = own + share @ by_motion @ share.T
    return shared + own, shared


def _by_smear(camera: CameraSearch, map_from_camera: SE3, pixels: Array, points: Array, lever: Array) -> Array:
    """Covariance of the rig's pose by this camera alone, of its motion while it exposed."""
    smear = smear_covariance(camera.query.frame.image)
    if not smear.any():
        return np.zeros((6, 6))
    of_camera = covariance_by_smear(map_from_camera, pixels, points, camera.query.frame.camera, smear)
    return move_covariance(of_camera, -lever)
