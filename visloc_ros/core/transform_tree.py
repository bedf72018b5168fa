"""Fixed transforms between named frames, as a tree: the transform between two rigidly joined frames."""

from __future__ import annotations

import logging
import time

from visloc_ros.core.geometry import SE3

_log = logging.getLogger(__name__)

MOST_FRAMES = 1000  # robots have some hundred; unused names must not fill the memory
LONGEST_NAME = 256
_LOG_PERIOD_S = 5.0


class TransformTree:
    """Keeps the newest ``parent_from_child`` of each child frame."""

    def __init__(self) -> None:
        self._parents: dict[str, tuple[str, SE3]] = {}
        self._found: dict[tuple[str, str], SE3] = {}
        self._logged_s = -_LOG_PERIOD_S

    def set(self, parent: str, child: str, parent_from_child: SE3) -> None:
        """Keep a transform, in place of an earlier one of its child; too many frames and too long names are ignored."""
        is_too_much = child not in self._parents and len(self._parents) >= MOST_FRAMES
        if is_too_much or max(len(parent), len(child)) > LONGEST_NAME:
            return
        self._parents[child] = (parent, parent_from_child)
        self._found.clear()

    def parent_of(self, child: str) -> tuple[str, SE3] | None:
        """The frame that another one is attached to, with ``parent_from_child``."""
        return self._parents.get(child)

    def lookup(self, parent: str, child: str) -> SE3 | None:
        """``parent_from_child``, or None while no chain of transforms joins the two."""
        if parent == child:
            return SE3.identity()
        if (parent, child) not in self._found:
            found = self._search(parent, child)
            if found is None:
                return None
            self._found[parent, child] = found
        return self._found[parent, child]

    def _search(self, parent: str, child: str) -> SE3 | None:
        to_child, to_parent = self._ancestors(child), self._ancestors(parent)
        for frame, frame_from_child in to_child.items():
            if frame in to_parent:
                return to_parent[frame].inverse @ frame_from_child
        return None

    def _ancestors(self, frame: str) -> dict[str, SE3]:
        """Every frame above ``frame`` (itself included) with ``ancestor_from_frame``."""
        found = {frame: SE3.identity()}
        current = frame
        while current in self._parents:
            parent, parent_from_current = self._parents[current]
            if parent in found:
                self._log_loop(parent)
                break
            found[parent] = parent_from_current @ found[current]
            current = parent
        return found

    def _log_loop(self, frame: str) -> None:
        now_s = time.monotonic()
        if now_s - self._logged_s >= _LOG_PERIOD_S:
            self._logged_s = now_s
            _log.error("the fixed transforms have a loop at '%s'", frame)
