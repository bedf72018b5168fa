"""Unique numbers of odometry segments, although a restarted node counts them from 0 again."""

from __future__ import annotations

from dataclasses import replace

from visloc_ros.core.types import OdometryPose, Rejection


class SegmentNumbers:
    """Numbers that no two segments share, across restarts of the odometry node.

    A restarted node has received fewer frames than before; 0 is from a node that does not count them.
    """

    def __init__(self) -> None:
        self._frames_received = 0
        self._first = 0
        self._newest = 0

    def renumbered(self, odometry: OdometryPose | Rejection, frames_received: int) -> OdometryPose | Rejection:
        """The odometry of each next frame, with the unique number of its segment."""
        if 0 < frames_received < self._frames_received:
            self._first = self._newest + 1
        self._frames_received = frames_received or self._frames_received
        if isinstance(odometry, Rejection):
            return odometry
        number = self._first + odometry.segment
        self._newest = max(self._newest, number)
        return replace(odometry, segment=number)
