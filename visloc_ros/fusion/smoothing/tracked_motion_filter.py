"""Tracked-motion filter: the camera's motion since one anchor, by the map points tracked since and by odometry.

A tracked pose shares the error of its anchor, so only the motion since the anchor's image is a measurement. It does not
drift. Each one is gated against odometry and updates a Kalman filter (``tracked_motion_state``), which thereby also
estimates the odometry's scale.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.tangent import axes_jacobian, lever_jacobian, turn_covariance
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import AnchorPose, TrackedPose
from visloc_ros.fusion.config import FusionConfig, TrackingConfig
from visloc_ros.fusion.innovation import TRACKED, Innovation
from visloc_ros.fusion.odometry_model.history import OdometrySample
from visloc_ros.fusion.odometry_model.noise_model import CameraState, OdometryModel, StateEstimate
from visloc_ros.fusion.smoothing.tracked_motion_state import TrackedMotionState

MAX_REFUSED_FRAMES = 5  # in a row; noise alone fails the gate once in a thousand frames


@dataclass(frozen=True, eq=False)
class TrackedMotion:
    """``anchor_from_camera`` in map units at one frame; covariance (6, 6) about the axes of the anchor's camera."""

    sample: OdometrySample
    anchor_from_camera: SE3
    covariance: Array

    @staticmethod
    def of(tracked: TrackedPose, anchor: AnchorPose, sample: OdometrySample) -> TrackedMotion:
        """Motion of a tracked pose since its anchor, with the odometry of its frame."""
        anchor_from_map = anchor.map_from_camera.inverse
        covariance = turn_covariance(tracked.covariance_since_anchor, anchor_from_map.rotation)
        return TrackedMotion(sample, anchor_from_map @ tracked.map_from_camera, covariance)


class _Step(NamedTuple):
    """A motion as measured, and as filtered."""

    motion: TrackedMotion
    filtered: TrackedMotionState


class TrackedMotionFilter:
    """The filtered motions since one anchor, in the order of their stamps."""

    def __init__(self) -> None:
        self._steps: list[_Step] = []
        self._refused_in_a_row = 0

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest motion."""
        return self._steps[-1].motion.sample.stamp_ns if self._steps else None

    def add(
        self,
        motion: TrackedMotion,
        origin: OdometrySample,
        scale: StateEstimate,
        odometry: OdometryModel,
        config: FusionConfig,
    ) -> Innovation | None:
        """Gate a motion against odometry since ``origin``, the anchor's frame, and update the filter if it passes.

        None once too many frames in a row have failed: the points have slipped, and the filter takes no more.
        """
        if self._refused_in_a_row >= MAX_REFUSED_FRAMES:
            return None
        predicted = self._predict(origin, scale, motion.sample, odometry, config.tracking)
        innovation = predicted.innovation_of(motion.anchor_from_camera, motion.covariance, config.tracking)
        noise_factor = config.tracking.odometry_noise_factor
        squared = innovation.error @ np.linalg.solve(innovation.tolerated(noise_factor), innovation.error)
        accepted = bool(squared <= chi_square_quantile(config.gate.probability, 6))
        if accepted:
            self._steps.append(_Step(motion, innovation.updated(noise_factor)))
        self._refused_in_a_row = 0 if accepted else self._refused_in_a_row + 1
        return Innovation(motion.sample.stamp_ns, TRACKED, innovation.error, innovation.covariance, accepted)

    def _predict(
        self,
        origin: OdometrySample,
        scale: StateEstimate,
        sample: OdometrySample,
        odometry: OdometryModel,
        config: TrackingConfig,
    ) -> TrackedMotionState:
        """Motion at a later frame by odometry since the newest filtered one, or since the anchor."""
        if not self._steps:
            return TrackedMotionState.begin(odometry.propagate(scale, origin.motion_to(sample)))
        newest = self._steps[-1]
        return newest.filtered.predicted(newest.motion.sample.motion_to(sample), odometry, config)

    def propagate(self, anchor: StateEstimate, sample: OdometrySample, odometry: OdometryModel) -> StateEstimate | None:
        """Estimate at a frame from that at the anchor's; None before the first tracked motion."""
        step = self._at_or_before(sample.stamp_ns)
        if step is None:
            return None
        return odometry.propagate(_composed(anchor, step.filtered.estimate), step.motion.sample.motion_to(sample))

    def motion_to(
        self, sample: OdometrySample, log_scale: float, max_gap_s: float, odometry: OdometryModel
    ) -> TrackedMotion | None:
        """Motion from the anchor to a frame: that of the nearest frame moved by odometry; None where none is near."""
        near = [step.motion for step in (self._at_or_before(sample.stamp_ns), self._after(sample.stamp_ns)) if step]
        motion = min(near, key=lambda one: abs(one.sample.stamp_ns - sample.stamp_ns), default=None)
        if motion is None or abs(motion.sample.stamp_ns - sample.stamp_ns) > max_gap_s * NANOSECONDS:
            return None
        if motion.sample.stamp_ns == sample.stamp_ns:
            return motion
        covariance = np.zeros((7, 7))
        covariance[:6, :6] = motion.covariance
        start = StateEstimate(CameraState(motion.anchor_from_camera, log_scale), covariance)
        moved = odometry.propagate(start, motion.sample.motion_to(sample))
        return TrackedMotion(sample, moved.state.map_from_camera, moved.covariance[:6, :6])

    def _at_or_before(self, stamp_ns: int) -> _Step | None:
        index = bisect_right(self._steps, stamp_ns, key=lambda step: step.motion.sample.stamp_ns)
        return self._steps[index - 1] if index else None

    def _after(self, stamp_ns: int) -> _Step | None:
        index = bisect_right(self._steps, stamp_ns, key=lambda step: step.motion.sample.stamp_ns)
        return self._steps[index] if index < len(self._steps) else None


def _composed(anchor: StateEstimate, relative: StateEstimate) -> StateEstimate:
    """State in the map of a state relative to the anchor's camera, with the scale of the latter."""
    base, motion = anchor.state.map_from_camera, relative.state.map_from_camera
    lever = base.rotation @ motion.translation
    axes, transition = np.eye(7), np.zeros((7, 7))
    axes[:6, :6], transition[:6, :6] = axes_jacobian(base.rotation), lever_jacobian(lever)
    covariance = transition @ anchor.covariance @ transition.T + axes @ relative.covariance @ axes.T
    return StateEstimate(CameraState(base @ motion, relative.state.log_scale), covariance)
