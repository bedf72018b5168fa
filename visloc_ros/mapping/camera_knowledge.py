"""The uncertainty of a map's cameras: calibrated, estimated during the build, or guessed.

A bundle adjustment determines the focal length with the covariance that remains when poses and points are free (Schur
complement, Triggs et al. 2000, section 6). It is computed for stretches of consecutive images, whose information adds
up: constraints between the stretches are left out, so that the standard deviation is rather too large.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pycolmap

from visloc_ros.core.calibration import GUESSED_FOCAL_SIGMA
from visloc_ros.core.camera import project
from visloc_ros.core.geometry import Array
from visloc_ros.core.map_writer import camera_values
from visloc_ros.localization.camera_estimation import MAP_FOCAL_SIGMA
from visloc_ros.mapping.map_sources import MapCamera

CALIBRATION, ESTIMATE, GUESS, STATED = "calibration", "structure from motion", "guess", "EXIF data"
_WORDS = {
    CALIBRATION: "as calibrated",
    ESTIMATE: "estimated from the images",
    GUESS: "only guessed",
    STATED: "as the photos state",
}

_STRETCH = 24  # images
_MOST_STRETCHES = 8
_STEP = 1e-4  # of numerical derivatives: metres at unit depth, shares of the focal length
_LEAST_NOISE_PX = 0.3  # of a keypoint; residuals of short tracks are smaller
_PRIOR_POSE_SIGMA = 10.0  # radians and units of the map: holds the frame that images alone leave open
_LEAST_TRACK = 2


@dataclass(frozen=True)
class CameraKnowledge:
    """Where the focal length of a map's camera comes from, and its relative standard deviation (0: taken as exact)."""

    camera: pycolmap.Camera
    source: str
    focal_sigma: float

    def __str__(self) -> str:
        sure = f" to {100 * self.focal_sigma:.2g} %" if self.focal_sigma else ""
        size = f"{self.camera.width}x{self.camera.height}"
        return f"camera {size}: focal length {self.camera.mean_focal_length():.1f} px{sure}, {_WORDS[self.source]}"

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for the manifest."""
        return camera_values(self.camera) | {"source": self.source, "focal_sigma": self.focal_sigma}


@dataclass(frozen=True, eq=False)
class _Observation:
    """Derivatives of a pixel by the lens (2, C), by the pose whose column is ``start`` (2, 6), by the point (2, 3)."""

    start: int
    residual: Array
    by_lens: Array
    by_pose: Array
    by_point: Array


def assess_cameras(
    reconstruction: pycolmap.Reconstruction,
    cameras: Mapping[str, MapCamera],
    fixed: Collection[str] = (),
) -> list[CameraKnowledge]:
    """The source of each camera, given those that images (by name) had before.

    Guessed cameras are estimated, except those whose images all stood at given poses (``fixed``).
    """
    images: dict[int, list[pycolmap.Image]] = {}
    for image_id in sorted(reconstruction.reg_image_ids()):
        image = reconstruction.images[image_id]
        if image.name in cameras:
            images.setdefault(image.camera_id, []).append(image)
    return [
        _know(reconstruction, pycolmap.Camera(reconstruction.cameras[camera_id].todict()), of_camera, cameras, fixed)
        for camera_id, of_camera in sorted(images.items())
    ]


def _know(
    reconstruction: pycolmap.Reconstruction,
    camera: pycolmap.Camera,
    images: Sequence[pycolmap.Image],
    cameras: Mapping[str, MapCamera],
    fixed: Collection[str],
) -> CameraKnowledge:
    before = cameras[images[0].name]
    if before.calibrated:
        return CameraKnowledge(camera, STATED if before.focal_sigma else CALIBRATION, before.focal_sigma)
    if all(image.name in fixed for image in images):
        return CameraKnowledge(camera, GUESS, GUESSED_FOCAL_SIGMA)
    return CameraKnowledge(camera, ESTIMATE, math.hypot(focal_sigma(reconstruction, camera, images), MAP_FOCAL_SIGMA))


def focal_sigma(
    reconstruction: pycolmap.Reconstruction, camera: pycolmap.Camera, images: Sequence[pycolmap.Image]
) -> float:
    """Relative standard deviation of the focal length by the residuals of a camera's images, at most a guess's."""
    starts = range(0, len(images), _STRETCH)
    chosen = starts[:: math.ceil(len(starts) / _MOST_STRETCHES)]
    stretches = [images[start : start + _STRETCH] for start in chosen]
    information = np.sum([_information(reconstruction, camera, stretch) for stretch in stretches], axis=0)
    information[0, 0] += GUESSED_FOCAL_SIGMA**-2
    information += 1e-9 * np.eye(len(information))
    return math.sqrt(float(np.linalg.inv(information)[0, 0]))


def _information(
    reconstruction: pycolmap.Reconstruction, camera: pycolmap.Camera, images: Sequence[pycolmap.Image]
) -> Array:
    """Information (C, C) of the logarithm of the focal length and of the distortion, poses and points being free."""
    num_lens = 1 + len(camera.extra_params_idxs())
    size = num_lens + 6 * len(images)
    normal = np.zeros((size, size))
    residuals: list[Array] = []
    by_point: dict[int, list[_Observation]] = {}
    for place, image in enumerate(images):
        for point_id, observation in _observations(reconstruction, camera, image, num_lens + 6 * place):
            by_point.setdefault(point_id, []).append(observation)
            residuals.append(observation.residual)
    for observations in by_point.values():
        if len(observations) >= _LEAST_TRACK:
            columns, part = _without_point(observations)
            np.add.at(normal, np.ix_(columns, columns), part)  # an image may see a point twice
    normal /= _variance(residuals)
    poses = slice(num_lens, size)
    normal[poses, poses] += _PRIOR_POSE_SIGMA**-2 * np.eye(size - num_lens)
    cross = normal[:num_lens, poses]
    return np.asarray(normal[:num_lens, :num_lens] - cross @ np.linalg.solve(normal[poses, poses], cross.T))


def _observations(
    reconstruction: pycolmap.Reconstruction, camera: pycolmap.Camera, image: pycolmap.Image, start: int
) -> Iterator[tuple[int, _Observation]]:
    """Observations of an image, by the id of the point, without pixels outside the lens model."""
    seen = [point for point in image.points2D if point.has_point3D()]
    points = np.array([reconstruction.points3D[point.point3D_id].xyz for point in seen]).reshape(-1, 3)
    world_to_camera = image.cam_from_world().matrix()
    in_camera = points @ world_to_camera[:, :3].T + world_to_camera[:, 3]
    by_lens, by_place = _derivatives(camera, in_camera)
    residuals = project(camera, in_camera) - np.array([point.xy for point in seen]).reshape(-1, 2)
    by_pose = np.concatenate([by_place @ -_cross_matrices(in_camera), by_place], axis=2)
    by_world = by_place @ world_to_camera[:, :3]
    values = np.concatenate([residuals[:, :, None], by_lens, by_pose], axis=2)
    for row in np.flatnonzero(np.isfinite(values).all(axis=(1, 2))):
        yield seen[row].point3D_id, _Observation(start, residuals[row], by_lens[row], by_pose[row], by_world[row])


def _derivatives(camera: pycolmap.Camera, in_camera: Array) -> tuple[Array, Array]:
    """Derivatives of pixels by log focal length and distortion (N, 2, C), and by the place in the camera (N, 2, 3)."""
    columns = []
    for indices in (camera.focal_length_idxs(), *([index] for index in camera.extra_params_idxs())):
        pixels = []
        for sign in (1.0, -1.0):
            changed = pycolmap.Camera(camera.todict())
            for index in indices:
                is_focal = index in camera.focal_length_idxs()
                changed.params[index] += sign * _STEP * (camera.params[index] if is_focal else 1.0)
            pixels.append(project(changed, in_camera))
        columns.append((pixels[0] - pixels[1]) / (2.0 * _STEP))
    depth = in_camera[:, 2:]
    steps = [_STEP * depth * axis for axis in np.eye(3)]
    by_place = [
        (project(camera, in_camera + s) - project(camera, in_camera - s)) / (2.0 * _STEP * depth) for s in steps
    ]
    return np.stack(columns, axis=2), np.stack(by_place, axis=2)


def _cross_matrices(vectors: Array) -> Array:
    x, y, z = vectors.T
    zero = np.zeros_like(x)
    return np.array([[zero, -z, y], [z, zero, -x], [-y, x, zero]]).transpose(2, 0, 1)


def _without_point(observations: Sequence[_Observation]) -> tuple[list[int], Array]:
    """Columns, and normal matrix of lens and poses in them, by the observations of one point, itself eliminated."""
    num_lens = observations[0].by_lens.shape[1]
    columns = [*range(num_lens), *(one.start + axis for one in observations for axis in range(6))]
    jacobian = np.zeros((2 * len(observations), len(columns)))
    for row, one in enumerate(observations):
        jacobian[2 * row : 2 * row + 2, :num_lens] = one.by_lens
        jacobian[2 * row : 2 * row + 2, num_lens + 6 * row : num_lens + 6 * row + 6] = one.by_pose
    # Project out the part that a movement of the point explains: it is no evidence.
    basis = np.linalg.qr(np.concatenate([one.by_point for one in observations]))[0]
    left = jacobian - basis @ (basis.T @ jacobian)
    return columns, left.T @ left


def _variance(residuals: Sequence[Array]) -> float:
    return max(_LEAST_NOISE_PX**2, float(np.mean(np.square(residuals))) if residuals else 0.0)
