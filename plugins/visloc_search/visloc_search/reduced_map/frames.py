"""Which images see which points, and frames whose features are projections of points, with the map of these frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.camera import project
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import NO_POINT, LocalFeatures, Manifest, Map, MapImage

Rows = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class View:
    """An image's pose and camera, the rows (N,) of the points it sees, ascending, and their projections (N, 2) [px]."""

    map_from_camera: SE3
    camera: pycolmap.Camera
    point_rows: Rows
    pixels: Array


@dataclass(frozen=True, eq=False)
class Observations:
    """Which image sees which point, each pair once, by image and then by point: rows (O,) of both, and of a keypoint.

    The keypoint is the first of those that an image has of a point.
    """

    images: NDArray[np.intp]
    points: NDArray[np.intp]
    keypoints: NDArray[np.intp]

    @staticmethod
    def of(map_: Map) -> Observations:
        """The observations of all images of a map, in their order."""
        points, keypoints = [], []
        for image in map_.images:
            seen = np.flatnonzero(image.point_rows != NO_POINT)
            distinct, first = np.unique(image.point_rows[seen], return_index=True)
            points.append(distinct.astype(np.intp))
            keypoints.append(seen[first])
        counts = [len(rows) for rows in points]
        none = np.empty(0, np.intp)
        return Observations(
            np.repeat(np.arange(len(points)), counts),
            np.concatenate([none, *points]),
            np.concatenate([none, *keypoints]),
        )

    def track_lengths(self, num_points: int) -> NDArray[np.intp]:
        """How many images see each point (P,)."""
        return np.bincount(self.points, minlength=num_points)


def see(map_from_camera: SE3, camera: pycolmap.Camera, points: Array, point_rows: Rows) -> View:
    """The view of those of the rows (N,) of points (P, 3) that project into the image, by the camera's full model."""
    distinct = np.unique(point_rows).astype(np.int32)
    pixels = project(camera, map_from_camera.inverse @ points[distinct])
    inside = is_inside(camera, pixels)
    return View(map_from_camera, camera, distinct[inside], pixels[inside])


def see_observed(image: MapImage, points: Array, seen: NDArray[np.intp]) -> tuple[View, NDArray[np.intp]]:
    """The view of the points (P, 3) that keypoints of an image by row ``seen`` show, and the first keypoint of each."""
    view = see(image.map_from_camera, image.camera, points, image.point_rows[seen])
    distinct, first = np.unique(image.point_rows[seen], return_index=True)
    return view, seen[first[np.searchsorted(distinct, view.point_rows)]]


def is_inside(camera: pycolmap.Camera, pixels: Array) -> NDArray[np.bool_]:
    """Whether projections (N, 2) lie in the image; those of points behind the camera (NaN) do not."""
    return np.asarray(((pixels >= 0.0) & (pixels < [camera.width, camera.height])).all(axis=1))


class Covisibility:
    """Which views show the same points."""

    def __init__(self, point_rows: Sequence[Rows], num_points: int) -> None:
        self._point_rows = point_rows
        self._num_points = num_points
        self._views = np.repeat(np.arange(len(point_rows)), [len(rows) for rows in point_rows])
        self._points = np.concatenate([np.empty(0, np.int32), *point_rows])

    def rank(self, row: int, count: int) -> list[int]:
        """Rows of the ``count`` views that share most points with view ``row``, itself not among them, most first.

        Those that share none are left out; of those that share as many, the first come first.
        """
        shown = np.zeros(self._num_points, bool)
        shown[self._point_rows[row]] = True
        shared = np.bincount(self._views[shown[self._points]], minlength=len(self._point_rows))
        shared[row] = 0
        order = np.argsort(-shared, kind="stable")[:count]
        return [int(other) for other in order if shared[other] > 0]


@dataclass(frozen=True, eq=False)
class Points:
    """Points of a map as frames show them: coordinates (P, 3), and unit descriptors (P, D)."""

    xyz: Array
    descriptors: NDArray[np.float16]

    @property
    def scores(self) -> NDArray[np.float32]:
        """Scores (P,), as those of keypoints: all points count the same."""
        return np.ones(len(self.xyz), np.float32)


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
