"""Between ``TrackedPose`` and its ROS message."""

from __future__ import annotations

from visloc_msgs.msg import TrackedPose as TrackedPoseMsg
from visloc_ros.core.types import Rejection, TrackedPose
from visloc_ros.nodes.conversions import (
    checked_covariance,
    checked_stamp,
    covariance_from_msg,
    header,
    pose_from_msg,
    pose_with_covariance_to_msg,
    reason_from_msg,
    stages_from_msg,
    stages_to_msg,
    stamp_from_msg,
    stamp_to_msg,
)


def tracked_pose_to_msg(result: TrackedPose | Rejection, map_frame: str, camera_frame: str) -> TrackedPoseMsg:
    """What followed map points tell of one image, or the reason why nothing."""
    message = TrackedPoseMsg(header=header(result.stamp_ns, map_frame), camera_frame_id=camera_frame)
    message.stages = stages_to_msg(result.stage_ms)
    message.latency_ms = float(sum(result.stage_ms.values()))
    if isinstance(result, Rejection):
        message.reason = result.reason.value
        return message
    message.tracked = True
    message.pose = pose_with_covariance_to_msg(result.map_from_camera, result.covariance)
    message.anchor_stamp = stamp_to_msg(result.anchor_stamp_ns)
    message.covariance_since_anchor = result.covariance_since_anchor.reshape(36)
    message.num_followed, message.num_inliers = result.num_followed, result.num_inliers
    message.reprojection_error_px = float(result.reprojection_error_px)
    return message


def tracked_pose_from_msg(message: TrackedPoseMsg) -> TrackedPose | Rejection:
    """The way back of ``tracked_pose_to_msg``."""
    stamp_ns, stage_ms = checked_stamp(message.header.stamp), stages_from_msg(message.stages)
    if not message.tracked:
        return Rejection(stamp_ns, reason_from_msg(message.reason), {}, stage_ms)
    return TrackedPose(
        stamp_ns,
        pose_from_msg(message.pose.pose),
        covariance_from_msg(message.pose),
        stamp_from_msg(message.anchor_stamp),
        checked_covariance(message.covariance_since_anchor),
        message.num_inliers,
        message.num_followed,
        message.reprojection_error_px,
        stage_ms,
    )
