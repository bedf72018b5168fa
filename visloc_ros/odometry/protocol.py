"""What every visual odometry offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from visloc_ros.core.types import Frame, OdometryPose, Rejection


class Odometry(Protocol):
    """Unscaled motion of the camera from consecutive frames."""

    def track(self, frame: Frame) -> OdometryPose | Rejection:
        """Give ``odom_from_camera`` of the next frame (stamps increase), or the reason why there is none."""

    def settle(self) -> Mapping[str, float]:
        """Do what the last pose did not need but the next one will, and give its time in milliseconds by stage.

        To be called between frames, once the pose is on its way; otherwise the next ``track`` begins with it.
        """

    def reset(self) -> None:
        """Forget everything; the next pose belongs to a new segment."""

    def close(self) -> None:
        """Stop what runs in the background."""
