"""COLMAP's database for structure from motion: the images of a reconstruction and the matches between them.

Images are numbered by the reconstruction, which is filled first, so that ids in the database are the same. Every image
is a separate frame, COLMAP's word for the images of a camera rig at one time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3
from visloc_ros.mapping.config import ReconstructionConfig
from visloc_ros.mapping.map_sources import MapCamera
from visloc_ros.mapping.pairs import Pair

DATABASE_NAME = "database.db"


@dataclass(frozen=True, eq=False)
class SfmImage:
    """An image for reconstruction: its unique name, keypoints (N, 2) in COLMAP pixels, and its camera."""

    name: str
    keypoints: NDArray[np.float32]
    camera: MapCamera


def add_views(
    reconstruction: pycolmap.Reconstruction,
    views: Sequence[SfmImage],
    map_from_cameras: Sequence[SE3 | None] | None = None,
) -> list[int]:
    """Add images, registered at those poses that are given; gives their ids, in order, above those there."""
    camera_ids = _add_cameras(reconstruction, views)
    first = max([*reconstruction.images, *reconstruction.frames], default=0) + 1
    for row, view in enumerate(views):
        image = pycolmap.Image(
            name=view.name,
            keypoints=view.keypoints.astype(np.float64),
            camera_id=camera_ids[id(view.camera)],
            image_id=first + row,
        )
        pose = map_from_cameras[row] if map_from_cameras else None
        if pose is None:
            reconstruction.add_image_with_trivial_frame(image)
        else:
            reconstruction.add_image_with_trivial_frame(image, pose.inverse.to_rigid3d())
    return list(range(first, first + len(views)))


def calibrated_ids(
    reconstruction: pycolmap.Reconstruction, views: Sequence[SfmImage], image_ids: Sequence[int]
) -> set[int]:
    """Ids of the cameras of these images that are calibrated."""
    pairs = zip(views, image_ids, strict=True)
    return {reconstruction.images[image_id].camera_id for view, image_id in pairs if view.camera.calibrated}


def write_database(
    path: Path,
    reconstruction: pycolmap.Reconstruction,
    image_ids: Sequence[int],
    matches: Mapping[Pair, NDArray[np.int32]],
    *,
    verified: bool = False,
) -> None:
    """Write the images of a reconstruction and matches between them, which are keyed by places in ``image_ids``."""
    with pycolmap.Database.open(path) as database, pycolmap.DatabaseTransaction(database):
        for camera in reconstruction.cameras.values():
            database.write_camera(camera, use_camera_id=True)
        for rig in reconstruction.rigs.values():
            database.write_rig(rig, use_rig_id=True)
        for frame in reconstruction.frames.values():
            database.write_frame(frame, use_frame_id=True)
        for image_id, image in reconstruction.images.items():
            database.write_image(image, use_image_id=True)
            database.write_keypoints(image_id, _keypoints(image))
        for (i, j), pairs in matches.items():
            _write_pair(database, image_ids[i], image_ids[j], pairs.astype(np.uint32), verified)


def registered_poses(reconstruction: pycolmap.Reconstruction) -> dict[str, SE3]:
    """Poses ``map_from_camera`` of the registered images by name."""
    images = (reconstruction.images[image_id] for image_id in sorted(reconstruction.reg_image_ids()))
    return {image.name: SE3.from_rigid3d(image.cam_from_world()).inverse for image in images}


def read_matches(database: Path, config: ReconstructionConfig) -> pycolmap.DatabaseCache:
    """The verified matches of a database, and all of its images."""
    options = pycolmap.DatabaseCacheOptions()
    options.min_num_matches = config.min_matches
    options.load_all_images = True  # also those without a match, which COLMAP would not know then
    with pycolmap.Database.open(database) as opened:
        return pycolmap.DatabaseCache.create(opened, options)


def count_inliers(database: Path, some: Collection[int], others: Collection[int]) -> list[int]:
    """Verified matches of each pair of images, by their ids, that joins two groups; pairs without any are left out."""
    with pycolmap.Database.open(database) as opened:
        pair_ids, counts = opened.read_two_view_geometry_num_inliers()
    found = zip(map(pycolmap.pair_id_to_image_pair, pair_ids), counts, strict=True)
    return [
        int(count) for (i, j), count in found if count and ((i in some and j in others) or (j in some and i in others))
    ]


def _add_cameras(reconstruction: pycolmap.Reconstruction, views: Sequence[SfmImage]) -> dict[int, int]:
    camera_ids: dict[int, int] = {}
    for view in views:
        if id(view.camera) not in camera_ids:
            number = max([*reconstruction.cameras, *reconstruction.rigs], default=0) + 1
            reconstruction.add_camera_with_trivial_rig(_numbered(view.camera.intrinsics, number))
            camera_ids[id(view.camera)] = number
    return camera_ids


def _numbered(camera: pycolmap.Camera, number: int) -> pycolmap.Camera:
    numbered = pycolmap.Camera(
        camera_id=number, model=camera.model, width=camera.width, height=camera.height, params=camera.params.copy()
    )
    numbered.has_prior_focal_length = True  # also where it is guessed: COLMAP then verifies pairs with it
    return numbered


def _keypoints(image: pycolmap.Image) -> NDArray[np.float32]:
    return np.array([point.xy for point in image.points2D], dtype=np.float32).reshape(-1, 2)


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
