"""Which reference images are worth matching: by global descriptor, or by what a predicted pose would see."""

from __future__ import annotations

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.camera import project
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import NO_POINT, Map

_VIEW_AXIS = np.array([0.0, 0.0, 1.0])


def rank_by_descriptor(query: NDArray[np.float32], descriptors: NDArray[np.float32], count: int) -> list[int]:
    """Rows of the ``count`` descriptors (M, G) most similar to the query (G,) by dot product, best first (H-13)."""
    similarity = descriptors @ query
    count = min(count, len(similarity))
    best = np.argpartition(-similarity, count - 1)[:count]
    return [int(row) for row in best[np.argsort(-similarity[best], kind="stable")]]


class ViewOverlap:
    """Ranks references by how many of their points a predicted view would see, from a like direction."""

    def __init__(self, map_: Map) -> None:
        self._points = map_.points
        rows = [image.point_rows[image.point_rows != NO_POINT] for image in map_.images]
        self._observed = np.concatenate(rows)
        self._observers = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        self._axes = np.array([image.map_from_camera.rotation @ _VIEW_AXIS for image in map_.images])

    def rank(self, map_from_camera: SE3, camera: pycolmap.Camera, count: int) -> list[int]:
        """Rows of at most ``count`` map images, best first; none where the view would see nothing of the map."""
        visible = self._visible(map_from_camera, camera)[self._observed]
        shared = np.bincount(self._observers, weights=visible, minlength=len(self._axes))
        score = shared * np.maximum(self._axes @ (map_from_camera.rotation @ _VIEW_AXIS), 0.0)
        order = np.argsort(-score, kind="stable")[:count]
        return [int(row) for row in order if score[row] > 0.0]

    def _visible(self, map_from_camera: SE3, camera: pycolmap.Camera) -> NDArray[np.bool_]:
        pixels = project(camera, map_from_camera.inverse @ self._points)
        inside = (pixels >= 0.0) & (pixels < [camera.width, camera.height])
        return np.asarray(inside.all(axis=1))
