"""Structure from motion with pycolmap: poses and points from matches, or points alone at known poses.

Keypoints keep their rows from the features to the reconstruction, so that a map's feature file and its COLMAP model
stay aligned.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.mapping.config import ReconstructionConfig
from visloc_ros.mapping.matching import PairMatches
from visloc_ros.mapping.pairs import Pair

_log = logging.getLogger(__name__)

_POSE_ERROR_FACTOR = 4.0
_POSE_ERROR_PERCENTILE = 80.0
_MIN_FITTING_SHARE = 0.3


@dataclass(frozen=True, eq=False)
class View:
    """An image as reconstruction sees it: its unique name and its keypoints (N, 2) in COLMAP pixels."""

    name: str
    keypoints: NDArray[np.float32]


def reconstruct(
    views: Sequence[View],
    camera: pycolmap.Camera,
    matches: PairMatches,
    config: ReconstructionConfig,
    *,
    calibrated: bool,
    on_image: Callable[[], None] = lambda: None,
) -> pycolmap.Reconstruction:
    """Find poses and points of images that share one camera; the largest model is kept.

    The camera is refined unless it is ``calibrated``. Scale and axes are arbitrary. ``on_image`` is called for every
    image registered. Raises MapError when no model comes out.
    """
    with _quiet(), tempfile.TemporaryDirectory(prefix="visloc-sfm-") as name:
        folder = Path(name)
        _write_database(folder / "database.db", views, camera, matches)
        _verify(folder, config)
        run = _map_globally if config.mapper == "global" else _map_incrementally
        models = run(folder, config, calibrated, on_image)
    if not models:
        raise MapError(
            "no two images could be joined into a map: film slowly, sideways rather than turning on the spot, "
            "with plenty of texture in view"
        )
    return _largest(models)


def triangulate_at_known_poses(
    views: Sequence[View],
    map_from_cameras: Sequence[SE3],
    camera: pycolmap.Camera,
    matches: PairMatches,
    config: ReconstructionConfig,
) -> pycolmap.Reconstruction:
    """Triangulate points of images whose poses are known and stay as they are (hloc's triangulation).

    Matches are kept where they obey the epipolar geometry of the poses, points where their reprojection error and
    triangulation angle are good; both tolerances grow with the errors that the poses show. Images that see no point
    are dropped. Raises MapError when there are no points.
    """
    residuals = epipolar_residuals(views, map_from_cameras, camera, matches)
    config = _tolerate_pose_errors(residuals, config)
    _check_fit(residuals, config)
    verified = {pair: _within(matches[pair], residuals[pair], config) for pair in matches}
    with _quiet(), tempfile.TemporaryDirectory(prefix="visloc-sfm-") as name:
        folder = Path(name)
        _write_database(folder / "database.db", views, camera, verified, verified=True)
        posed = _posed_reconstruction(views, map_from_cameras, camera)
        reconstruction = pycolmap.triangulate_points(
            posed, folder / "database.db", folder, folder, options=_triangulation_options(config)
        )
    if reconstruction.num_points3D() == 0:
        raise MapError(
            "no point could be triangulated at the reference poses: the camera must see the same things from places "
            "that are apart"
        )
    _drop_blind_images(reconstruction, config)
    return reconstruction


def epipolar_residuals(
    views: Sequence[View], map_from_cameras: Sequence[SE3], camera: pycolmap.Camera, matches: PairMatches
) -> dict[Pair, Array]:
    """Distance (K,) in pixels of every match from the epipolar geometry of its pair's poses, to first order.

    Infinite where a pair has no baseline and therefore nothing to triangulate.
    """
    rays = [np.asarray(camera.cam_from_img(view.keypoints.astype(np.float64))) for view in views]
    residuals = {}
    for (i, j), pairs in matches.items():
        j_from_i = map_from_cameras[j].inverse @ map_from_cameras[i]
        if len(pairs) == 0 or np.linalg.norm(j_from_i.translation) == 0.0:
            residuals[i, j] = np.full(len(pairs), np.inf)
            continue
        essential = pycolmap.essential_matrix_from_pose(j_from_i.to_rigid3d())
        squared = pycolmap.compute_squared_sampson_error(rays[i][pairs[:, 0]], rays[j][pairs[:, 1]], essential)
        residuals[i, j] = np.sqrt(squared) * camera.mean_focal_length()
    return residuals


def registered_poses(reconstruction: pycolmap.Reconstruction) -> dict[str, SE3]:
    """Poses ``map_from_camera`` of the registered images by name."""
    images = (reconstruction.images[image_id] for image_id in sorted(reconstruction.reg_image_ids()))
    return {image.name: SE3.from_rigid3d(image.cam_from_world()).inverse for image in images}


def _tolerate_pose_errors(residuals: Mapping[Pair, Array], config: ReconstructionConfig) -> ReconstructionConfig:
    # Most matches are right: where many miss their epipolar line it is the reference poses that are off. Points
    # must then be allowed the same error, or only those survive that happen to suit wrong poses.
    every = np.concatenate([values[np.isfinite(values)] for values in residuals.values()] or [np.empty(0)])
    if len(every) == 0:
        return config
    tolerance = min(_POSE_ERROR_FACTOR * float(np.percentile(every, _POSE_ERROR_PERCENTILE)), config.max_pose_error_px)
    if tolerance > config.max_reprojection_error_px:
        _log.info("the reference poses are inexact: points may reproject up to %.1f px off", tolerance)
    return replace(
        config,
        max_epipolar_error_px=max(tolerance, config.max_epipolar_error_px),
        max_reprojection_error_px=max(tolerance, config.max_reprojection_error_px),
    )


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


def _write_database(
    path: Path, views: Sequence[View], camera: pycolmap.Camera, matches: PairMatches, *, verified: bool = False
) -> None:
    with pycolmap.Database.open(path) as database, pycolmap.DatabaseTransaction(database):
        camera_id = database.write_camera(_numbered(camera))
        ids = [database.write_image(pycolmap.Image(name=view.name, camera_id=camera_id)) for view in views]
        for image_id, view in zip(ids, views, strict=True):
            database.write_keypoints(image_id, view.keypoints)
        for (i, j), pairs in matches.items():
            _write_pair(database, ids[i], ids[j], pairs.astype(np.uint32), verified)


def _write_pair(
    database: pycolmap.Database, first: int, second: int, pairs: NDArray[np.uint32], verified: bool
) -> None:
    if len(pairs) == 0:
        return
    database.write_matches(first, second, pairs)
    if verified:
        geometry = pycolmap.TwoViewGeometry(
            config=pycolmap.TwoViewGeometryConfiguration.CALIBRATED, inlier_matches=pairs
        )
        database.write_two_view_geometry(first, second, geometry)


def _numbered(camera: pycolmap.Camera) -> pycolmap.Camera:
    numbered = pycolmap.Camera(
        camera_id=1, model=camera.model, width=camera.width, height=camera.height, params=camera.params.copy()
    )
    numbered.has_prior_focal_length = True
    return numbered


def _verify(folder: Path, config: ReconstructionConfig) -> None:
    verifier = pycolmap.GeometricVerifierOptions()
    verifier.num_threads = config.threads or -1
    options = pycolmap.TwoViewGeometryOptions()
    options.min_num_inliers = config.min_matches
    options.ransac.max_error = config.max_epipolar_error_px
    options.ransac.random_seed = config.seed
    pycolmap.geometric_verification(folder / "database.db", verifier, two_view_geometry_options=options)


def _map_incrementally(
    folder: Path, config: ReconstructionConfig, calibrated: bool, on_image: Callable[[], None]
) -> Mapping[int, pycolmap.Reconstruction]:
    options = _mapper_options(config)
    options.multiple_models = True
    options.mapper.abs_pose_refine_focal_length = not calibrated
    options.mapper.abs_pose_refine_extra_params = not calibrated
    options.ba_refine_focal_length = not calibrated
    options.ba_refine_extra_params = not calibrated
    models: Mapping[int, pycolmap.Reconstruction] = pycolmap.incremental_mapping(
        folder / "database.db", folder, folder, options=options, next_image_callback=on_image
    )
    return models


def _map_globally(
    folder: Path, config: ReconstructionConfig, calibrated: bool, on_image: Callable[[], None]
) -> Mapping[int, pycolmap.Reconstruction]:
    options = pycolmap.GlobalPipelineOptions()
    options.min_num_matches = config.min_matches
    options.num_threads = config.threads or -1
    options.random_seed = config.seed
    options.mapper.bundle_adjustment.refine_focal_length = not calibrated
    options.mapper.bundle_adjustment.refine_extra_params = not calibrated
    models: Mapping[int, pycolmap.Reconstruction] = pycolmap.global_mapping(
        folder / "database.db", folder, folder, options
    )
    for model in models.values():
        for _ in range(model.num_reg_images()):
            on_image()
    return models


def _mapper_options(config: ReconstructionConfig) -> pycolmap.IncrementalPipelineOptions:
    options = pycolmap.IncrementalPipelineOptions()
    options.min_num_matches = config.min_matches
    options.num_threads = config.threads or -1
    options.random_seed = config.seed
    options.extract_colors = False
    options.mapper.filter_max_reproj_error = config.max_reprojection_error_px
    options.mapper.filter_min_tri_angle = config.min_triangulation_angle_deg
    options.triangulation.min_angle = config.min_triangulation_angle_deg
    options.triangulation.complete_max_reproj_error = config.max_reprojection_error_px
    options.triangulation.merge_max_reproj_error = config.max_reprojection_error_px
    return options


def _triangulation_options(config: ReconstructionConfig) -> pycolmap.IncrementalPipelineOptions:
    options = _mapper_options(config)
    options.fix_existing_frames = True
    options.triangulation.ignore_two_view_tracks = False
    return options


def _posed_reconstruction(
    views: Sequence[View], map_from_cameras: Sequence[SE3], camera: pycolmap.Camera
) -> pycolmap.Reconstruction:
    reconstruction = pycolmap.Reconstruction()
    reconstruction.add_camera_with_trivial_rig(_numbered(camera))
    for image_id, (view, pose) in enumerate(zip(views, map_from_cameras, strict=True), start=1):
        keypoints: Array = view.keypoints.astype(np.float64)
        image = pycolmap.Image(name=view.name, keypoints=keypoints, camera_id=1, image_id=image_id)
        reconstruction.add_image_with_trivial_frame(image, pose.inverse.to_rigid3d())
    return reconstruction


def _drop_blind_images(reconstruction: pycolmap.Reconstruction, config: ReconstructionConfig) -> None:
    for image_id in list(reconstruction.reg_image_ids()):
        image = reconstruction.images[image_id]
        if image.num_points3D < config.min_matches:
            _log.info("image '%s' is left out: it sees %d points of the map", image.name, image.num_points3D)
            reconstruction.deregister_frame(image.frame_id)


def _largest(models: Mapping[int, pycolmap.Reconstruction]) -> pycolmap.Reconstruction:
    largest = max(models.values(), key=lambda model: (model.num_reg_images(), model.num_points3D()))
    if len(models) > 1:
        sizes = sorted((model.num_reg_images() for model in models.values()), reverse=True)
        _log.warning("the images fell into separate models of %s images; the largest is kept", sizes)
    return largest


@contextmanager
def _quiet() -> Iterator[None]:
    # COLMAP writes hundreds of lines a minute to stderr; what matters is returned or raised.
    level = pycolmap.logging.minloglevel
    pycolmap.logging.minloglevel = int(pycolmap.logging.Level.ERROR.value)
    try:
        yield
    finally:
        pycolmap.logging.minloglevel = level
