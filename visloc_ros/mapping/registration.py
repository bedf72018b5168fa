"""Registers new images in a reconstruction, whose own images and points stay exactly as they are.

COLMAP's own mapper can extend a model too, but it adjusts and filters all points for the least reprojection error: a
map at fixed reference poses is bent away from them, and poses given in it before no longer fit. So only its parts are
used here: which image is next, its pose from the points it sees (PnP), and the triangulation of new points. Refinement
and filtering are done for new images and new points alone. As in a model of any mapper, images that verified matches do
not hold together with the others are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
import pycolmap

from visloc_ros.core.temporary_folder import temporary_folder
from visloc_ros.mapping.config import ReconstructionConfig
from visloc_ros.mapping.mappers import adjustment_options, mapper_options, quiet_colmap
from visloc_ros.mapping.matching import PairMatches
from visloc_ros.mapping.reconstruction import verify_pairs
from visloc_ros.mapping.rigid_parts import weigh_pairs
from visloc_ros.mapping.sfm_database import (
    DATABASE_NAME,
    SfmImage,
    add_views,
    calibrated_ids,
    read_matches,
    write_database,
)

_NEIGHBOURS_REFINED = 6
_GROWTH_BETWEEN_REFINEMENTS = 1.2
_FINAL_ROUNDS = 3
_ERROR_PERCENTILE = 99.0


def register_views(
    reconstruction: pycolmap.Reconstruction,
    known: Sequence[str],
    views: Sequence[SfmImage],
    matches: PairMatches,
    config: ReconstructionConfig,
    on_image: Callable[[], None] = lambda: None,
) -> list[str]:
    """Add new images to a reconstruction, in place; gives the names of those that found no place and are left out.

    ``matches`` are keyed by rows of the ``known`` images' names, then of the new ``views``. Poses, cameras and points
    that were there do not change; points get new observations. New cameras that are not calibrated are refined.
    """
    ids = {image.name: image_id for image_id, image in reconstruction.images.items()}
    known_ids = [ids[name] for name in known]
    new_ids = add_views(reconstruction, views)
    for camera in reconstruction.cameras.values():
        camera.has_prior_focal_length = True  # not kept in a model's files; without it pairs are verified uncalibrated
    with quiet_colmap(), temporary_folder("sfm") as folder:
        database = folder / DATABASE_NAME
        write_database(database, reconstruction, [*known_ids, *new_ids], matches)
        verify_pairs(database, config)
        refined = {reconstruction.images[image_id].camera_id for image_id in new_ids}
        refined -= calibrated_ids(reconstruction, views, new_ids)
        registrar = _Registrar(reconstruction, database, refined, config)
        registrar.register_all(on_image)
        registrar.finish()
    return [view.name for view, image_id in zip(views, new_ids, strict=True) if image_id not in registrar.registered]


def tolerated_error_px(reconstruction: pycolmap.Reconstruction, config: ReconstructionConfig) -> float:
    """Reprojection error that observations may have: more where the points of a map at inexact poses have more."""
    reconstruction.update_point_3d_errors()
    errors = [point.error for point in reconstruction.points3D.values()]
    own = float(np.percentile(errors, _ERROR_PERCENTILE)) if errors else 0.0
    return min(max(own, config.max_reprojection_error_px), config.max_pose_error_px)


class _Registrar:
    """Registers images one after the other, first the one that sees most of the existing points."""

    def __init__(
        self,
        reconstruction: pycolmap.Reconstruction,
        database: Path,
        refined_cameras: set[int],
        config: ReconstructionConfig,
    ) -> None:
        self.registered: list[int] = []
        self._reconstruction = reconstruction
        self._database = database
        self._config = config
        self._refined_cameras = refined_cameras
        self._max_error_px = tolerated_error_px(reconstruction, config)
        self._old_points = set(reconstruction.point3D_ids())
        self._old_images = set(reconstruction.reg_image_ids())
        constant = set(reconstruction.cameras) - refined_cameras
        options = mapper_options(config, [reconstruction.cameras[camera_id] for camera_id in sorted(constant)])
        self._options, self._triangulation = options.mapper, options.triangulation
        self._options.constant_cameras = constant
        self._options.random_seed = config.seed
        self._triangulation.complete_max_reproj_error = self._max_error_px
        self._mapper = pycolmap.IncrementalMapper(read_matches(database, config))
        self._mapper.begin_reconstruction(reconstruction)

    def register_all(self, on_image: Callable[[], None]) -> None:
        """Register as many images as possible, refining the latest, and all whenever their number has grown enough."""
        refined = 0
        while (image_id := self._register_next()) is not None:
            self.registered.append(image_id)
            on_image()
            self._mapper.triangulate_image(self._triangulation, image_id)
            if len(self.registered) >= _GROWTH_BETWEEN_REFINEMENTS * refined:
                self._refine(self.registered)
                refined = len(self.registered)
            else:
                self._refine(self.registered[-_NEIGHBOURS_REFINED:])

    def finish(self) -> None:
        """Refine until points and poses agree, then take out the images that have no place."""
        for _ in range(_FINAL_ROUNDS if self.registered else 0):
            for image_id in self.registered:
                self._mapper.triangulate_image(self._triangulation, image_id)
                self._mapper.triangulator.complete_image(self._triangulation, image_id)
            self._refine(self.registered)
        self._drop_loose_images()
        self._drop_blind_images()
        self._mapper.end_reconstruction(False)

    def _register_next(self) -> int | None:
        for image_id in self._mapper.find_next_images(self._options, False):
            if self._mapper.register_next_image(self._options, image_id):
                return int(image_id)
        return None

    def _refine(self, image_ids: Sequence[int]) -> None:
        """Adjust new images and the new points that they see; other images that see these stay constant."""
        problem = pycolmap.BundleAdjustmentConfig()
        for image_id in image_ids:
            problem.add_image(image_id)
        for camera_id in {self._reconstruction.images[image_id].camera_id for image_id in image_ids}:
            if camera_id not in self._refined_cameras or len(image_ids) < len(self.registered):
                problem.set_constant_cam_intrinsics(camera_id)
        new_points = self._new_points(image_ids)
        for point_id in new_points:
            problem.add_variable_point(point_id)  # old ones are constant: images outside the problem see them
        options = adjustment_options(self._config)
        pycolmap.create_default_bundle_adjuster(options, problem, self._reconstruction).solve()
        self._filter(image_ids, new_points)

    def _filter(self, image_ids: Sequence[int], new_points: set[int]) -> None:
        observations = self._mapper.observation_manager
        observations.filter_points3D(self._max_error_px, self._config.min_triangulation_angle_deg, new_points)
        for image_id in image_ids:
            image = self._reconstruction.images[image_id]
            for row in image.get_observation_point2D_idxs():
                if image.point2D(row).point3D_id in self._old_points and not self._fits(image, row):
                    observations.delete_observation(image_id, row)

    def _fits(self, image: pycolmap.Image, row: int) -> bool:
        keypoint = image.point2D(row)
        projected = image.project_point(self._reconstruction.points3D[keypoint.point3D_id].xyz)
        return projected is not None and bool(np.linalg.norm(projected - keypoint.xy) <= self._max_error_px)

    def _new_points(self, image_ids: Sequence[int]) -> set[int]:
        images = (self._reconstruction.images[image_id] for image_id in image_ids)
        seen = {point.point3D_id for image in images for point in image.get_observation_points2D()}
        return seen - self._old_points

    def _drop_loose_images(self) -> None:
        evidence = weigh_pairs(self._reconstruction, self._database, self._max_error_px)
        self._keep(evidence.held_with(self._old_images))

    def _drop_blind_images(self) -> None:
        count = {one: self._reconstruction.images[one].num_points3D for one in self.registered}
        self._keep({one for one in self.registered if count[one] >= self._config.min_matches})

    def _keep(self, image_ids: Collection[int]) -> None:
        """Take out the registered images that are not among these."""
        for image_id in set(self.registered).difference(image_ids):
            self._mapper.observation_manager.deregister_frame(self._reconstruction.images[image_id].frame_id)
        self.registered = [one for one in self.registered if one in image_ids]
