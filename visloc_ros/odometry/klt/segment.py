"""One unbroken stretch of tracking: features followed, poses from landmarks, keyframes added."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from visloc_ros.core.camera import HALF_PIXEL
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import OdometryScale
from visloc_ros.odometry.gyroscope import Turns
from visloc_ros.odometry.klt.adjustment import (
    Adjustment,
    WindowSnapshot,
    apply_window,
    snapshot_for_lens,
    snapshot_window,
)
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.covariance import MotionCovariance, PoseUncertainty
from visloc_ros.odometry.klt.depth_prior import DepthMap, ScaleFilter, compare_depths
from visloc_ros.odometry.klt.images import MIN_CORRELATION, PreparedImage, turn_between
from visloc_ros.odometry.klt.initialization import Initialization
from visloc_ros.odometry.klt.lens import Lens, LensSchedule, seen_through
from visloc_ros.odometry.klt.local_map import Keyframe, LocalMap, rows_of
from visloc_ros.odometry.klt.location import LocatedFrame, ViewLocator
from visloc_ros.odometry.klt.motion import ContinuousPath, MotionModel
from visloc_ros.odometry.klt.parallax import ParallaxTable
from visloc_ros.odometry.klt.recovery import KeyframeSearch
from visloc_ros.odometry.klt.reobservation import find_again, realign
from visloc_ros.odometry.klt.tracking import Features, detect_corners, follow_from_any, measure
from visloc_ros.odometry.klt.two_view import bearings
from visloc_ros.tracking.pixels import Pixels, homogeneous, is_inside, pixels_of

_NEAR = 0.6  # share of the window: errors of predictions that a search from half the size tolerates
_WELL_SUPPORTED = 40  # landmarks with good depths, beside which new ones need not be made before they have them
_LANDMARK_SHARE = 0.4  # of the followed features, below which it is time to make landmarks of the others
_YOUNG = 12  # keyframes: the window and its first anchors
_COLLAPSED = 0.15  # of the median depth at the start: no scene comes so near so fast, but a start on a turn collapses
_COMFORTABLE = 4  # times the landmarks that a pose needs: a keyframe can wait
_WAITING_DEPTHS = 8  # depth images kept while the map is being adjusted
_PARALLAX_DEG = 2.0  # twice what a two-view start needs: new landmarks have a depth at once
_OVERLAP = 0.55  # share of the features still followed below which too few landmarks would join two keyframes
_OVERLAP_UNSUPPORTED = 0.75  # the same while most features have no known depth: new depths must come before old ones go
_SUPPORTED = 0.5  # share of the features whose depths are known
_EXTENT = 0.8  # of the features' extent: on one side of the image alone they do not tell a turn from a motion across


class Segment:
    """Map, motion and followed features since the last start; odom is the first keyframe's camera."""

    def __init__(
        self,
        number: int,
        initialization: Initialization,
        view: PreparedImage,
        config: KltConfig,
        turns: Turns,
        lens: Lens,
    ) -> None:
        self.number = number
        self._lens, self._lens_schedule, self._lens_changed_at = lens, LensSchedule(), -1
        self._views_since_look = 0
        self._config = config
        self._search = KeyframeSearch(config)
        self._parallax = ParallaxTable()
        self._map = LocalMap(number, config)
        self._next_id = int(initialization.first.ids.max()) + 1
        reference, geometry = initialization.reference, initialization.geometry
        self._map.add_keyframe(
            reference.stamp_ns, SE3.identity(), initialization.first, reference.grey, reference.camera
        )
        good = geometry.is_point
        self._map.landmarks.add(initialization.first.ids[good], geometry.points[good], 0)
        self._parallax.see(0, initialization.first, SE3.identity(), initialization.first.ids)
        self._motion = MotionModel(reference.stamp_ns, SE3.identity(), turns)
        self._motion.update(view.stamp_ns, geometry.second_from_first)
        self._path = ContinuousPath(geometry.second_from_first.inverse)
        self._locator = ViewLocator(self._map, self._motion, self._parallax, config)
        self._features, self._previous = initialization.second, view
        self._prediction_error_px = np.inf
        step_px = np.median(np.linalg.norm(initialization.second.pixels - initialization.first.pixels, axis=1))
        self._covariance = MotionCovariance(float(step_px))
        self._scale, self._depths = ScaleFilter(), deque[tuple[Keyframe, DepthMap]](maxlen=_WAITING_DEPTHS)
        self._new_keyframe: PreparedImage | None = view

    @property
    def counts(self) -> Mapping[str, float]:
        """Numbers behind the last view's pose: features tracked, landmarks that agree, those with known depths."""
        return self._locator.counts

    @property
    def camera_from_odom(self) -> SE3:
        """Pose of the last accepted view in the map, which adjustments move."""
        return self._motion.camera_from_odom

    @property
    def odom_from_camera(self) -> SE3:
        """Pose of the last accepted view on the continuous path."""
        return self._path.odom_from_camera

    @property
    def stamp_ns(self) -> int:
        """Stamp of the last accepted view."""
        return self._motion.stamp_ns

    @property
    def covariance(self) -> Array | None:
        """Covariance (6, 6) of the last accepted pose ``odom_from_camera``; None before the first adjustment."""
        return self._covariance.value

    @property
    def scale(self) -> OdometryScale | None:
        """Metres per unit; None before any depth image."""
        return self._scale.scale

    @property
    def is_young(self) -> bool:
        """Whether the map is so small that its adjustment is fast, and too rough to wait for it."""
        return self._map.last.number < _YOUNG

    def add_depth(self, stamp_ns: int, depth_m: DepthMap) -> None:
        """Remember the depth image (H, W) of a keyframe until its landmarks are adjusted."""
        seen = [keyframe for keyframe in self._map.keyframes if keyframe.stamp_ns == stamp_ns]
        self._depths.extend((keyframe, depth_m) for keyframe in seen)

    def hold_scale(self) -> None:
        """Bring the map back to the segment's unit as far as depth images show that it has drifted."""
        for keyframe, depth_m in self._depths:
            rows, known = self._map.landmarks.rows_of(keyframe.features.ids)
            depths = (keyframe.camera_from_odom @ self._map.landmarks.points[rows[known]])[:, 2]
            places = keyframe.features.pixels[known] + HALF_PIXEL
            measured = compare_depths(depth_m, places / [keyframe.camera.width, keyframe.camera.height], depths)
            if measured is not None:
                self._scale.update(measured)
        if self._depths:
            factor = self._scale.take_drift()
            self._map.rescale(factor, self.camera_from_odom.inverse.translation)
            self._motion.rescale(factor)
        self._depths.clear()

    def apply(self, done: Adjustment) -> None:
        """Take over a finished adjustment; one of an earlier segment or an earlier lens is ignored."""
        if done.snapshot.segment != self.number or done.snapshot.keyframe_numbers.max() <= self._lens_changed_at:
            return
        if done.radial is not None:
            self._lens_changed_at = self._map.last.number
            self._map.change_lens(self._lens.learn(done.radial), int(done.snapshot.keyframe_numbers.min()))
            self._features = seen_through(self._map.last.camera, self._features, self._previous.turn)
        if done.snapshot.lens is not None:
            self._lens_schedule.advance(self._map.last.number, self._views_since_look, self._lens.is_learnt)
        self._motion.shift(apply_window(self._map, done.snapshot, done.adjusted))
        self._covariance.learn(done.uncertainty, self.odom_from_camera.translation)
        self._scale.drift(done.uncertainty.log_scale_step)
        window = self._map.keyframes[-self._config.window_keyframes :]
        for keyframe in window:
            self._parallax.turn(keyframe.number, keyframe.camera_from_odom)
        self._map.remove_outliers(window, self._config.max_reprojection_px)

    @property
    def has_collapsed(self) -> bool:
        """Whether the scene has come so near since a recent start that the start must have been wrong.

        A turn about an axis beside the camera is nearly a pure rotation: depths from it are noise, and an adjustment
        may explain them by drawing cameras and points together.
        """
        if not self.is_young:
            return False
        rows, known = self._map.landmarks.rows_of(self._features.ids)
        depths = (self.camera_from_odom @ self._map.landmarks.points[rows[known]])[:, 2]
        return len(depths) > 0 and float(np.median(depths)) < _COLLAPSED

    def snapshot(self) -> WindowSnapshot | None:
        """The window as it is now, for adjustment; now and then one that shows the lens as well."""
        schedule, snapshot = self._lens_schedule, None
        if self._map.last.number >= schedule.next_number:
            snapshot = snapshot_for_lens(self._map, self._lens.radial, schedule.num_keyframes, self._config)
            self._views_since_look = 0
        return snapshot_window(self._map, self._config) if snapshot is None else snapshot

    def follow(self, view: PreparedImage, is_lost: bool = False) -> LocatedFrame | None:
        """Follow the features from the last accepted view into this one and find its pose.

        Once lost, only the turn by the thumbnails is tried: a search in vain takes long.
        """
        predicted = self._motion.predict(view.stamp_ns)
        before = self._features
        guesses = self._turned_pixels(before, view) if is_lost else self._guesses(before, view, predicted)
        is_near = not is_lost and self._prediction_error_px < _NEAR * self._config.window_px
        pixels, good, self._prediction_error_px = follow_from_any(
            self._previous.grey, view.grey, before.pixels, guesses, self._config, is_near
        )
        if not np.any(good):
            self._locator.counts = {"tracked": 0.0}
            return None
        flow = float(np.median(np.linalg.norm(pixels[good] - before.pixels[good], axis=1)))
        return self._locator.locate(view, before.ids[good], pixels[good], predicted, flow)

    def recover(self, view: PreparedImage) -> LocatedFrame | None:
        """Find a view by the latest keyframes after the features were lost."""
        found = self._search.find(self._map, view)
        if found is None:
            return None
        return self._locator.locate(view, found.features.ids, found.features.pixels, found.camera_from_odom, np.inf)

    def hold(self, stamp_ns: int) -> None:
        """The camera stands still: keep the pose, and go on from the view seen before, so that nothing drifts."""
        self._motion.update(stamp_ns, self._motion.camera_from_odom)

    def advance(self, view: PreparedImage, located: LocatedFrame, may_wait: bool = False) -> bool:
        """Go on from a located view; returns whether it became a keyframe.

        With ``may_wait`` (the map is being adjusted) a keyframe is put off while enough landmarks are seen.
        """
        self._views_since_look += 1
        view = view if located.turn is None else replace(view, turn=located.turn)
        now, seconds = located.camera_from_odom.inverse, (view.stamp_ns - self.stamp_ns) / NANOSECONDS
        self._path.move(self.camera_from_odom.inverse, now, seconds)
        self._motion.update(view.stamp_ns, located.camera_from_odom)
        self._covariance.move(self.odom_from_camera, located.flow_px, self._uncertainty(located))
        self._features, self._previous = located.features, view
        is_thin = located.num_inliers < _LANDMARK_SHARE * len(located.features)
        if not is_thin and not self._wants_keyframe(located):
            return False
        if may_wait and located.num_inliers >= _COMFORTABLE * self._config.min_tracked:
            return False
        self._covariance.close_step()
        self._new_keyframe = view
        return True

    def _wants_keyframe(self, located: LocatedFrame) -> bool:
        num_supporting = self._locator.num_supporting(located.features)
        return is_next_keyframe(self._map.last, located, num_supporting, self._config.max_features)

    def _uncertainty(self, located: LocatedFrame) -> PoseUncertainty:
        """What the landmarks that agree with a pose say of it; those of unsure depth have errors of their own."""
        rows, known = self._map.landmarks.rows_of(located.features.ids)
        seen, points = located.features[known], self._map.landmarks.points[rows[known]]
        born = np.where(self._locator.is_unsure(seen, rows[known]), -1, self._map.landmarks.born[rows[known]])
        return PoseUncertainty.of(located.camera_from_odom, points, seen.rays, seen.pixels_per_ray, born)

    @property
    def has_new_keyframe(self) -> bool:
        """Whether the last accepted view is a keyframe that is not in the map yet."""
        return self._new_keyframe is not None

    def complete_keyframe(self) -> None:
        """Put the new keyframe into the map: its landmarks aligned, lost ones found again, new ones triangulated."""
        view, self._new_keyframe = self._new_keyframe, None
        if view is None:
            return
        pose = self._motion.camera_from_odom
        followed = realign(self._map, view, pose, self._features, self._config)
        again = find_again(self._map, view, pose, followed, self._config)
        features = followed.joined(again)
        corners = detect_corners(view.grey, features.pixels, self._config)
        ids = np.arange(len(corners), dtype=np.int64) + self._next_id
        self._next_id += len(corners)
        self._features = features.joined(measure(view.camera, ids, corners, view.turn))
        self._map.add_keyframe(view.stamp_ns, pose, self._features, view.grey, view.camera, view.turn)
        self._parallax.see(self._map.last.number, self._features, pose, self._map.landmarks.ids)
        self._map.triangulate_new(with_prior=self._locator.num_supporting(self._features) < _WELL_SUPPORTED)

    def _guesses(self, before: Features, view: PreparedImage, predicted: SE3) -> Iterator[Pixels]:
        """New pixels (N, 2): by the prediction, by the turn between the thumbnails, or unchanged."""
        yield self._predicted_pixels(before, view, predicted)
        yield from self._turned_pixels(before, view)
        yield before.pixels

    def _turned_pixels(self, before: Features, view: PreparedImage) -> Iterator[Pixels]:
        turn, correlation = turn_between(self._previous.thumbnail, view.thumbnail, view.camera)
        if correlation > MIN_CORRELATION:
            yield self._predicted_pixels(before, view, SE3(turn, np.zeros(3)) @ self._motion.camera_from_odom)

    def _predicted_pixels(self, before: Features, view: PreparedImage, predicted: SE3) -> Pixels:
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
        points = np.asarray(now.inverse @ (homogeneous(features.rays) * depth))
        points[known] = landmarks
        return points


def is_next_keyframe(keyframe: Keyframe, located: LocatedFrame, num_supporting: int, max_features: int) -> bool:
    """Whether a frame should follow ``keyframe`` as the next one: it sees enough that is new, from far enough away.

    ``num_supporting`` of its features are landmarks whose depths are known by parallax.
    """
    features = located.features
    rows, shared = rows_of(keyframe.features.ids, features.ids)
    wanted = min(len(keyframe.features), max_features)
    overlap = _OVERLAP if num_supporting >= _SUPPORTED * len(features) else _OVERLAP_UNSUPPORTED
    if np.count_nonzero(shared) < overlap * wanted:
        return True
    camera_from_keyframe = located.camera_from_odom.rotation @ keyframe.camera_from_odom.rotation.T
    turned = bearings(keyframe.features.rays) @ camera_from_keyframe.T
    if has_turned_away(keyframe, turned):
        return True
    angles = np.linalg.norm(turned[rows[shared]] - bearings(features.rays[shared]), axis=1)
    return bool(np.degrees(np.median(angles)) > _PARALLAX_DEG)


def has_turned_away(keyframe: Keyframe, turned: Array) -> bool:
    """Whether the turn since ``keyframe`` leaves its features, as bearings (N, 3) now, on one side of the image.

    What a motion takes out of the image does not count: on a drive that is what passes by on both sides.
    """
    pixels = pixels_of(keyframe.camera, turned)
    seen = pixels[is_inside(pixels, keyframe.grey, 0.0)]
    return not len(seen) or bool(np.any(_extent(seen) < _EXTENT * _extent(keyframe.features.pixels)))


def _extent(pixels: Pixels) -> Array:
    """Width and height (2,) of the part of the image that the pixels (N, 2) cover, a tenth of them left out in each."""
    ordered, left_out = np.sort(pixels, axis=0), len(pixels) // 20
    return np.asarray(ordered[-1 - left_out] - ordered[left_out])
