"""Prediction of the next pose from the last two: constant velocity, turned and moved in proportion to time."""

from __future__ import annotations

from visloc_ros.core.geometry import SE3, rotation_vector

_LONGEST_STEP = 2.0  # frame intervals that are extrapolated; after a longer gap the camera may have stopped


class MotionModel:
    """Remembers ``camera_from_odom`` of the last frame and the motion that led to it."""

    def __init__(self, stamp_ns: int, camera_from_odom: SE3) -> None:
        self.stamp_ns = stamp_ns
        self.camera_from_odom = camera_from_odom
        self._now_from_before = SE3.identity()
        self._interval_ns = 1

    def update(self, stamp_ns: int, camera_from_odom: SE3) -> None:
        """Take the pose of the next frame."""
        self._now_from_before = camera_from_odom @ self.camera_from_odom.inverse
        self._interval_ns = stamp_ns - self.stamp_ns
        self.stamp_ns, self.camera_from_odom = stamp_ns, camera_from_odom

    def predict(self, stamp_ns: int) -> SE3:
        """Expected ``camera_from_odom`` at a later stamp."""
        ratio = (stamp_ns - self.stamp_ns) / self._interval_ns
        if ratio > _LONGEST_STEP:
            return self.camera_from_odom
        step = self._now_from_before
        moved = SE3.from_rotation_vector(ratio * rotation_vector(step.rotation), ratio * step.translation)
        return moved @ self.camera_from_odom

    def shift(self, new_odom_from_old_odom: SE3) -> None:
        """Follow a correction of the map."""
        self.camera_from_odom = self.camera_from_odom @ new_odom_from_old_odom.inverse
