"""One queue before the models: searches wait for their turn outside the event loop, up to a limit."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from visloc_ros.core.errors import DeadlineError

ResultT = TypeVar("ResultT")


class QueueFullError(Exception):
    """Too many requests wait for one more to be done in time."""


class ClientBusyError(Exception):
    """Too many requests of one client wait, and would leave no room for other clients."""


class DeviceQueue:
    """Does work in one thread, in order of arrival."""

    def __init__(self, most_waiting: int, within_s: float) -> None:
        self._most_waiting, self._most_of_one, self._within_s = most_waiting, (most_waiting + 1) // 2, within_s
        self._of_client: Counter[str] = Counter()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="visloc search")
        self.waiting = 0
        """Requests that are not answered yet."""

    def check_room(self, client: str = "") -> None:
        """Raise QueueFullError where no more work is accepted, ClientBusyError where one client has half the room."""
        if self.waiting >= self._most_waiting:
            raise QueueFullError
        if client and self._of_client[client] >= self._most_of_one:
            raise ClientBusyError

    async def do(self, work: Callable[[], ResultT], client: str = "") -> ResultT:
        """Await ``work()``. Raises as ``check_room`` does at once, DeadlineError where it has not been done in time."""
        self.check_room(client)
        self._count(client, 1)
        loop, future = asyncio.get_running_loop(), self._thread.submit(work)
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._count, client, -1))
        try:
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), self._within_s)
        except asyncio.TimeoutError:
            future.cancel()  # if it has not begun; otherwise it runs to its end, and counts until then
            raise DeadlineError(f"it was not done within {self._within_s:g} s: try again later") from None

    def wait_for(self, work: Callable[[], ResultT]) -> ResultT:
        """The same for a thread that may wait as long as it takes, one piece of work at a time."""
        return self._thread.submit(work).result()

    def close(self) -> None:
        """Let the current work end, and drop waiting work."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _count(self, client: str, change: int) -> None:
        self.waiting += change
        self._of_client[client] += change
        if not self._of_client[client]:
            del self._of_client[client]
