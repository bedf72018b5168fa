"""The map's points for the tracker: which of them a camera should see, and their covariances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from visloc_ros.core.camera import project
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import NO_POINT, Map, MapImage
from visloc_ros.localization.map_uncertainty import map_uncertainty
from visloc_ros.tracking.pixels import sight_lines

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]

_VIEW_AXIS = np.array([0.0, 0.0, 1.0])
_NEIGHBOURS = 24  # map images that decide what a camera sees
_COSINE = np.cos(np.radians(40.0))  # of the largest angle between lines of sight to a visible point
_ZOOM = 2.0  # largest ratio of the distances to it
_SAMPLED_IMAGES = 50  # by which the map's accuracy is judged
_LEAST_SIGMA_PX = 0.5
_UNKNOWN_DEPTH = 0.5  # relative standard deviation of a depth without parallax
_SAME = 1e-4  # share of the distance within which single precision identifies a point


class MapPoints:
    """Points (P, 3) with covariances, and the images that saw them.

    ``sigma_px`` is the standard deviation, a coordinate, of keypoints about their projected points. The cost of a
    query does not grow with the map.
    """

    def __init__(self, map_: Map) -> None:
        self.points = map_.points
        observed = [np.unique(image.point_rows[image.point_rows != NO_POINT]) for image in map_.images]
        self._rows, self._first_rows = _joined(observed)
        poses = [image.map_from_camera for image in map_.images]
        self._centres = np.array([pose.translation for pose in poses])
        self._axes = np.array([pose.rotation @ _VIEW_AXIS for pose in poses])
        self._tree = cKDTree(map_.points)
        self.sigma_px = _keypoint_sigma(map_)
        self._focal = np.array([image.camera.mean_focal_length() for image in map_.images])
        observers = np.repeat(np.arange(len(observed), dtype=np.int32), np.diff(self._first_rows))
        self._observers = observers[np.argsort(self._rows, kind="stable")]
        self._first_observers = np.cumsum(np.concatenate(([0], np.bincount(self._rows, minlength=len(self.points)))))
        self.uncertainty = map_uncertainty(map_)

    def seen_from(self, map_from_camera: SE3) -> Rows:
        """Rows of the points that are not hidden, by the map's images; some may be outside the view."""
        neighbours = self._neighbours(map_from_camera)
        if len(neighbours) == 0:
            return np.empty(0, np.int64)
        rows, observers = self._observations(neighbours)
        now, distances_now = sight_lines(map_from_camera.translation, self.points[rows])
        then, distances = sight_lines(self._centres[observers], self.points[rows])
        ratio = distances / distances_now
        alike = (np.einsum("nj,nj->n", now, then) > _COSINE) & (ratio < _ZOOM) & (ratio > 1.0 / _ZOOM)
        return np.unique(rows[alike]).astype(np.int64)

    def rows_of(self, points: Array, centre: Array) -> tuple[Rows, Mask]:
        """Rows (N,) of points given by their coordinates (N, 3), seen from ``centre``, and which are in this map."""
        distances, rows = self._tree.query(points.reshape(-1, 3))
        known = distances < _SAME * np.linalg.norm(points - centre, axis=1)
        return np.asarray(rows, dtype=np.int64), np.asarray(known)

    def _neighbours(self, map_from_camera: SE3) -> NDArray[np.intp]:
        """The nearest images among those that look the same way."""
        facing = self._axes @ (map_from_camera.rotation @ _VIEW_AXIS)
        distances = np.square(self._centres - map_from_camera.translation).sum(axis=1)
        order = np.argsort(np.where(facing > 0.0, distances, np.inf), kind="stable")
        return order[: min(_NEIGHBOURS, int((facing > 0.0).sum()))]

    def _observations(self, images: NDArray[np.intp]) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
        """Rows of the points (N,) that images saw, and the image (N,) that saw each."""
        places, counts = _parts(self._first_rows, images)
        return self._rows[places], np.repeat(images, counts)

    def covariances_of(self, rows: Rows) -> Array:
        """Covariances (N, 3, 3) of points by their lines of sight and by the errors that keypoints have in this map."""
        places, counts = _parts(self._first_observers, rows)
        observers, seen = self._observers[places], np.repeat(np.arange(len(rows)), counts)
        lines, distances = sight_lines(self._centres[observers], self.points[rows[seen]])
        weights = np.square(self._focal[observers] / (self.sigma_px * distances))
        across = np.eye(3) - lines[:, :, None] * lines[:, None]
        information = np.zeros((len(rows), 3, 3))
        np.add.at(information, seen, weights[:, None, None] * across)
        nearest = np.full(len(rows), np.inf)
        np.minimum.at(nearest, seen, distances)
        nearest[~np.isfinite(nearest)] = 1.0
        information += np.eye(3) / np.square(_UNKNOWN_DEPTH * nearest)[:, None, None]
        return np.asarray(np.linalg.inv(information))


def _joined(parts: Sequence[NDArray[np.int32]]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Arrays one after the other, and where each begins, then the end of the last."""
    firsts = np.cumsum([0, *(len(part) for part in parts)])
    return np.concatenate([np.empty(0, np.int32), *parts]), firsts


def _parts(firsts: NDArray[np.int64], chosen: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of all members of the chosen parts of an array, and how many each part has."""
    begins, counts = firsts[chosen], firsts[chosen + 1] - firsts[chosen]
    ends = np.cumsum(counts)
    return np.arange(counts.sum()) + np.repeat(begins - (ends - counts), counts), counts


def _keypoint_sigma(map_: Map) -> float:
    """Standard deviation in pixels, a coordinate, of keypoints about their projected points."""
    step = max(1, len(map_.images) // _SAMPLED_IMAGES)
    errors = np.concatenate([_residuals(image, map_.points) for image in map_.images[::step]])
    return max(_LEAST_SIGMA_PX, 1.4826 * float(np.median(np.abs(errors)))) if len(errors) else _LEAST_SIGMA_PX


def _residuals(image: MapImage, points: Array) -> Array:
    """Both coordinates (2 N,) of all keypoints that have a point less its projection, in pixels."""
    seen = image.point_rows != NO_POINT
    projected = project(image.camera, image.map_from_camera.inverse @ points[image.point_rows[seen]])
    errors = (image.features.keypoints[seen] - projected).ravel()
    return np.asarray(errors[np.isfinite(errors)])
