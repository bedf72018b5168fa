"""The motion of the camera: a prediction of its next pose, and its path without the jumps of map corrections."""

from __future__ import annotations

import numpy as np

from visloc_ros.core.geometry import SE3, Array, rotation_vector
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.odometry.gyroscope import Turns, unknown_turn

_LONGEST_STEP = 2.0  # frame intervals that are extrapolated; after a longer gap the camera may have stopped
_CORRECTION_S = 0.5  # time constant: about one window adjustment, which the next one partly undoes
_CORRECTION_SHARE = 0.2  # of the distance moved, so that a large correction changes no speed by more


class MotionModel:
    """Predicts the next pose from the last two: constant velocity, turned and moved in proportion to time.

    Remembers ``camera_from_odom`` of the last frame and the motion to it; a gyroscope may know ``turns``.
    """

    def __init__(self, stamp_ns: int, camera_from_odom: SE3, turns: Turns = unknown_turn) -> None:
        self._turns = turns
        self.stamp_ns = stamp_ns
        self.camera_from_odom = camera_from_odom
        self._now_from_before = SE3.identity()
        self._interval_ns = 1

    def update(self, stamp_ns: int, camera_from_odom: SE3) -> None:
        """Take the pose of the next frame."""
        self._now_from_before = camera_from_odom @ self.camera_from_odom.inverse
        self._interval_ns = stamp_ns - self.stamp_ns
        self.stamp_ns, self.camera_from_odom = stamp_ns, camera_from_odom

    @property
    def turn_rate(self) -> Array:
        """Radians a second (3,) in axes of the camera between the last two frames."""
        return rotation_vector(self._now_from_before.rotation) / (self._interval_ns / NANOSECONDS)

    def predict(self, stamp_ns: int) -> SE3:
        """Expected ``camera_from_odom`` at a later stamp."""
        ratio = (stamp_ns - self.stamp_ns) / self._interval_ns
        step, turn = self._now_from_before, self._turns(self.stamp_ns, stamp_ns)
        if turn is None and ratio > _LONGEST_STEP:
            ratio = 0.0
        if turn is None:
            moved = SE3.from_rotation_vector(ratio * rotation_vector(step.rotation), ratio * step.translation)
        else:
            moved = SE3(turn, turn @ (ratio * step.translation))
        return moved @ self.camera_from_odom

    def rescale(self, factor: float) -> None:
        """Follow a change of the map's unit about the camera."""
        self._now_from_before = SE3(self._now_from_before.rotation, factor * self._now_from_before.translation)

    def shift(self, new_odom_from_old_odom: SE3) -> None:
        """Follow a correction of the map."""
        self.camera_from_odom = self.camera_from_odom @ new_odom_from_old_odom.inverse


class ContinuousPath:
    """``odom_from_camera`` without jumps (REP 105), although every adjustment moves the camera in the local map.

    The pose follows the motion from view to view, and approaches its place in the map while the camera moves.
    """

    def __init__(self, odom_from_camera: SE3) -> None:
        self.odom_from_camera = odom_from_camera

    def move(self, before: SE3, now: SE3, seconds: float) -> None:
        """Follow the motion between two views, ``odom_from_camera`` in the present map."""
        motion = before.inverse @ now
        moved = self.odom_from_camera @ motion
        distance, gap = (float(np.linalg.norm(v)) for v in (motion.translation, now.translation - moved.translation))
        share = min(-np.expm1(-seconds / _CORRECTION_S), _CORRECTION_SHARE * distance / max(gap, 1e-12))
        self.odom_from_camera = moved.interpolate(now, share)
