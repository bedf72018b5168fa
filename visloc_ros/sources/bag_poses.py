"""Poses in the messages of a bag: pose topics, and the static transforms between frames."""

from __future__ import annotations

import logging
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
