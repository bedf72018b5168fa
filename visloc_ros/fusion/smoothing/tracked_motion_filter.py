"""Tracked-motion filter: the camera's motion since one anchor, by the map points tracked since and by odometry.

A tracked pose shares the error of its anchor, so only the motion since the anchor's image is a measurement. It does not
drift. Each one is gated against odometry and updates a Kalman filter, which thereby also estimates the odometry's
scale.

Neighbouring frames see the same map points with the same errors. The correlated error is a part of the filter's state
(a Gauss-Markov process), so that many frames never make the motion more certain than what they have in common, while
the motion from one frame to the next is followed at once.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.tangent import axes_jacobian, lever_jacobian, perturbed, pose_difference, turn_covariance
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import AnchorPose, TrackedPose
from visloc_ros.fusion.config import FusionConfig, TrackingConfig
from visloc_ros.fusion.innovation import TRACKED, Innovation
from visloc_ros.fusion.odometry_model.history import OdometrySample, RelativeMotion
from visloc_ros.fusion.odometry_model.noise_model import (
    CameraState,
    OdometryModel,
    StateEstimate,
    transition_matrix,
)

MAX_REFUSED_FRAMES = 5  # in a row; noise alone fails the gate once in a thousand frames
_DEGREES_OF_FREEDOM = 4.0  # of the Student t of slips of odometry
_SLIPPING = _DEGREES_OF_FREEDOM / (_DEGREES_OF_FREEDOM - 2.0)  # variance of that over its squared scale


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
        return newest.filtered.predicted(newest.motion.sample.motion_to(sample), odometry.of_steps, config)

    def propagate(self, anchor: StateEstimate, sample: OdometrySample, odometry: OdometryModel) -> StateEstimate | None:
        """Estimate at a frame from that at the anchor's; None before the first tracked motion."""
        step = self._at_or_before(sample.stamp_ns)
        if step is None:
            return None
        return propagate_step(_composed(anchor, step.filtered.estimate), step.motion.sample, sample, odometry)

    def followed_before(self, stamp_ns: int) -> OdometrySample | None:
        """The newest frame, not later than a stamp, whose points were followed."""
        step = self._at_or_before(stamp_ns)
        return None if step is None else step.motion.sample

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


def propagate_step(
    estimate: StateEstimate, start: OdometrySample, end: OdometrySample, odometry: OdometryModel
) -> StateEstimate:
    """Estimate at one of the next frames, to which odometry may have slipped."""
    return odometry.of_steps.times(_SLIPPING).propagate(estimate, start.motion_to(end))


def _composed(anchor: StateEstimate, relative: StateEstimate) -> StateEstimate:
    """State in the map of a state relative to the anchor's camera, with the scale of the latter."""
    base, motion = anchor.state.map_from_camera, relative.state.map_from_camera
    lever = base.rotation @ motion.translation
    axes, transition = np.eye(7), np.zeros((7, 7))
    axes[:6, :6], transition[:6, :6] = axes_jacobian(base.rotation), lever_jacobian(lever)
    covariance = transition @ anchor.covariance @ transition.T + axes @ relative.covariance @ axes.T
    return StateEstimate(CameraState(base @ motion, relative.state.log_scale), covariance)


@dataclass(frozen=True, eq=False)
class TrackedMotionState:
    """``anchor_from_camera`` with the scale of odometry, and the correlated error of the tracked points.

    ``correlated_error`` (6,) is in units of its standard deviations; ``covariance`` (13, 13) is of both.
    """

    state: CameraState
    correlated_error: Array
    covariance: Array

    @staticmethod
    def begin(estimate: StateEstimate) -> TrackedMotionState:
        """The motion since the anchor by odometry alone."""
        covariance = np.eye(13)
        covariance[:7, :7] = estimate.covariance
        return TrackedMotionState(estimate.state, np.zeros(6), covariance)

    @property
    def estimate(self) -> StateEstimate:
        """Motion and scale with their marginal covariance."""
        return StateEstimate(self.state, self.covariance[:7, :7])

    def predicted(self, motion: RelativeMotion, odometry: OdometryModel, config: TrackingConfig) -> TrackedMotionState:
        """State after a relative motion; the correlated error has faded in part, and as much of it is new."""
        moved = odometry.propagate(self.estimate, motion)
        kept = float(np.exp(-motion.seconds / config.correlation_s)) if config.correlation_s > 0.0 else 0.0
        step = moved.state.map_from_camera.translation - self.state.map_from_camera.translation
        covariance = np.empty((13, 13))
        covariance[:7, :7] = moved.covariance
        covariance[:7, 7:] = kept * transition_matrix(step) @ self.covariance[:7, 7:]
        covariance[7:, :7] = covariance[:7, 7:].T
        covariance[7:, 7:] = kept**2 * self.covariance[7:, 7:] + (1.0 - kept**2) * np.eye(6)
        return TrackedMotionState(moved.state, kept * self.correlated_error, covariance)

    def innovation_of(self, anchor_from_camera: SE3, covariance: Array, config: TrackingConfig) -> MotionInnovation:
        """The innovation of a measured motion with the covariance (6, 6) of its frame alone."""
        jacobian = np.zeros((6, 13))
        jacobian[:, :6] = np.eye(6)
        jacobian[:, 7:] = np.sqrt(config.correlated_share) * _square_root(covariance)
        error = (
            pose_difference(anchor_from_camera, self.state.map_from_camera) - jacobian[:, 7:] @ self.correlated_error
        )
        return MotionInnovation(self, error, jacobian, (1.0 - config.correlated_share) * covariance)


@dataclass(frozen=True, eq=False)
class MotionInnovation:
    """The innovation ``error`` (6,) of a measured motion against the predicted state.

    ``jacobian`` (6, 13) is that of the measurement by the state; ``noise`` (6, 6) is independent from frame to frame.
    """

    state: TrackedMotionState
    error: Array
    jacobian: Array
    noise: Array

    @property
    def covariance(self) -> Array:
        """Covariance (6, 6) of the innovation."""
        return np.asarray(self.jacobian @ self.state.covariance @ self.jacobian.T + self.noise)

    def tolerated(self, odometry_noise_factor: float) -> Array:
        """Covariance (6, 6) of the innovation with the odometry's standard deviations times a factor."""
        return np.asarray(self.covariance + (odometry_noise_factor**2 - 1.0) * self.state.covariance[:6, :6])

    def updated(self, odometry_noise_factor: float) -> TrackedMotionState:
        """The state updated with the measurement.

        An innovation larger than expected is taken for a slip of odometry, as far as the factor allows: the predicted
        motion becomes less certain by that before the update (Student's t).
        """
        state, covariance = self.state, self.state.covariance.copy()
        covariance[:6, :6] *= np.clip(self._variance_ratio(), 1.0, odometry_noise_factor**2)
        shared = covariance @ self.jacobian.T
        gain = np.linalg.solve(self.jacobian @ shared + self.noise, shared.T).T
        step, left = gain @ self.error, covariance - gain @ shared.T
        return TrackedMotionState(
            _changed(state.state, step[:7]), state.correlated_error + step[7:], (left + left.T) / 2.0
        )

    def _variance_ratio(self) -> float:
        """Student-t estimate of the ratio of the innovation's variance to the expected one."""
        squared = float(self.error @ np.linalg.solve(self.covariance, self.error))
        return (_DEGREES_OF_FREEDOM + squared) / (_DEGREES_OF_FREEDOM + len(self.error))


def _square_root(covariance: Array) -> Array:
    """The symmetric square root (6, 6): it changes as smoothly from frame to frame as the covariance does."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)


def _changed(state: CameraState, error: Array) -> CameraState:
    return CameraState(perturbed(state.map_from_camera, error[:6]), state.log_scale + float(error[6]))
