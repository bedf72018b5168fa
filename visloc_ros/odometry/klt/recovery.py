"""A view found again after the features were lost: by the keyframes that look most like it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array, nearest_rotation
from visloc_ros.core.types import Image
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.images import MIN_CORRELATION, PreparedImage, Thumbnail, make_thumbnail, turn_between
from visloc_ros.odometry.klt.local_map import Keyframe, LocalMap
from visloc_ros.odometry.klt.reobservation import ExpectedLandmarks, KeyframeObservations, align_observations
from visloc_ros.odometry.klt.tracking import Features, measure, seen_points
from visloc_ros.odometry.klt.two_view import bearings
from visloc_ros.tracking.pixels import Mask, pixels_of, undistort
from visloc_ros.tracking.robust_pose import find_pose

_MAX_COMPARED = 30  # keyframes, the newest
_MAX_TRIED = 2  # of those found by each of the two comparisons
_MOST_DESCRIBED = 6  # keyframes at once, 4 ms each, so that the first lost views do not wait for all
_MAX_FOLLOWED = 150  # landmarks of a keyframe: those that cannot be found take the longest
_MIN_AGREEING = 0.4  # share of the landmarks followed from the keyframe that must fit one pose


@dataclass(frozen=True, eq=False)
class Recovered:
    """The pose of a view, ``camera_from_odom``, and the features (landmarks) that agree with it."""

    camera_from_odom: SE3
    features: Features


class KeyframeSearch:
    """Compares views with the newest keyframes of one map, and caches the keyframes' descriptions."""

    def __init__(self, config: KltConfig) -> None:
        self._config = config
        self._thumbnails: dict[int, Thumbnail] = {}
        self._described: dict[int, DescribedView] = {}

    def find(self, local_map: LocalMap, view: PreparedImage) -> Recovered | None:
        """Find a view without knowing where it is, by the keyframes that resemble it most.

        Thumbnails come first, which show turns about the vertical and the horizontal through any blur, then descriptors
        of corners, which show turns about any axis.
        """
        keyframes = local_map.keyframes[-_MAX_COMPARED:]
        for resembling in (self._alike_from_afar, self._alike_by_corners):
            for keyframe, turn in resembling(keyframes, view)[:_MAX_TRIED]:
                recovered = self._find_from(local_map, keyframe, view, turn)
                if recovered is not None:
                    return recovered
        return None

    def _alike_from_afar(self, keyframes: Sequence[Keyframe], view: PreparedImage) -> list[tuple[Keyframe, Array]]:
        """The keyframes whose thumbnails are like the view's, best first, with ``view_from_keyframe`` (3, 3)."""
        known = self._thumbnails
        self._thumbnails = {
            item.number: known[item.number] if item.number in known else make_thumbnail(item.grey) for item in keyframes
        }
        turns = [turn_between(self._thumbnails[item.number], view.thumbnail, view.camera) for item in keyframes]
        alike = [(*pair, item) for item, pair in zip(keyframes, turns, strict=True) if pair[1] > MIN_CORRELATION]
        return [(item, turn) for turn, _, item in sorted(alike, key=lambda one: -one[1])]

    def _alike_by_corners(self, keyframes: Sequence[Keyframe], view: PreparedImage) -> list[tuple[Keyframe, Array]]:
        """The keyframes that have corners of the view, most first, with ``view_from_keyframe`` (3, 3)."""
        known = self._described
        missing = [item for item in reversed(keyframes) if item.number not in known][:_MOST_DESCRIBED]
        known |= {item.number: describe(item.grey, item.camera) for item in missing}
        self._described = {item.number: known[item.number] for item in keyframes if item.number in known}
        now = describe(view.grey, view.camera)
        found = [
            (*rotation_between(self._described[item.number], now), item)
            for item in keyframes
            if item.number in self._described
        ]
        alike = [(turn, number, item) for turn, number, item in found if number >= MIN_AGREEING]
        return [(item, turn) for turn, _, item in sorted(alike, key=lambda one: -one[1])]

    def _find_from(self, local_map: LocalMap, keyframe: Keyframe, view: PreparedImage, turn: Array) -> Recovered | None:
        """Find a keyframe's landmarks in a view that is turned against it, and the pose from them."""
        rows, known = local_map.landmarks.rows_of(keyframe.features.ids)
        places = np.flatnonzero(known)
        places = places[np.arange(0, len(places), len(places) // _MAX_FOLLOWED + 1)]
        points, ids = local_map.landmarks.points[rows[places]], keyframe.features.ids[places]
        start = SE3(turn, np.zeros(3)) @ keyframe.camera_from_odom
        expected = ExpectedLandmarks(ids, points, np.nan_to_num(pixels_of(view.camera, start @ points), nan=-1e6))
        seen = KeyframeObservations(np.zeros(len(places), dtype=np.intp), places)
        levels = self._config.pyramid_levels
        pixels, good = align_observations([keyframe], expected, seen, view, start, self._config, levels)
        features = measure(view.camera, ids[good], pixels[good])
        rows, _ = local_map.landmarks.rows_of(features.ids)
        limit = self._config.max_reprojection_px
        fit = find_pose(seen_points(local_map.landmarks.points[rows], features, limit), limit)
        if fit is None or fit.num_inliers < max(self._config.min_tracked, _MIN_AGREEING * len(features)):
            return None
        return Recovered(fit.camera_from_world, features[fit.inliers])


# The rotation between a view and a keyframe, of any size and axis, by binary descriptors of corners. Oriented FAST
# corners and rotated BRIEF descriptors (Rublee et al., ORB, ICCV 2011) are matched both ways. Two matches determine a
# rotation; the one that most matches agree with is taken (RANSAC, Fischler and Bolles 1981).

MIN_AGREEING = 15
"""Matches that must agree with one rotation: of another place's, some five to eight do."""

_MOST_CORNERS = 400
_DRAWS = 300  # with a third of the matches right one draw in nine is: none of them is missed
_AGREEING = np.radians(3.0)  # between directions: the camera has moved a little, too
_REFINEMENTS = 3


@dataclass(frozen=True, eq=False)
class DescribedView:
    """Viewing directions (N, 3) of corners in the camera, and their descriptors (N, 32)."""

    directions: Array
    descriptors: NDArray[np.uint8]


def describe(grey: Image, camera: pycolmap.Camera) -> DescribedView:
    """Find and describe the corners of an image (H, W)."""
    corners, descriptors = cv2.ORB.create(_MOST_CORNERS).detectAndCompute(grey, None)
    if not corners:
        return DescribedView(np.empty((0, 3)), np.empty((0, 32), dtype=np.uint8))
    rays, known = undistort(camera, np.array([corner.pt for corner in corners], dtype=np.float32))
    return DescribedView(bearings(rays[known]), np.asarray(descriptors[known], dtype=np.uint8))


def rotation_between(first: DescribedView, second: DescribedView) -> tuple[Array, int]:
    """Rotation (3, 3) ``second_from_first`` that most matches agree with, and how many they are."""
    if min(len(first.directions), len(second.directions)) < MIN_AGREEING:
        return np.eye(3), 0
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(first.descriptors, second.descriptors)
    if len(matches) < MIN_AGREEING:
        return np.eye(3), 0
    before = first.directions[[match.queryIdx for match in matches]]
    after = second.directions[[match.trainIdx for match in matches]]
    rotation = _most_agreed(before, after)
    for _ in range(_REFINEMENTS):
        agreeing = _agrees(rotation[None], before, after)[0]
        rotation = nearest_rotation(after[agreeing].T @ before[agreeing])
    return rotation, int(np.count_nonzero(_agrees(rotation[None], before, after)))


def _most_agreed(before: Array, after: Array) -> Array:
    """Of the rotations by random pairs of matches (always the same draws) the one that most of them agree with."""
    draws = np.random.default_rng(0).integers(0, len(before), (_DRAWS, 2))
    rotations = _axes(after[draws[:, 0]], after[draws[:, 1]]) @ _axes(
        before[draws[:, 0]], before[draws[:, 1]]
    ).transpose(0, 2, 1)
    return np.asarray(rotations[np.argmax(_agrees(rotations, before, after).sum(axis=1))])


def _axes(first: Array, second: Array) -> Array:
    """Orthonormal axes (N, 3, 3), in columns, of pairs of directions (N, 3)."""
    middle, across = first + second, np.cross(first, second)
    x, z = (axis / np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), 1e-12) for axis in (middle, across))
    return np.stack([x, np.cross(z, x), z], axis=2)


def _agrees(rotations: Array, before: Array, after: Array) -> Mask:
    """Which matches (R, N) each rotation (R, 3, 3) brings together."""
    cosines = np.einsum("rij,nj,ni->rn", rotations, before, after, optimize=True)
    return np.asarray(cosines > np.cos(_AGREEING))
