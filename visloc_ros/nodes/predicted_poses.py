"""Priors of searches, and the choice of images to search, by the fused poses."""

from __future__ import annotations

from typing import Any

from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.serialization import deserialize_message

from visloc_msgs.msg import LocalizationStatus
from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import AnchorPose, Reason, Rejection
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.conversions import state_from_msg, support_from_msg
from visloc_ros.nodes.qos import CAMERA_POSES, LATCHED
from visloc_ros.nodes.recent_poses import RecentPoses
from visloc_ros.nodes.search_pace import FusedState, SearchPace
from visloc_ros.sources.ros_messages import pose_from_msg, stamp_from_msg

MAX_GAP_NS = NANOSECONDS // 5  # a few frames: the camera is still where the search looks for it


class PredictedPoses:
    """Uses fused poses, priors and the status to predict poses and to choose images for a node that searches.

    ``longest_rest_s`` is that of ``SearchPace``.
    """

    def __init__(self, node: VislocNode[Any], longest_rest_s: float) -> None:
        self._poses, self._pace = RecentPoses(CAMERA_POSES.depth, MAX_GAP_NS), SearchPace(longest_rest_s)
        self._sources = [
            (
                node.polled_subscription(PoseWithCovarianceStamped, topic, CAMERA_POSES),
                node.guard.callback(topic, self._take_pose),
            )
            for topic in ("camera_pose", "search_prior")
        ]
        self._statuses = node.polled_subscription(LocalizationStatus, "status", LATCHED)
        self._take_guarded_status = node.guard.callback("status", self._take_status)

    def at(self, stamp_ns: int) -> SE3 | None:
        """The predicted ``map_from_camera`` of an image, or None."""
        for waiting, take in self._sources:
            for serialized in waiting():
                take(serialized)
        return self._poses.at(stamp_ns)

    def wants(self, stamp_ns: int) -> bool:
        """Whether the image of a stamp is worth a search."""
        self._hear()
        return self._pace.wants(stamp_ns)

    def is_urgent(self, stamp_ns: int) -> bool:
        """Whether this search has priority over everything else on the computer."""
        self._hear()
        return self._pace.is_urgent(stamp_ns)

    def tell_found(self, result: AnchorPose | Rejection, predicted: SE3 | None) -> None:
        """A search is done; ``predicted`` is the predicted ``map_from_camera``."""
        self._pace.tell_found(result, predicted)

    def clear(self) -> None:
        """Forget the poses in a map that is no longer used."""
        self._poses.clear()

    def _hear(self) -> None:
        for serialized in self._statuses():
            self._take_guarded_status(serialized)

    def _take_status(self, serialized: bytes) -> None:
        self._pace.tell_fused(_fused_state(deserialize_message(serialized, LocalizationStatus)))

    def _take_pose(self, serialized: bytes) -> None:
        message = deserialize_message(serialized, PoseWithCovarianceStamped)
        self._poses.add(stamp_from_msg(message.header.stamp), pose_from_msg(message.pose.pose))


def _fused_state(message: LocalizationStatus) -> FusedState:
    return FusedState(
        stamp_from_msg(message.header.stamp),
        state_from_msg(message.state),
        support_from_msg(message.support),
        message.position_sigma,
        message.rotation_sigma_deg,
        message.reason == Reason.OVERLOADED.value,
        message.scale > 0.0,
    )
