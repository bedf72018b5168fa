"""A bounded queue before a worker thread: callbacks never wait, the newest input wins, drops are counted."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from visloc_ros.core.priority import give_way

ItemT = TypeVar("ItemT")


class Worker(Generic[ItemT]):
    """Calls ``handle`` with one item after the other in a thread; when ``capacity`` wait, the oldest is dropped.

    ``handle`` must raise nothing (``nodes.guard``). Where ``is_urgent`` is given, items that are not urgent when their
    turn comes are handled in a second thread of low priority: without privileges a thread can lower its priority, but
    not raise it again.
    """

    def __init__(
        self, handle: Callable[[ItemT], None], capacity: int, is_urgent: Callable[[ItemT], bool] | None = None
    ) -> None:
        self.received = 0
        self.dropped = 0
        self._handle = handle
        self._capacity = capacity
        self._is_urgent = is_urgent
        self._waiting: deque[ItemT] = deque()
        self._changed = threading.Condition()
        self._running, self._busy = True, False
        kinds = (True,) if is_urgent is None else (True, False)
        self._threads = [
            threading.Thread(target=self._run, args=(urgent,), daemon=True, name="visloc worker") for urgent in kinds
        ]
        for thread in self._threads:
            thread.start()

    @property
    def num_waiting(self) -> int:
        """How many items wait."""
        return len(self._waiting)

    def put(self, item: ItemT) -> None:
        """Hand over an item without ever blocking on the work."""
        with self._changed:
            self.received += 1
            if len(self._waiting) >= self._capacity:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append(item)
            self._changed.notify_all()

    def close(self, timeout_s: float = 10.0) -> None:
        """Forget what waits, let the item at work finish, and stop the threads."""
        with self._changed:
            self._running = False
            self._waiting.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout_s)

    def _run(self, urgent: bool) -> None:
        if not urgent:
            give_way()
        while (item := self._next(urgent)) is not None:
            self._handle(item)
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _next(self, urgent: bool) -> ItemT | None:
        with self._changed:
            self._changed.wait_for(lambda: not self._running or self._is_due(urgent))
            if not self._running:
                return None
            self._busy = True
            return self._waiting.popleft()

    def _is_due(self, urgent: bool) -> bool:
        """Whether the next item is for the thread of this kind."""
        if self._busy or not self._waiting:
            return False
        return self._is_urgent is None or self._is_urgent(self._waiting[0]) is urgent
