"""Bundle adjustment in a separate process, which is restarted when it dies."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection

from threadpoolctl import threadpool_limits

from visloc_ros.core.child_process import deaf_to_ctrl_c
from visloc_ros.core.own_process import give_way, keep_freed_memory
from visloc_ros.odometry.klt.adjustment import Adjustment, WindowSnapshot, solve

log = logging.getLogger(__name__)

HUNG_S = 60.0  # an adjustment takes 0.1 s, a start 3 s; both wait for the processor, at low priority
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0  # before a restart: twice as long after each start without a result


class BackgroundAdjuster:
    """Adjusts in a separate process: with a thread, the frames would wait for the interpreter.

    The newest snapshot replaces one that still waits: for another one, or for the process to start. When the process
    dies, or hangs and is killed, its current snapshot is lost, and odometry goes on with the window as it is.
    """

    def __init__(self) -> None:
        self._waiting: WindowSnapshot | None = None
        self._running: WindowSnapshot | None = None
        self._done: Adjustment | None = None
        self._pause_s = _FIRST_PAUSE_S
        self.restarts = 0
        self._start()

    def submit(self, snapshot: WindowSnapshot) -> None:
        """Hand a snapshot to the process, now or when it is free."""
        self._waiting = snapshot
        self._exchange()

    def finished(self) -> Adjustment | None:
        """The newest finished adjustment, if there is a new one."""
        self._exchange()
        done, self._done = self._done, None
        return done

    @property
    def busy(self) -> bool:
        """Whether an adjustment is waiting or running."""
        return self._waiting is not None or self._running is not None

    def close(self) -> None:
        """Drop waiting and running adjustments, and kill the process, which has nothing to lose."""
        self._waiting = self._running = None
        self._pipe.close()
        self._process.kill()
        self._process.join()

    def _start(self) -> None:
        context = get_context("spawn")
        self._pipe, far_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(far_end,), name="bundle-adjustment", daemon=True)
        with deaf_to_ctrl_c():
            self._process.start()
        if self._process.pid is not None:  # frames have priority, while it starts, too
            with suppress(ProcessLookupError):  # it has died already, which the pipe shows
                give_way(self._process.pid)
        far_end.close()  # so that each side notices the end of the other
        self._is_ready, self._begin_s = False, time.monotonic()
        self._due_s: float | None = None  # when it starts again, once it has died

    def _exchange(self) -> None:
        """Take a finished adjustment, and hand over a waiting snapshot; never waits."""
        if self._due_s is not None:
            if time.monotonic() < self._due_s:
                return
            self.restarts += 1
            self._start()
        try:
            if self._pipe.poll():
                self._take(self._pipe.recv())
            if self._is_ready and self._running is None and self._waiting is not None:
                self._pipe.send((self._waiting.problem, self._waiting.lens))
                self._running, self._waiting = self._waiting, None
                self._begin_s = time.monotonic()
            elif self._hangs:
                self._process.kill()
                self._see_to_death()
        except (EOFError, OSError):
            self._see_to_death()

    @property
    def _hangs(self) -> bool:
        is_at_work = self._running is not None or not self._is_ready
        return is_at_work and time.monotonic() - self._begin_s > HUNG_S

    def _take(self, answer: tuple | None) -> None:  # type: ignore[type-arg]
        """Take a message of the process: None when it is ready, then one adjustment after the other."""
        self._is_ready = True
        if answer is not None and self._running is not None:
            self._done, self._running = Adjustment(self._running, *answer), None
            self._pause_s = _FIRST_PAUSE_S

    def _see_to_death(self) -> None:
        self._pipe.close()
        self._process.join()
        self._running = None
        self._due_s = time.monotonic() + self._pause_s
        log.warning(
            "the bundle adjustment process ended with exit code %s; it is started again in %.0f s",
            self._process.exitcode,
            self._pause_s,
        )
        self._pause_s = min(2.0 * self._pause_s, _LONGEST_PAUSE_S)


def _serve(pipe: Connection) -> None:
    """Adjust problem after problem until the other side closes the pipe."""
    keep_freed_memory()
    with threadpool_limits(1, "blas"), suppress(EOFError, ConnectionError):
        pipe.send(None)
        while True:
            pipe.send(solve(*pipe.recv()))
