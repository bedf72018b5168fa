"""Tell a looped bag from a shuffled frame: the first restarts the tracker, the second is only dropped."""

from __future__ import annotations

from enum import Enum

JUMP_NS = 1_000_000_000


class StampVerdict(Enum):
    """What to do with a message by its stamp."""

    IN_ORDER = "in order"
    UNSTAMPED = "unstamped"
    UNORDERED = "unordered"
    CLOCK_JUMP = "clock jump"


class TimeGuard:
    """Judges stamps in the order of arrival."""

    def __init__(self, jump_ns: int = JUMP_NS) -> None:
        self._jump_ns = jump_ns
        self._last_ns: int | None = None

    @property
    def last_ns(self) -> int | None:
        """The newest stamp that was in order, or the first after a jump; None before one."""
        return self._last_ns

    def judge(self, stamp_ns: int) -> StampVerdict:
        """Classify a stamp; a step back of more than ``jump_ns`` is a clock jump, a smaller one is disorder."""
        if stamp_ns <= 0:
            return StampVerdict.UNSTAMPED
        step = 1 if self._last_ns is None else stamp_ns - self._last_ns
        if -self._jump_ns <= step <= 0:
            return StampVerdict.UNORDERED
        self._last_ns = stamp_ns
        return StampVerdict.CLOCK_JUMP if step < 0 else StampVerdict.IN_ORDER
