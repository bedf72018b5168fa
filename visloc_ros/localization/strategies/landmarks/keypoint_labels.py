"""Which map point each keypoint of a frame with a known pose shows: truth to learn from, and to judge by."""

from __future__ import annotations

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.camera import project
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import NO_POINT, LocalFeatures, Map
from visloc_ros.localization.guided import most_similar_within
from visloc_ros.localization.view_overlap import ViewOverlap

_REFERENCES = 20  # map images that share most of the view: what they see is not hidden
_MAX_ERROR_PX = 3.0
_MIN_SIMILARITY = 0.7  # dot product of unit descriptors


class PointFinder:
    """Finds the map points that keypoints show; made once for a map."""

    def __init__(self, map_: Map) -> None:
        self._map = map_
        self._overlap = ViewOverlap(map_)

    def find(
        self,
        features: LocalFeatures,
        camera: pycolmap.Camera,
        map_from_camera: SE3,
        max_error_px: float = _MAX_ERROR_PX,
    ) -> NDArray[np.int32]:
        """Rows (N,) of the points that project to the keypoints and look like them, NO_POINT where none does."""
        rows = np.full(len(features), NO_POINT, np.int32)
        images = [self._map.images[row] for row in self._overlap.rank(map_from_camera, camera, _REFERENCES)]
        if not images or not len(features):
            return rows
        seen = [np.flatnonzero(image.point_rows != NO_POINT) for image in images]
        points = np.concatenate([image.point_rows[kept] for image, kept in zip(images, seen, strict=True)])
        known = np.concatenate([image.features.descriptors[kept] for image, kept in zip(images, seen, strict=True)])
        projected = project(camera, map_from_camera.inverse @ self._map.points[points])
        inside = np.isfinite(projected).all(axis=1)
        similarity = np.asarray(features.descriptors, np.float32) @ known[inside].astype(np.float32).T
        best, scores = most_similar_within(
            features.keypoints, projected[inside].astype(np.float32), max_error_px, similarity
        )
        found = scores >= _MIN_SIMILARITY
        rows[found] = points[inside][best[found]]
        return rows
