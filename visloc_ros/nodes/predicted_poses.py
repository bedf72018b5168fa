"""Priors of searches, and the choice of images to search, by the newest fused poses."""

from __future__ import annotations

import threading
from collections import deque
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
        self._take_statuses()
        return self._pace.wants(stamp_ns)

    def is_urgent(self, stamp_ns: int) -> bool:
        """Whether this search has priority over everything else on the computer."""
        self._take_statuses()
        return self._pace.is_urgent(stamp_ns)

    def add_search(self, result: AnchorPose | Rejection, predicted: SE3 | None) -> None:
        """A search is done; ``predicted`` is the predicted ``map_from_camera``."""
        self._pace.add_search(result, predicted)

    def clear(self) -> None:
        """Forget the poses in a map that is no longer used."""
        self._poses.clear()

    def _take_statuses(self) -> None:
        for serialized in self._statuses():
            self._take_guarded_status(serialized)

    def _take_status(self, serialized: bytes) -> None:
        self._pace.add_fused(_fused_state(deserialize_message(serialized, LocalizationStatus)))

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


class RecentPoses:
    """Keeps the last ``size`` poses ``map_from_camera`` by stamp; written and read from different threads."""

    def __init__(self, size: int, max_gap_ns: int) -> None:
        self._max_gap_ns = max_gap_ns
        self._poses: deque[tuple[int, SE3]] = deque(maxlen=size)
        self._lock = threading.Lock()

    def add(self, stamp_ns: int, map_from_camera: SE3) -> None:
        """Keep a pose; after a jump back in time those before it are dropped."""
        with self._lock:
            if self._poses and stamp_ns < self._poses[-1][0]:
                self._poses.clear()
            self._poses.append((stamp_ns, map_from_camera))

    def at(self, stamp_ns: int) -> SE3 | None:
        """The pose of a stamp, after the newest one carried on at the last velocity.

        None where all are more than ``max_gap_ns`` away.
        """
        with self._lock:
            poses = list(self._poses)
        if not poses:
            return None
        nearest_ns, pose = min(poses, key=lambda item: abs(item[0] - stamp_ns))
        if abs(nearest_ns - stamp_ns) > self._max_gap_ns:
            return None
        if stamp_ns <= nearest_ns or len(poses) < 2:
            return pose
        before_ns, before = poses[-2]
        interval_ns = nearest_ns - before_ns
        if nearest_ns != poses[-1][0] or not 0 < interval_ns <= self._max_gap_ns:
            return pose
        return before.interpolate(pose, 1.0 + (stamp_ns - nearest_ns) / interval_ns)

    def clear(self) -> None:
        """Forget all poses: they belong to another map."""
        with self._lock:
            self._poses.clear()
