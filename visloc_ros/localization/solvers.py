"""Pose solvers by name: RANSAC over minimal samples, then refinement on the inliers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import poselib
import pycolmap

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.localization.config import POSE_SOLVERS, PoseConfig

_CONFIDENCE = 0.9999  # PoseLib's default
_MAX_ITERATIONS = 10_000  # COLMAP's default: at this confidence enough for a tenth of inliers


class PoseSolver(Protocol):
    """Finds one pose from correspondences, many of which may be wrong."""

    def __call__(
        self, pixels: Array, points: Array, camera: pycolmap.Camera, config: PoseConfig, prior: SE3 | None
    ) -> SE3 | None:
        """``map_from_camera`` from pixels (N, 2) and map points (N, 3), the most promising first; None without one.

        ``prior`` is a predicted ``map_from_camera``, one hypothesis among the others.
        """
        ...


def find_solver(name: str) -> PoseSolver:
    """The solver of that name. Raises ConfigError on an unknown one."""
    if name not in _SOLVERS:
        raise ConfigError(f"unknown pose solver '{name}'; known: {', '.join(POSE_SOLVERS)}")
    return _SOLVERS[name]


def solve_with_colmap(
    pixels: Array, points: Array, camera: pycolmap.Camera, config: PoseConfig, prior: SE3 | None = None
) -> SE3 | None:
    """COLMAP's LO-RANSAC; it takes no prediction and no order."""
    result = estimate_with_colmap(pixels, points, camera, config)
    return None if result is None else SE3.from_rigid3d(result).inverse


def estimate_with_colmap(
    pixels: Array, points: Array, camera: pycolmap.Camera, config: PoseConfig, estimate_focal_length: bool = False
) -> pycolmap.Rigid3d | None:
    """Pose ``camera_from_map``; with ``estimate_focal_length`` that of ``camera`` is changed to the estimated one."""
    estimation = pycolmap.AbsolutePoseEstimationOptions(estimate_focal_length=estimate_focal_length)
    estimation.ransac.max_error = config.max_error_px
    estimation.ransac.confidence = _CONFIDENCE
    estimation.ransac.max_num_trials = _MAX_ITERATIONS
    estimation.ransac.random_seed = config.seed
    refinement = pycolmap.AbsolutePoseRefinementOptions(
        loss_function_scale=config.loss_scale_px, refine_focal_length=estimate_focal_length
    )
    result = pycolmap.estimate_and_refine_absolute_pose(pixels, points, camera, estimation, refinement)
    return None if result is None else result["cam_from_world"]


def solve_with_poselib(
    pixels: Array, points: Array, camera: pycolmap.Camera, config: PoseConfig, prior: SE3 | None = None
) -> SE3 | None:
    """PoseLib's LO-RANSAC (Larsson 2020), the prediction scored first."""
    ransac = {
        "max_reproj_error": config.max_error_px,
        "success_prob": _CONFIDENCE,
        "min_iterations": min(config.min_iterations, _MAX_ITERATIONS),
        "max_iterations": _MAX_ITERATIONS,
        "progressive_sampling": config.progressive_sampling,
        "score_initial_model": prior is not None,
        "seed": config.seed,
    }
    refinement = {"loss_type": "CAUCHY", "loss_scale": config.loss_scale_px}
    values = {"model": camera.model_name, "width": camera.width, "height": camera.height}
    values["params"] = camera.params.tolist()
    initial = [] if prior is None else [_camera_pose(prior.inverse)]
    pose, report = poselib.estimate_absolute_pose(pixels, points, values, ransac, refinement, *initial)
    return SE3(pose.R, pose.t).inverse if report["num_inliers"] > 0 else None


def _camera_pose(camera_from_map: SE3) -> poselib.CameraPose:
    pose = poselib.CameraPose()
    pose.R, pose.t = camera_from_map.rotation, camera_from_map.translation
    return pose


_FUNCTIONS: Sequence[PoseSolver] = (solve_with_poselib, solve_with_colmap)
_SOLVERS = dict(zip(POSE_SOLVERS, _FUNCTIONS, strict=True))
