"""Which map images share the view from a predicted pose."""

from __future__ import annotations

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.camera import project
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import NO_POINT, Map

_VIEW_AXIS = np.array([0.0, 0.0, 1.0])
_NEIGHBOURS = 64  # map images nearest to a predicted pose of which the shared view is computed


class ViewOverlap:
    """Ranks references by how many of their points a predicted view would see, from a like direction.

    Only the references nearest to the prediction are looked at, so that the size of the map does not matter.
    """

    def __init__(self, map_: Map) -> None:
        self._points = map_.points
        self._observed = [image.point_rows[image.point_rows != NO_POINT] for image in map_.images]
        poses = [image.map_from_camera for image in map_.images]
        self._centres = np.array([pose.translation for pose in poses])
        self._axes = np.array([pose.rotation @ _VIEW_AXIS for pose in poses])

    def rank(self, map_from_camera: SE3, camera: pycolmap.Camera, count: int) -> list[int]:
        """Rows of at most ``count`` map images, best first; none where the view would see nothing of the map."""
        facing = self._axes @ (map_from_camera.rotation @ _VIEW_AXIS)
        rows = self._nearest(map_from_camera.translation, facing, max(count, _NEIGHBOURS))
        score = self._shared_points(rows, map_from_camera, camera) * facing[rows]
        order = np.argsort(-score, kind="stable")[:count]
        return [int(rows[place]) for place in order if score[place] > 0.0]

    def _nearest(self, centre: Array, facing: Array, count: int) -> NDArray[np.intp]:
        """Rows of the images nearest to ``centre`` among those that look the same way."""
        distances = np.where(facing > 0.0, np.square(self._centres - centre).sum(axis=1), np.inf)
        count = min(count, int((facing > 0.0).sum()))
        return np.argsort(distances, kind="stable")[:count]

    def _shared_points(self, rows: NDArray[np.intp], map_from_camera: SE3, camera: pycolmap.Camera) -> Array:
        """How many points of each image (row) the view sees."""
        if len(rows) == 0:
            return np.empty(0)
        observed = [self._observed[row] for row in rows]
        observers = np.repeat(np.arange(len(rows)), [len(points) for points in observed])
        distinct, places = np.unique(np.concatenate(observed), return_inverse=True)
        pixels = project(camera, map_from_camera.inverse @ self._points[distinct])
        inside = np.all((pixels >= 0.0) & (pixels < [camera.width, camera.height]), axis=1).astype(np.float64)
        return np.asarray(np.bincount(observers, inside[places], len(rows)), dtype=np.float64)
