"""Distinguishes a search that gets too little of the processor from one that hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from visloc_ros.core.timing import ProcessorTime

HUNG_S = 30.0  # a search that takes longer will hardly end: a slow one takes 4 s
SLOW_S = 5.0  # in which a search must end under any load
_NOTHING, _MOST = 0.01, 0.5  # shares of processor time: of a thread that waits for something else, and of one that runs


class _Search(NamedTuple):
    begin_s: float
    processor_clock: int  # of the thread that searches
    processor_begin_s: float


class SearchWatch:
    """Watches one search at a time; ``problem`` may be read from any thread."""

    def __init__(self) -> None:
        self._search: _Search | None = None
        self.processor = ProcessorTime()

    @contextmanager
    def running(self) -> Iterator[None]:
        """The time of a search, in the thread that searches."""
        clock = time.pthread_getcpuclockid(threading.get_ident())
        self._search = _Search(time.monotonic(), clock, time.clock_gettime(clock))
        try:
            with self.processor("search"):
                yield
        finally:
            self._search = None

    def problem(self) -> tuple[str, str] | None:
        """Level and message of a problem of the running search, if it has one."""
        if (search := self._search) is None:
            return None
        processor_s = time.clock_gettime(search.processor_clock) - search.processor_begin_s
        return judged(time.monotonic() - search.begin_s, processor_s)


def judged(since_s: float, processor_s: float) -> tuple[str, str] | None:
    """Level and message by the time since a search began and its processor time."""
    if since_s > SLOW_S and _NOTHING * since_s < processor_s < _MOST * since_s:
        return "warn", (
            f"Overloaded: a search has run for {since_s:.0f} s and had the processor for {processor_s:.1f} s of them. "
            "Other programs take the rest: leave it more, or let another computer search."
        )
    if since_s > HUNG_S:
        return "error", f"A search has been running for {since_s:.0f} s: start this node again."
    return None
