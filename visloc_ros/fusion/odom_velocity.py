"""Velocity and covariances of the continuous ``odom`` pose, as nav_msgs/Odometry needs them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.recent_motion import unobserved_motion_covariance
from visloc_ros.core.tangent import move_covariance, turn_covariance
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.fusion.config import OdometryNoiseConfig
from visloc_ros.fusion.odometry_model.history import RelativeMotion
from visloc_ros.fusion.odometry_model.noise_model import CameraState, StateEstimate

LONGEST_STEP_S = 0.5  # a longer time between two poses is a loss of odometry
UNKNOWN_VARIANCE = 1e6  # m2/s2, rad2/s2


@dataclass(frozen=True, eq=False)
class OdomState:
    """Pose, velocity and their covariances at one frame.

    ``covariance`` (6, 6) of ``odom_from_base`` since the first frame, as in ``core.types``. ``velocity`` (6,), linear
    then angular, is about the axes of the base, and so is its covariance (6, 6).
    """

    stamp_ns: int
    odom_from_base: SE3
    covariance: Array
    velocity: Array
    velocity_covariance: Array

    @staticmethod
    def begin(stamp_ns: int, odom_from_base: SE3, noise: OdometryNoiseConfig) -> OdomState:
        """The first frame: as certain as one pose of odometry, of unknown velocity."""
        covariance = _added(odom_from_base, RelativeMotion.of_step(SE3.identity(), 0.0), noise)
        return OdomState(stamp_ns, odom_from_base, covariance, np.zeros(6), UNKNOWN_VARIANCE * np.eye(6))

    def moved(self, stamp_ns: int, odom_from_base: SE3, noise: OdometryNoiseConfig) -> OdomState:
        """The next frame."""
        seconds = (stamp_ns - self.stamp_ns) / NANOSECONDS
        if not 0.0 < seconds <= LONGEST_STEP_S:
            covariance = self.covariance + unobserved_motion_covariance(abs(seconds))
            return OdomState(stamp_ns, odom_from_base, covariance, np.zeros(6), UNKNOWN_VARIANCE * np.eye(6))
        step = self.odom_from_base.inverse @ odom_from_base
        motion = RelativeMotion.of_step(step, seconds)
        added = _added(self.odom_from_base, motion, noise)
        return OdomState(
            stamp_ns,
            odom_from_base,
            move_covariance(self.covariance, odom_from_base.translation - self.odom_from_base.translation) + added,
            np.concatenate([step.translation, motion.rotation_derivative]) / seconds,
            turn_covariance(added, self.odom_from_base.rotation.T) / seconds**2,
        )


def _added(odom_from_base: SE3, motion: RelativeMotion, noise: OdometryNoiseConfig) -> Array:
    """Covariance (6, 6) that a motion from a certain pose has at its end."""
    certain = StateEstimate(CameraState(odom_from_base, 0.0), np.zeros((7, 7)))
    return certain.moved(motion, noise).covariance[:6, :6]
