"""Between ``LoopClosure`` and its ROS message."""

from __future__ import annotations

import math

from visloc_msgs.msg import LoopClosure as LoopClosureMsg
from visloc_ros.core.geometry import SE3, Sim3
from visloc_ros.core.types import LoopClosure
from visloc_ros.nodes.conversions import (
    MessageError,
    checked_covariance,
    header,
    pose_from_msg,
    pose_to_msg,
    stamp_from_msg,
    stamp_to_msg,
)


def loop_closure_to_msg(loop: LoopClosure, camera_frame: str) -> LoopClosureMsg:
    """An earlier place that odometry has recognised."""
    similarity = loop.earlier_from_later
    return LoopClosureMsg(
        header=header(loop.later_ns, camera_frame),
        earlier_stamp=stamp_to_msg(loop.earlier_ns),
        earlier_from_later=pose_to_msg(SE3(similarity.rotation, similarity.translation)),
        scale=similarity.scale,
        covariance=loop.covariance.reshape(49),
    )


def loop_closure_from_msg(message: LoopClosureMsg) -> LoopClosure:
    """The way back of ``loop_closure_to_msg``."""
    earlier_ns, later_ns = stamp_from_msg(message.earlier_stamp), stamp_from_msg(message.header.stamp)
    if earlier_ns >= later_ns:
        raise MessageError(f"the earlier image, of {earlier_ns} ns, is not before the later one, of {later_ns} ns")
    if not 0.0 < message.scale < math.inf:
        raise MessageError(f"{message.scale} is no scale")
    similarity = Sim3.from_se3(pose_from_msg(message.earlier_from_later), message.scale)
    return LoopClosure(earlier_ns, later_ns, similarity, checked_covariance(message.covariance, size=7))
