"""One unbroken stretch of tracking: features followed, poses from landmarks, keyframes added."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.odometry.klt.adjustment import WindowSnapshot, apply_window, snapshot_window
from visloc_ros.odometry.klt.bundle import BundleProblem
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.features import FeatureGrid
from visloc_ros.odometry.klt.images import View
from visloc_ros.odometry.klt.keyframes import KeyframePolicy
from visloc_ros.odometry.klt.local_map import Keyframe, LocalMap
from visloc_ros.odometry.klt.motion import MotionModel
from visloc_ros.odometry.klt.pose_refinement import find_pose, refine_pose
from visloc_ros.odometry.klt.reobservation import find_again
from visloc_ros.odometry.klt.starting import Started
from visloc_ros.odometry.klt.tracking import Features, Mask, Pixels, follow, measure, pixels_of

_ENOUGH_FOLLOWED = 0.5  # share of the features below which the prediction is doubted
_COMFORTABLE = 4  # times the landmarks that a pose needs: a keyframe can wait
_RECOVERY_KEYFRAMES = (1, 2, 4)  # counted from the newest


@dataclass(frozen=True, eq=False)
class Located:
    """Where a view is: ``camera_from_odom``, the features that agree with it, and the numbers behind it.

    ``flow_px`` is the median motion since the last accepted view.
    """

    camera_from_odom: SE3
    features: Features
    num_inliers: int
    flow_px: float


class Segment:
    """Map, motion and followed features since the last start; odom is the first keyframe's camera."""

    def __init__(self, number: int, started: Started, view: View, config: KltConfig, grid: FeatureGrid) -> None:
        self.number = number
        self.counts: dict[str, float] = {}
        self._config, self._grid = config, grid
        self._policy = KeyframePolicy(config)
        self._map = LocalMap(number, config)
        self._next_id = int(started.first.ids.max()) + 1
        reference, geometry = started.reference, started.geometry
        self._map.add_keyframe(reference.stamp_ns, SE3.identity(), started.first, reference.grey, reference.camera)
        good = geometry.is_point
        self._map.landmarks.add(started.first.ids[good], geometry.points[good], 0)
        self._motion = MotionModel(reference.stamp_ns, SE3.identity())
        self._motion.update(view.stamp_ns, geometry.second_from_first)
        self._features, self._previous = started.second, view
        self._add_keyframe(view)

    @property
    def camera_from_odom(self) -> SE3:
        """Pose of the last accepted view."""
        return self._motion.camera_from_odom

    @property
    def stamp_ns(self) -> int:
        """Stamp of the last accepted view."""
        return self._motion.stamp_ns

    def apply(self, snapshot: WindowSnapshot, adjusted: BundleProblem) -> None:
        """Take over a finished adjustment; one of an earlier segment is ignored."""
        if snapshot.segment != self.number:
            return
        self._motion.shift(apply_window(self._map, snapshot, adjusted))
        window = self._map.keyframes[-self._config.window_keyframes :]
        self._map.remove_outliers(window, self._config.max_reprojection_px)

    def snapshot(self) -> WindowSnapshot | None:
        """The window as it is now, for adjustment."""
        return snapshot_window(self._map, self._config)

    def follow(self, view: View) -> Located | None:
        """Follow the features into the next view and find its pose."""
        predicted = self._motion.predict(view.stamp_ns)
        before = self._features
        pixels, good = self._followed(before, view, predicted)
        features = measure(view.camera, before.ids[good], pixels[good])
        self.counts = {"tracked": float(len(features))}
        if not np.any(good):
            return None
        flow = float(np.median(np.linalg.norm(pixels[good] - before.pixels[good], axis=1)))
        return self._locate(features, predicted, flow)

    def recover(self, view: View) -> Located | None:
        """Find a view by the latest keyframes after the features were lost."""
        for back in _RECOVERY_KEYFRAMES:
            if back > len(self._map.keyframes):
                return None
            located = self._recover_from(self._map.keyframes[-back], view)
            if located is not None:
                return located
        return None

    def hold(self, stamp_ns: int) -> None:
        """The camera stands still: keep the pose, and go on from the view seen before, so that nothing drifts."""
        self._motion.update(stamp_ns, self._motion.camera_from_odom)

    def advance(self, view: View, located: Located, may_wait: bool = False) -> bool:
        """Go on from a located view; tells whether it became a keyframe.

        With ``may_wait`` (the map is being adjusted) a keyframe is put off while enough landmarks are seen.
        """
        self._motion.update(view.stamp_ns, located.camera_from_odom)
        self._features, self._previous = located.features, view
        if not self._policy.wants(self._map.last, located.features, located.camera_from_odom):
            return False
        if may_wait and located.num_inliers >= _COMFORTABLE * self._config.min_tracked:
            return False
        self._add_keyframe(view)
        return True

    def _add_keyframe(self, view: View) -> None:
        pose = self._motion.camera_from_odom
        again = find_again(self._map, view, pose, self._features, self._config)
        features = self._features.joined(again)
        corners = self._grid.detect(view.grey, features.pixels)
        ids = np.arange(len(corners), dtype=np.int64) + self._next_id
        self._next_id += len(corners)
        self._features = features.joined(measure(view.camera, ids, corners))
        self._map.add_keyframe(view.stamp_ns, pose, self._features, view.grey, view.camera)
        self._map.triangulate_new()

    def _followed(self, before: Features, view: View, predicted: SE3) -> tuple[Pixels, Mask]:
        """New pixels (N, 2), starting where the prediction puts them, or where they were if that finds few."""
        guess = self._predicted_pixels(before, view, predicted)
        pixels, good = follow(self._previous.grey, view.grey, before.pixels, guess, self._config)
        if np.count_nonzero(good) >= _ENOUGH_FOLLOWED * len(before):
            return pixels, good
        plain, plain_good = follow(self._previous.grey, view.grey, before.pixels, before.pixels, self._config)
        if np.count_nonzero(plain_good) > np.count_nonzero(good):
            return plain, plain_good
        return pixels, good

    def _predicted_pixels(self, before: Features, view: View, predicted: SE3) -> Pixels:
        """Pixels (N, 2) displaced by the predicted motion; features without a landmark move at the median depth."""
        points, now = self._points_of(before), self._motion.camera_from_odom
        motion = pixels_of(view.camera, predicted @ points) - pixels_of(view.camera, now @ points)
        return np.asarray(before.pixels + np.where(np.isfinite(motion), motion, 0.0), dtype=np.float32)

    def _points_of(self, features: Features) -> Array:
        """Points (N, 3) in odom of the followed features, guessed along the ray where there is no landmark."""
        now = self._motion.camera_from_odom
        rows, known = self._map.landmarks.rows_of(features.ids)
        landmarks = self._map.landmarks.points[rows[known]]
        depth = float(np.median((now @ landmarks)[:, 2])) if len(landmarks) else 1.0
        points = np.asarray(now.inverse @ (np.column_stack([features.rays, np.ones(len(features))]) * depth))
        points[known] = landmarks
        return points

    def _locate(self, features: Features, start: SE3, flow_px: float) -> Located | None:
        rows, known = self._map.landmarks.rows_of(features.ids)
        if np.count_nonzero(known) < self._config.min_tracked:
            return None
        seen, points = features[known], self._map.landmarks.points[rows[known]]
        limit = self._config.max_reprojection_px
        fit = refine_pose(start, points, seen.rays, seen.pixels_per_ray, limit)
        self.counts["inliers"] = float(fit.num_inliers)
        if fit.num_inliers < self._config.min_tracked:
            return None
        agreeing = np.ones(len(features), dtype=bool)
        agreeing[np.flatnonzero(known)[~fit.inliers]] = False
        return Located(fit.camera_from_odom, features[agreeing], fit.num_inliers, flow_px)

    def _recover_from(self, keyframe: Keyframe, view: View) -> Located | None:
        rows, known = self._map.landmarks.rows_of(keyframe.features.ids)
        seen = keyframe.features[known]
        pixels, good = follow(keyframe.grey, view.grey, seen.pixels, seen.pixels, self._config)
        features = measure(view.camera, seen.ids[good], pixels[good])
        rows, _ = self._map.landmarks.rows_of(features.ids)
        limit = self._config.max_reprojection_px
        fit = find_pose(self._map.landmarks.points[rows], features.rays, features.pixels_per_ray, limit)
        if fit is None or fit.num_inliers < self._config.min_tracked:
            return None
        return Located(fit.camera_from_odom, features[fit.inliers], fit.num_inliers, np.inf)
