"""The change of view between two cameras, and the map images that share the view from a pose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.camera import project
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import NO_POINT, Map, MapImage


@dataclass(frozen=True, eq=False)
class Viewpoints:
    """Viewpoints of cameras: centres (M, 3), lines of sight (M, 3), and ``depths`` (M,), the distance of their points.

    The depth of a camera that saw nothing is zero: no other camera sees the same.
    """

    centres: Array
    axes: Array
    depths: Array

    @staticmethod
    def of(images: Sequence[MapImage], points: Array) -> Viewpoints:
        """The views of map images, in their order, of points (P, 3)."""
        poses = [image.map_from_camera for image in images]
        seen = [image.point_rows[image.point_rows != NO_POINT] for image in images]
        depths = [typical_depth(pose, points[rows]) for pose, rows in zip(poses, seen, strict=True)]
        return Viewpoints(
            np.array([pose.translation for pose in poses]).reshape(-1, 3),
            np.array([pose.rotation[:, 2] for pose in poses]).reshape(-1, 3),
            np.array(depths),
        )

    @staticmethod
    def of_map(map_: Map) -> Viewpoints:
        """The views of all images of a map, computed once for each map."""
        if map_ not in _VIEWS_OF_MAPS:
            _VIEWS_OF_MAPS[map_] = Viewpoints.of(map_.images, map_.points)
        return _VIEWS_OF_MAPS[map_]

    def changes(self, map_from_camera: SE3) -> Array:
        """View changes (M,) in radians to another camera.

        The angle between the lines of sight, with which the visible points change, plus the distance between the
        cameras as share of that to the points, the change of the direction from which these are seen.
        """
        distances = np.linalg.norm(self.centres - map_from_camera.translation, axis=1)
        shares = np.divide(distances, self.depths, out=np.full(len(distances), np.inf), where=self.depths > 0.0)
        turned = np.arccos(np.clip(self.axes @ map_from_camera.rotation[:, 2], -1.0, 1.0))
        return np.asarray(turned + shares)


_VIEWS_OF_MAPS: WeakKeyDictionary[Map, Viewpoints] = WeakKeyDictionary()


def view_change(map_from_camera: SE3, depth: float, map_from_other: SE3) -> float:
    """View change in radians from a camera that saw points ``depth`` away to another."""
    pose = map_from_camera
    return float(
        Viewpoints(pose.translation[None], pose.rotation[None, :, 2], np.array([depth])).changes(map_from_other)[0]
    )


def typical_depth(map_from_camera: SE3, points: Array) -> float:
    """Median distance of points (N, 3) from a camera; 0 without points."""
    return float(np.median(np.linalg.norm(points - map_from_camera.translation, axis=1))) if len(points) else 0.0


_MOST_DEPTHS = 5.0  # from a reference: at a larger ratio of scales points are not recognised, or lie behind a wall
_NEIGHBOURS = 64  # map images nearest to a predicted pose of which the shared view is computed


class ViewOverlap:
    """Ranks references by how many of their points a predicted view would see, from a like direction and distance.

    A point seen from half or double the distance counts half: it looks different. Otherwise the references far ahead
    of a camera, all of whose points are in view, would outrank those around it.

    Only the references nearest to the prediction are considered, so that the size of the map does not matter.
    """

    def __init__(self, map_: Map) -> None:
        self._points, self._images = map_.points, map_.images
        views = Viewpoints.of_map(map_)
        self._centres, self._axes = views.centres, views.axes
        self._farthest = _MOST_DEPTHS * views.depths

    def rank(self, map_from_camera: SE3, camera: pycolmap.Camera, count: int) -> list[int]:
        """Rows of at most ``count`` map images, best first; none where the view would see nothing of the map."""
        facing = self._axes @ map_from_camera.rotation[:, 2]
        rows = self._nearest(map_from_camera.translation, facing, max(count, _NEIGHBOURS))
        score = self._shared_points(rows, map_from_camera, camera) * facing[rows]
        order = np.argsort(-score, kind="stable")[:count]
        return [int(rows[place]) for place in order if score[place] > 0.0]

    def _nearest(self, centre: Array, facing: Array, count: int) -> NDArray[np.intp]:
        """Rows of the images nearest to ``centre`` among those that look the same way from not too far off."""
        distances = np.linalg.norm(self._centres - centre, axis=1)
        may_share = (facing > 0.0) & (distances <= self._farthest)
        order = np.argsort(np.where(may_share, distances, np.inf), kind="stable")
        return order[: min(count, int(may_share.sum()))]

    def _shared_points(self, rows: NDArray[np.intp], map_from_camera: SE3, camera: pycolmap.Camera) -> Array:
        """How many points of each image (row) the view sees, each weighted by the ratio of its distances."""
        if len(rows) == 0:
            return np.empty(0)
        observed = [points[points != NO_POINT] for points in (self._images[row].point_rows for row in rows)]
        observers = np.repeat(np.arange(len(rows)), [len(points) for points in observed])
        distinct, places = np.unique(np.concatenate(observed), return_inverse=True)
        pixels = project(camera, map_from_camera.inverse @ self._points[distinct])
        inside = np.all((pixels >= 0.0) & (pixels < [camera.width, camera.height]), axis=1)
        shared = np.flatnonzero(inside[places])
        points, observers = self._points[distinct[places[shared]]], observers[shared]
        here = np.linalg.norm(points - map_from_camera.translation, axis=1)
        there = np.linalg.norm(points - self._centres[rows[observers]], axis=1)
        ratios = np.minimum(here, there) / np.maximum(here, there)
        return np.asarray(np.bincount(observers, ratios, len(rows)), dtype=np.float64)
