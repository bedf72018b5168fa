"""The last poses in one frame, as a path or an array, for viewers."""

from __future__ import annotations

from collections import deque
from typing import Any

from geometry_msgs.msg import PoseArray, PoseStamped
from nav_msgs.msg import Path

from visloc_ros.core.geometry import SE3
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.conversions import header, pose_to_msg
from visloc_ros.nodes.qos import RELIABLE


class PoseHistory:
    """Keeps the last ``size`` poses; messages are made of them once somebody listens."""

    def __init__(
        self, node: VislocNode[Any], message_type: type[Path | PoseArray], topic: str, frame_id: str, size: int
    ) -> None:
        self._publisher = node.publisher(message_type, topic, RELIABLE)
        self._message_type, self._frame_id = message_type, frame_id
        self._new: deque[tuple[int, SE3]] = deque(maxlen=size)
        self._made: deque[PoseStamped] = deque(maxlen=size)

    def add(self, stamp_ns: int, frame_from_child: SE3) -> None:
        """Take the next pose."""
        self._new.append((stamp_ns, frame_from_child))

    def publish(self) -> None:
        """Send all of them to those who listen."""
        if not self._publisher.get_subscription_count():
            return
        while self._new:
            stamp_ns, pose = self._new.popleft()
            self._made.append(PoseStamped(header=header(stamp_ns, self._frame_id), pose=pose_to_msg(pose)))
        if self._made:
            poses = list(self._made) if self._message_type is Path else [one.pose for one in self._made]
            self._publisher.publish(self._message_type(header=self._made[-1].header, poses=poses))
