"""Poses in the messages of a bag: pose topics, static transforms, and the camera's path down a tree of transforms."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from visloc_ros.core.errors import SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.transform_tree import TransformTree
from visloc_ros.sources.bag_messages import header_stamp_ns, iterate_bag_messages, list_topics
from visloc_ros.sources.bag_topics import TRANSFORMS

logger = logging.getLogger(__name__)

_UNIT_TOLERANCE = 1e-2


def read_pose_topic(path: Path, topic: str) -> Trajectory:
    """Poses ``parent_from_child`` of a topic of one of the POSE_TYPES. Raises SourceError on an impossible pose."""
    stamped = {
        header_stamp_ns(message): pose_of(topic, message) for _, _, message in iterate_bag_messages(path, [topic])
    }
    stamps_ns = sorted(stamped)
    return Trajectory(np.array(stamps_ns), tuple(stamped[stamp_ns] for stamp_ns in stamps_ns))


def read_camera_poses(path: Path, topic: str, camera_frame: str) -> Trajectory:
    """Poses ``parent_from_camera`` of a topic of one of the POSE_TYPES.

    Where they are of another frame by name, ``/tf_static`` gives the camera's place on it; without that they are taken
    as the camera's, with a warning. Raises SourceError on an impossible pose.
    """
    poses = read_pose_topic(path, topic)
    child = getattr(first_message(path, topic), "child_frame_id", "").lstrip("/")
    camera_frame = camera_frame.lstrip("/")
    if child in ("", camera_frame):
        return poses
    child_from_camera = read_static_transforms(path).lookup(child, camera_frame)
    if child_from_camera is None:
        logger.warning("no static transform from '%s' to '%s': %s is taken as the camera's", child, camera_frame, topic)
        return poses
    return Trajectory(poses.stamps_ns, tuple(pose @ child_from_camera for pose in poses.poses))


def first_message(path: Path, topic: str) -> Any:
    """The first message of a topic. Raises SourceError where there is none."""
    for _, _, message in iterate_bag_messages(path, [topic]):
        return message
    raise SourceError(f"{topic} holds no message")


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


def read_static_transforms(path: Path) -> TransformTree:
    """Read the static transforms of a bag, none where it has no such topic. Raises SourceError."""
    topics = [
        name
        for name, topic in list_topics(path).items()
        if topic.msgtype == TRANSFORMS and name.endswith("tf_static") and topic.num_messages
    ]
    tree = TransformTree()
    for _, topic_name, message in iterate_bag_messages(path, topics) if topics else ():
        for transform in message.transforms:
            parent, child = transform.header.frame_id.lstrip("/"), transform.child_frame_id.lstrip("/")
            tree.set(parent, child, pose_of(topic_name, transform))
    return tree


def read_transform_topic(path: Path, topic: str, camera_frame: str) -> Trajectory:
    """Poses ``root_from_camera`` of a topic of ``tf2_msgs/TFMessage``, whose fixed transforms are in ``/tf_static``.

    The stamps are those of the most frequent moving frame, where the others are known, too; these are interpolated.
    Raises SourceError where no moving frame leads to the camera, or one has several parents.
    """
    static, moving = read_static_transforms(path), _read_moving(path, topic)
    below: list[tuple[Trajectory, SE3]] = []  # each with the fixed transform to the next one below
    frame, frame_from_last = camera_frame.lstrip("/"), SE3.identity()
    seen = {frame}
    while (edge := moving.get(frame)) is not None or (fixed := static.parent_of(frame)) is not None:
        if edge is not None:
            frame, parent_from_frame = edge
            below.append((parent_from_frame, frame_from_last))
            frame_from_last = SE3.identity()
        elif fixed is not None:
            frame, parent_from_child = fixed
            frame_from_last = parent_from_child @ frame_from_last
        if frame in seen:
            raise SourceError(f"the transforms of {topic} go round in a circle at '{frame}'")
        seen.add(frame)
    if not below:
        raise SourceError(f"no moving frame of {topic} leads to the camera '{camera_frame}' (with those of /tf_static)")
    joined = _joined(below, root_from_top=frame_from_last)
    if not len(joined):
        raise SourceError(f"the moving frames of {topic} that lead to the camera are at no time known together")
    return joined


def _joined(below: list[tuple[Trajectory, SE3]], root_from_top: SE3) -> Trajectory:
    """Poses at the stamps of the densest edge."""
    poses: dict[int, SE3] = {}
    for stamp_ns in max((edge.stamps_ns for edge, _ in below), key=len).tolist():
        at_stamp = [edge.interpolate(stamp_ns) for edge, _ in below]
        if any(one is None for one in at_stamp):
            continue
        pose = SE3.identity()
        for parent_from_frame, (_, frame_from_last) in zip(at_stamp, below, strict=True):
            assert parent_from_frame is not None
            pose = parent_from_frame @ frame_from_last @ pose
        poses[stamp_ns] = root_from_top @ pose
    return _trajectory(poses)


def _read_moving(path: Path, topic: str) -> dict[str, tuple[str, Trajectory]]:
    """``parent_from_child`` of each child, with its parent. Raises SourceError where a child has several."""
    found: dict[str, dict[int, SE3]] = defaultdict(dict)
    parents: dict[str, Counter[str]] = defaultdict(Counter)
    for _, _, message in iterate_bag_messages(path, [topic]):
        for transform in message.transforms:
            child = transform.child_frame_id.lstrip("/")
            parents[child][transform.header.frame_id.lstrip("/")] += 1
            found[child][header_stamp_ns(transform)] = pose_of(topic, transform)
    for child, names in parents.items():
        if len(names) > 1:
            raise SourceError(f"'{child}' has several parents on {topic}: {', '.join(sorted(names))}")
    return {child: (next(iter(parents[child])), _trajectory(poses)) for child, poses in found.items()}


def _trajectory(poses: dict[int, SE3]) -> Trajectory:
    stamps_ns = sorted(poses)
    return Trajectory(np.array(stamps_ns, dtype=np.int64), tuple(poses[stamp_ns] for stamp_ns in stamps_ns))
