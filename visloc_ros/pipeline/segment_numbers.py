"""Segments of odometry told apart although a node that is started again counts them from 0, too."""

from __future__ import annotations

from dataclasses import replace

from visloc_ros.core.types import OdometryPose, Rejection


class SegmentNumbers:
    """Numbers that no two segments share, in whichever life of the odometry node they were.

    In a new life it has received fewer frames than in the one before; 0 is of one who does not count them.
    """

    def __init__(self) -> None:
        self._frames_received = 0
        self._first = 0
        self._newest = 0

    def renumbered(self, odometry: OdometryPose | Rejection, frames_received: int) -> OdometryPose | Rejection:
        """The odometry of a frame, each in its turn, under a number of its own life."""
        if 0 < frames_received < self._frames_received:
            self._first = self._newest + 1
        self._frames_received = frames_received or self._frames_received
        if isinstance(odometry, Rejection):
            return odometry
        number = self._first + odometry.segment
        self._newest = max(self._newest, number)
        return replace(odometry, segment=number)
