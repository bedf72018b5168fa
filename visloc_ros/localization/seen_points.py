"""What a camera at a pose would recognise of points that other cameras have seen: how many of them, and how spread.

A point looks the same from a like direction and distance. What its own surface hides is not counted: a point is seen
from one side of the plane through its neighbours, and points seen from their back hide what lies beyond them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pycolmap
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from visloc_ros.core.camera import rays
from visloc_ros.core.geometry import SE3, Array

LARGEST_ANGLE_DEG, LARGEST_OCTAVES = 75.0, 2.0
"""Change of the direction, and of the size in octaves, with which a point is not recognised any more.

Smaller ones (60 degrees, one octave) explain less of what ``benchmarks.anchor.coverage`` found; larger ones as much.
"""

_LEAST_WEIGHT = 0.1  # of an observation that counts for the spread over the image
_GRID = 4  # cells along a side of the image
_NEIGHBOURS, _FLATTEST = 10, 0.1  # points that determine a plane, and their thickness as share of their width
_BIN_DEG, _HIDING = 10.0, 2  # of directions; points seen from their back that hide what is beyond
_MOST_POINTS = 4000  # around a position, of which more than these are counted by a part


class Support(NamedTuple):
    """Points of the one image that shares most, each by how well it is recognised, and the share of the view with any.

    Both are zero where nothing is recognised. Where observers are grouped, ``points`` are those of
    the image of each group that shares most, of all groups together.
    """

    points: float
    spread: float


@dataclass(frozen=True)
class ViewLimits:
    """Limits of a view as tangents left, top, right and bottom of the optical axis, and its focal length in pixels."""

    tangents: tuple[float, float, float, float]
    focal_px: float

    @staticmethod
    def of(camera: pycolmap.Camera) -> ViewLimits:
        """Those of a camera, by the middles of the image's borders; of a lens beyond 90 degrees by its focal length."""
        width, height, focal = camera.width, camera.height, camera.mean_focal_length()
        middles = np.array([[0, height / 2], [width / 2, 0], [width, height / 2], [width / 2, height]])
        undistorted = rays(camera, middles)
        flat = (middles - [width / 2, height / 2]) / focal
        tangents = np.where(np.isfinite(undistorted), undistorted, flat)
        (left, _), (_, top), (right, _), (_, bottom) = tangents.tolist()
        return ViewLimits((left, top, right, bottom), focal)


@dataclass(frozen=True, eq=False)
class SeenPoints:
    """Points (P, 3) and their observations (N,): the point's row, in ascending order, and the observer's.

    ``centres`` (M, 3) and ``focals`` (M,) are the observers'. Each point stands for ``amounts`` (P,) keypoints.
    ``normals`` (P, 3) point to where the points are seen from; None where nothing is known of the surfaces.
    ``groups`` (M,) number the places of the observers, where several places must agree; None where one image suffices.
    """

    points: Array
    point_rows: NDArray[np.intp]
    observer_rows: NDArray[np.intp]
    centres: Array
    focals: Array
    amounts: Array
    normals: Array | None = None
    groups: NDArray[np.intp] | None = None

    @staticmethod
    def of_images(
        points: Array, poses: Sequence[SE3], focals: Sequence[float], rows: Sequence[NDArray[np.int32]]
    ) -> SeenPoints:
        """Points (P, 3) of a reconstruction, and for each image its ``map_from_camera`` and rows of points it sees."""
        observers = np.repeat(np.arange(len(rows)), [len(one) for one in rows])
        seen = np.concatenate([np.empty(0, np.intp), *rows]).astype(np.intp)
        order = np.argsort(seen, kind="stable")
        distinct, renumbered = np.unique(seen[order], return_inverse=True)
        centres, kept = np.array([pose.translation for pose in poses]).reshape(-1, 3), points[distinct]
        amounts, towards = np.ones(len(kept)), _mean_directions(kept, renumbered, centres[observers[order]])
        normals = surface_normals(kept, towards)
        return SeenPoints(kept, renumbered, observers[order], centres, np.array(focals), amounts, normals)

    def around(self, centre: Array, focal_px: float) -> SeenAround:
        """What is recognised at a position, whichever way a camera of this focal length looks."""
        near = np.sort(self._tree.query_ball_point(centre, self._farthest * focal_px)).astype(np.intp)
        step = max(1, -(-len(near) // _MOST_POINTS))
        near = near[::step]
        offsets = self.points[near] - centre
        distances = np.linalg.norm(offsets, axis=1)
        visible = self._visible(near, offsets, distances)
        near, offsets, distances = near[visible], offsets[visible], distances[visible]
        counts = self._starts[near + 1] - self._starts[near]
        places = np.repeat(np.arange(len(near)), counts)
        rows = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts) + self._starts[near][places]
        observers = self.observer_rows[rows]
        likeness = self._likeness(rows, offsets[places], distances[places], focal_px / self.focals[observers])
        known = likeness > 0.0
        weights = step * self.amounts[near[places[known]]] * likeness[known]
        return SeenAround(offsets, places[known], observers[known], likeness[known], weights, self.groups)

    def _likeness(self, rows: NDArray[np.intp], offsets: Array, distances: Array, focal_ratios: Array) -> Array:
        """How well (0 to 1) each observation is recognised from another place, by its angle and its size there."""
        there, ranges = self._views
        cosines = -np.einsum("ij,ij->i", there[rows], offsets) / np.maximum(distances, 1e-12)
        angles = np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))
        octaves = np.log2(focal_ratios * ranges[rows] / np.maximum(distances, 1e-12))
        by_angle = 1.0 - (angles / LARGEST_ANGLE_DEG) ** 2
        return np.asarray(np.maximum(by_angle, 0.0) * np.maximum(1.0 - (octaves / LARGEST_OCTAVES) ** 2, 0.0))

    def _visible(self, rows: NDArray[np.intp], offsets: Array, distances: Array) -> NDArray[np.bool_]:
        """Which points are seen from their front, and are not behind others that are seen from their back."""
        if self.normals is None:
            return np.ones(len(rows), bool)
        is_front = np.einsum("ij,ij->i", self.normals[rows], offsets) < 0.0
        azimuths = np.degrees(np.arctan2(offsets[:, 1], offsets[:, 0])) + 180.0
        elevations = np.degrees(np.arcsin(np.clip(offsets[:, 2] / np.maximum(distances, 1e-12), -1.0, 1.0))) + 90.0
        columns = int(360.0 / _BIN_DEG) + 1
        bins = (azimuths // _BIN_DEG + columns * (elevations // _BIN_DEG)).astype(np.intp)
        backs, size = bins[~is_front], columns * (int(180.0 / _BIN_DEG) + 1)
        nearest = np.full(size, np.inf)
        np.minimum.at(nearest, backs, distances[~is_front])
        nearest[np.bincount(backs, minlength=size) < _HIDING] = np.inf
        return np.asarray(is_front & (distances < nearest[bins]))

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.points)

    @cached_property
    def _starts(self) -> NDArray[np.intp]:
        """First observation of each point, and one more."""
        return np.searchsorted(self.point_rows, np.arange(len(self.points) + 1))

    @cached_property
    def _views(self) -> tuple[Array, Array]:
        """Unit vectors (N, 3) from points to their observers, and the distances (N,)."""
        towards = self.centres[self.observer_rows] - self.points[self.point_rows]
        ranges = np.linalg.norm(towards, axis=1)
        return towards / np.maximum(ranges, 1e-12)[:, None], ranges

    @cached_property
    def _farthest(self) -> float:
        """Distance, for each pixel of focal length, beyond which nearly all points are too small to be recognised."""
        sizes = self._views[1] / self.focals[self.observer_rows]
        return float(2.0**LARGEST_OCTAVES * np.percentile(sizes, 95.0)) if len(sizes) else 0.0


@dataclass(frozen=True, eq=False)
class SeenAround:
    """What is recognised at a position: ``offsets`` (K, 3) of points from it, and observations (L,) of these.

    Of each observation: the row of its point, the observer, how well it is recognised, and how much it counts.
    """

    offsets: Array
    places: NDArray[np.intp]
    observers: NDArray[np.intp]
    likeness: Array
    weights: Array
    groups: NDArray[np.intp] | None

    def support(self, map_from_camera: Array, limits: ViewLimits) -> Support:
        """What a camera of this rotation (3, 3) recognises."""
        if len(self.places) == 0:
            return Support(0.0, 0.0)
        in_camera = self.offsets @ map_from_camera
        left, top, right, bottom = limits.tangents
        with np.errstate(divide="ignore", invalid="ignore"):
            across = (in_camera[:, 0] / in_camera[:, 2] - left) / (right - left)
            down = (in_camera[:, 1] / in_camera[:, 2] - top) / (bottom - top)
        is_seen = (in_camera[:, 2] > 0.0) & (across >= 0.0) & (across < 1.0) & (down >= 0.0) & (down < 1.0)
        rows = np.flatnonzero(is_seen[self.places])
        if len(rows) == 0:
            return Support(0.0, 0.0)
        places = self.places[rows[self.likeness[rows] > _LEAST_WEIGHT]]
        cells = np.unique((across[places] * _GRID).astype(int) + _GRID * (down[places] * _GRID).astype(int))
        return Support(self._points_shared(rows), len(cells) / _GRID**2)

    def _points_shared(self, rows: NDArray[np.intp]) -> float:
        """Points of the observer that shares most of some observations; where they are grouped, of all groups."""
        if self.groups is None:
            return float(np.bincount(self.observers[rows], self.weights[rows]).max())
        most = np.zeros(int(self.groups.max()) + 1)
        np.maximum.at(most, self.groups, np.bincount(self.observers[rows], self.weights[rows], len(self.groups)))
        return float(most.sum())


def surface_normals(points: Array, towards: Array) -> Array:
    """Normals (P, 3) of the planes through each point's neighbours, on the side of the unit vectors ``towards``.

    Where the neighbours are in no plane, or the points are fewer than these, ``towards`` itself.
    """
    if len(points) <= _NEIGHBOURS:
        return towards
    _, neighbours = cKDTree(points).query(points, _NEIGHBOURS)
    offsets = points[neighbours] - points[neighbours].mean(axis=1, keepdims=True)
    widths, axes = np.linalg.eigh(np.einsum("pki,pkj->pij", offsets, offsets))
    is_flat = widths[:, 0] < _FLATTEST**2 * widths[:, 1]
    across = axes[:, :, 0]
    signs = np.sign(np.einsum("ij,ij->i", across, towards))
    return np.where((is_flat & (signs != 0.0))[:, None], signs[:, None] * across, towards)


def _mean_directions(points: Array, point_rows: NDArray[np.intp], centres: Array) -> Array:
    """Unit vectors (P, 3) in the middle of those to the observers."""
    towards = centres - points[point_rows]
    towards = towards / np.maximum(np.linalg.norm(towards, axis=1), 1e-12)[:, None]
    sums = np.stack([np.bincount(point_rows, towards[:, axis], len(points)) for axis in range(3)], axis=1)
    return np.asarray(sums / np.maximum(np.linalg.norm(sums, axis=1), 1e-12)[:, None])
