"""TF without the tf2 libraries: transforms sent on /tf, those of others from /tf and /tf_static, and double senders."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from typing import Any

from geometry_msgs.msg import TransformStamped
from rclpy.serialization import deserialize_message
from tf2_msgs.msg import TFMessage

from visloc_ros.core.clock import CLOCK_JUMP_NS
from visloc_ros.core.geometry import SE3
from visloc_ros.core.transform_tree import LONGEST_NAME, MOST_FRAMES, TransformTree
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.conversions import transform_to_msg
from visloc_ros.nodes.qos import TF, TF_STATIC
from visloc_ros.sources.ros_messages import MessageError, stamp_from_msg, transform_from_msg

KEPT = 256  # transforms of each moving frame: seconds at the rate of any odometry


class TransformBroadcaster:
    """Publishes transforms, parent ``a`` and child ``b`` carrying ``a_from_b``, on /tf."""

    def __init__(self, node: VislocNode[Any]) -> None:
        self._publisher = node.publisher(TFMessage, "/tf", TF)

    def send(self, *transforms: tuple[int, str, str, SE3]) -> None:
        """Send (stamp_ns, parent, child, parent_from_child) tuples in one message."""
        self._publisher.publish(TFMessage(transforms=[transform_to_msg(*item) for item in transforms]))


class StaticTransforms:
    """Collects /tf_static, and gives the transform between two rigidly joined frames."""

    def __init__(self, node: VislocNode[Any]) -> None:
        self._logger = node.get_logger()
        self._tree = TransformTree()
        self.parent_of, self.lookup = self._tree.parent_of, self._tree.lookup
        node.subscription(TFMessage, "/tf_static", self._take, TF_STATIC)

    def _take(self, message: TFMessage) -> None:
        for item in message.transforms:
            try:
                parent_from_child = transform_from_msg(item.transform)
            except MessageError as error:
                names = f"{item.header.frame_id[:LONGEST_NAME]} -> {item.child_frame_id[:LONGEST_NAME]}"
                self._logger.warning(f"/tf_static {names} left out: {error}", throttle_duration_sec=5.0)
                continue
            self._tree.set(item.header.frame_id, item.child_frame_id, parent_from_child)


def no_mount(base: str, camera: str) -> str:
    """The message that the place of the camera on the base is missing, with what to do about it."""
    return (
        f"no fixed transform {base} -> {camera} on /tf_static: publish it (static_transform_publisher"
        f" or the robot's URDF), or set base_frame to '{camera}' for a bare camera."
    )


class MovingTransforms:
    """Collects /tf, and gives, in any thread, the pose of a frame in another one at a time."""

    def __init__(self, node: VislocNode[Any], fixed: StaticTransforms) -> None:
        self._logger, self._fixed = node.get_logger(), fixed
        self._histories: dict[str, deque[TransformStamped]] = {}
        self._lock = threading.Lock()
        node.subscription(TFMessage, "/tf", self._take, TF)

    def _take(self, message: TFMessage) -> None:
        for item in message.transforms:
            try:
                with self._lock:
                    self._add(item)
            except MessageError as error:
                name = item.child_frame_id[:LONGEST_NAME]
                self._logger.warning(f"/tf to {name} left out: {error}", throttle_duration_sec=5.0)

    def _add(self, item: TransformStamped) -> None:
        if item.child_frame_id not in self._histories and len(self._histories) >= MOST_FRAMES:
            return
        if max(len(item.child_frame_id), len(item.header.frame_id)) > LONGEST_NAME:
            return
        stamp_ns = _stamp_ns(item)
        history = self._histories.setdefault(item.child_frame_id, deque(maxlen=KEPT))
        step_ns = stamp_ns - _stamp_ns(history[-1]) if history else 1
        if step_ns < -CLOCK_JUMP_NS:
            history.clear()
        if step_ns > 0 or not history:
            history.append(item)

    def lookup(self, ancestor: str, frame: str, stamp_ns: int) -> SE3 | None:
        """``ancestor_from_frame`` at a stamp, interpolated; None where a transform of that time is missing."""
        ancestor_from_frame = SE3.identity()
        visited = {frame}
        while frame != ancestor:
            step = self._parent_at(frame, stamp_ns)
            if step is None or step[0] in visited:
                return None
            frame, parent_from_frame = step
            ancestor_from_frame = parent_from_frame @ ancestor_from_frame
            visited.add(frame)
        return ancestor_from_frame

    def _parent_at(self, child: str, stamp_ns: int) -> tuple[str, SE3] | None:
        with self._lock:
            history = tuple(self._histories.get(child, ()))
        if not history:
            return self._fixed.parent_of(child)
        index = bisect_left(history, stamp_ns, key=_stamp_ns)
        if index == len(history) or (index == 0 and _stamp_ns(history[0]) != stamp_ns):
            return None
        try:
            return history[index].header.frame_id, _between(history[max(index - 1, 0)], history[index], stamp_ns)
        except MessageError as error:
            self._logger.warning(f"/tf to {child[:LONGEST_NAME]} left out: {error}", throttle_duration_sec=5.0)
            return None


def _stamp_ns(item: TransformStamped) -> int:
    return stamp_from_msg(item.header.stamp)


def _between(before: TransformStamped, after: TransformStamped, stamp_ns: int) -> SE3:
    """``parent_from_child`` at a stamp after the one and not after the other."""
    begin_ns, end_ns = _stamp_ns(before), _stamp_ns(after)
    end = transform_from_msg(after.transform)
    if stamp_ns == end_ns:
        return end
    return transform_from_msg(before.transform).interpolate(end, (stamp_ns - begin_ns) / (end_ns - begin_ns))


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
