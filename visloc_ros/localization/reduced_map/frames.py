"""Frames whose features are projections of points, and the map of these frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import LocalFeatures, Manifest, Map, MapImage
from visloc_ros.localization.reduced_map.views import Rows, see


class Points(Protocol):
    """Points of a map as frames show them: coordinates (P, 3), descriptor (P, D) and score (P,) of each."""

    @property
    def xyz(self) -> Array:
        """Coordinates (P, 3)."""
        ...

    @property
    def descriptors(self) -> NDArray[Any]:
        """Descriptors (P, D), of unit length."""
        ...

    @property
    def scores(self) -> NDArray[np.float32]:
        """Scores (P,), as those of keypoints."""
        ...


def make_frame(name: str, map_from_camera: SE3, camera: pycolmap.Camera, point_rows: Rows, points: Points) -> MapImage:
    """A frame whose features are the projections of points by row (N,); those outside the image stay out.

    Descriptors and scores are the points' own.
    """
    view = see(map_from_camera, camera, points.xyz, point_rows)
    rows = view.point_rows
    size = (int(camera.width), int(camera.height))
    scores = points.scores[rows].astype(np.float32)
    features = PointFeatures(view.pixels.astype(np.float32), scores, points.descriptors, rows, size)
    return MapImage(name, map_from_camera, camera, features, rows)


def map_of_frames(manifest: Manifest, frames: Sequence[MapImage], points: Points) -> Map:
    """The map of these frames. The manifest stays that of the whole map: identity, models and uncertainty."""
    nothing = np.empty((0, 0), np.float32)
    return Map(manifest.name, manifest, tuple(frames), points.xyz, nothing, nothing)


class PointFeatures(LocalFeatures):
    """Keypoints and scores of points by row (N,); their descriptors stay in the table (P, D) of all points.

    A point has one descriptor however many frames show it: copies in each of them would take most of the memory that
    a landmark map saves.
    """

    def __init__(
        self,
        keypoints: NDArray[np.float32],
        scores: NDArray[np.float32],
        table: NDArray[np.float16],
        rows: NDArray[np.int32],
        image_size: tuple[int, int],
    ) -> None:
        # The base class is frozen, and would set the descriptors, too.
        values = {"keypoints": keypoints, "scores": scores, "image_size": image_size, "scales_angles": None}
        self.__dict__.update(values, _table=table, _rows=rows)

    @property
    def descriptors(self) -> NDArray[np.float16]:
        """Those of the points (N, D), copied at each call."""
        return np.asarray(self.__dict__["_table"][self.__dict__["_rows"]])
