"""Notices work that does not end, and ends a process that no longer works, so that its parent can restart it."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

HUNG_S = 30.0  # one piece of work that takes longer will hardly end: a slow search takes 4 s
SLOW_S = 5.0  # in which it must end under any load
SILENCE_S = 60.0  # without a sign of life, after which a process ends
PATIENCE_S = 1800.0  # for one that loads a map: one of 10,000 images takes half a minute
_GRACE_S = 2.0  # for the thread that ends the process, under load
_LOOK_S = 1.0  # between looks at the deadline, which comes nearer when a transition ends
EXIT_CODE = 1  # of a process that its watchdog has ended
_NOTHING, _MOST = 0.01, 0.5  # shares of processor time: of a thread that waits for something else, and of one that runs


class _Work(NamedTuple):
    begin_s: float
    processor_clock: int  # of the thread that works
    processor_begin_s: float


class WorkWatch:
    """Distinguishes work that gets too little of the processor from work that hangs.

    It watches one piece of work at a time, called ``what`` in its words, which hangs after ``hung_s`` (``HUNG_S`` where
    it is None); ``problem`` may be read from any thread.
    """

    def __init__(self, what: str, hung_s: float | None = None) -> None:
        self._what, self._hung_s = what, hung_s
        self._work: _Work | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """The time of a piece of work, in the thread that does it."""
        clock = time.pthread_getcpuclockid(threading.get_ident())
        self._work = _Work(time.monotonic(), clock, time.clock_gettime(clock))
        try:
            yield
        finally:
            self._work = None

    def problem(self) -> tuple[str, str] | None:
        """Level and message of a problem of the running work, if it has one."""
        if (work := self._work) is None:
            return None
        processor_s = time.clock_gettime(work.processor_clock) - work.processor_begin_s
        hung_s = HUNG_S if self._hung_s is None else self._hung_s
        return judged(self._what, time.monotonic() - work.begin_s, processor_s, hung_s)


def judged(what: str, since_s: float, processor_s: float, hung_s: float) -> tuple[str, str] | None:
    """Level and message by the time since work began and its processor time."""
    if since_s > SLOW_S and _NOTHING * since_s < processor_s < _MOST * since_s:
        return "warn", (
            f"Overloaded: {what} has run for {since_s:.0f} s and had the processor for {processor_s:.1f} s of them. "
            "Other programs take the rest: leave it more, or let another computer search."
        )
    if since_s > hung_s:
        return "error", f"Hanging: {what} has been running for {since_s:.0f} s."
    return None


class Watchdog:
    """Ends its process ``SILENCE_S`` after the last ``beat``, with the stacks of all threads on stderr.

    A thread does so with the interpreter's lock, under which no stack changes. Where native code keeps that lock, a
    thread outside the interpreter does it ``_GRACE_S`` later; its look at running threads may crash, which ends the
    process, too. There is one a process: ``WATCHDOG``.
    """

    def __init__(self) -> None:
        self._disarmed: threading.Event | None = None
        self._deadline_s = 0.0

    def arm(self) -> None:
        """Begin to expect signs of life."""
        self.disarm()
        self._disarmed = threading.Event()
        self.beat()
        threading.Thread(target=self._watch, args=(self._disarmed,), name="watchdog", daemon=True).start()

    def disarm(self) -> None:
        """Expect none any more."""
        if self._disarmed is not None:
            self._disarmed.set()
            self._disarmed = None
        faulthandler.cancel_dump_traceback_later()

    def beat(self) -> None:
        """Give a sign of life; does nothing where none is expected."""
        self._expect(SILENCE_S)

    @contextmanager
    def patient(self) -> Iterator[None]:
        """Expect no sign of life in this block for ``PATIENCE_S``."""
        self._expect(PATIENCE_S)
        try:
            yield
        finally:
            self.beat()

    def _expect(self, within_s: float) -> None:
        if self._disarmed is not None:
            self._deadline_s = time.monotonic() + within_s
            faulthandler.dump_traceback_later(within_s + _GRACE_S, exit=True)

    def _watch(self, disarmed: threading.Event) -> None:
        while (left_s := self._deadline_s - time.monotonic()) > 0.0:
            if disarmed.wait(min(left_s, _LOOK_S)):
                return
        sys.stderr.write("Timeout: no sign of life\n")
        faulthandler.dump_traceback()
        os._exit(EXIT_CODE)


WATCHDOG = Watchdog()
