"""Poses in the messages of a bag: pose topics, and the static transforms between frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from visloc_ros.core.errors import SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.sources.bag_messages import header_stamp_ns, iterate_bag_messages, list_topics

_TF_MESSAGE = "tf2_msgs/msg/TFMessage"
_UNIT_TOLERANCE = 1e-2


def read_pose_topic(path: Path, topic: str) -> Trajectory:
    """Poses ``parent_from_child`` of a topic of one of the POSE_TYPES. Raises SourceError on an impossible pose."""
    stamped = {
        header_stamp_ns(message): pose_of(topic, message) for _, _, message in iterate_bag_messages(path, [topic])
    }
    stamps_ns = sorted(stamped)
    return Trajectory(np.array(stamps_ns), tuple(stamped[stamp_ns] for stamp_ns in stamps_ns))


def pose_of(topic: str, message: Any) -> SE3:
    """Pose of any of the POSE_TYPES as ``parent_from_child``. Raises SourceError when it is none."""
    if hasattr(message, "transform"):
        position, orientation = message.transform.translation, message.transform.rotation
    else:
        pose = getattr(message.pose, "pose", message.pose)
        position, orientation = pose.position, pose.orientation
    wxyz = np.array([orientation.w, orientation.x, orientation.y, orientation.z])
    translation = np.array([position.x, position.y, position.z])
    if not np.all(np.isfinite(translation)) or not abs(np.linalg.norm(wxyz) - 1.0) <= _UNIT_TOLERANCE:
        raise SourceError(f"{topic} holds an impossible pose: position {translation}, quaternion wxyz {wxyz}")
    return SE3.from_quaternion(wxyz, translation)


class StaticTransforms:
    """The tree of a bag's static transforms."""

    def __init__(self, parents_from_children: Mapping[tuple[str, str], SE3]) -> None:
        self._edges: dict[str, list[tuple[str, SE3]]] = {}
        for (parent, child), parent_from_child in parents_from_children.items():
            self._edges.setdefault(parent, []).append((child, parent_from_child))
            self._edges.setdefault(child, []).append((parent, parent_from_child.inverse))

    def find(self, target: str, source: str) -> SE3 | None:
        """Pose ``target_from_source`` through any number of frames, or None where nothing joins the two."""
        reached = {target: SE3.identity()}
        waiting = deque([target])
        while waiting and source not in reached:
            frame = waiting.popleft()
            for neighbour, frame_from_neighbour in self._edges.get(frame, []):
                if neighbour not in reached:
                    reached[neighbour] = reached[frame] @ frame_from_neighbour
                    waiting.append(neighbour)
        return reached.get(source)


def read_static_transforms(path: Path) -> StaticTransforms:
    """Read the static transforms of a bag, none where it has no such topic. Raises SourceError."""
    topics = [
        name
        for name, topic in list_topics(path).items()
        if topic.msgtype == _TF_MESSAGE and name.endswith("tf_static") and topic.num_messages
    ]
    edges = {}
    for _, topic_name, message in iterate_bag_messages(path, topics) if topics else ():
        for transform in message.transforms:
            frames = (transform.header.frame_id.lstrip("/"), transform.child_frame_id.lstrip("/"))
            edges[frames] = pose_of(topic_name, transform)
    return StaticTransforms(edges)
