"""The parallax of each feature, which determines how certain its depth, and a translation by it, can be."""

from __future__ import annotations

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.odometry.klt.local_map import rows_of
from visloc_ros.odometry.klt.tracking import Features, Ids
from visloc_ros.odometry.klt.two_view import bearings


class ParallaxTable:
    """Largest angle in degrees between the first and the later viewing directions of features, by their ids.

    Angles are taken between rays turned into odom. Angles at triangulated points would mislead: without parallax, an
    adjustment draws points and cameras together until there seems to be some.
    """

    def __init__(self) -> None:
        self._ids: Ids = np.empty(0, dtype=np.int64)
        self._owners: Ids = np.empty(0, dtype=np.int64)  # numbers of the keyframes that saw the features first
        self._bearings = np.empty((0, 3))  # in these
        self._first = np.empty((0, 3))
        self._angles = np.empty(0)

    def see(self, number: int, features: Features, camera_from_odom: SE3, landmark_ids: Ids) -> None:
        """Take a keyframe's features into account; all that are neither among them nor landmarks (N,) are forgotten."""
        seen = bearings(features.rays)
        directions = seen @ camera_from_odom.rotation
        rows, known = rows_of(self._ids, features.ids)
        rows = rows[known]
        angles = np.degrees(np.linalg.norm(directions[known] - self._first[rows], axis=1))
        self._angles[rows] = np.maximum(self._angles[rows], angles)
        kept, new = np.isin(self._ids, landmark_ids) | np.isin(self._ids, features.ids), ~known
        ids = np.concatenate([self._ids[kept], features.ids[new]])
        order = np.argsort(ids, kind="stable")
        self._ids = ids[order]
        self._owners = np.concatenate([self._owners[kept], np.full(np.count_nonzero(new), number)])[order]
        self._bearings = np.concatenate([self._bearings[kept], seen[new]])[order]
        self._first = np.concatenate([self._first[kept], directions[new]])[order]
        self._angles = np.concatenate([self._angles[kept], np.zeros(np.count_nonzero(new))])[order]

    def turn(self, number: int, camera_from_odom: SE3) -> None:
        """Correct the rotation of a keyframe, whose error would otherwise count as parallax."""
        rows = self._owners == number
        self._first[rows] = self._bearings[rows] @ camera_from_odom.rotation

    def first_directions(self, ids: Ids) -> Array:
        """First viewing directions (N, 3) in odom of features (N,), zero for unknown ones."""
        rows, known = rows_of(self._ids, ids)
        directions = np.zeros((len(ids), 3))
        directions[known] = self._first[rows[known]]
        return directions

    def of(self, ids: Ids) -> Array:
        """Angles (N,) in degrees of features (N,), 0 for unknown ones."""
        rows, known = rows_of(self._ids, ids)
        angles = np.zeros(len(ids))
        angles[known] = self._angles[rows[known]]
        return angles
