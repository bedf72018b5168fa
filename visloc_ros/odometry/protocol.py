"""What every visual odometry offers."""

from __future__ import annotations

from typing import Protocol

from visloc_ros.core.types import Frame, OdometryPose, Rejection


class Odometry(Protocol):
    """Unscaled motion of the camera from consecutive frames."""

    def track(self, frame: Frame) -> OdometryPose | Rejection:
        """Give ``odom_from_camera`` of the next frame (stamps increase), or the reason why there is none."""

    def reset(self) -> None:
        """Forget everything; the next pose belongs to a new segment."""

    def close(self) -> None:
        """Stop what runs in the background."""
