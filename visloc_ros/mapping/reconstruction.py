"""Structure from motion with pycolmap: poses and points from matches, or points alone at known poses.

Keypoints keep their rows from the features to the reconstruction, so that a map's feature file and its COLMAP model
stay aligned.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.camera import rays
from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.temporary_folder import temporary_folder
from visloc_ros.mapping.components import Component, merge_components, without_covered
from visloc_ros.mapping.config import ReconstructionConfig
from visloc_ros.mapping.mappers import MapperTask, continue_model, mapper_options, quiet_colmap, run_mapper
from visloc_ros.mapping.matching import PairMatches
from visloc_ros.mapping.pairs import Pair
from visloc_ros.mapping.sfm_database import (
    DATABASE_NAME,
    SfmImage,
    add_views,
    calibrated_ids,
    count_inliers,
    write_database,
)

_log = logging.getLogger(__name__)

_KEYPOINT_NOISE_PX = 1.0  # a typical match misses its epipolar line by less where the poses are right
_EXACT_ERROR_FACTOR = 3.0
_POSE_ERROR_FACTOR = 4.0
_POSE_ERROR_PERCENTILE = 80.0
_MIN_FITTING_SHARE = 0.3


def reconstruct(
    views: Sequence[SfmImage],
    matches: PairMatches,
    config: ReconstructionConfig,
    *,
    on_image: Callable[[], None] = lambda: None,
) -> pycolmap.Reconstruction:
    """Find poses and points of images; the largest model is kept. Raises as ``reconstruct_components`` does."""
    return reconstruct_components(views, matches, config, on_image=on_image)[0].model


def reconstruct_components(
    views: Sequence[SfmImage],
    matches: PairMatches,
    config: ReconstructionConfig,
    *,
    on_image: Callable[[], None] = lambda: None,
) -> list[Component]:
    """Find poses and points of images: the largest model, then others of those that could not be joined with it.

    Models that share images are merged where these agree. Cameras that are not calibrated are refined. Scale and axes
    are arbitrary in each model. An image may be in several, but each model has images that no larger one has.
    ``on_image`` is called for every image registered. Raises MapError when no model
    comes out.
    """
    blank = pycolmap.Reconstruction()
    image_ids = add_views(blank, views)
    calibrated = calibrated_ids(blank, views, image_ids)
    with quiet_colmap(), temporary_folder("sfm") as folder:
        write_database(folder / DATABASE_NAME, blank, image_ids, matches)
        verify_pairs(folder / DATABASE_NAME, config)
        task = MapperTask(folder / DATABASE_NAME, len(views), dict(blank.cameras), calibrated, on_image)
        mapped = run_mapper(task, config)
        models = without_covered(mapped.models)
        merged = merge_components(models, views, config)
        components = [part for one in merged for part in _completed(one, models, task, config)]
        components = [_with_evidence(one, components[0], task) for one in components]
        components = [replace(one, remark=mapped.remark) for one in components]
    if not components:
        raise MapError(
            "no two images could be joined into a map: film slowly, sideways rather than turning on the spot, "
            "with plenty of texture in view"
        )
    return components


def triangulate_at_known_poses(
    views: Sequence[SfmImage],
    map_from_cameras: Sequence[SE3],
    matches: PairMatches,
    config: ReconstructionConfig,
) -> pycolmap.Reconstruction:
    """Triangulate points of images whose poses are known and stay as they are (hloc's triangulation).

    Matches are kept where they obey the epipolar geometry of the poses, points where their reprojection error and
    triangulation angle are good; both tolerances grow with the errors that the poses show. Images that see no point
    are dropped. Raises MapError when there are no points.
    """
    residuals = epipolar_residuals(views, map_from_cameras, matches)
    config = _tolerate_pose_errors(residuals, config)
    _check_fit(residuals, config)
    verified = {pair: _within(matches[pair], residuals[pair], config) for pair in matches}
    posed = pycolmap.Reconstruction()
    image_ids = add_views(posed, views, map_from_cameras)
    with quiet_colmap(), temporary_folder("sfm") as folder:
        write_database(folder / DATABASE_NAME, posed, image_ids, verified, verified=True)
        reconstruction = pycolmap.triangulate_points(
            posed, folder / DATABASE_NAME, folder, folder, options=_triangulation_options(posed, config)
        )
    if reconstruction.num_points3D() == 0:
        raise MapError(
            "no point could be triangulated at the reference poses: the camera must see the same things from places "
            "that are apart"
        )
    _drop_blind_images(reconstruction, config)
    return reconstruction


def epipolar_residuals(
    views: Sequence[SfmImage], map_from_cameras: Sequence[SE3], matches: PairMatches
) -> dict[Pair, Array]:
    """Distance (K,) in pixels of every match from the epipolar geometry of its pair's poses, to first order.

    Infinite where a pair has no baseline and therefore nothing to triangulate, and for pixels without a ray.
    """
    cameras = [view.camera.intrinsics for view in views]
    rays_of = [rays(camera, view.keypoints) for camera, view in zip(cameras, views, strict=True)]
    residuals = {}
    for (i, j), pairs in matches.items():
        j_from_i = map_from_cameras[j].inverse @ map_from_cameras[i]
        if len(pairs) == 0 or np.linalg.norm(j_from_i.translation) == 0.0:
            residuals[i, j] = np.full(len(pairs), np.inf)
            continue
        essential = pycolmap.essential_matrix_from_pose(j_from_i.to_rigid3d())
        squared = pycolmap.compute_squared_sampson_error(rays_of[i][pairs[:, 0]], rays_of[j][pairs[:, 1]], essential)
        focal_length = (cameras[i].mean_focal_length() + cameras[j].mean_focal_length()) / 2.0
        residuals[i, j] = np.nan_to_num(np.sqrt(squared) * focal_length, nan=np.inf)
    return residuals


def _completed(
    component: Component, models: Sequence[pycolmap.Reconstruction], task: MapperTask, config: ReconstructionConfig
) -> list[Component]:
    """A component that was merged of several, with the points and the images that it gains by all matches.

    Parts that verified matches do not hold together with the largest one follow it.
    """
    if any(component.model is model for model in models):
        return [component]
    largest, *others = without_covered(continue_model(component.model, task, config))
    apart = "verified matches do not hold it together with the rest"
    return [replace(component, model=largest), *(Component(model, apart) for model in others)]


def _with_evidence(component: Component, largest: Component, task: MapperTask) -> Component:
    """A component whose reason to stay apart tells how well its images match those of the largest one."""
    if component is largest:
        return component
    apart = [set(one.model.reg_image_ids()) for one in (component, largest)]
    inliers = count_inliers(task.database, *apart)
    words = (
        f"{len(inliers)} pairs of their images match, the best by {max(inliers)} keypoints"
        if inliers
        else ("no pair of their images matches")
    )
    return replace(component, reason=f"{component.reason}; {words}")


def _tolerate_pose_errors(residuals: Mapping[Pair, Array], config: ReconstructionConfig) -> ReconstructionConfig:
    """The options with the tolerances that fit the errors of fixed reference poses.

    Most matches are right: where many miss their epipolar line, the poses are inexact. Where the poses are exact,
    points must agree as well as keypoints can: 1.5 px is the 95 % region of two coordinates with errors of 0.6 px each.
    Where they are not, points must be allowed the poses' error, so that long tracks average over it; a tight tolerance
    only keeps pairs that happen to agree. Other views of three simulated rooms, mapped at poses 1 cm and 0.2 degrees
    off, are localized 3.3 to 4.6 cm off at 4 px, 1.6 to 2.8 cm at 12 px; at exact poses no tolerance matters there.
    """
    every = np.concatenate([values[np.isfinite(values)] for values in residuals.values()] or [np.empty(0)])
    if len(every) == 0:
        return config
    typical = float(np.median(every))
    if typical > _KEYPOINT_NOISE_PX:
        error = _POSE_ERROR_FACTOR * float(np.percentile(every, _POSE_ERROR_PERCENTILE))
        tolerance = min(error, config.max_pose_error_px)
        _log.info("the reference poses are inexact: points may reproject up to %.1f px off", tolerance)
    else:
        tolerance = max(_EXACT_ERROR_FACTOR * typical, config.exact_pose_error_px)
    return replace(config, max_epipolar_error_px=tolerance, max_reprojection_error_px=tolerance)


def _check_fit(residuals: Mapping[Pair, Array], config: ReconstructionConfig) -> None:
    every = np.concatenate(list(residuals.values()) or [np.empty(0)])
    share = float(np.mean(every <= config.max_epipolar_error_px)) if len(every) else 0.0
    if share < _MIN_FITTING_SHARE:
        raise MapError(
            f"the reference poses do not fit the images: only {100 * share:.0f} % of the matches agree with them. "
            "Check that they are map_from_camera (z forward) in metres, that their stamps are those of the images, and "
            "the calibration"
        )


def _within(pairs: NDArray[np.int32], residuals: Array, config: ReconstructionConfig) -> NDArray[np.int32]:
    kept: NDArray[np.int32] = pairs[residuals <= config.max_epipolar_error_px]
    return kept if len(kept) >= config.min_matches else kept[:0]


def verify_pairs(database: Path, config: ReconstructionConfig) -> None:
    """Keep, in COLMAP's database, those matches of every pair that one two-view geometry explains."""
    verifier = pycolmap.GeometricVerifierOptions()
    verifier.num_threads = config.threads or -1
    options = pycolmap.TwoViewGeometryOptions()
    options.min_num_inliers = config.min_matches
    options.filter_stationary_matches = config.min_match_motion_px > 0
    options.stationary_matches_max_error = config.min_match_motion_px
    options.ransac.max_error = config.max_epipolar_error_px
    options.ransac.random_seed = config.seed
    pycolmap.geometric_verification(database, verifier, two_view_geometry_options=options)


def _triangulation_options(
    posed: pycolmap.Reconstruction, config: ReconstructionConfig
) -> pycolmap.IncrementalPipelineOptions:
    options = mapper_options(config, posed.cameras.values())
    options.fix_existing_frames = True
    options.triangulation.ignore_two_view_tracks = False
    return options


def _drop_blind_images(reconstruction: pycolmap.Reconstruction, config: ReconstructionConfig) -> None:
    for image_id in list(reconstruction.reg_image_ids()):
        image = reconstruction.images[image_id]
        if image.num_points3D < config.min_matches:
            _log.info("image '%s' is left out: it sees %d points of the map", image.name, image.num_points3D)
            reconstruction.deregister_frame(image.frame_id)
