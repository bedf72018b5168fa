"""Stamps in the order of arrival: distinguishes a looped bag, which restarts everything, from a frame out of order."""

from __future__ import annotations

from enum import Enum

from visloc_ros.core.trajectory import NANOSECONDS

CLOCK_JUMP_NS = NANOSECONDS
"""A step back by more is a jump of the clock; drivers and networks put frames out of order by less than a second."""


class StampVerdict(Enum):
    """What to do with a message by its stamp."""

    IN_ORDER = "in order"
    UNORDERED = "unordered"
    CLOCK_JUMP = "clock jump"


class StampGuard:
    """Judges stamps (nanoseconds) in the order of arrival."""

    def __init__(self) -> None:
        self._last_ns: int | None = None

    @property
    def last_ns(self) -> int | None:
        """The newest stamp that was in order, or the first after a jump; None before one."""
        return self._last_ns

    def judge(self, stamp_ns: int) -> StampVerdict:
        """Classify a stamp; a step back of more than ``CLOCK_JUMP_NS`` is a clock jump, a smaller one is disorder."""
        step = 1 if self._last_ns is None else stamp_ns - self._last_ns
        if -CLOCK_JUMP_NS <= step <= 0:
            return StampVerdict.UNORDERED
        self._last_ns = stamp_ns
        return StampVerdict.CLOCK_JUMP if step < 0 else StampVerdict.IN_ORDER
