"""A view found again after the features were lost: by the keyframes that look most like it from afar."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.images import PreparedImage
from visloc_ros.odometry.klt.local_map import Keyframe, LocalMap
from visloc_ros.odometry.klt.thumbnails import MIN_CORRELATION, Thumbnail, make_thumbnail, turn_between
from visloc_ros.odometry.klt.tracking import Features, follow_from_any, measure, seen_points
from visloc_ros.tracking.pixels import pixels_of
from visloc_ros.tracking.robust_pose import find_pose

_MAX_COMPARED = 30  # keyframes, the newest
_MAX_TRIED = 2
_MAX_FOLLOWED = 150  # landmarks of a keyframe: what cannot be found takes the longest
_MIN_AGREEING = 0.4  # share of the landmarks followed from the keyframe that must fit one pose


@dataclass(frozen=True, eq=False)
class Recovered:
    """Where a view is, ``camera_from_odom``, and the features (landmarks) that agree with it."""

    camera_from_odom: SE3
    features: Features


class KeyframeSearch:
    """Compares views with the newest keyframes of one map; remembers what these look like from afar."""

    def __init__(self, config: KltConfig) -> None:
        self._config = config
        self._thumbnails: dict[int, Thumbnail] = {}

    def find(self, local_map: LocalMap, view: PreparedImage) -> Recovered | None:
        """Find a view without knowing where it is, by the keyframes that resemble it most."""
        keyframes = local_map.keyframes[-_MAX_COMPARED:]
        self._thumbnails = {keyframe.number: self._thumbnail(keyframe) for keyframe in keyframes}
        compared = [
            (keyframe, *turn_between(self._thumbnails[keyframe.number], view.thumbnail, view.camera))
            for keyframe in keyframes
        ]
        alike = [item for item in compared if item[2] > MIN_CORRELATION]
        for keyframe, turn, _ in sorted(alike, key=lambda item: -item[2])[:_MAX_TRIED]:
            recovered = self._find_from(local_map, keyframe, view, turn)
            if recovered is not None:
                return recovered
        return None

    def _thumbnail(self, keyframe: Keyframe) -> Thumbnail:
        known = self._thumbnails.get(keyframe.number)
        return make_thumbnail(keyframe.grey) if known is None else known

    def _find_from(self, local_map: LocalMap, keyframe: Keyframe, view: PreparedImage, turn: Array) -> Recovered | None:
        """Follow a keyframe's landmarks into a view that is turned against it, and find the pose from them."""
        _, known = local_map.landmarks.rows_of(keyframe.features.ids)
        seen = keyframe.features[known]
        seen = seen[np.arange(0, len(seen), len(seen) // _MAX_FOLLOWED + 1)]
        rows, _ = local_map.landmarks.rows_of(seen.ids)
        points = local_map.landmarks.points[rows]
        guess = pixels_of(view.camera, (keyframe.camera_from_odom @ points) @ turn.T)
        pixels, good = follow_from_any(keyframe.grey, view.grey, seen.pixels, [guess], self._config)
        features = measure(view.camera, seen.ids[good], pixels[good])
        rows, _ = local_map.landmarks.rows_of(features.ids)
        limit = self._config.max_reprojection_px
        fit = find_pose(seen_points(local_map.landmarks.points[rows], features, limit), limit)
        if fit is None or fit.num_inliers < max(self._config.min_tracked, _MIN_AGREEING * len(features)):
            return None
        return Recovered(fit.camera_from_world, features[fit.inliers])
