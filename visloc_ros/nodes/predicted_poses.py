"""Priors of searches, and the choice of images to search that can improve the pose, by the newest fused poses."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.serialization import deserialize_message

from visloc_msgs.msg import LocalizationStatus
from visloc_msgs.msg import MapIdentity as MapIdentityMsg
from visloc_ros.core.coordinate_frame import CoordinateFrame
from visloc_ros.core.geometry import SE3
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import AnchorPose, MapIdentity, Reason, Rejection, State, Support
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.conversions import state_from_msg, support_from_msg
from visloc_ros.nodes.qos import CAMERA_POSES, LATCHED
from visloc_ros.sources.ros_messages import map_identity_from_msg, pose_from_msg, stamp_from_msg

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
        self._frame: CoordinateFrame | None = None  # of the map that is searched
        self._in_use = MapInUse(node)
        self._statuses = node.polled_subscription(LocalizationStatus, "status", LATCHED)
        self._take_guarded_status = node.guard.callback("status", self._take_status)

    def at(self, stamp_ns: int) -> SE3 | None:
        """The predicted ``map_from_camera`` of an image, or None."""
        self._in_use.take()
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

    def search_in(self, identity: MapIdentity) -> None:
        """Use poses in this map alone from now on, which are to be searched for at once if its frame is another one."""
        if self._frame is not None and identity.frame != self._frame:
            self._poses.clear()
            self._pace.begin_again()
        self._frame = identity.frame

    def clear(self) -> None:
        """Forget all poses: they are of another camera."""
        self._poses.clear()

    def _take_statuses(self) -> None:
        for serialized in self._statuses():
            self._take_guarded_status(serialized)

    def _take_status(self, serialized: bytes) -> None:
        self._pace.add_fused(fused_state(deserialize_message(serialized, LocalizationStatus)))

    def _take_pose(self, serialized: bytes) -> None:
        message = deserialize_message(serialized, PoseWithCovarianceStamped)
        stamp_ns = stamp_from_msg(message.header.stamp)
        if self._in_use.gives_poses_in(self._frame, stamp_ns):
            self._poses.add(stamp_ns, pose_from_msg(message.pose.pose))


class MapInUse:
    """The map that fused poses are in, as the fusion node announces it; one thread."""

    def __init__(self, node: VislocNode[Any]) -> None:
        self.identity: MapIdentity | None = None
        self._since_ns = 0
        self._waiting = node.polled_subscription(MapIdentityMsg, "map_in_use", LATCHED)
        self._take_guarded = node.guard.callback("map_in_use", self._take)

    def take(self) -> MapIdentity | None:
        """Take what has been announced since the last call, and give the newest; None before the first."""
        for serialized in self._waiting():
            self._take_guarded(serialized)
        return self.identity

    def gives_poses_in(self, frame: CoordinateFrame | None, stamp_ns: int) -> bool:
        """Whether the fused pose of an image is in this frame; where nothing was announced, it is."""
        if self.identity is None or frame is None:
            return True
        return self.identity.frame == frame and stamp_ns >= self._since_ns

    def _take(self, serialized: bytes) -> None:
        message = deserialize_message(serialized, MapIdentityMsg)
        self.identity, self._since_ns = map_identity_from_msg(message), stamp_from_msg(message.header.stamp)


def fused_state(message: LocalizationStatus) -> FusedState:
    """What a status says of the pose of the camera."""
    return FusedState(
        stamp_from_msg(message.header.stamp),
        _state_of_camera(message),
        support_from_msg(message.support),
        message.position_sigma,
        message.rotation_sigma_deg,
        message.reason == Reason.OVERLOADED.value,
        message.scale > 0.0,
    )


def _state_of_camera(message: LocalizationStatus) -> State:
    """The state of the camera's pose, which is the robot's, unless the camera's place on the robot is not known."""
    state, support = state_from_msg(message.state), support_from_msg(message.support)
    is_held = support in (Support.ANCHOR, Support.MAP_TRACKING)
    return State.LOCALIZED if state is State.INITIALIZING and is_held else state


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


_GATE = 12.6  # 95 % quantile of chi-square with 6 degrees of freedom
# Walking at 1.5 m/s, odometry that drifts by 1 % is off by 7 mm after it: less than an anchor is.
SHORTEST_REST_S = 0.5
LONGEST_REST_S = 3.0
"""Followed points hardly drift from the map: with an anchor each 3 s for two a second, offline and causal, the median
error of a flight stays at 0.7 cm, that of a kitchen grows from 3.0 to 3.3 cm. A search takes 0.3 s of a processor."""
_GROWN = 1.5  # times the standard deviations after the last search: then an anchor would improve the pose again
_STALE_S = 0.3  # age of a fused pose, some frames of 30 Hz, beyond which it does not apply to an image
_OVERLOADED_S, _OVERLOADED = 1.0, 3  # within this time this number of images not followed: one or two do not matter
STARVED_S = 4.0  # from the last searched image: a search must end every 5 s under any load


@dataclass(frozen=True)
class FusedState:
    """The state of an image's fused pose: its stamp, state, support, and standard deviations.

    ``position_sigma`` is in map units, ``rotation_sigma_deg`` in degrees; the largest of any direction. The pose
    ``is_predicted`` where there was no time to follow the image, and ``has_scale`` once odometry can carry it on.
    """

    stamp_ns: int
    state: State
    support: Support
    position_sigma: float
    rotation_sigma_deg: float
    is_predicted: bool = False
    has_scale: bool = True


class SearchPace:
    """Lets the search rest while the fused pose is confirmed and as good as it was.

    As long as followed points of the map hold the pose, each rest is twice as long as the one before, up to
    ``longest_rest_s``; where odometry alone carries the pose on, rests stay short. It ends at once where the
    points are lost, the covariance grows, or no pose comes. While there is no time to follow all images, each rest is
    the longest: the pose needs the processor more. ``longest_rest_s`` of 0 searches all the time.
    """

    def __init__(self, longest_rest_s: float) -> None:
        self._longest_s = longest_rest_s
        self._rest_s = min(SHORTEST_REST_S, longest_rest_s)
        self._confirmed_ns: int | None = None
        self._searched_ns: int | None = None
        self._fused: FusedState | None = None
        self._predicted_ns: deque[int] = deque(maxlen=_OVERLOADED)  # the last poses whose images were not followed
        self._after_search: FusedState | None = None  # the first one since the last search ended

    def begin_again(self) -> None:
        """Search the next image: the map is another one."""
        self._rest_s = min(SHORTEST_REST_S, self._longest_s)
        self._confirmed_ns = self._after_search = None

    def add_fused(self, state: FusedState) -> None:
        """The state of the newest fused pose."""
        self._fused = state
        if state.is_predicted:
            self._predicted_ns.append(state.stamp_ns)
        if self._after_search is None and state.support is not Support.NONE:
            self._after_search = state

    def add_search(self, result: AnchorPose | Rejection, predicted: SE3 | None) -> None:
        """A search has ended; ``predicted`` is the predicted ``map_from_camera``."""
        is_confirmed = _confirms(result, predicted, self._is_overloaded)
        if is_confirmed and self._confirmed_ns is not None and self._is_held:
            self._rest_s = min(2.0 * self._rest_s, self._longest_s)
        else:
            self._rest_s = min(SHORTEST_REST_S, self._longest_s)
        self._confirmed_ns = result.stamp_ns if is_confirmed else None
        self._searched_ns = result.stamp_ns
        self._after_search = None

    def wants(self, stamp_ns: int) -> bool:
        """Whether to search the image of a stamp."""
        confirmed_ns, fused = self._confirmed_ns, self._fused
        if confirmed_ns is None or fused is None or fused.stamp_ns <= confirmed_ns:
            return True  # where no pose comes between anchors, each anchor counts
        waited_ns = stamp_ns - confirmed_ns
        if self._is_overloaded:
            return not 0 <= waited_ns < self._longest_s * NANOSECONDS
        if fused.support is Support.NONE or not self._is_current(stamp_ns) or self._has_grown(fused):
            return True
        rest_s = self._rest_s if self._is_held else min(SHORTEST_REST_S, self._longest_s)
        return not 0 <= waited_ns < rest_s * NANOSECONDS

    def is_urgent(self, stamp_ns: int) -> bool:
        """Whether a search has priority over everything else: without a pose, or long without a search."""
        fused, searched_ns = self._fused, self._searched_ns
        if fused is None or fused.state is not State.LOCALIZED or not self._is_current(stamp_ns):
            return True
        return searched_ns is None or not 0 <= stamp_ns - searched_ns < STARVED_S * NANOSECONDS

    @property
    def _is_overloaded(self) -> bool:
        """Whether the camera is LOCALIZED, but not all images are followed."""
        fused, predicted_ns = self._fused, self._predicted_ns
        if fused is None or fused.state is not State.LOCALIZED or len(predicted_ns) < _OVERLOADED:
            return False
        return 0 <= fused.stamp_ns - predicted_ns[0] < _OVERLOADED_S * NANOSECONDS

    @property
    def _is_held(self) -> bool:
        """Whether followed points of the map hold the pose, and odometry could if they were lost."""
        fused = self._fused
        return fused is not None and fused.support is Support.MAP_TRACKING and fused.has_scale

    def _has_grown(self, now: FusedState) -> bool:
        """Whether the pose is less certain than it was after the last search."""
        before = self._after_search
        return before is not None and (
            now.position_sigma > _GROWN * before.position_sigma
            or now.rotation_sigma_deg > _GROWN * before.rotation_sigma_deg
        )

    def _is_current(self, stamp_ns: int) -> bool:
        """Whether the newest fused pose is of about the time of an image."""
        return self._fused is not None and stamp_ns - self._fused.stamp_ns < _STALE_S * NANOSECONDS


def _confirms(result: AnchorPose | Rejection, predicted: SE3 | None, is_overloaded: bool) -> bool:
    """Whether an anchor agrees with a prediction, which is about as uncertain as the anchor itself.

    A prediction has a larger error where not all images are followed: then only the fusion judges the anchor.
    """
    if isinstance(result, Rejection) or predicted is None:
        return False
    error = pose_difference(result.map_from_camera, predicted)
    return is_overloaded or bool(error @ np.linalg.solve(2.0 * result.covariance, error) <= _GATE)
