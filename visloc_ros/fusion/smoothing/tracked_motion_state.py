"""Kalman filter of the motion since an anchor, measured by tracked map points with errors correlated in time.

Neighbouring frames see the same map points with the same errors. The correlated error is a part of the state (a
Gauss-Markov process), so that many frames never make the motion more certain than what they have in common, while the
motion from one frame to the next is followed at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.tangent import perturbed, pose_difference
from visloc_ros.fusion.config import TrackingConfig
from visloc_ros.fusion.odometry_model.history import RelativeMotion
from visloc_ros.fusion.odometry_model.noise_model import (
    CameraState,
    OdometryModel,
    StateEstimate,
    transition_matrix,
)

_DEGREES_OF_FREEDOM = 4.0  # of the Student t of slips of odometry


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
