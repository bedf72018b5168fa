"""Leave-one-out validation of a map: its images are localized without themselves.

An image is left out, alone or with the views nearest to it. The points that it sees are triangulated by the others (one
Gauss-Newton step, which the normal equations of each observation make cheap), and the image is localized by them. The
difference to its pose in the map is the error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array
from visloc_ros.core.manifest import OwnError
from visloc_ros.core.map import NO_POINT, Map, MapImage
from visloc_ros.core.tangent import pose_difference, turn_covariance
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.pose import solve_pose
from visloc_ros.localization.uncertainty import pixel_by_point, reprojection_residuals
from visloc_ros.localization.view_change import Viewpoints

_MOST_IMAGES = 40
_NEIGHBOURS_LEFT_OUT = (0, 1, 2, 4, 8)
_MIN_POINTS = 30
_FEWEST_IMAGES = 5  # whose errors have a median
_MIN_OBSERVATIONS = 2
_MAX_CONDITION = 1e6  # of a point's normal equations: beyond, its rays are parallel


@dataclass(frozen=True, eq=False)
class LeaveOneOutResult:
    """An image localized without itself: its error (6,) and the covariances (6, 6) of its pose, as in ``core.types``.

    ``own`` takes the errors of all keypoints as independent; ``shared`` is what they add that keypoints close together
    may have in common (``PoseSolution``). ``view_change`` in radians is that to the nearest view that was not left out,
    ``depth`` the distance of the points.
    """

    error: Array
    own: Array
    shared: Array
    view_change: float
    depth: float


@dataclass(frozen=True, eq=False)
class NeighbourErrors:
    """Errors (6,) of an image and of the nearest one, each localized without itself, in the axes of each camera.

    ``own`` and ``own_of_nearest`` (6, 6) are the covariances of what the noise of their own keypoints adds to these.
    """

    error: Array
    of_nearest: Array
    own: Array
    own_of_nearest: Array
    view_change: float


class LeaveOneOut:
    """Localizes images from all over a map with more and more of their neighbours left out."""

    def __init__(self, map_: Map, config: PoseConfig) -> None:
        self._map, self._views = map_, Viewpoints.of_map(map_)
        # With the right pose among the hypotheses, RANSAC need not look for it.
        self._config = replace(config, min_iterations=1)
        sampled = np.unique(np.linspace(0, len(map_.images) - 1, _MOST_IMAGES).astype(int)).tolist()
        self._changes = {row: self._changes_from(row) for row in sampled}
        nearest = {int(np.argsort(changes, kind="stable")[1]) for changes in self._changes.values() if len(changes) > 1}
        self._triangulation = _Triangulation(map_, [map_.images[row] for row in {*sampled, *nearest}])
        self._alone = lru_cache(maxsize=None)(lambda row: self._find(row, [row]))

    def trials(self) -> Iterator[LeaveOneOutResult]:
        """The images, each without itself, then without its nearest neighbours, too."""
        for row, changes in self._changes.items():
            order = np.argsort(changes, kind="stable")
            for count in _NEIGHBOURS_LEFT_OUT:
                if count + _MIN_OBSERVATIONS >= len(order):
                    break
                found = self._find(row, order[: count + 1].tolist()) if count else self._alone(row)
                if found is not None:
                    yield LeaveOneOutResult(*found, float(changes[order[count + 1]]), float(self._views.depths[row]))

    def pairs(self) -> Iterator[NeighbourErrors]:
        """The images without themselves, each with the nearest one."""
        for row, changes in self._changes.items():
            if len(changes) < 2:
                return
            nearest = int(np.argsort(changes, kind="stable")[1])
            found, other = self._alone(row), self._alone(nearest)
            if found is not None and other is not None:
                (error, own), (of_nearest, own_of_nearest) = (
                    self._in_camera(row, found),
                    self._in_camera(nearest, other),
                )
                yield NeighbourErrors(error, of_nearest, own, own_of_nearest, float(changes[nearest]))

    def own_error(self) -> OwnError | None:
        """The errors of the images without themselves, and of the points; None where too few were found."""
        alone = {row: found for row in self._changes if (found := self._alone(row)) is not None}
        if len(alone) < _FEWEST_IMAGES:
            return None
        errors = np.array([found[0] for found in alone.values()]).reshape(-1, 2, 3)
        position, rotation = np.median(np.linalg.norm(errors, axis=2), axis=0).tolist()
        depth = float(np.median(self._views.depths[list(alone)]))
        return OwnError(len(alone), position, float(np.degrees(rotation)), self._triangulation.point_error(), depth)

    def _changes_from(self, row: int) -> Array:
        changes = self._views.changes(self._map.images[row].map_from_camera)
        changes[row] = -1.0  # nothing is nearer
        return changes

    def _find(self, row: int, left_out: Sequence[int]) -> tuple[Array, Array, Array] | None:
        image = self._map.images[row]
        if len(self._triangulation.observations(row).rows) < _MIN_POINTS:
            return None
        return _find(image, *self._triangulation.without(left_out, row), self._config)

    def _in_camera(self, row: int, found: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        """Error (6,) and own covariance (6, 6) of an image that was found, in its axes."""
        rotation = self._map.images[row].map_from_camera.rotation
        return np.asarray((found[0].reshape(2, 3) @ rotation).ravel()), turn_covariance(found[1], rotation.T)


def _find(image: MapImage, pixels: Array, points: Array, config: PoseConfig) -> tuple[Array, Array, Array] | None:
    """Error (6,), own and shared covariance (6, 6) of an image found by points; None where these are too few."""
    if len(points) < _MIN_POINTS:
        return None
    known = image.map_from_camera
    solution = solve_pose(pixels, points, image.camera, config, known)
    if solution is None or solution.num_inliers < _MIN_POINTS:
        return None
    return pose_difference(known, solution.map_from_camera), solution.own_covariance, solution.shared_covariance


@dataclass(frozen=True, eq=False)
class _Observations:
    """Points at rows (n,) as one image sees them: pixels (n, 2), information (n, 3, 3), gradient (n, 3).

    ``squares`` (n,) are the squared residuals.
    """

    rows: NDArray[np.int32]
    pixels: Array
    information: Array
    gradient: Array
    squares: Array

    @staticmethod
    def of(image: MapImage, points: Array, wanted: NDArray[np.bool_]) -> _Observations:
        """Linearise what an image observes of those points (P, 3) that are ``wanted``, as ``_seen_by`` has them."""
        keypoints = np.flatnonzero(wanted[image.point_rows])
        rows, pixels = image.point_rows[keypoints], image.features.keypoints[keypoints].astype(np.float64)
        camera_from_map = image.map_from_camera.inverse
        residuals = reprojection_residuals(image.map_from_camera, pixels, points[rows], image.camera)
        seen = np.isfinite(residuals).all(axis=1)
        rows, pixels, residuals = rows[seen], pixels[seen], residuals[seen]
        jacobians = pixel_by_point(camera_from_map @ points[rows], image.camera) @ camera_from_map.rotation
        information = np.einsum("nki,nkj->nij", jacobians, jacobians)
        gradient = np.einsum("nki,nk->ni", jacobians, residuals)
        return _Observations(rows, pixels, information, gradient, np.square(residuals).sum(axis=1))


class _Triangulation:
    """Some points of a map as sums over their images' normal equations, from which images can be subtracted."""

    def __init__(self, map_: Map, images: Sequence[MapImage]) -> None:
        """Sum up the points that ``images`` show: a large map has many more."""
        self._images, self._points = map_.images, map_.points
        self._wanted = _seen_by(images, len(map_.points))
        self._information = np.zeros((len(self._points), 3, 3))
        self._gradient = np.zeros((len(self._points), 3))
        self._counts = np.zeros(len(self._points), dtype=np.int64)
        self._squares = np.zeros(len(self._points))
        sharing = (row for row, image in enumerate(map_.images) if self._wanted[image.point_rows].any())
        for observations in map(self.observations, sharing):
            np.add.at(self._information, observations.rows, observations.information)
            np.add.at(self._gradient, observations.rows, observations.gradient)
            np.add.at(self._counts, observations.rows, 1)
            np.add.at(self._squares, observations.rows, observations.squares)

    def observations(self, row: int) -> _Observations:
        """The normal equations of the points by one image; computed each time, to save memory in large maps."""
        return _Observations.of(self._images[row], self._points, self._wanted)

    def point_error(self) -> float:
        """Median standard deviation of a point's place, by the rays to it and by how far these miss it; 0 if unknown.

        Errors of poses are in it as far as they differ from image to image; those that all images share are not.
        """
        held = self._counts > _MIN_OBSERVATIONS
        held[held] = np.linalg.cond(self._information[held]) < _MAX_CONDITION
        if not held.any():
            return 0.0
        variance = self._squares[held].sum() / (2 * self._counts[held] - 3).sum()
        traces = np.trace(np.linalg.inv(self._information[held]), axis1=1, axis2=2)
        return float(np.sqrt(variance * np.median(traces)))

    def without(self, left_out: Sequence[int], row: int) -> tuple[Array, Array]:
        """Pixels (K, 2) of one image, and their points (K, 3) as the images that are not left out see them."""
        seen = self.observations(row)
        place = np.full(len(self._points), -1)
        place[seen.rows] = np.arange(len(seen.rows))
        information, gradient = self._information[seen.rows], self._gradient[seen.rows]
        counts = self._counts[seen.rows]
        for observations in map(self.observations, left_out):
            shared = place[observations.rows] >= 0
            at = place[observations.rows[shared]]
            np.subtract.at(information, at, observations.information[shared])
            np.subtract.at(gradient, at, observations.gradient[shared])
            np.subtract.at(counts, at, 1)
        held = counts >= _MIN_OBSERVATIONS
        held[held] = np.linalg.cond(information[held]) < _MAX_CONDITION
        steps = np.linalg.solve(information[held], gradient[held][:, :, None])[:, :, 0]
        return seen.pixels[held], self._points[seen.rows[held]] + steps


def _seen_by(images: Sequence[MapImage], num_points: int) -> NDArray[np.bool_]:
    """Which points images show (P + 1,); the last stands for ``NO_POINT``, so that an image's rows all have a place."""
    seen = np.zeros(num_points + 1, dtype=np.bool_)
    for image in images:
        seen[image.point_rows] = True
    seen[NO_POINT] = False
    return seen
