"""Long work asked for by a service, done in a thread so that the executor stays free."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from rclpy.node import Node
from rclpy.task import Future

ResultT = TypeVar("ResultT")


async def in_background(node: Node, work: Callable[[], ResultT]) -> ResultT:
    """Await ``work()`` done in a thread of its own; its exceptions come out here."""
    future: Future = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)
        if node.executor is not None:
            node.executor.wake()

    threading.Thread(target=run, daemon=True, name="visloc service").start()
    result: ResultT = await future
    return result
