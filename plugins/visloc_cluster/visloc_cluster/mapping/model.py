"""A reconstruction as arrays: what travels between tasks; only keypoints that see a point are in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array, Sim3
from visloc_ros.execution.store import Artifact
from visloc_ros.mapping.map_sources import MapCamera
from visloc_ros.mapping.sfm_database import SfmImage, add_views

Ints = NDArray[np.int64]

_KEYPOINTS = 1 << 20  # more than an image has


@dataclass(frozen=True, eq=False)
class Model:
    """Images, points and observations of one frame, ``map`` or that of a block.

    ``images`` (M,) are rows among all images, increasing; ``poses`` (M, 7) are their ``map_from_camera``, quaternion
    and centre; ``cameras`` (M,) are numbers of cameras, ``parameters`` (M, K) theirs, padded by NaN. ``points`` (P, 3).
    Observations are sorted by image and keypoint: ``seen_by`` (O,) row in ``images``, ``keypoints`` (O,) row in the
    image's features, ``seen`` (O,) row in ``points``, ``pixels`` (O, 2).
    """

    images: Ints
    poses: Array
    cameras: Ints
    parameters: Array
    points: Array
    seen_by: Ints
    keypoints: Ints
    seen: Ints
    pixels: NDArray[np.float32]

    @staticmethod
    def from_arrays(arrays: Artifact, prefix: str = "") -> Model:
        """The model of ``arrays``."""
        return Model(**{one.name: arrays[f"{prefix}{one.name}"] for one in fields(Model)})

    def arrays(self, prefix: str = "") -> dict[str, NDArray]:  # type: ignore[type-arg]
        """Its arrays by name."""
        return {f"{prefix}{one.name}": getattr(self, one.name) for one in fields(self)}

    @cached_property
    def map_from_cameras(self) -> list[SE3]:
        """Poses of the images."""
        return [SE3.from_quaternion(values[:4], values[4:]) for values in self.poses]

    @cached_property
    def observation_keys(self) -> Ints:
        """A number (O,) for each observation, the same in every model for the same keypoint of the same image."""
        return self.images[self.seen_by] * _KEYPOINTS + self.keypoints

    def moved(self, a_from_map: Sim3) -> Model:
        """The same in another frame."""
        poses = np.array([pose_values(a_from_map.apply_to_pose(pose)) for pose in self.map_from_cameras])
        kept = {one.name: getattr(self, one.name) for one in fields(self)}
        return Model(**{**kept, "poses": poses.reshape(-1, 7), "points": a_from_map @ self.points})


def pose_values(pose: SE3) -> list[float]:
    """A pose as quaternion, scalar first, and translation."""
    return [*pose.quaternion, *pose.translation]


def model_of(
    reconstruction: pycolmap.Reconstruction,
    rows: Mapping[str, int],
    cameras: Mapping[str, int],
    keypoints: Mapping[str, Ints] | None = None,
) -> Model:
    """The model of a reconstruction, by rows and camera numbers of its images' names.

    ``keypoints`` are rows of features where the reconstruction holds only some of them.
    """
    registered = (reconstruction.images[key] for key in reconstruction.reg_image_ids())
    by_row = {rows[image.name]: image for image in registered}
    images = [by_row[row] for row in sorted(by_row)]
    point_ids = np.array(sorted(reconstruction.points3D), np.uint64)
    seen_by, places, seen, pixels = [], [], [], []
    for number, image in enumerate(images):
        observed = np.array(image.get_observation_point2D_idxs(), np.int64)
        points2d = image.get_observation_points2D()
        seen_by.append(np.full(len(observed), number, np.int64))
        places.append(observed if keypoints is None else keypoints[image.name][observed])
        ids = np.array([point.point3D_id for point in points2d], np.uint64)
        seen.append(np.searchsorted(point_ids, ids).astype(np.int64))
        pixels.append(np.array([point.xy for point in points2d], np.float32).reshape(-1, 2))
    params = [reconstruction.cameras[image.camera_id].params for image in images]
    return Model(
        np.array(sorted(by_row), np.int64),
        np.array([pose_values(SE3.from_rigid3d(image.cam_from_world()).inverse) for image in images]).reshape(-1, 7),
        np.array([cameras[image.name] for image in images], np.int64),
        padded(params),
        np.array([reconstruction.points3D[key].xyz for key in point_ids]).reshape(-1, 3),
        np.concatenate([np.empty(0, np.int64), *seen_by]),
        np.concatenate([np.empty(0, np.int64), *places]),
        np.concatenate([np.empty(0, np.int64), *seen]),
        np.concatenate([np.empty((0, 2), np.float32), *pixels]),
    )


def padded(params: Sequence[Array]) -> Array:
    """Parameters of cameras as rows of equal length."""
    widest = max(map(len, params), default=0)
    return np.array([[*one, *[np.nan] * (widest - len(one))] for one in params]).reshape(-1, widest)


def reconstruction_of_views(
    model: Model, views: Sequence[SfmImage], keypoints: Sequence[Ints]
) -> pycolmap.Reconstruction:
    """COLMAP's reconstruction of a model, whose images have these views; ``keypoints`` are rows of the views' own."""
    reconstruction = pycolmap.Reconstruction()
    image_ids = add_views(reconstruction, views, model.map_from_cameras)
    order = np.argsort(model.seen, kind="stable")
    ends = np.cumsum(np.bincount(model.seen, minlength=len(model.points)))
    rows = np.concatenate([np.empty(0, np.int64), *keypoints])
    for point, own in zip(model.points, np.split(order, ends[:-1]), strict=True):
        if len(own) > 1:
            elements = [pycolmap.TrackElement(image_ids[model.seen_by[row]], int(rows[row])) for row in own]
            reconstruction.add_point3D(point, pycolmap.Track(elements))
    return reconstruction


def refined_cameras(model: Model, cameras: Mapping[int, MapCamera]) -> dict[int, MapCamera]:
    """The cameras by number, with the middle of the parameters that the model's images have them with."""
    refined = {}
    for number in np.unique(model.cameras).tolist():
        values = np.median(model.parameters[model.cameras == number], axis=0)
        old = cameras[number].intrinsics
        params = values[np.isfinite(values)].tolist()
        camera = pycolmap.Camera(model=old.model_name, width=old.width, height=old.height, params=params)
        refined[number] = MapCamera(camera, cameras[number].calibrated)
    return refined


def sparse_reconstruction(model: Model, cameras: Mapping[int, MapCamera]) -> pycolmap.Reconstruction:
    """The reconstruction with the observed keypoints alone; images are named by their rows."""
    counts = np.bincount(model.seen_by, minlength=len(model.images))
    pixels = np.split(model.pixels, np.cumsum(counts)[:-1])
    views = [
        SfmImage(str(row), own, cameras[number])
        for row, own, number in zip(model.images.tolist(), pixels, model.cameras.tolist(), strict=True)
    ]
    return reconstruction_of_views(model, views, [np.arange(count) for count in counts])
