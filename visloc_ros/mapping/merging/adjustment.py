"""Adjusts a joined map as a whole, so that no seam is left, without moving its frame."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pycolmap

from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import NO_POINT, Map, MapImage
from visloc_ros.mapping.config import ReconstructionConfig
from visloc_ros.mapping.extension import reconstruction_of
from visloc_ros.mapping.reconstruction import quiet_colmap, registered_poses
from visloc_ros.mapping.registration import adjustment_options
from visloc_ros.mapping.scale import align_to_references, transform


def adjust(
    map_: Map, first: Collection[str], max_error_px: float, config: ReconstructionConfig, *, is_fixed: bool
) -> Map:
    """A bundle adjustment of poses and points; cameras stay as they are.

    The images named ``first`` keep their frame: their common motion is undone; with ``is_fixed`` none of them moves. Of
    points that other images see, observations farther off than ``max_error_px`` afterwards are dropped.
    """
    reconstruction = reconstruction_of(map_)
    first_ids = {image_id for image_id, image in reconstruction.images.items() if image.name in first}
    before = {name: pose for name, pose in registered_poses(reconstruction).items() if name in first}
    with quiet_colmap():
        problem = _problem(reconstruction, first_ids if is_fixed else set())
        pycolmap.create_default_bundle_adjuster(adjustment_options(config), problem, reconstruction).solve()
        if not is_fixed:
            transform(reconstruction, align_to_references(registered_poses(reconstruction), before))
        observations = pycolmap.ObservationManager(reconstruction)
        new_points = _seen_by_others(reconstruction, first_ids)
        observations.filter_points3D(max_error_px, config.min_triangulation_angle_deg, new_points)
    return _read_back(map_, reconstruction, before if is_fixed else {})


def _problem(reconstruction: pycolmap.Reconstruction, fixed_ids: set[int]) -> pycolmap.BundleAdjustmentConfig:
    problem = pycolmap.BundleAdjustmentConfig()
    for image_id in reconstruction.reg_image_ids():
        problem.add_image(image_id)
    for camera_id in reconstruction.cameras:
        problem.set_constant_cam_intrinsics(camera_id)
    for image_id in fixed_ids:
        problem.set_constant_rig_from_world_pose(reconstruction.images[image_id].frame_id)
    if not fixed_ids:
        problem.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    return problem


def _seen_by_others(reconstruction: pycolmap.Reconstruction, first_ids: set[int]) -> set[int]:
    others = (image for image_id, image in reconstruction.images.items() if image_id not in first_ids)
    return {point.point3D_id for image in others for point in image.get_observation_points2D()}


def _read_back(map_: Map, reconstruction: pycolmap.Reconstruction, exact: dict[str, SE3]) -> Map:
    """The map with the poses, points and observations of its reconstruction."""
    point_ids = sorted(reconstruction.points3D)
    rows = {point_id: row for row, point_id in enumerate(point_ids)}
    poses = registered_poses(reconstruction) | exact
    by_name = {image.name: image for image in reconstruction.images.values()}
    images = tuple(_moved(image, poses[image.name], by_name[image.name], rows) for image in map_.images)
    points = np.array([reconstruction.points3D[point_id].xyz for point_id in point_ids]).reshape(-1, 3)
    return replace(map_, images=images, points=points)


def _moved(image: MapImage, pose: SE3, adjusted: pycolmap.Image, rows: dict[int, int]) -> MapImage:
    point_rows = np.full(len(image.features), NO_POINT, np.int32)
    seen = [rows[point.point3D_id] for point in adjusted.get_observation_points2D()]
    point_rows[adjusted.get_observation_point2D_idxs()] = seen
    return replace(image, map_from_camera=pose, point_rows=point_rows)
