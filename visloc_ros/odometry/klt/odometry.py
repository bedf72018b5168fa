"""Monocular odometry: Lucas-Kanade tracking, two-view start, pose from landmarks, keyframes, window adjustment."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from visloc_ros.core.camera import check_image_size
from visloc_ros.core.errors import CalibrationError
from visloc_ros.core.timing import Stopwatch
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Frame, OdometryPose, Reason, Rejection
from visloc_ros.odometry.gyroscope import Turns, unknown_turn
from visloc_ros.odometry.klt.adjustment import make_adjuster
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.depth_prior import DepthMap
from visloc_ros.odometry.klt.features import FeatureGrid
from visloc_ros.odometry.klt.images import ImagePreparation, View
from visloc_ros.odometry.klt.lens import Lens
from visloc_ros.odometry.klt.segment import Located, Segment
from visloc_ros.odometry.klt.starting import Started, Starter
from visloc_ros.odometry.klt.two_view import Wait

log = logging.getLogger(__name__)


class KltOdometry:
    """Tracks one camera. The origin of every segment is the camera of its first keyframe, median depth 1."""

    def __init__(self, config: KltConfig, live: bool = False, turns: Turns = unknown_turn) -> None:
        self._options, self._turns = config, turns
        self._is_lost = False  # the last view was searched in vain
        self._adjuster = make_adjuster(config, live)
        self._num_segments = 0
        self.reset()

    def track(self, frame: Frame) -> OdometryPose | Rejection:
        """Give the unscaled ``odom_from_camera`` of the next frame, or the reason why there is none."""
        self._watch = watch = Stopwatch()
        unusable = self._check(frame)
        if unusable is not None:
            return unusable
        with watch("prepare"):
            view = self._images.prepare(frame)
        if view.contrast < self._config.min_contrast:
            return self._miss(view, Reason.FEW_FEATURES, {"contrast": view.contrast})
        if self._segment is None:
            return self._start(self._lens.through(view))
        with watch("settle"):
            self.settle()
        with watch("apply"):
            self._apply_adjustment(self._segment)
            view = self._lens.through(view)
        with watch("track"):
            located = self._segment.follow(view, self._is_lost)
        if located is None:
            with watch("recover"):
                located = self._recover(self._segment, view)
        if located is None:
            return self._lose(self._segment, view)
        self._is_lost = False
        if located.flow_px < self._config.still_px:
            self._segment.hold(view.stamp_ns)
            return self._pose(self._segment, located.num_inliers)
        with watch("advance"):
            is_keyframe = self._segment.advance(view, located, self._adjuster.busy)
        self._images.accept(view)
        return self._pose(self._segment, located.num_inliers, is_keyframe)

    def settle(self) -> Mapping[str, float]:
        """Complete a new keyframe and adjust the window, which the pose of that frame need not wait for.

        To be called between frames; otherwise the next ``track`` begins with it. Gives milliseconds by stage.
        """
        watch, segment = Stopwatch(), self._segment
        if segment is not None and segment.has_new_keyframe:
            with watch("keyframe"):
                segment.complete_keyframe()
            with watch("adjust"):
                self._adjust(segment)
        return watch.stage_ms

    def add_depth(self, stamp_ns: int, depth_m: DepthMap) -> None:
        """Take the depth image (H, W) in metres of the keyframe at a stamp; it may come late.

        From the next frame on it has its say in ``scale``, and keeps the segment's unit from drifting.
        """
        self.settle()
        if self._segment is not None:
            self._segment.add_depth(stamp_ns, depth_m)

    def reset(self) -> None:
        """Forget everything; the next pose belongs to a new segment, and stamps may start anew."""
        self._last_stamp_ns: int | None = None
        self._image_shape: tuple[int, ...] | None = None

    def close(self) -> None:
        """Stop the adjustment process, if there is one."""
        self._adjuster.close()

    def _begin(self, image_shape: tuple[int, ...]) -> None:
        self._image_shape = image_shape
        self._config = self._options.fitted_to(image_shape[1], image_shape[0])
        self._images = ImagePreparation(self._config)
        self._lens = Lens()
        self._grid = FeatureGrid(self._config)
        self._starter = Starter(self._config, self._grid)
        self._segment: Segment | None = None
        self._is_lost = False

    def _check(self, frame: Frame) -> Rejection | None:
        """Refuse a frame that is not newer than the last one or does not fit its calibration.

        One of another size than those before it ends their segment.
        """
        if self._last_stamp_ns is not None and frame.stamp_ns <= self._last_stamp_ns:
            return Rejection(frame.stamp_ns, Reason.STALE)
        try:
            check_image_size(frame.camera, frame.image.shape[1], frame.image.shape[0])
        except CalibrationError as error:
            log.warning("%s", error)
            return Rejection(frame.stamp_ns, Reason.INTRINSICS_MISMATCH)
        self._last_stamp_ns = frame.stamp_ns
        shape = frame.image.shape[:2]
        if self._image_shape not in (None, shape):
            log.warning("images change their size at %d ns: odometry begins anew", frame.stamp_ns)
        if self._image_shape != shape:
            self._begin(shape)
        return None

    def _start(self, view: View) -> OdometryPose | Rejection:
        """Wait for a good pair of views, then begin a segment."""
        with self._watch("start"):
            started = self._starter.follow(view)
        self._images.refer_to(view)
        if isinstance(started, Wait):
            reason = Reason.BLURRED if self._is_blurred(view) else started.reason
            return Rejection(view.stamp_ns, reason, started.counts, self._watch.stage_ms)
        return self._begin_segment(started, view)

    def _begin_segment(self, started: Started, view: View) -> OdometryPose:
        self._is_lost = False
        self._starter = Starter(self._config, self._grid)
        self._segment = Segment(self._num_segments, started, view, self._config, self._grid, self._turns, self._lens)
        self._num_segments += 1
        self._images.accept(view)
        log.info("odometry segment %d started: %s", self._segment.number, started.geometry.counts)
        return self._pose(self._segment, int(started.geometry.is_point.sum()), is_keyframe=True)

    def _apply_adjustment(self, segment: Segment) -> None:
        finished = self._adjuster.finished()
        if finished is not None:
            segment.apply(finished)
        if not self._adjuster.busy:  # what it works on must not change its unit
            segment.hold_scale()

    def _adjust(self, segment: Segment) -> None:
        snapshot = segment.snapshot()
        if snapshot is not None:
            self._adjuster.submit(snapshot)

    def _recover(self, segment: Segment, view: View) -> Located | None:
        """Find a view by earlier keyframes; then what was begun of a new start is of no use."""
        located = segment.recover(view)
        if located is not None:
            self._starter = Starter(self._config, self._grid)
        return located

    def _lose(self, segment: Segment, view: View) -> OdometryPose | Rejection:
        """Say why the view has no pose; meanwhile prepare a new start, which counts once the segment is given up."""
        self._is_lost = True
        rejection = self._miss(view, self._reason(segment, view), segment.counts)
        with self._watch("start"):
            started = self._starter.follow(view)
        if self._segment is None and isinstance(started, Started):
            return self._begin_segment(started, view)
        return rejection

    def _reason(self, segment: Segment, view: View) -> Reason:
        if self._is_blurred(view):
            return Reason.BLURRED
        least, counts = self._config.min_tracked, segment.counts
        if counts.get("tracked", 0.0) < least:
            return Reason.FEW_FEATURES
        if counts.get("inliers", 0.0) < least:
            return Reason.FEW_INLIERS
        return Reason.DEGENERATE_MOTION

    def _is_blurred(self, view: View) -> bool:
        return self._images.relative_sharpness(view) < self._config.blur_ratio

    def _miss(self, view: View, reason: Reason, counts: Mapping[str, float]) -> Rejection:
        """No pose for this view; after ``recovery_s`` without any, the segment is given up."""
        rejection = Rejection(view.stamp_ns, reason, dict(counts), self._watch.stage_ms)
        segment = self._segment
        if segment is not None and view.stamp_ns - segment.stamp_ns > self._config.recovery_s * NANOSECONDS:
            log.warning("odometry segment %d lost: %s", segment.number, rejection)
            self._segment = None
        return rejection

    def _pose(self, segment: Segment, num_tracked: int, is_keyframe: bool = False) -> OdometryPose:
        pose = segment.camera_from_odom.inverse
        return OdometryPose(
            segment.stamp_ns,
            pose,
            segment.number,
            num_tracked,
            is_keyframe,
            self._watch.stage_ms,
            segment.covariance,
            segment.scale,
        )
