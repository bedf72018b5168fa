"""Detects another node that sends this node's transforms: a robot would jump between the two."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from rclpy.serialization import deserialize_message
from tf2_msgs.msg import TFMessage

from visloc_ros.core.transform_tree import LONGEST_NAME
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.qos import TF
from visloc_ros.sources.ros_messages import stamp_from_msg

FORGOTTEN_S = 10.0  # after which another sender counts as gone
_KEPT = 400  # transforms of this node by which it knows its own: 10 s


class TransformWatch:
    """Detects transforms to the ``children`` frames that this node has not sent."""

    def __init__(self, node: VislocNode[Any], children: Iterable[str]) -> None:
        self._node, self._children = node, frozenset(children)
        self._marks = [child.encode() + b"\0" for child in self._children]  # how a message holds a name
        self._own: deque[tuple[str, int]] = deque(maxlen=_KEPT)
        self._others: dict[tuple[str, str], float] = {}  # parent and child, and when it came last
        self._look_at_guarded = node.guard.callback("/tf", self._look_at)
        self._messages = node.polled_subscription(TFMessage, "/tf", TF)  # a robot's joints may send hundreds a second

    def sent(self, child: str, stamp_ns: int) -> None:
        """This node sends a transform."""
        self._own.append((child, stamp_ns))

    def problem(self) -> str:
        """Which other node sends a transform of this node, by the newest messages, and what to do; or nothing."""
        now_s = time.monotonic()
        for serialized in self._messages():
            self._look_at_guarded(serialized, now_s)
        edges = [edge for edge, heard_s in tuple(self._others.items()) if now_s - heard_s < FORGOTTEN_S]
        if not edges:
            return ""
        own = self._node.get_fully_qualified_name()
        names = sorted({_full_name(one) for one in self._node.get_publishers_info_by_topic("/tf")} - {own})
        parent, child = edges[0]
        return (
            f"Another node sends {parent} -> {child}, too, and the robot jumps between the two: it is one of"
            f" {', '.join(names) or 'those that send /tf'}. Stop it, or set publish_map_to_odom_tf or"
            " publish_odom_to_base_tf to false here."
        )

    def _look_at(self, serialized: bytes, now_s: float) -> None:
        if not any(mark in serialized for mark in self._marks):
            return
        for item in deserialize_message(serialized, TFMessage).transforms:
            child, parent = item.child_frame_id, item.header.frame_id
            if child not in self._children or (child, stamp_from_msg(item.header.stamp)) in self._own:
                continue
            self._others[parent[:LONGEST_NAME], child] = now_s


def _full_name(publisher: Any) -> str:
    return f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name}"
