"""The Protocol of every visual odometry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import Frame, LoopClosure, OdometryPose, Rejection


class Odometry(Protocol):
    """Unscaled motion of the camera from consecutive frames."""

    def track(self, frame: Frame) -> OdometryPose | Rejection:
        """Give ``odom_from_camera`` of the next frame (stamps increase), or the reason why there is none."""

    def settle(self) -> Mapping[str, float]:
        """Do the work that only the next pose needs, and give its time in milliseconds by stage.

        To be called between frames, once the pose is published; otherwise the next ``track`` begins with it.
        """

    def take_loops(self) -> Sequence[LoopClosure]:
        """Loops closed since the last call."""

    @property
    def counts(self) -> Mapping[str, int]:
        """Counts of other events, by name, for diagnostics; events that never happened are left out."""

    def finish(self) -> Trajectory | None:
        """End the segment after its last frame: final ``odom_from_camera`` of all its frames.

        None where the odometry does not improve the poses that it gave.
        """

    def reset(self) -> None:
        """Forget everything; the next pose belongs to a new segment."""

    def close(self) -> None:
        """Stop what runs in the background."""
