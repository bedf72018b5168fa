"""One queue before the models: searches wait their turn off the event loop, and no more of them than will be done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from visloc_ros.core.errors import DeadlineError

ResultT = TypeVar("ResultT")


class QueueFullError(Exception):
    """So many wait that one more would not be done in time."""


class DeviceQueue:
    """Does work in one thread, in the order in which it came."""

    def __init__(self, most_waiting: int, within_s: float) -> None:
        self._most_waiting, self._within_s = most_waiting, within_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="visloc search")
        self.waiting = 0
        """Requests that are not answered yet."""

    def check_room(self) -> None:
        """Raise QueueFullError where no more work is taken."""
        if self.waiting >= self._most_waiting:
            raise QueueFullError

    async def do(self, work: Callable[[], ResultT]) -> ResultT:
        """Await ``work()``. Raises QueueFullError at once, DeadlineError where it has not been done in time."""
        self.check_room()
        self.waiting += 1
        loop, future = asyncio.get_running_loop(), self._thread.submit(work)
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._count_down))
        try:
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), self._within_s)
        except asyncio.TimeoutError:
            future.cancel()  # if it has not begun; else it goes on to its end, and counts until then
            raise DeadlineError(f"it was not done within {self._within_s:g} s: try again later") from None

    def wait_for(self, work: Callable[[], ResultT]) -> ResultT:
        """The same for a thread that may wait as long as it takes, one piece of work at a time."""
        return self._thread.submit(work).result()

    def close(self) -> None:
        """Let the work at hand end, and forget what waits."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _count_down(self) -> None:
        self.waiting -= 1
