"""Work of a node on maps: one piece at a time, in a separate process, with progress, until it is done or cancelled."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from rclpy.action.server import ServerGoalHandle

from visloc_ros.core.child_process import ChildProcess
from visloc_ros.core.errors import VislocError
from visloc_ros.nodes.base import VislocNode

LOG_PERIOD_S = 2.0

ResultT = TypeVar("ResultT")
Codes = Sequence[tuple[type[VislocError], int]]
"""The code of an answer for each kind of error; of several that fit, the first."""


class MapWork:
    """The work on maps that a node is asked for by services and actions."""

    def __init__(self, node: VislocNode[Any]) -> None:
        self._node = node
        self._busy = threading.Lock()
        self._process: ChildProcess[Any] | None = None

    async def answer(self, name: str, response: Any, codes: Codes, work: Callable[[], Awaitable[None]]) -> Any:
        """Do ``work``, which fills in a response with its message, and set the code of the response."""
        if not self._busy.acquire(blocking=False):
            response.code = response.BUSY
            response.message = "another map is being built or updated; try again later"
            return response
        try:
            await work()
        except VislocError as error:
            self._node.get_logger().error(f"{name}: {error}")
            response.code = next((code for kind, code in codes if isinstance(error, kind)), response.UNDEFINED)
            response.message = str(error)
            return response
        finally:
            self._busy.release()
        response.code = response.SUCCESS
        self._node.get_logger().info(f"{name}: {response.message}")
        return response

    def in_process(self, function: Callable[..., ResultT], plan: object, feedback: Feedback | None = None) -> ResultT:
        """The result of ``function(send, plan)`` in another process, which sends its progress. Raises VislocError."""
        listeners: list[LogProgress | Feedback] = [LogProgress(self._node), *([feedback] if feedback else [])]

        def on_message(what: str, *words: object) -> None:
            for progress in listeners:
                getattr(progress, what)(*words)

        self._process = process = ChildProcess(function, plan, on_message=on_message)
        return process.result()

    def end(self) -> None:
        """Cancel work whose request cannot be answered any more; it leaves nothing."""
        if self._process is not None:
            self._process.end()


def settle(goal: ServerGoalHandle, result: Any) -> Any:
    """End a goal with its result, which is CANCELLED if that was asked for and came in time."""
    if result.code == result.SUCCESS:
        goal.succeed()
    elif goal.is_cancel_requested:
        result.code, result.message = result.CANCELLED, "cancelled: nothing was written"
        goal.canceled()
    else:
        goal.abort()
    return result


class LogProgress:
    """Progress of work as log lines."""

    def __init__(self, node: VislocNode[Any]) -> None:
        self._logger = node.get_logger()
        self._name, self._total, self._done = "", 0, 0

    def stage(self, name: str, total: int) -> None:
        """Begin a stage of ``total`` steps."""
        self._name, self._total, self._done = name, total, 0
        self._logger.info(f"{name} ({total})")

    def advance(self, steps: int = 1) -> None:
        """Count steps of the current stage."""
        self._done += steps
        self._logger.info(f"{self._name} {self._done}/{self._total}", throttle_duration_sec=LOG_PERIOD_S)


class Feedback:
    """Progress of work as feedback on a goal, messages of ``kind``."""

    def __init__(self, goal: ServerGoalHandle, kind: Callable[..., Any]) -> None:
        self._goal, self._kind, self._message = goal, kind, kind()

    def stage(self, name: str, total: int) -> None:
        """Begin a stage of ``total`` steps."""
        self._message = self._kind(stage=name, total=total)
        self._goal.publish_feedback(self._message)

    def advance(self, steps: int = 1) -> None:
        """Count steps of the current stage."""
        self._message.done += steps
        self._message.percent = 100.0 * self._message.done / max(1, self._message.total)
        self._goal.publish_feedback(self._message)
