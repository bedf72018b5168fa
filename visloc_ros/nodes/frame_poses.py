"""Predicted poses that arrive after their frames: whoever works on a frame waits for its own, but never for long."""

from __future__ import annotations

import threading

from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import NANOSECONDS

_STILL_COMING_NS = NANOSECONDS // 2  # after the newest pose; then nobody sends them any more


class FramePoses:
    """The newest ``map_from_camera`` by its stamp; written in one thread, awaited in another."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._newest: tuple[int, SE3] | None = None

    def add(self, stamp_ns: int, map_from_camera: SE3) -> None:
        """Keep the pose of a frame."""
        with self._changed:
            self._newest = stamp_ns, map_from_camera
            self._changed.notify_all()

    def of(self, stamp_ns: int, timeout_s: float) -> SE3 | None:
        """The pose of exactly this frame; it is waited for only while poses of frames just before it have come."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_due(stamp_ns), timeout_s)
            if self._newest is None or self._newest[0] != stamp_ns:
                return None
            return self._newest[1]

    def clear(self) -> None:
        """Forget all; stamps may start anew."""
        with self._changed:
            self._newest = None
            self._changed.notify_all()

    def _is_due(self, stamp_ns: int) -> bool:
        return self._newest is not None and 0 < stamp_ns - self._newest[0] < _STILL_COMING_NS
