"""A view found again after the features were lost: by the keyframes that look most like it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.images import PreparedImage
from visloc_ros.odometry.klt.keyframe_descriptors import MIN_AGREEING, DescribedView, describe, rotation_between
from visloc_ros.odometry.klt.local_map import Keyframe, LocalMap
from visloc_ros.odometry.klt.observations import ExpectedLandmarks, KeyframeObservations, align_observations
from visloc_ros.odometry.klt.thumbnails import MIN_CORRELATION, Thumbnail, make_thumbnail, turn_between
from visloc_ros.odometry.klt.tracking import Features, measure, seen_points
from visloc_ros.tracking.pixels import pixels_of
from visloc_ros.tracking.robust_pose import find_pose

_MAX_COMPARED = 30  # keyframes, the newest
_MAX_TRIED = 2  # of those found by each of the two ways to compare
_MOST_DESCRIBED = 6  # keyframes at once, 4 ms each: the first views that are lost need not wait for all
_MAX_FOLLOWED = 150  # landmarks of a keyframe: what cannot be found takes the longest
_MIN_AGREEING = 0.4  # share of the landmarks followed from the keyframe that must fit one pose


@dataclass(frozen=True, eq=False)
class Recovered:
    """Where a view is, ``camera_from_odom``, and the features (landmarks) that agree with it."""

    camera_from_odom: SE3
    features: Features


class KeyframeSearch:
    """Compares views with the newest keyframes of one map; remembers what these look like."""

    def __init__(self, config: KltConfig) -> None:
        self._config = config
        self._thumbnails: dict[int, Thumbnail] = {}
        self._described: dict[int, DescribedView] = {}

    def find(self, local_map: LocalMap, view: PreparedImage) -> Recovered | None:
        """Find a view without knowing where it is, by the keyframes that resemble it most.

        Pictures from afar come first, which tell turns about the vertical and the horizontal through any blur, then
        descriptors of corners, which tell turns about any axis.
        """
        keyframes = local_map.keyframes[-_MAX_COMPARED:]
        for resembling in (self._alike_from_afar, self._alike_by_corners):
            for keyframe, turn in resembling(keyframes, view)[:_MAX_TRIED]:
                recovered = self._find_from(local_map, keyframe, view, turn)
                if recovered is not None:
                    return recovered
        return None

    def _alike_from_afar(self, keyframes: Sequence[Keyframe], view: PreparedImage) -> list[tuple[Keyframe, Array]]:
        """The keyframes that look like the view from afar, best first, with ``view_from_keyframe`` (3, 3)."""
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
