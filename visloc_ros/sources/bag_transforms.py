"""The camera's path by the transforms of a bag: the chain of frames from the root of the tree down to it."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from visloc_ros.core.errors import SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.sources.bag_messages import header_stamp_ns, iterate_bag_messages
from visloc_ros.sources.bag_poses import pose_of, read_static_transforms


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
