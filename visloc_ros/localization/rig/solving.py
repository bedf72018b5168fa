"""The pose of a rig from the 2D-3D correspondences of its cameras: RANSAC, joint refinement, and its covariance.

A generalised absolute pose: minimal samples are of any cameras (gP3P, Kneip et al. 2013; PoseLib, Larsson 2020). An
image of another time says as much of the pose as the motion since is known: its error is estimated with the pose, and
marginalised.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import poselib
from numpy.typing import NDArray

from visloc_ros.core.camera import rays
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.tangent import perturbed, pose_difference
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.pose import (
    MIN_POINTS,
    MOST_FALSE_ALARMS,
    POSELIB_MODELS,
    camera_pose,
    log_false_alarms,
    poselib_options,
)
from visloc_ros.localization.rig.view import RigView
from visloc_ros.localization.uncertainty import cauchy_weights, design_effect, inverse_information, noise_variance

_SAMPLE, _POSES_OF_SAMPLE = 3, 8  # gP3P
_STEPS = 4  # of the refinement: it begins near


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
    return None if best is None else _judge(views, _refined(views, best, config), config)


def is_by_chance(views: Sequence[RigView], solution: RigSolution, config: PoseConfig) -> bool:
    """Whether wrong correspondences alone may give as good a pose (see ``pose.is_by_chance``)."""
    share = max(math.pi * config.max_error_px**2 / (view.camera.width * view.camera.height) for view in views)
    matches = sum(len(view.pixels) for view in views)
    alarms = log_false_alarms(solution.num_inliers, matches, min(share, 1.0), _SAMPLE, _POSES_OF_SAMPLE)
    return alarms > math.log(MOST_FALSE_ALARMS)


def _score(views: Sequence[RigView], map_from_rig: SE3, config: PoseConfig) -> float:
    """Inliers, each counting less the larger its error is (MSAC, Torr and Zisserman 2000)."""
    seen = [view.residuals(view.seen_from(map_from_rig, config)) for view in views]
    errors = np.linalg.norm(np.concatenate(seen), axis=1)
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


def _refined(views: Sequence[RigView], start: SE3, config: PoseConfig) -> SE3:
    """The likeliest pose, whatever the errors of the motions, by Gauss-Newton."""
    pose = start
    for _ in range(_STEPS):
        seen = _seen(views, pose, config)
        inverse = _inverse(seen)
        if inverse is None:
            return start
        pose = perturbed(pose, inverse @ sum((one.gradient(pose, config) for one in seen), np.zeros(6)))
    return pose


def _judge(views: Sequence[RigView], map_from_rig: SE3, config: PoseConfig) -> RigSolution | None:
    """Inliers and covariance of a refined pose, without the errors of the motions."""
    seen = _seen(views, map_from_rig, config)
    inverse = _inverse(seen)
    if inverse is None:
        return None
    shares = tuple(inverse @ one.information for one in seen)
    joint, independent = np.zeros((6, 6)), np.zeros((6, 6))
    for one, share in zip(seen, shares, strict=True):
        by_noise = share @ one.kept.T @ inverse
        joint, independent = joint + by_noise, independent + by_noise / one.effect
    return RigSolution(map_from_rig, joint, joint - independent, tuple(one.inliers for one in seen), shares)


@dataclass(frozen=True, eq=False)
class _SeenView:
    """A view at a pose: its inliers (N,), and their residuals (M, 2) and Jacobian (2 M, 6) where its motion led from.

    Keypoints close together err together, some cameras have more of them than others: their variance is ``effect``
    times what it would be if they erred independently (``design_effect``), and ``precision`` its inverse. The error of
    the motion leaves a share ``kept`` (6, 6) of what they say of the pose.
    """

    inliers: NDArray[np.bool_]
    seen_from: SE3
    residuals: Array
    jacobian: Array
    effect: float
    precision: float
    kept: Array

    @property
    def information(self) -> Array:
        information = self.precision * self.kept @ self.jacobian.T @ self.jacobian
        return (information + information.T) / 2.0

    def gradient(self, map_from_rig: SE3, config: PoseConfig) -> Array:
        """The gradient (6,) of the likelihood by the pose, the motion's error marginalised; by the Cauchy loss."""
        errors = self.residuals * cauchy_weights(self.residuals, config)[:, None]
        without_motion = errors.ravel() + self.jacobian @ pose_difference(self.seen_from, map_from_rig)
        return np.asarray(self.precision * self.kept @ self.jacobian.T @ without_motion)


def _inverse(seen: Sequence[_SeenView]) -> Array | None:
    """Inverse (6, 6) of the information in all views, None where they do not determine a pose."""
    return inverse_information(sum((one.information for one in seen), np.zeros((6, 6)))) if seen else None


def _seen(views: Sequence[RigView], map_from_rig: SE3, config: PoseConfig) -> list[_SeenView]:
    """The views at a pose, none with fewer than four inliers."""
    poses = [view.seen_from(map_from_rig, config) for view in views]
    residuals = [view.residuals(pose) for view, pose in zip(views, poses, strict=True)]
    inliers = [np.asarray(np.linalg.norm(one, axis=1) <= config.max_error_px) for one in residuals]
    if sum(int(rows.sum()) for rows in inliers) < MIN_POINTS:
        return []
    residuals = [one[rows] for one, rows in zip(residuals, inliers, strict=True)]
    variance = noise_variance(np.concatenate(residuals), config, 6 * (1 + sum(one.has_moved for one in views)))
    seen = []
    for view, pose, rows, errors in zip(views, poses, inliers, residuals, strict=True):
        jacobian, motion = view.jacobian(pose, view.points[rows]), view.motion_in_map(map_from_rig)
        effect = design_effect(view.pixels[rows], view.camera, config.shared_error) if rows.any() else 1.0
        precision = 1.0 / (effect * variance)
        by_motion = np.zeros((6, 6)) if motion is None else precision * jacobian.T @ jacobian @ motion
        kept = np.asarray(np.linalg.inv(np.eye(6) + by_motion))
        seen.append(_SeenView(rows, pose, errors, jacobian, effect, precision, kept))
    return seen
