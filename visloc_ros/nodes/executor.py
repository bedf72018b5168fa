"""An executor for nodes that hear a hundred messages a second: it does not wake itself up after each of them."""

from __future__ import annotations

import threading

from rclpy.executors import SingleThreadedExecutor
from rclpy.guard_condition import GuardCondition


class QuietExecutor(SingleThreadedExecutor):
    """Calls back in the thread that spins; only other threads interrupt its wait.

    rclpy's own wakes itself up for the other threads that it does not have, and then looks in vain through everything
    that the node waits for. A callback that waits for the work of another thread is resumed by ``wake()`` from there,
    as ``in_background`` does.
    """

    def __init__(self) -> None:
        super().__init__()
        self._guard.destroy()
        self._guard = _GuardAgainstOthers(None, None, context=self._context)

    def spin(self) -> None:
        """Serve callbacks until the context ends."""
        guard = self._guard
        guard.spins_in(threading.get_ident())
        try:
            super().spin()
        finally:
            guard.spins_in(None)


class _GuardAgainstOthers(GuardCondition):
    """Interrupts the wait of one thread when another one asks for it."""

    _thread: int | None = None

    def spins_in(self, thread: int | None) -> None:
        """Say whose wait it is; where it is nobody's everybody interrupts."""
        self._thread = thread

    def trigger(self) -> None:
        """Interrupt, unless it is that thread itself, which looks at everything anyway before it waits again."""
        if threading.get_ident() != self._thread:
            super().trigger()
