"""What the noise of keypoints moves in a map whose poses were estimated from its images.

Such noise moves images and the points that they see together: no image that is left out shows it. The covariance of the
bundle adjustment does (Triggs et al., Bundle Adjustment: A Modern Synthesis, 2000), here that of an image with those
that share most points with it, after their best alignment. It is therefore the error of a place in the frame of its
surroundings, and its cost does not grow with the map. As for a single image, keypoints close together count as one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.bundle_adjustment import whole_problem
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import NO_POINT, Map, MapImage
from visloc_ros.core.plausibility import covariance_fault
from visloc_ros.core.tangent import axes_jacobian, inverse_jacobian, lever_jacobian, skew
from visloc_ros.localization.uncertainty import design_effect, reprojection_residuals

_PLACES = 8  # all over the map
_MOST_IMAGES = 40  # around a place
_LEAST_SHARED = 10  # points
_LEAST_IMAGES = 5  # two of them hold the frame of the adjustment
_HALF_ANGLES = np.diag([2.0, 2.0, 2.0, 1.0, 1.0, 1.0])  # the tangent of Ceres' quaternions


def adjustment_covariances(map_: Map, shared_error: float) -> Iterator[Array]:
    """Covariances (6, 6) of the poses of some images from all over a map, in camera axes.

    None comes of images of which too few share points, or which all stand at one place. ``shared_error`` is that of
    ``uncertainty.design_effect``.
    """
    for row in np.unique(np.linspace(0, len(map_.images) - 1, _PLACES).astype(int)).tolist():
        images = surroundings(map_, row)
        found = _Adjustment.of(images, map_.points) if len(images) >= _LEAST_IMAGES else None
        if found is not None and images[-1] in found.images:
            covariance = found.of_last_image(shared_error)
            if covariance_fault(covariance, is_part=True) is None:
                yield covariance


def surroundings(map_: Map, row: int) -> list[MapImage]:
    """The image in a row, last, after those that share most points with it."""
    seen = np.zeros(len(map_.points) + 1, dtype=np.bool_)
    seen[map_.images[row].point_rows] = True
    seen[NO_POINT] = False
    shared = np.array([np.count_nonzero(seen[image.point_rows]) for image in map_.images])
    shared[row] = len(map_.points) + 1
    order = np.argsort(shared, kind="stable")[-_MOST_IMAGES:]
    return [map_.images[one] for one in order if shared[one] >= _LEAST_SHARED]


@dataclass(frozen=True, eq=False)
class _Adjustment:
    """Joint covariance (6 M, 6 M) of the poses of images as ``core.types``, two further ones being held."""

    images: Sequence[MapImage]
    covariance: Array

    @staticmethod
    def of(images: Sequence[MapImage], points: Array) -> _Adjustment | None:
        """The adjustment of images and the points (P, 3) that several of them see; None where it is singular."""
        counts = np.bincount(np.concatenate([_seen(image) for image in images]), minlength=len(points))
        common = counts > 1
        found = _covariance_of(_reconstruction(images, points, common))
        if found is None:
            return None
        own = [found.get_cam_cov_from_world(number) for number in range(1, len(images) + 1)]
        free = [number for number, one in enumerate(own, 1) if one is not None and one.shape == (6, 6)]
        size = 6 * len(free)
        blocks = np.array([_block(found, i, j) for i in free for j in free]).reshape(len(free), len(free), 6, 6)
        steps = np.array([_by_step(images[number - 1].map_from_camera) for number in free]).reshape(-1, 6, 6)
        joint = np.einsum("aij,abjk,blk->aibl", steps, blocks, steps).reshape(size, size)
        return _Adjustment([images[number - 1] for number in free], _variance(images, points, common) * joint)

    def of_last_image(self, shared_error: float) -> Array:
        """Covariance (6, 6) of the last image, in its axes, all of them being aligned with the truth."""
        image = self.images[-1]
        error = axes_jacobian(image.map_from_camera.rotation.T) @ self._of_last_image()
        keypoints = image.features.keypoints[image.point_rows != NO_POINT].astype(np.float64)
        variance = design_effect(keypoints, image.camera, shared_error)
        return np.asarray(variance * error @ self.covariance @ error.T)

    def _of_last_image(self) -> Array:
        """Jacobian (6, 6 M) of the error that the last image is left with by a similarity that aligns all images.

        Positions and rotations are fitted apart, as where a map is aligned to reference poses.
        """
        centres = np.array([image.map_from_camera.translation for image in self.images])
        from_middle = centres - centres.mean(axis=0)
        fit = np.zeros((7, len(centres), 6))  # of a similarity about the middle
        fit[:6] = np.eye(6)[:, None] / len(centres)
        fit[6, :, :3] = from_middle / max(float(np.sum(np.square(from_middle))), 1e-300)
        moved = np.column_stack([lever_jacobian(from_middle[-1]), [*from_middle[-1], 0.0, 0.0, 0.0]])
        jacobian = -moved @ fit.reshape(7, -1)
        jacobian[:, -6:] += np.eye(6)
        return np.asarray(jacobian)


def _seen(image: MapImage) -> NDArray[np.int32]:
    seen: NDArray[np.int32] = image.point_rows[image.point_rows != NO_POINT]
    return seen


def _reconstruction(images: Sequence[MapImage], points: Array, common: NDArray[np.bool_]) -> pycolmap.Reconstruction:
    """Images numbered from 1, with the points that are ``common`` (P,)."""
    reconstruction = pycolmap.Reconstruction()
    numbers: dict[int, int] = {}
    elements: dict[int, list[pycolmap.TrackElement]] = {}
    for image_id, image in enumerate(images, 1):
        if id(image.camera) not in numbers:
            numbers[id(image.camera)] = len(numbers) + 1
            camera = pycolmap.Camera(image.camera.todict() | {"camera_id": len(numbers)})
            reconstruction.add_camera_with_trivial_rig(camera)
        keypoints = image.features.keypoints.astype(np.float64)
        added = pycolmap.Image(image.name, keypoints, camera_id=numbers[id(image.camera)], image_id=image_id)
        reconstruction.add_image_with_trivial_frame(added, image.map_from_camera.inverse.to_rigid3d())
        for keypoint in np.flatnonzero(image.point_rows != NO_POINT).tolist():
            point = int(image.point_rows[keypoint])
            if common[point]:
                elements.setdefault(point, []).append(pycolmap.TrackElement(image_id, keypoint))
    for point, seen_by in elements.items():
        reconstruction.add_point3D(points[point], pycolmap.Track(seen_by))
    return reconstruction


def _covariance_of(reconstruction: pycolmap.Reconstruction) -> pycolmap.BACovariance | None:
    """Covariance of the poses, two cameras being held and all calibrations taken as exact."""
    problem = whole_problem(reconstruction, reconstruction.cameras)
    adjustment = pycolmap.BundleAdjustmentOptions(print_summary=False)
    adjuster = pycolmap.create_default_ceres_bundle_adjuster(adjustment, problem, reconstruction)
    options = pycolmap.BACovarianceOptions(params=pycolmap.BACovarianceOptionsParams.POSES)
    return pycolmap.estimate_ba_covariance(options, reconstruction, adjuster)


def _variance(images: Sequence[MapImage], points: Array, common: NDArray[np.bool_]) -> float:
    """Mean square of the residuals in pixels, by degree of freedom."""
    squares, count = 0.0, 0
    for image in images:
        keypoints = np.flatnonzero((image.point_rows != NO_POINT) & common[image.point_rows])
        pixels = image.features.keypoints[keypoints].astype(np.float64)
        residuals = reprojection_residuals(
            image.map_from_camera, pixels, points[image.point_rows[keypoints]], image.camera
        )
        kept = residuals[np.isfinite(residuals).all(axis=1)]
        squares, count = squares + float(np.sum(np.square(kept))), count + kept.size
    return squares / max(count - 3 * int(common.sum()) - 6 * len(images) + 7, 1)


def _block(found: pycolmap.BACovariance, one: int, other: int) -> Array:
    if one == other:
        return np.asarray(found.get_cam_cov_from_world(one))
    return np.asarray(found.get_cam_cross_cov_from_world(one, other))


def _by_step(map_from_camera: SE3) -> Array:
    """Jacobian (6, 6) of a pose by Ceres' tangent of its inverse: of the quaternion, and of the translation apart."""
    camera_from_map = map_from_camera.inverse
    step = np.eye(6)
    step[3:, :3] = skew(camera_from_map.translation)
    return np.asarray(inverse_jacobian(camera_from_map.rotation) @ step @ _HALF_ANGLES)
