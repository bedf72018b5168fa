"""Work beside the executor: a queue before a worker thread, the long work of a service, requests while it is busy."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from rclpy.node import Node
from rclpy.task import Future

from visloc_ros.core.errors import DeadlineError
from visloc_ros.core.own_process import give_way
from visloc_ros.core.watchdog import WorkWatch

ItemT = TypeVar("ItemT")


class Worker(Generic[ItemT]):
    """Calls ``handle`` with one item after the other in a thread; callbacks never wait.

    When ``capacity`` wait, the oldest is dropped, and counted.

    ``handle`` must raise nothing (``nodes.guard``). Where ``is_urgent`` is given, items that are not urgent when their
    turn comes are handled in a second thread of low priority: without privileges a thread can lower its priority, but
    not raise it again. ``name`` is that of an item in the words about it.
    """

    def __init__(
        self,
        handle: Callable[[ItemT], None],
        capacity: int,
        is_urgent: Callable[[ItemT], bool] | None = None,
        name: str = "item",
    ) -> None:
        self.received = 0
        self.dropped = 0
        self._handle = handle
        self._capacity = capacity
        self._is_urgent = is_urgent
        self._name, self._watch = name, WorkWatch(f"the work on one {name}")
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

    @property
    def problem(self) -> tuple[str, str] | None:
        """Level and message where an item takes too long, or a thread has ended."""
        if self._running and not all(thread.is_alive() for thread in self._threads):
            return "error", f"The thread that works on each {self._name} has ended."
        return self._watch.problem()

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
            with self._watch.running():
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


ResultT = TypeVar("ResultT")


async def in_background(node: Node, work: Callable[[], ResultT], within_s: float | None = None) -> ResultT:
    """Await ``work()`` in a separate thread; its exceptions are raised here.

    Raises DeadlineError when it takes longer than ``within_s``: its later result or exception is dropped.
    """
    future: Future = Future()
    first = threading.Lock()

    def end(settle: Callable[[], None]) -> None:
        if first.acquire(blocking=False):
            settle()
            if node.executor is not None:
                node.executor.wake()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:
            raised = error  # the name of an except clause ends with it
            end(lambda: future.set_exception(raised))
        else:
            end(lambda: future.set_result(result))

    def give_up() -> None:
        text = f"it was given up after {within_s:g} s: is the disk or the computer stuck?"
        end(lambda: future.set_exception(DeadlineError(text)))

    threading.Thread(target=run, daemon=True, name="visloc service").start()
    timer = threading.Timer(within_s, give_up) if within_s is not None else None
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        result: ResultT = await future
        return result
    finally:
        if timer is not None:
            timer.cancel()


TAKING_PERIOD_S = 0.05  # DDS keeps ten requests meanwhile


class KeptRequests:
    """Keeps requests to services that come while the executor is busy, for which DDS keeps the last ten only.

    A thread takes them; the executor answers them afterwards, one by one between its other callbacks, since DDS keeps
    no more answers for a client either.
    """

    def __init__(self, node: Node, services: Sequence[Any]) -> None:
        self._node, self._services = node, services
        self._waiting: deque[tuple[Any, Any, Any]] = deque()
        self._is_scheduled = False

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Keep the requests that come during this block."""
        ended = threading.Event()
        thread = threading.Thread(target=self._take, args=(ended,), daemon=True, name="visloc requests")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self._schedule()

    def _take(self, ended: threading.Event) -> None:
        while not ended.wait(TAKING_PERIOD_S):
            for service in self._services:
                with service.handle:
                    while (taken := service.handle.service_take_request(service.srv_type.Request))[1] is not None:
                        self._waiting.append((service, *taken))

    def _schedule(self) -> None:
        if self._waiting and not self._is_scheduled and self._node.executor is not None:
            self._is_scheduled = True
            self._node.executor.create_task(self._answer)

    def _answer(self) -> None:
        service, request, request_header = self._waiting.popleft()
        try:
            service.send_response(service.callback(request, service.srv_type.Response()), request_header)
        finally:
            self._is_scheduled = False
            self._schedule()
