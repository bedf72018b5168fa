"""Long work of a service, done in a thread so that the executor stays free, and answered in time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from rclpy.node import Node
from rclpy.task import Future

from visloc_ros.core.errors import DeadlineError

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
