"""Segments of odometry told apart although a node that is started again counts them from 0, too."""

from __future__ import annotations

from visloc_msgs.msg import OdometryStatus


class SegmentNumbers:
    """Numbers that no two segments share, in whichever life of the odometry node they were.

    In a new life it has received fewer frames than in the one before; 0 is of one who does not count them.
    """

    def __init__(self) -> None:
        self._frames_received = 0
        self._first = 0
        self._newest = 0

    def number(self, message: OdometryStatus) -> int:
        """Number of the segment that a message, each in its turn, is about."""
        received = message.frames_received
        if 0 < received < self._frames_received:
            self._first = self._newest + 1
        self._frames_received = received or self._frames_received
        number: int = self._first + message.segment
        self._newest = max(self._newest, number)
        return number
