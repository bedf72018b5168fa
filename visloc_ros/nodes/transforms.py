"""TF without the tf2 libraries: transforms sent on /tf, and fixed ones collected from /tf_static."""

from __future__ import annotations

from tf2_msgs.msg import TFMessage

from visloc_ros.core.geometry import SE3
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.conversions import MessageError, transform_from_msg, transform_to_msg
from visloc_ros.nodes.qos import TF, TF_STATIC


class TransformBroadcaster:
    """Publishes transforms, parent ``a`` and child ``b`` carrying ``a_from_b``, on /tf."""

    def __init__(self, node: VislocNode) -> None:
        self._publisher = node.publisher(TFMessage, "/tf", TF)

    def send(self, *transforms: tuple[int, str, str, SE3]) -> None:
        """Send (stamp_ns, parent, child, parent_from_child) tuples in one message."""
        self._publisher.publish(TFMessage(transforms=[transform_to_msg(*item) for item in transforms]))


class StaticTransforms:
    """Collects /tf_static and answers how two rigidly joined frames lie to each other."""

    def __init__(self, node: VislocNode) -> None:
        self._logger = node.get_logger()
        self._parents: dict[str, tuple[str, SE3]] = {}
        self._found: dict[tuple[str, str], SE3] = {}
        node.subscription(TFMessage, "/tf_static", self._take, TF_STATIC)

    def _take(self, message: TFMessage) -> None:
        for item in message.transforms:
            try:
                parent_from_child = transform_from_msg(item.transform)
            except MessageError as error:
                self._logger.warning(f"/tf_static {item.header.frame_id} -> {item.child_frame_id}: {error}")
                continue
            self._parents[item.child_frame_id] = (item.header.frame_id, parent_from_child)
        self._found.clear()

    def lookup(self, parent: str, child: str) -> SE3 | None:
        """``parent_from_child``, or None while no chain of fixed transforms joins the two."""
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
                self._logger.error(f"/tf_static has a loop at '{parent}'", throttle_duration_sec=10.0)
                break
            found[parent] = parent_from_current @ found[current]
            current = parent
        return found
