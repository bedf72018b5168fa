"""A bounded queue before a worker thread: callbacks never wait, the newest input wins, drops are counted."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")


class Worker(Generic[ItemT]):
    """Calls ``handle`` with each item in its own thread; when ``capacity`` items wait, the oldest is dropped.

    ``handle`` must raise nothing (``nodes.guard``). ``in_spare_time`` lets it work only while nothing else wants the
    core, also where it is not the same process that does.
    """

    def __init__(self, handle: Callable[[ItemT], None], capacity: int, in_spare_time: bool = False) -> None:
        self.received = 0
        self.dropped = 0
        self._handle = handle
        self._capacity = capacity
        self._in_spare_time = in_spare_time
        self._waiting: deque[ItemT] = deque()
        self._changed = threading.Condition()
        self._running = True
        self._thread = threading.Thread(target=self._run, daemon=True, name="visloc worker")
        self._thread.start()

    @property
    def is_late(self) -> bool:
        """Whether an item waits."""
        return bool(self._waiting)

    def put(self, item: ItemT) -> None:
        """Hand over an item without ever blocking on the work."""
        with self._changed:
            self.received += 1
            if len(self._waiting) >= self._capacity:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append(item)
            self._changed.notify()

    def close(self, timeout_s: float = 10.0) -> None:
        """Forget what waits, let the item at work finish, and stop the thread."""
        with self._changed:
            self._running = False
            self._waiting.clear()
            self._changed.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        if self._in_spare_time:  # of this thread, and of those that it starts
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        while (item := self._next()) is not None:
            self._handle(item)

    def _next(self) -> ItemT | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._running)
            return self._waiting.popleft() if self._running else None
