"""Velocity and growing uncertainty of the continuous odometry, as controllers and filters downstream need them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.fusion.config import DriftConfig
from visloc_ros.fusion.initialization.pose_prior import spread
from visloc_ros.fusion.odometry_model.history import Leg
from visloc_ros.fusion.odometry_model.noise_model import CameraState, StateEstimate, transition_matrix

LONGEST_STEP_S = 0.5  # a longer time between two poses is a loss: what happened meanwhile nobody saw
UNKNOWN_VARIANCE = 1e6  # m2/s2, rad2/s2


@dataclass(frozen=True, eq=False)
class OdomMotion:
    """State of the odometry at one frame.

    ``covariance`` (6, 6) of ``odom_from_base`` since the first frame, as in ``core.types``. ``velocity`` (6,), linear
    then angular, is about the axes of the base, and so is its covariance (6, 6).
    """

    stamp_ns: int
    odom_from_base: SE3
    covariance: Array
    velocity: Array
    velocity_covariance: Array

    @staticmethod
    def begin(stamp_ns: int, odom_from_base: SE3) -> OdomMotion:
        """The first frame: certain by definition, of unknown velocity."""
        return OdomMotion(stamp_ns, odom_from_base, np.zeros((6, 6)), np.zeros(6), UNKNOWN_VARIANCE * np.eye(6))

    def moved(self, stamp_ns: int, odom_from_base: SE3, drift: DriftConfig) -> OdomMotion:
        """The next frame."""
        seconds = (stamp_ns - self.stamp_ns) / NANOSECONDS
        if not 0.0 < seconds <= LONGEST_STEP_S:
            unseen = self.covariance + spread(abs(seconds))
            return OdomMotion(stamp_ns, odom_from_base, unseen, np.zeros(6), UNKNOWN_VARIANCE * np.eye(6))
        step = self.odom_from_base.inverse @ odom_from_base
        leg = Leg.of_step(step, seconds)
        certain = StateEstimate(CameraState(self.odom_from_base, 0.0), np.zeros((7, 7)))
        added = certain.moved(leg, drift).covariance[:6, :6]
        base_axes = np.kron(np.eye(2), self.odom_from_base.rotation.T) / seconds
        return OdomMotion(
            stamp_ns,
            odom_from_base,
            self._carried(odom_from_base.translation - self.odom_from_base.translation) + added,
            np.concatenate([step.translation, leg.turned]) / seconds,
            np.asarray(base_axes @ added @ base_axes.T),
        )

    def _carried(self, motion: Array) -> Array:
        """The covariance (6, 6) so far, as it appears at the end of a motion (3,) free of errors."""
        transition = transition_matrix(motion)[:6, :6]
        return np.asarray(transition @ self.covariance @ transition.T)
