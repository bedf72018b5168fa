"""Monocular odometry: Lucas-Kanade tracking, two-view initialization, landmarks, keyframes, window adjustment."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

import pycolmap

from visloc_ros.core.timing import Stopwatch
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Frame, OdometryPose, Reason, Rejection
from visloc_ros.odometry.backend import Odometry
from visloc_ros.odometry.frame_check import FrameCheck
from visloc_ros.odometry.gyroscope import Turns, unknown_turn
from visloc_ros.odometry.klt.adjustment import InlineAdjuster
from visloc_ros.odometry.klt.background_adjustment import BackgroundAdjuster
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.depth_prior import DepthMap
from visloc_ros.odometry.klt.images import ImagePreparation, PreparedImage
from visloc_ros.odometry.klt.initialization import Initialization, Initializer, locate_followed
from visloc_ros.odometry.klt.lens import Lens
from visloc_ros.odometry.klt.location import LocatedFrame
from visloc_ros.odometry.klt.segment import Segment
from visloc_ros.odometry.klt.two_view import Wait

log = logging.getLogger(__name__)

_STILL_PX = 0.25  # median motion of tracked points by noise alone, of a camera that stands still
BLUR_RATIO = 0.35  # of the usual sharpness: below it, motion blur has removed the corners that tracking needs


class KltOdometry(Odometry):
    """Tracks one camera. The origin of every segment is the camera of its first keyframe, median depth 1."""

    def __init__(self, config: KltConfig, live: bool = False, turns: Turns = unknown_turn) -> None:
        self._options, self._turns = config, turns
        self._is_lost = False  # the last view was searched in vain
        self._has_missed = False  # views since the last pose
        # In the background of a live camera; otherwise frames wait for it, and every run gives the same result.
        self._adjuster: BackgroundAdjuster | InlineAdjuster = BackgroundAdjuster() if live else InlineAdjuster()
        self._first_adjuster = InlineAdjuster()  # of small windows, on which all later ones rest
        self._num_segments = 0
        self._frames = FrameCheck()
        self._segment: Segment | None = None

    def track(self, frame: Frame) -> OdometryPose | Rejection:
        """Give the unscaled ``odom_from_camera`` of the next frame, or the reason why there is none."""
        self._watch = watch = Stopwatch()
        unusable = self._frames.refuse(frame)
        if unusable is not None:
            return unusable
        if self._frames.is_new_camera(frame):
            self._begin(frame.camera)
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
        is_recovered = self._has_missed or located is None
        if located is None:
            with watch("recover"):
                located = self._recover(self._segment, view)
        if located is None:
            return self._lose(self._segment, view)
        if self._segment.has_collapsed:
            return self._give_up(self._segment, view)
        self._has_missed, self._is_lost = False, False
        if located.flow_px < _STILL_PX:
            self._segment.hold(view.stamp_ns)
            return self._pose(self._segment, located.num_inliers)
        with watch("advance"):
            is_keyframe = self._segment.advance(view, located, self._adjuster.busy)
        self._images.accept(view)
        return replace(self._pose(self._segment, located.num_inliers, is_keyframe), is_recovered=is_recovered)

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

        From the next frame on it contributes to ``scale``, and keeps the segment's unit from drifting.
        """
        self.settle()
        if self._segment is not None:
            self._segment.add_depth(stamp_ns, depth_m)

    @property
    def counts(self) -> Mapping[str, int]:
        """How often the process of bundle adjustment died and was restarted."""
        return {"bundle adjustment started again": self._adjuster.restarts} if self._adjuster.restarts else {}

    def reset(self) -> None:
        """Forget everything; the next pose belongs to a new segment, and stamps may start again."""
        self._frames.reset()
        self._segment = None

    def close(self) -> None:
        """Stop the adjustment process, if there is one."""
        self._adjuster.close()

    def _begin(self, camera: pycolmap.Camera) -> None:
        self._config = self._options.fitted_to(camera.width, camera.height)
        self._images = ImagePreparation(self._config)
        self._lens = Lens()
        self._initializer = Initializer(self._config)
        self._segment = None
        self._is_lost = False

    def _start(self, view: PreparedImage) -> OdometryPose | Rejection:
        """Wait for a good pair of views, then begin a segment."""
        with self._watch("start"):
            initialization = self._initializer.follow(view)
        self._images.refer_to(view)
        if isinstance(initialization, Wait):
            reason = Reason.BLURRED if self._is_blurred(view) else initialization.reason
            return Rejection(view.stamp_ns, reason, initialization.counts, self._watch.stage_ms)
        return self._begin_segment(initialization, view)

    def _begin_segment(self, initialization: Initialization, view: PreparedImage) -> OdometryPose:
        self._is_lost = self._has_missed = False
        self._initializer = Initializer(self._config)
        self._segment = Segment(self._num_segments, initialization, view, self._config, self._turns, self._lens)
        self._num_segments += 1
        self._images.accept(view)
        log.info("odometry segment %d started: %s", self._segment.number, initialization.geometry.counts)
        pose = self._pose(self._segment, int(initialization.geometry.is_point.sum()), is_keyframe=True)
        located = sorted(locate_followed(initialization, self._config).items())
        return replace(pose, earlier={stamp_ns: one.inverse for stamp_ns, one in located if stamp_ns < view.stamp_ns})

    def _apply_adjustment(self, segment: Segment) -> None:
        for adjuster in (self._adjuster, self._first_adjuster):
            finished = adjuster.finished()
            if finished is not None:
                segment.apply(finished)
        if not self._adjuster.busy:  # the unit must not change during an adjustment
            segment.hold_scale()

    def _adjust(self, segment: Segment) -> None:
        snapshot = segment.snapshot()
        if snapshot is not None:
            is_quick = segment.is_young and snapshot.lens is None and not self._adjuster.busy
            adjuster = self._first_adjuster if is_quick else self._adjuster
            adjuster.submit(snapshot)

    def _recover(self, segment: Segment, view: PreparedImage) -> LocatedFrame | None:
        """Find a view by earlier keyframes, which ends the preparation of a new start."""
        located = segment.recover(view)
        if located is not None:
            self._initializer = Initializer(self._config)
        return located

    def _lose(self, segment: Segment, view: PreparedImage) -> OdometryPose | Rejection:
        """Give the reason why the view has no pose, and prepare a new start for when the segment is given up."""
        self._is_lost = True
        rejection = self._miss(view, self._reason(segment, view), segment.counts)
        with self._watch("start"):
            initialization = self._initializer.follow(view)
        if self._segment is None and isinstance(initialization, Initialization):
            return self._begin_segment(initialization, view)
        return rejection

    def _give_up(self, segment: Segment, view: PreparedImage) -> Rejection:
        """End a segment whose start was wrong; the next view begins the search for another one."""
        log.warning("odometry segment %d began on a turn, which gives no depths: it is given up", segment.number)
        self._segment, self._initializer = None, Initializer(self._config)
        return Rejection(view.stamp_ns, Reason.DEGENERATE_MOTION, segment.counts, self._watch.stage_ms)

    def _reason(self, segment: Segment, view: PreparedImage) -> Reason:
        if self._is_blurred(view):
            return Reason.BLURRED
        least, counts = self._config.min_tracked, segment.counts
        if counts.get("tracked", 0.0) < least:
            return Reason.FEW_FEATURES
        if counts.get("inliers", 0.0) < least:
            return Reason.FEW_INLIERS
        return Reason.DEGENERATE_MOTION

    def _is_blurred(self, view: PreparedImage) -> bool:
        return self._images.relative_sharpness(view) < BLUR_RATIO

    def _miss(self, view: PreparedImage, reason: Reason, counts: Mapping[str, float]) -> Rejection:
        """No pose for this view; after ``recovery_s`` without any, the segment is given up."""
        self._has_missed = True
        rejection = Rejection(view.stamp_ns, reason, dict(counts), self._watch.stage_ms)
        segment = self._segment
        if segment is not None and view.stamp_ns - segment.stamp_ns > self._config.recovery_s * NANOSECONDS:
            log.warning("odometry segment %d lost: %s", segment.number, rejection)
            self._segment = None
        return rejection

    def _pose(self, segment: Segment, num_tracked: int, is_keyframe: bool = False) -> OdometryPose:
        return OdometryPose(
            segment.stamp_ns,
            segment.odom_from_camera,
            segment.number,
            num_tracked,
            is_keyframe,
            self._watch.stage_ms,
            segment.covariance,
            segment.scale,
        )
