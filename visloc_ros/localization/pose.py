"""A camera pose from 2D-3D correspondences: RANSAC, then refinement, its inliers, covariance and false alarms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import poselib
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.camera import has_squeezed_pixels, rays, with_two_focal_lengths
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.uncertainty import (
    design_effect,
    focal_length_step,
    pose_covariance,
    reprojection_residuals,
)

MIN_POINTS = 4
_CONFIDENCE = 0.9999  # PoseLib's default
POSELIB_MODELS = (
    "SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV", "OPENCV_FISHEYE",
)  # fmt: skip
"""Of the others PoseLib reports no error, but no inliers either."""
_MAX_ITERATIONS = 10_000  # COLMAP's default: at this confidence enough for a tenth of inliers
FOCAL_GAIN = 1.5
"""How many times more inliers, or smaller errors, make another focal length a better one."""
_FOCAL_CHANGE = 0.1
_FOCAL_HINT = _FOCAL_CHANGE / 5  # of the first step: a loss that forgives large errors makes it too short
_MIN_FREED_INLIERS = 30
_LOOSENED = (6.0, 2.0, 1.0)  # robust losses one after the other: the inliers of a wrong camera are far off
_SAMPLE, _POSES_OF_SAMPLE = 3, 4  # P3P: three matches give up to four poses
MOST_FALSE_ALARMS = 0.01
"""Expected for an image; wrong matches are not quite independent, so that more images of other places have such a pose:
one in a hundred if keypoints are matched with points, eight by retrieval."""


@dataclass(frozen=True, eq=False)
class PoseSolution:
    """Pose ``map_from_camera``, its covariance (6, 6) in the order of ``core.types``, and which rows agree with it.

    ``shared_covariance`` (6, 6) is the part of it that comes of errors which keypoints close together share: those of
    the map and of the calibration. ``errors_px`` (K,) are the reprojection errors of the inliers. ``camera`` is the one
    given, or the one with the estimated focal length. ``is_by_chance``: wrong matches alone may give as
    good a pose.
    """

    map_from_camera: SE3
    covariance: Array
    shared_covariance: Array
    inliers: NDArray[np.bool_]
    errors_px: Array
    camera: pycolmap.Camera
    is_by_chance: bool

    @property
    def own_covariance(self) -> Array:
        """The rest of the covariance (6, 6): by errors that are independent from keypoint to keypoint."""
        return self.covariance - self.shared_covariance

    @property
    def num_inliers(self) -> int:
        """Number of correspondences that agree with the pose."""
        return len(self.errors_px)

    @property
    def focal_length(self) -> float:
        """Focal length in pixels, the mean of both where the camera has two."""
        return float(self.camera.mean_focal_length())

    @property
    def median_error_px(self) -> float:
        """Median reprojection error of the inliers."""
        return float(np.median(self.errors_px))


def solve_pose(
    pixels: Array,
    points: Array,
    camera: pycolmap.Camera,
    config: PoseConfig | None = None,
    prior: SE3 | None = None,
) -> PoseSolution | None:
    """Find ``map_from_camera`` from pixels (N, 2) and map points (N, 3) by PoseLib's LO-RANSAC (Larsson 2020).

    By COLMAP's for camera models that PoseLib does not know.

    ``prior`` is a predicted pose, which is scored first. Deterministic by ``config.seed``. None where no pose has four
    inliers in general position.
    """
    config = config or PoseConfig()
    if camera.model_name not in POSELIB_MODELS:
        return _solve_any_model(pixels, points, camera, config, prior)
    map_from_camera = _solve_by_poselib(pixels, points, camera, config, prior)
    return None if map_from_camera is None else judge_pose(map_from_camera, pixels, points, camera, config)


def estimate_pose(
    pixels: Array, points: Array, camera: pycolmap.Camera, config: PoseConfig, prior: SE3 | None = None
) -> SE3 | None:
    """The pose of ``solve_pose`` alone, which may be of degenerate points: where another search follows."""
    if camera.model_name in POSELIB_MODELS:
        return _solve_by_poselib(pixels, points, camera, config, prior)
    solution = _solve_any_model(pixels, points, camera, config, prior)
    return None if solution is None else solution.map_from_camera


def _solve_by_poselib(
    pixels: Array, points: Array, camera: pycolmap.Camera, config: PoseConfig, prior: SE3 | None
) -> SE3 | None:
    """``map_from_camera`` by PoseLib."""
    if len(pixels) < MIN_POINTS:
        return None
    ransac, refinement = poselib_options(config, prior is not None)
    values = {"model": camera.model_name, "width": camera.width, "height": camera.height}
    values["params"] = camera.params.tolist()
    initial = [] if prior is None else [camera_pose(prior.inverse)]
    pose, report = poselib.estimate_absolute_pose(pixels, points, values, ransac, refinement, *initial)
    return SE3(pose.R, pose.t).inverse if report["num_inliers"] else None


def poselib_options(config: PoseConfig, has_prior: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """PoseLib's options of RANSAC and of the refinement."""
    ransac = {
        "max_reproj_error": config.max_error_px,
        "success_prob": _CONFIDENCE,
        "min_iterations": min(config.min_iterations, _MAX_ITERATIONS),
        "max_iterations": _MAX_ITERATIONS,
        "score_initial_model": has_prior,
        "seed": config.seed,
    }
    return ransac, {"loss_type": "CAUCHY", "loss_scale": config.loss_scale_px}


def camera_pose(camera_from_map: SE3) -> poselib.CameraPose:
    """The same transform as PoseLib has it."""
    pose = poselib.CameraPose()
    pose.R, pose.t = camera_from_map.rotation, camera_from_map.translation
    return pose


def solve_pose_and_focal_length(
    pixels: Array, points: Array, camera: pycolmap.Camera, config: PoseConfig
) -> PoseSolution | None:
    """As ``solve_pose`` with an unknown focal length, by COLMAP, to find out whether the given one is doubtful."""
    return _solve_by_colmap(pixels, points, camera, config, frees_focal_length=True)


def _solve_any_model(
    pixels: Array, points: Array, camera: pycolmap.Camera, config: PoseConfig, prior: SE3 | None
) -> PoseSolution | None:
    """As ``solve_pose`` by COLMAP, which knows all of its camera models; the prior competes with what RANSAC finds."""
    if len(pixels) < MIN_POINTS:
        return None
    expected = None if prior is None else judge_pose(prior, pixels, points, camera, config)
    solutions = [
        _solve_by_colmap(pixels, points, camera, config, frees_focal_length=False),
        None if expected is None else _refine(expected, pixels, points, camera, config, frees_focal_length=False),
    ]
    found = [solution for solution in solutions if solution is not None]
    return max(found, key=lambda one: _score(one, config), default=None)


def _solve_by_colmap(
    pixels: Array, points: Array, camera: pycolmap.Camera, config: PoseConfig, *, frees_focal_length: bool
) -> PoseSolution | None:
    """COLMAP's LO-RANSAC: it samples rays, and judges by pixels. Pixels without a ray do not take part."""
    adjustable = pycolmap.Camera(camera.todict())
    has_ray = np.isfinite(rays(camera, pixels)).all(axis=1)
    if has_ray.sum() < MIN_POINTS:
        return None
    estimation = pycolmap.AbsolutePoseEstimationOptions(estimate_focal_length=frees_focal_length)
    estimation.ransac.max_error = config.max_error_px
    estimation.ransac.confidence = _CONFIDENCE
    estimation.ransac.max_num_trials = _MAX_ITERATIONS
    estimation.ransac.random_seed = config.seed
    refinement = pycolmap.AbsolutePoseRefinementOptions(
        loss_function_scale=config.loss_scale_px, refine_focal_length=frees_focal_length
    )
    result = pycolmap.estimate_and_refine_absolute_pose(
        pixels[has_ray], points[has_ray], adjustable, estimation, refinement
    )
    if result is None:
        return None
    return judge_pose(SE3.from_rigid3d(result["cam_from_world"]).inverse, pixels, points, adjustable, config)


def is_focal_length_wrong(fixed: PoseSolution, freed: PoseSolution) -> bool:
    """Whether the given focal length is to blame: a clearly different one explains the evidence far better."""
    if freed.num_inliers < max(_MIN_FREED_INLIERS, fixed.num_inliers):
        return False
    change = abs(math.log(freed.focal_length / fixed.focal_length))
    return change >= _FOCAL_CHANGE and _explains_more(fixed, freed)


def can_focal_length_be_wrong(fixed: PoseSolution, pixels: Array, points: Array, config: PoseConfig) -> bool:
    """Whether a solution with a free focal length might show that the given one is wrong, before it is computed.

    Not where so many correspondences agree that no pose has far more, and their residuals hardly depend on the focal
    length: of 511 wrong ones in a kitchen and a hall, by 0.5 to 2 times, none is left out.
    """
    is_open = len(fixed.inliers) >= FOCAL_GAIN * fixed.num_inliers
    return is_open or is_focal_length_doubtful(fixed, pixels, points, config)


def is_focal_length_doubtful(fixed: PoseSolution, pixels: Array, points: Array, config: PoseConfig) -> bool:
    """Whether the residuals of the inliers depend on the focal length."""
    inliers, pose, camera = fixed.inliers, fixed.map_from_camera, fixed.camera
    residuals = reprojection_residuals(pose, pixels[inliers], points[inliers], camera)
    return abs(focal_length_step(pose, residuals, points[inliers], camera, config)) > _FOCAL_HINT


def _explains_more(fixed: PoseSolution, freed: PoseSolution) -> bool:
    more_inliers = freed.num_inliers >= FOCAL_GAIN * fixed.num_inliers
    smaller_errors = freed.median_error_px * FOCAL_GAIN <= fixed.median_error_px
    return more_inliers or smaller_errors


def solve_pose_of_unknown_camera(
    pixels: Array, points: Array, cameras: Sequence[pycolmap.Camera], config: PoseConfig
) -> PoseSolution | None:
    """As ``solve_pose_and_focal_length``, also from each of several cameras that may be the right one (at least one).

    A minimal solver for the focal length (P4Pf) fails on points in a plane, a solver for one of the cameras does not;
    its focal length is refined nevertheless, so that the solution has the focal length of the points.
    """
    if len(pixels) < MIN_POINTS:
        return None
    solutions = [solve_pose_and_focal_length(pixels, points, cameras[0], config)]
    for camera in cameras:
        fixed = solve_pose(pixels, points, camera, config)
        if fixed is not None:
            solutions.append(free_focal_length(fixed, pixels, points, camera, config))
    found = [solution for solution in solutions if solution is not None]
    best = max(found, key=lambda one: _score(one, config), default=None)
    return None if best is None else _free_pixel_aspect(best, pixels, points, config)


def _free_pixel_aspect(square: PoseSolution, pixels: Array, points: Array, config: PoseConfig) -> PoseSolution:
    """The solution with a focal length in each direction, where pixels that are not square explain far more."""
    camera = with_two_focal_lengths(square.camera)
    if camera is None:
        return square
    freed = square
    for loosened in _LOOSENED:
        looser = replace(config, loss_scale_px=loosened * config.loss_scale_px)
        refined = free_focal_length(freed, pixels, points, camera, looser)
        if refined is None:
            return square
        freed, camera = refined, refined.camera
    is_better = _explains_more(square, freed) and freed.num_inliers >= _MIN_FREED_INLIERS
    return freed if is_better and has_squeezed_pixels(camera) else square


def _score(solution: PoseSolution, config: PoseConfig) -> float:
    """Inliers, each counting less the larger its error is (MSAC, Torr and Zisserman 2000)."""
    return float(np.sum(1.0 - np.square(solution.errors_px / config.max_error_px)))


def free_focal_length(
    fixed: PoseSolution, pixels: Array, points: Array, camera: pycolmap.Camera, config: PoseConfig
) -> PoseSolution | None:
    """A solution with its focal length refined, too; None where that fails."""
    return _refine(fixed, pixels, points, camera, config, frees_focal_length=True)


def _refine(
    start: PoseSolution,
    pixels: Array,
    points: Array,
    camera: pycolmap.Camera,
    config: PoseConfig,
    *,
    frees_focal_length: bool,
) -> PoseSolution | None:
    """A solution with the least Cauchy cost of its inliers; None where that fails."""
    adjustable = pycolmap.Camera(camera.todict())
    options = pycolmap.AbsolutePoseRefinementOptions(
        loss_function_scale=config.loss_scale_px, refine_focal_length=frees_focal_length
    )
    camera_from_map = start.map_from_camera.inverse.to_rigid3d()
    refined = pycolmap.refine_absolute_pose(camera_from_map, pixels, points, start.inliers, adjustable, options)
    if refined is None:
        return None
    return judge_pose(SE3.from_rigid3d(refined["cam_from_world"]).inverse, pixels, points, adjustable, config)


def judge_pose(
    map_from_camera: SE3, pixels: Array, points: Array, camera: pycolmap.Camera, config: PoseConfig
) -> PoseSolution | None:
    """Inliers and covariance of a refined pose; None with fewer than four inliers in general position."""
    residuals = reprojection_residuals(map_from_camera, pixels, points, camera)
    errors = np.linalg.norm(residuals, axis=1)
    inliers = errors <= config.max_error_px
    if inliers.sum() < MIN_POINTS:
        return None
    independent = pose_covariance(map_from_camera, residuals[inliers], points[inliers], camera, config)
    if independent is None:
        return None
    covariance = independent * design_effect(pixels[inliers], camera, config.shared_error)
    by_chance = is_by_chance(int(inliers.sum()), len(inliers), camera, config.max_error_px)
    shared = covariance - independent
    return PoseSolution(map_from_camera, covariance, shared, inliers, errors[inliers], camera, by_chance)


# How many poses as good as one would be found among wrong matches alone (a contrario): the number of false alarms of
# Moisan and Stival (IJCV 2004), for camera poses as by Moulon, Monasse and Marlet (ACCV 2012). It takes wrong matches
# to be independent and anywhere in the image.


def is_by_chance(num_inliers: int, num_matches: int, camera: pycolmap.Camera, max_error_px: float) -> bool:
    """Whether a pose may be by wrong matches alone, by its inliers within ``max_error_px`` of ``num_matches``."""
    share = math.pi * max_error_px**2 / (camera.width * camera.height)
    return log_false_alarms(num_inliers, num_matches, min(share, 1.0)) > math.log(MOST_FALSE_ALARMS)


def log_false_alarms(
    num_inliers: int,
    num_matches: int,
    share: float,
    sample: int = _SAMPLE,
    models_of_sample: int = _POSES_OF_SAMPLE,
) -> float:
    """Logarithm of the expected number of models that agree with as many wrong matches.

    ``share`` is the part of the image in which a match agrees; ``sample`` matches give up to ``models_of_sample``
    models, by default camera poses. Infinite for a model that agrees with its sample only.
    """
    if num_inliers <= sample:
        return math.inf
    return (
        math.log(models_of_sample * (num_matches - sample))
        + _log_choose(num_matches, num_inliers)
        + _log_choose(num_inliers, sample)
        + (num_inliers - sample) * math.log(share)
    )


def _log_choose(count: int, chosen: int) -> float:
    return math.lgamma(count + 1) - math.lgamma(chosen + 1) - math.lgamma(count - chosen + 1)
