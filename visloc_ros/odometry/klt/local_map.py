"""Keyframes and landmarks of one segment, against which the tracker localizes and which bundle adjustment moves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.types import Image
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.lens import bent, seen_through
from visloc_ros.odometry.klt.tracking import Features, Ids
from visloc_ros.odometry.klt.triangulation import ViewRays, is_well_seen, most_likely_points, triangulate
from visloc_ros.tracking.pixels import Mask, homogeneous
from visloc_ros.tracking.pyramid import Pyramid

_FAR = 10.0  # median depths; adjustment brings such points nearer once there is parallax
_FAR_ERROR_SHARE = 0.5  # of the largest reprojection error that a point put far away may have
_LANDMARK_PARALLAX_DEG = 0.3  # about 3 px at a focal length of 500: with less, noise makes up the depth


@dataclass(eq=False)
class Keyframe:
    """A frame that stays: its pose, what it observes, and its image to find landmarks again."""

    number: int
    stamp_ns: int
    camera_from_odom: SE3
    features: Features  # sorted by id
    grey: Image
    camera: pycolmap.Camera
    turn: Array | None = None  # while the image was read

    @cached_property
    def pyramid(self) -> Pyramid:
        """The image and its halves."""
        return Pyramid(self.grey)


class LandmarkTable:
    """Points (N, 3) in odom by the id of their feature; ids are kept sorted for vectorised look-up.

    ``born`` (N,) is the number of the keyframe at which each was triangulated, ``expected_distances`` (N,) its expected
    distance in odom from that keyframe, NaN where its parallax determines it.
    """

    def __init__(self) -> None:
        self.ids: Ids = np.empty(0, dtype=np.int64)
        self.points: Array = np.empty((0, 3))
        self.born: Ids = np.empty(0, dtype=np.int64)
        self.expected_distances: Array = np.empty(0)

    def __len__(self) -> int:
        return len(self.ids)

    def rows_of(self, ids: Ids) -> tuple[NDArray[np.intp], Mask]:
        """Row of every id (N,), and which ids (N,) have a landmark; the other rows mean nothing."""
        return rows_of(self.ids, ids)

    def add(self, ids: Ids, points: Array, keyframe_number: int, expected: Array | float = np.nan) -> None:
        """Add landmarks with new ids (N,), triangulated at a keyframe, with expected distances (N,) from it."""
        ids, points = np.concatenate([self.ids, ids]), np.concatenate([self.points, points])
        added = len(ids) - len(self.born)
        born = np.concatenate([self.born, np.full(added, keyframe_number)])
        expected = np.concatenate([self.expected_distances, np.broadcast_to(expected, added)])
        order = np.argsort(ids, kind="stable")
        self.ids, self.points = ids[order], points[order]
        self.born, self.expected_distances = born[order], expected[order]

    def set(self, ids: Ids, points: Array) -> None:
        """Move those of the landmarks (N,) that still exist."""
        rows, known = self.rows_of(ids)
        self.points[rows[known]] = points[known]

    def keep(self, mask: Mask) -> None:
        """Drop the landmarks outside the mask (N,)."""
        self.ids, self.points = self.ids[mask], self.points[mask]
        self.born, self.expected_distances = self.born[mask], self.expected_distances[mask]


class LocalMap:
    """The keyframes and landmarks of one segment, oldest keyframe first."""

    def __init__(self, segment: int, config: KltConfig) -> None:
        self.segment = segment
        self._config = config
        self.keyframes: list[Keyframe] = []
        self.landmarks = LandmarkTable()
        self._next_number = 0
        self._first_of_this_lens = 0

    @property
    def last(self) -> Keyframe:
        """The newest keyframe."""
        return self.keyframes[-1]

    def add_keyframe(
        self,
        stamp_ns: int,
        pose: SE3,
        features: Features,
        grey: Image,
        camera: pycolmap.Camera,
        turn: Array | None = None,
    ) -> Keyframe:
        """Add a keyframe with pose ``camera_from_odom``; the oldest one makes room for it."""
        ordered = features[np.argsort(features.ids, kind="stable")]
        keyframe = Keyframe(self._next_number, stamp_ns, pose, ordered, grey, camera, turn)
        self._next_number += 1
        self.keyframes.append(keyframe)
        if len(self.keyframes) > self._config.max_keyframes:
            self.keyframes.pop(0)
            self._drop_unseen()
        return keyframe

    def triangulate_new(self, with_prior: bool = False) -> int:
        """Make landmarks of the last keyframe's features that an older keyframe sees from far enough; gives the number.

        ``with_prior``: those seen from nearer become landmarks, too, at their most likely depth.
        """
        features = self.last.features
        _, known = self.landmarks.rows_of(features.ids)
        here = features[~known]
        first, found = self._first_observations(here.ids)
        here = here[found]
        now = _view(self.last, here)
        limit = self._config.max_reprojection_px
        if with_prior:
            points, expected = most_likely_points(first, now, self._median_depth())
            good = is_well_seen(points, first, now, 0.0, limit)
            self.landmarks.add(here.ids[good], points[good], self.last.number, expected[good])
            return int(np.count_nonzero(good))
        points = triangulate(first, now)
        good = is_well_seen(points, first, now, _LANDMARK_PARALLAX_DEG, limit)
        ahead = is_well_seen(points, first, now, 0.0, limit)
        points = np.where(ahead[:, None], points, self._far_points(here))
        good |= is_well_seen(points, first, now, 0.0, _FAR_ERROR_SHARE * limit)
        self.landmarks.add(here.ids[good], points[good], self.last.number)
        return int(np.count_nonzero(good))

    def _far_points(self, features: Features) -> Array:
        """Points (N, 3) so far along the rays of the last keyframe that they fix its rotation, not its position."""
        depth = _FAR * self._median_depth()
        local = homogeneous(features.rays) * depth
        return np.asarray(self.last.camera_from_odom.inverse @ local)

    def _median_depth(self) -> float:
        """Depth of the last keyframe's landmarks; 1, as at the segment's start, where there are none."""
        rows, known = self.landmarks.rows_of(self.last.features.ids)
        depths = (self.last.camera_from_odom @ self.landmarks.points[rows[known]])[:, 2]
        return float(np.median(depths)) if len(depths) else 1.0

    def rescale(self, factor: float, centre: Array) -> None:
        """Make everything larger by a factor about a point (3,); reprojections stay as they are."""
        for keyframe in self.keyframes:
            pose = keyframe.camera_from_odom
            keyframe.camera_from_odom = SE3(pose.rotation, factor * (pose @ centre) - pose.rotation @ centre)
        self.landmarks.points = centre + factor * (self.landmarks.points - centre)
        self.landmarks.expected_distances *= factor

    @property
    def keyframes_of_this_lens(self) -> list[Keyframe]:
        """The keyframes whose poses were estimated with the lens as it is now, oldest first."""
        return [keyframe for keyframe in self.keyframes if keyframe.number >= self._first_of_this_lens]

    def change_lens(self, change: Array, first_number: int) -> None:
        """See all keyframes through a lens with a change (2,) of its radial coefficients.

        Keyframes from ``first_number`` on have been adjusted along with it; the poses of earlier ones fit the old lens.
        """
        self._first_of_this_lens = first_number
        for keyframe in self.keyframes:
            keyframe.camera = bent(keyframe.camera, change)
            keyframe.features = seen_through(keyframe.camera, keyframe.features, keyframe.turn)

    def remove_outliers(self, keyframes: list[Keyframe], max_error_px: float) -> None:
        """Take observations with too large an error out of keyframes, then landmarks seen fewer than twice."""
        for keyframe in keyframes:
            rows, known = self.landmarks.rows_of(keyframe.features.ids)
            errors = np.zeros(len(rows))
            seen = keyframe.features[known]
            errors[known] = _view(keyframe, seen).errors_px(self.landmarks.points[rows[known]])
            if np.any(errors > max_error_px):
                keyframe.features = keyframe.features[errors <= max_error_px]
        self._drop_unseen()

    def _drop_unseen(self) -> None:
        counts = np.zeros(len(self.landmarks), dtype=int)
        for keyframe in self.keyframes:
            rows, known = self.landmarks.rows_of(keyframe.features.ids)
            counts[rows[known]] += 1
        self.landmarks.keep(counts >= 2)

    def _first_observations(self, ids: Ids) -> tuple[ViewRays, Mask]:
        """The oldest observation of features (N,) before the last keyframe, for those (N,) that have one."""
        owner = np.full(len(ids), -1)
        place = np.zeros(len(ids), dtype=int)
        for index, keyframe in enumerate(self.keyframes[:-1]):
            rows, seen = rows_of(keyframe.features.ids, ids)
            fresh = seen & (owner < 0)
            owner[fresh], place[fresh] = index, rows[fresh]
        found = owner >= 0
        return self._gather(owner[found], place[found]), found

    def _gather(self, owner: NDArray[np.intp], place: NDArray[np.intp]) -> ViewRays:
        rays, scale = np.empty((len(owner), 2)), np.empty(len(owner))
        rotations, translations = np.empty((len(owner), 3, 3)), np.empty((len(owner), 3))
        for index in np.unique(owner):
            keyframe, mine = self.keyframes[index], owner == index
            rays[mine] = keyframe.features.rays[place[mine]]
            scale[mine] = keyframe.features.pixels_per_ray[place[mine]]
            rotations[mine] = keyframe.camera_from_odom.rotation
            translations[mine] = keyframe.camera_from_odom.translation
        return ViewRays(rotations, translations, rays, scale)


def rows_of(sorted_ids: Ids, wanted: Ids) -> tuple[NDArray[np.intp], Mask]:
    """Row of every wanted id (N,) in sorted ids, and which of them are there; the other rows mean nothing."""
    if len(sorted_ids) == 0:
        return np.zeros(len(wanted), dtype=np.intp), np.zeros(len(wanted), dtype=bool)
    rows = np.minimum(np.searchsorted(sorted_ids, wanted), len(sorted_ids) - 1)
    return rows, sorted_ids[rows] == wanted


def _view(keyframe: Keyframe, features: Features) -> ViewRays:
    number, pose = len(features), keyframe.camera_from_odom
    rotations = np.broadcast_to(pose.rotation, (number, 3, 3))
    translations = np.broadcast_to(pose.translation, (number, 3))
    return ViewRays(rotations, translations, features.rays, features.pixels_per_ray)
