"""The newest fused camera poses, which predict where a search finds a frame."""

from __future__ import annotations

import threading
from collections import deque

from visloc_ros.core.geometry import SE3


class RecentPoses:
    """Keeps the last ``size`` poses ``map_from_camera`` by stamp; written and read from different threads."""

    def __init__(self, size: int, max_gap_ns: int) -> None:
        self._max_gap_ns = max_gap_ns
        self._poses: deque[tuple[int, SE3]] = deque(maxlen=size)
        self._lock = threading.Lock()

    def add(self, stamp_ns: int, map_from_camera: SE3) -> None:
        """Keep a pose; after a jump back in time those before it are dropped."""
        with self._lock:
            if self._poses and stamp_ns < self._poses[-1][0]:
                self._poses.clear()
            self._poses.append((stamp_ns, map_from_camera))

    def at(self, stamp_ns: int) -> SE3 | None:
        """The pose of a stamp, after the newest one carried on at the last velocity.

        None where all are more than ``max_gap_ns`` away.
        """
        with self._lock:
            poses = list(self._poses)
        if not poses:
            return None
        nearest_ns, pose = min(poses, key=lambda item: abs(item[0] - stamp_ns))
        if abs(nearest_ns - stamp_ns) > self._max_gap_ns:
            return None
        if stamp_ns <= nearest_ns or len(poses) < 2:
            return pose
        before_ns, before = poses[-2]
        interval_ns = nearest_ns - before_ns
        if nearest_ns != poses[-1][0] or not 0 < interval_ns <= self._max_gap_ns:
            return pose
        return before.interpolate(pose, 1.0 + (stamp_ns - nearest_ns) / interval_ns)

    def clear(self) -> None:
        """Forget all poses: they belong to another map."""
        with self._lock:
            self._poses.clear()
