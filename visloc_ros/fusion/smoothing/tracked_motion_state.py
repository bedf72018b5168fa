"""Motion since an anchor, from odometry and followed map points whose errors last: a Kalman filter that knows it.

Neighbouring frames see the same points, and the map around them is off by the same. Such an error is a part of the
state: it fades with a time constant, so that many frames never make the motion surer than what they have in common,
and what changes from one frame to the next is believed at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, Array, rotation_matrix
from visloc_ros.fusion.config import TrackingConfig
from visloc_ros.fusion.odometry_model.history import Leg
from visloc_ros.fusion.odometry_model.noise_model import (
    CameraState,
    OdometryModel,
    StateEstimate,
    pose_difference,
    transition_matrix,
)

_TAIL = 4.0  # degrees of freedom of the Student t that odometry's slips are drawn from


@dataclass(frozen=True, eq=False)
class TrailEstimate:
    """``anchor_from_camera`` with the scale of odometry, and the lasting error of the points.

    ``lasting`` (6,) is in its standard deviations, as the points' covariance tells them at a frame; ``covariance``
    (13, 13) is of both.
    """

    state: CameraState
    lasting: Array
    covariance: Array

    @staticmethod
    def begin(estimate: StateEstimate) -> TrailEstimate:
        """Where odometry alone has come from the anchor."""
        covariance = np.eye(13)
        covariance[:7, :7] = estimate.covariance
        return TrailEstimate(estimate.state, np.zeros(6), covariance)

    @property
    def estimate(self) -> StateEstimate:
        """Motion and scale, with what the lasting error leaves unknown of them."""
        return StateEstimate(self.state, self.covariance[:7, :7])

    def carried(self, leg: Leg, odometry: OdometryModel, config: TrackingConfig) -> TrailEstimate:
        """Motion at the other end of an odometry leg; the lasting error has faded, and as much of it is new."""
        moved = odometry.carry(self.estimate, leg)
        kept = float(np.exp(-leg.seconds / config.correlation_s)) if config.correlation_s > 0.0 else 0.0
        way = moved.state.map_from_camera.translation - self.state.map_from_camera.translation
        covariance = np.empty((13, 13))
        covariance[:7, :7] = moved.covariance
        covariance[:7, 7:] = kept * transition_matrix(way) @ self.covariance[:7, 7:]
        covariance[7:, :7] = covariance[:7, 7:].T
        covariance[7:, 7:] = kept**2 * self.covariance[7:, 7:] + (1.0 - kept**2) * np.eye(6)
        return TrailEstimate(moved.state, kept * self.lasting, covariance)

    def meet(self, anchor_from_camera: SE3, covariance: Array, config: TrackingConfig) -> Meeting:
        """Compare with the motion that the points tell, of which ``covariance`` (6, 6) is that of a frame alone."""
        seen = np.zeros((6, 13))
        seen[:, :6] = np.eye(6)
        seen[:, 7:] = np.sqrt(config.lasting_share) * _square_root(covariance)
        error = pose_difference(anchor_from_camera, self.state.map_from_camera) - seen[:, 7:] @ self.lasting
        return Meeting(self, error, seen, (1.0 - config.lasting_share) * covariance)


@dataclass(frozen=True, eq=False)
class Meeting:
    """A motion, and the ``error`` (6,) by which the points see it elsewhere.

    ``seen`` (6, 13) tells how the error of the motion, and what lasts of the points', appears to them; ``noise`` (6, 6)
    is what a frame adds.
    """

    motion: TrailEstimate
    error: Array
    seen: Array
    noise: Array

    @property
    def expected(self) -> Array:
        """Covariance (6, 6) of the error."""
        return np.asarray(self.seen @ self.motion.covariance @ self.seen.T + self.noise)

    def tolerated(self, drift_slack: float) -> Array:
        """Covariance (6, 6) of the error where odometry may drift so many times as fast as it usually does."""
        return np.asarray(self.expected + (drift_slack**2 - 1.0) * self.motion.covariance[:6, :6])

    def joined(self, drift_slack: float) -> TrailEstimate:
        """The motion with what the points tell of it, of the scale and of their own lasting error.

        An error larger than expected is put down to a slip of odometry, as far as the slack allows: the pose becomes
        less certain by that before the points are believed (Student's t).
        """
        motion, covariance = self.motion, self.motion.covariance.copy()
        covariance[:6, :6] *= np.clip(self._surprise(), 1.0, drift_slack**2)
        shared = covariance @ self.seen.T
        gain = np.linalg.solve(self.seen @ shared + self.noise, shared.T).T
        step, left = gain @ self.error, covariance - gain @ shared.T
        return TrailEstimate(_changed(motion.state, step[:7]), motion.lasting + step[7:], (left + left.T) / 2.0)

    def _surprise(self) -> float:
        """Factor by which the error makes a larger variance likely; 1 is what is expected."""
        squared = float(self.error @ np.linalg.solve(self.expected, self.error))
        return (_TAIL + squared) / (_TAIL + len(self.error))


def _square_root(covariance: Array) -> Array:
    """The symmetric one (6, 6): it changes as smoothly from frame to frame as the covariance does."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)


def _changed(state: CameraState, error: Array) -> CameraState:
    pose = state.map_from_camera
    turned = SE3(rotation_matrix(error[3:6]) @ pose.rotation, pose.translation + error[:3])
    return CameraState(turned, state.log_scale + float(error[6]))
