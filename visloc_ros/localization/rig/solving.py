"""The pose of a rig from the 2D-3D correspondences of its cameras: RANSAC, joint refinement, and its covariance.

A generalised absolute pose: minimal samples are of any cameras (gP3P, Kneip et al. 2013; PoseLib, Larsson 2020).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import poselib
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.camera import rays
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.tangent import lever_jacobian
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.pose import (
    MIN_POINTS,
    MOST_FALSE_ALARMS,
    POSELIB_MODELS,
    camera_pose,
    log_false_alarms,
    poselib_options,
)
from visloc_ros.localization.uncertainty import (
    design_effect,
    inverse_hessian,
    noise_variance,
    projection_jacobian,
    reprojection_residuals,
)

_SAMPLE, _POSES_OF_SAMPLE = 3, 8  # gP3P


@dataclass(frozen=True, eq=False)
class RigView:
    """Correspondences of one camera of a rig: pixels (N, 2) and the map points (N, 3) that they may show."""

    name: str
    rig_from_camera: SE3
    camera: pycolmap.Camera
    pixels: Array
    points: Array

    def residuals(self, map_from_rig: SE3) -> Array:
        """Keypoints minus projected points (N, 2) in pixels; infinite behind the camera."""
        return reprojection_residuals(map_from_rig @ self.rig_from_camera, self.pixels, self.points, self.camera)

    def inliers(self, map_from_rig: SE3, config: PoseConfig) -> NDArray[np.bool_]:
        """Which correspondences (N,) agree with a pose."""
        return np.asarray(np.linalg.norm(self.residuals(map_from_rig), axis=1) <= config.max_error_px)

    def jacobian(self, map_from_rig: SE3, points: Array) -> Array:
        """Derivative (2 N, 6) of projected points by the pose of the rig, in the tangent of ``core.types``."""
        lever = map_from_rig.rotation @ self.rig_from_camera.translation
        of_camera = projection_jacobian(map_from_rig @ self.rig_from_camera, points, self.camera)
        return np.asarray(of_camera @ lever_jacobian(lever))


@dataclass(frozen=True, eq=False)
class RigSolution:
    """Pose ``map_from_rig``, and by view: its ``inliers`` (N,), and ``shares`` (6, 6), which sum to the identity.

    A share takes a small error that one camera alone makes in the rig's pose to that of the joint pose. ``covariance``
    (6, 6) has ``shared_covariance`` as a part, as of ``PoseSolution``.
    """

    map_from_rig: SE3
    covariance: Array
    shared_covariance: Array
    inliers: tuple[NDArray[np.bool_], ...]
    shares: tuple[Array, ...]

    @property
    def num_inliers(self) -> int:
        """Number of correspondences of all views that agree with the pose."""
        return sum(int(one.sum()) for one in self.inliers)


def solve_rig_pose(views: Sequence[RigView], config: PoseConfig, priors: Sequence[SE3] = ()) -> RigSolution | None:
    """Find ``map_from_rig`` from the views of its cameras; ``priors`` are poses that may be right.

    Deterministic by ``config.seed``. None where no pose has four inliers in general position.
    """
    if sum(len(view.pixels) for view in views) < MIN_POINTS:
        return None
    start = max(priors, key=lambda pose: _score(views, pose, config), default=None)
    found = [pose for pose in (_ransac(views, config, start), start) if pose is not None]
    best = max(found, key=lambda pose: _score(views, pose, config), default=None)
    return None if best is None else _judge(views, best, config)


def is_by_chance(views: Sequence[RigView], solution: RigSolution, config: PoseConfig) -> bool:
    """Whether wrong correspondences alone may give as good a pose (see ``pose.is_by_chance``)."""
    share = max(math.pi * config.max_error_px**2 / (view.camera.width * view.camera.height) for view in views)
    matches = sum(len(view.pixels) for view in views)
    alarms = log_false_alarms(solution.num_inliers, matches, min(share, 1.0), _SAMPLE, _POSES_OF_SAMPLE)
    return alarms > math.log(MOST_FALSE_ALARMS)


def _score(views: Sequence[RigView], map_from_rig: SE3, config: PoseConfig) -> float:
    """Inliers, each counting less the larger its error is (MSAC, Torr and Zisserman 2000)."""
    errors = np.concatenate([np.linalg.norm(view.residuals(map_from_rig), axis=1) for view in views])
    return float(np.sum(np.maximum(0.0, 1.0 - np.square(errors / config.max_error_px))))


def _ransac(views: Sequence[RigView], config: PoseConfig, prior: SE3 | None) -> SE3 | None:
    ransac, refinement = poselib_options(config, prior is not None)
    pixels, points, cameras = zip(*(_for_poselib(view) for view in views), strict=True)
    places = [camera_pose(view.rig_from_camera.inverse) for view in views]
    initial = None if prior is None else camera_pose(prior.inverse)
    pose, report = poselib.estimate_generalized_absolute_pose(
        pixels, points, places, cameras, ransac, refinement, initial
    )
    return SE3(pose.R, pose.t).inverse if report["num_inliers"] else None


def _for_poselib(view: RigView) -> tuple[Array, Array, dict[str, object]]:
    """Pixels, points and camera; a model that PoseLib does not know becomes a pinhole of the same focal length."""
    camera = view.camera
    size: dict[str, object] = {"width": camera.width, "height": camera.height}
    if camera.model_name in POSELIB_MODELS:
        return view.pixels, view.points, {"model": camera.model_name, "params": camera.params.tolist(), **size}
    focal, seen = camera.mean_focal_length(), rays(camera, view.pixels)
    has_ray = np.isfinite(seen).all(axis=1)
    pinhole = {"model": "SIMPLE_PINHOLE", "params": [focal, 0.0, 0.0], **size}
    return focal * seen[has_ray], view.points[has_ray], pinhole


def _judge(views: Sequence[RigView], map_from_rig: SE3, config: PoseConfig) -> RigSolution | None:
    """Inliers and covariance of a refined pose, for which all keypoints had the same weight.

    Keypoints close together err together (``design_effect``), which some cameras have more of than others: the
    covariance is that of least squares by weights other than the best (a sandwich, Huber 1981).
    """
    inliers = tuple(view.inliers(map_from_rig, config) for view in views)
    used = [(view, rows) for view, rows in zip(views, inliers, strict=True) if rows.any()]
    if sum(int(rows.sum()) for _, rows in used) < MIN_POINTS:
        return None
    inverse = inverse_hessian(np.concatenate([view.jacobian(map_from_rig, view.points[rows]) for view, rows in used]))
    if inverse is None:
        return None
    residuals = np.concatenate([view.residuals(map_from_rig)[rows] for view, rows in used])
    shares, joint = [], np.zeros((6, 6))
    for view, rows in zip(views, inliers, strict=True):
        jacobian = view.jacobian(map_from_rig, view.points[rows])
        shares.append(inverse @ jacobian.T @ jacobian)
        if rows.any():
            joint += design_effect(view.pixels[rows], view.camera, config.shared_error) * shares[-1] @ inverse
    independent, variance = inverse, noise_variance(residuals, config)
    return RigSolution(map_from_rig, variance * joint, variance * (joint - independent), inliers, tuple(shares))
