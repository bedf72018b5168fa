"""Measurements of a sensor in the last seconds, in order of their stamps."""

from __future__ import annotations

import threading
from collections import deque
from itertools import islice
from typing import Generic, TypeVar

from visloc_ros.core.trajectory import NANOSECONDS

ValueT = TypeVar("ValueT")

_CLOCK_JUMP_NS = NANOSECONDS
_MOST_A_SECOND = 10_000  # more than any inertial sensor gives


class SampleBuffer(Generic[ValueT]):
    """Keeps the values of the last ``keep_s`` seconds; written and read from different threads.

    A sample that is not newer than the one before is refused and counted. One that is more than a second older comes
    from a clock that was set back (a looped bag): earlier samples are forgotten.
    """

    def __init__(self, keep_s: float) -> None:
        self.received = 0
        self.refused = 0
        self._keep_ns = round(keep_s * NANOSECONDS)
        self._samples: deque[tuple[int, ValueT]] = deque(maxlen=round(keep_s * _MOST_A_SECOND))
        self._lock = threading.Lock()

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest sample, or None."""
        with self._lock:
            return self._samples[-1][0] if self._samples else None

    def add(self, stamp_ns: int, value: ValueT) -> None:
        """Keep a sample, unless it comes out of order."""
        with self._lock:
            self.received += 1
            step_ns = stamp_ns - self._samples[-1][0] if self._samples else 1
            if -_CLOCK_JUMP_NS <= step_ns <= 0:
                self.refused += 1
                return
            if step_ns < 0:
                self._samples.clear()
            self._samples.append((stamp_ns, value))
            while self._samples[0][0] < stamp_ns - self._keep_ns:
                self._samples.popleft()

    def around(self, begin_ns: int, end_ns: int) -> list[tuple[int, ValueT]]:
        """Samples from the last one not after ``begin_ns`` to the first one not before ``end_ns``, as far as kept."""
        with self._lock:
            stop = start = len(self._samples)
            for stamp_ns, _ in reversed(self._samples):
                start -= 1
                if stamp_ns >= end_ns:
                    stop = start + 1
                if stamp_ns <= begin_ns:
                    break
            return list(islice(self._samples, start, stop))
