"""Wraps every callback, timer, service and worker, so that their exceptions never end the node."""

from __future__ import annotations

import inspect
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.impl.rcutils_logger import RcutilsLogger

from visloc_ros.core.errors import VislocError
from visloc_ros.core.types import Reason

LOG_PERIOD_S = 5.0
RECENT_S = 60.0
"""Time for which a failure counts as recent."""


class Guard:
    """Calls functions and catches their exceptions: it logs errors of this package by message, others with their trace.

    ``refused`` counts the former by origin: bad messages and requests, which are the sender's fault. ``failures``
    counts the latter, which are this package's fault and make the node's diagnostics an error for a while.
    """

    def __init__(self, logger: RcutilsLogger) -> None:
        self._logger = logger
        self.refused: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self._failed_s: deque[float] = deque(maxlen=1000)

    @property
    def recent_failures(self) -> int:
        """How many calls have failed in the last minute."""
        since_s = time.monotonic() - RECENT_S
        return sum(failed_s >= since_s for failed_s in tuple(self._failed_s))

    def callback(self, name: str, call: Callable[..., object]) -> Callable[..., None]:
        """The same call, which raises nothing; its counts are kept under ``name``."""

        def guarded(*arguments: object) -> None:
            try:
                call(*arguments)
            except Exception as error:
                self.keep(name, error)

        return guarded

    def service(self, name: str, handle: Callable[..., Any]) -> Callable[..., Any]:
        """The same service handler, a function or a coroutine, which answers with the failure where it raises."""

        async def guarded_coroutine(request: object, response: Any) -> Any:
            try:
                return await handle(request, response)
            except Exception as error:
                return self._answer(name, error, type(response)())

        def guarded(request: object, response: Any) -> Any:
            try:
                return handle(request, response)
            except Exception as error:
                return self._answer(name, error, type(response)())

        return guarded_coroutine if inspect.iscoroutinefunction(handle) else guarded

    def action(self, name: str, execute: Callable[..., Any], result_type: type) -> Callable[..., Any]:
        """The same coroutine of an action, which ends the goal with the failure as its result where it raises."""

        async def guarded(goal: Any) -> Any:
            try:
                return await execute(goal)
            except Exception as error:
                goal.abort()
                return self._answer(name, error, result_type())

        return guarded

    def keep(self, name: str, error: Exception) -> None:
        """Count and log an exception."""
        if not rclpy.ok():
            return  # Ctrl-C has shut the context down: the last result could not be published
        if isinstance(error, VislocError):
            self.refused[name] += 1
            text = f"{name}: {error} ({self.refused[name]} so far)"
            self._logger.warning(text, throttle_duration_sec=LOG_PERIOD_S)
            return
        self.failures[name] += 1
        self._failed_s.append(time.monotonic())
        text = f"{name} failed, {self.failures[name]} times so far: {type(error).__name__}: {error}"
        self._logger.error(f"{text}\n{''.join(traceback.format_exception(error))}", throttle_duration_sec=LOG_PERIOD_S)

    def values(self) -> dict[str, int]:
        """All counts by name, for diagnostics."""
        failures = {f"failed: {name}": count for name, count in self.failures.items()}
        return {f"refused: {name}": count for name, count in self.refused.items()} | failures

    def _answer(self, name: str, error: Exception, response: Any) -> Any:
        """An answer with the failure in the service's fields for it."""
        self.keep(name, error)
        text = str(error) if isinstance(error, VislocError) else f"{type(error).__name__}: {error}; see the node's log"
        if hasattr(response, "code"):
            response.code = response.UNDEFINED
        if hasattr(response, "success"):
            response.success = False
        if hasattr(response, "message"):
            response.message = text
        if hasattr(response, "anchor"):
            response.anchor.reason = Reason.INTERNAL_ERROR.value
        return response


class RejectedMessages(Counter[str]):
    """Counts messages that cannot be used, by kind, and now and then logs why."""

    def __init__(self, logger: RcutilsLogger) -> None:
        super().__init__()
        self._logger, self._logged_s = logger, dict[str, float]()

    def note(self, kind: str, text: str) -> None:
        """Count a message of a kind, and say why it is left out."""
        self[kind] += 1
        now_s = time.monotonic()
        if now_s - self._logged_s.get(kind, -LOG_PERIOD_S) >= LOG_PERIOD_S:
            self._logged_s[kind] = now_s
            self._logger.warning(f"{text} ({kind}: {self[kind]} so far)")
