"""Parameters and output of the fusion node: transforms, odometry, pose, paths, status, and priors of searches."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import rclpy
from geometry_msgs.msg import PoseArray, PoseStamped, PoseWithCovarianceStamped, TransformStamped
from nav_msgs.msg import Odometry, Path

from visloc_msgs.msg import Innovation as InnovationMsg
from visloc_msgs.msg import LocalizationStatus
from visloc_msgs.msg import MapIdentity as MapIdentityMsg
from visloc_ros.core.config import option
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import ACCEPTED, PENDING, Anchor, AnchorPose, Estimate, MapIdentity, Reason, State, Verdict
from visloc_ros.fusion.innovation import Innovation
from visloc_ros.fusion.odom_velocity import OdomState
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.conversions import (
    BASE_FROM_OPTICAL,
    header,
    innovation_to_msg,
    map_identity_to_msg,
    pose_to_msg,
    pose_with_covariance_to_msg,
    stamp_to_msg,
    transform_to_msg,
    twist_with_covariance_to_msg,
    uuid_of,
)
from visloc_ros.nodes.fusion_status import status_to_msg, words_for
from visloc_ros.nodes.geo_output import GeoOutput
from visloc_ros.nodes.pose_priors import PoseKeeper
from visloc_ros.nodes.qos import EACH_LATCHED, LATCHED, RELIABLE
from visloc_ros.nodes.transforms import TransformBroadcaster, TransformWatch
from visloc_ros.pipeline.backend import Backend, BackendListener, BasePrior
from visloc_ros.pipeline.config import BackendConfig
from visloc_ros.pipeline.inputs import Input
from visloc_ros.pipeline.output import BasePose, Published

PATH_MAX_SIZE = 1024  # poses in a path: a message of about 100 kB
ANCHORS_SHOWN = 200  # of each kind: the last minute or two
LONGEST_GAP_NS = NANOSECONDS  # over which a transform is dated on: a larger step of the clock means that it was set
_OVERLOADED_PERIOD_S = 30.0  # between lines of the log that say so


@dataclass(frozen=True)
class FusionNodeConfig(BackendConfig):
    """Parameters of the fusion node."""

    map_frame: str = option("map", "frame id of the map")
    odom_frame: str = option("odom", "frame id of the continuous odometry")
    base_frame: str = option("base_link", "frame id of the robot; the camera's own frame id for a bare camera")
    tf_publish_rate: float = option(
        20.0,
        "least rate of map -> odom, Hz: between frames the last one is sent again, dated on; 0: with frames only",
        minimum=0.0,
        maximum=200.0,
    )
    state_dir: str = option(
        "", "folder in which the last pose is kept, to look there first at the next start; empty: nowhere"
    )


@dataclass(frozen=True, eq=False)
class _Sent:
    """``map_from_odom`` with its date, and when it was first and last sent by the node's clock."""

    stamp_ns: int
    map_from_odom: SE3
    sent_ns: int
    repeated_ns: int


class FusionOutput(BackendListener):
    """Sends what the back end publishes. ``keeper``, if there is one, keeps the last pose for the next run."""

    def __init__(self, node: VislocNode[FusionNodeConfig], backend: Callable[[], Backend]) -> None:
        config = node.config
        self.keeper: PoseKeeper | None = None
        self._node, self._config, self._backend = node, config, backend
        self._odom_publisher = node.publisher(Odometry, "odom", RELIABLE)
        self._pose_publisher = node.publisher(PoseWithCovarianceStamped, "pose", LATCHED)
        self._geo = GeoOutput(node, config.base_frame)
        self._raw_publisher = node.publisher(TransformStamped, "map_to_odom_raw", RELIABLE)
        self._camera_pose_publisher = node.publisher(PoseWithCovarianceStamped, "camera_pose", RELIABLE)
        self._prior_publisher = node.publisher(PoseWithCovarianceStamped, "search_prior", RELIABLE)
        self._status_publisher = node.publisher(LocalizationStatus, "status", EACH_LATCHED)
        self._map_publisher = node.publisher(MapIdentityMsg, "map_in_use", LATCHED)
        self._map_in_use: MapIdentityMsg | None = None
        self._announced_from_ns: int | None = None  # the node's clock; None once the map in use has been announced
        self._map_sent_until_ns = 0  # the date of the last map -> odom in the frame before, also of one sent again
        self._innovation_publisher = node.publisher(InnovationMsg, "innovation", RELIABLE)
        self._odom_path = PoseHistory(node, Path, "odom_path", config.odom_frame, PATH_MAX_SIZE)
        self._map_path = PoseHistory(node, Path, "map_path", config.map_frame, PATH_MAX_SIZE)
        self._accepted, self._refused = (
            PoseHistory(node, PoseArray, topic, config.map_frame, ANCHORS_SHOWN)
            for topic in ("accepted_anchors", "refused_anchors")
        )
        self._broadcaster = TransformBroadcaster(node)
        self._ahead_ns = int(config.transform_tolerance * NANOSECONDS)
        self._logged_state: State | None = None
        self._watch: TransformWatch | None = None
        self._sent: _Sent | None = None
        self._sending = threading.Lock()  # frames come from another thread than the timer

    def watch(self) -> None:
        """Watch for other nodes that send the same transforms, until the node is deactivated."""
        config = self._config
        sent_here = {
            config.odom_frame: config.publish_map_to_odom_tf,
            config.base_frame: config.publish_odom_to_base_tf,
        }
        self._watch = TransformWatch(self._node, [child for child, is_sent in sent_here.items() if is_sent])

    def problem(self) -> str:
        """Which other node sends these transforms, and what to do about it; or nothing."""
        return "" if self._watch is None else self._watch.problem()

    def on_published(self, published: Published) -> None:
        """Send the output at one frame: the transforms first, since a robot may be driving by them."""
        estimate = published.estimate
        self._broadcast(published)
        self.publish_status(estimate, published.inputs)
        self._predict(estimate)
        if published.odom is not None:
            self._publish_odometry(published.odom)
        if published.pose is not None and published.sends_pose:
            self._publish_pose(estimate.stamp_ns, published.pose)
        self._geo.publish(published, self._backend().on_earth)
        if published.pose is not None and self.keeper is not None:
            self.keeper.keep(estimate, published.pose, self._backend().map)

    def on_anchor(self, anchor: Anchor, verdict: Verdict) -> None:
        """Keep the camera's pose by an anchor, for viewers: arrows along x show its viewing direction."""
        if isinstance(anchor.result, AnchorPose) and verdict is not PENDING:
            history = self._accepted if verdict is ACCEPTED else self._refused
            history.add(anchor.result.stamp_ns, anchor.result.map_from_camera @ BASE_FROM_OPTICAL.inverse)

    def on_innovation(self, innovation: Innovation) -> None:
        """Send an innovation while the topic has subscribers."""
        if self._innovation_publisher.get_subscription_count():
            self._innovation_publisher.publish(innovation_to_msg(innovation, self._config.map_frame))

    def prior_of_map(self, identity: MapIdentity) -> BasePrior | None:
        """The pose of the last run in this map."""
        return None if self.keeper is None else self.keeper.take_prior(identity)

    def on_map(self, identity: MapIdentity, since_ns: int) -> None:
        """Announce the map in use, if its frame is another one once no transform in the frame before is valid any more.

        Transforms are dated ahead: one in the new frame would be interpolated with the last one in the frame before.
        """
        message = map_identity_to_msg(identity, since_ns, self._config.map_frame, is_requested=True)
        before, self._map_in_use = self._map_in_use, message
        with self._sending:
            self._announced_from_ns = self._node.now_ns()
            if before is not None and before.frame_uuid != message.frame_uuid:
                for history in (self._map_path, self._accepted, self._refused):
                    history.clear()
                sent, self._sent = self._sent, None
                if sent is not None:
                    self._map_sent_until_ns = sent.stamp_ns
                    self._announced_from_ns += self._ahead_ns
        self.announce_map()

    def on_clock_jump(self) -> None:
        """All poses from now on are in the map in use, whatever their stamps."""
        self._map_sent_until_ns = 0
        identity = self._backend().map
        if identity is not None:
            self.on_map(identity, 0)

    def announce_map(self) -> None:
        """Publish the map in use when it is time to; to be called regularly."""
        with self._sending:
            from_ns = self._announced_from_ns
            if self._map_in_use is None or from_ns is None or self._node.now_ns() < from_ns:
                return
            self._announced_from_ns = None
        self._map_publisher.publish(self._map_in_use)

    def publish_status(self, estimate: Estimate, inputs: Sequence[Input] = ()) -> None:
        """Send the status: the state of the pose, and why."""
        backend = self._backend()
        message = status_to_msg(estimate, self._config.map_frame, backend.map_name, backend.estimator.counts)
        message.map_frame_uuid = "" if backend.map is None else uuid_of(backend.map.frame)
        message.inputs = [one.kind.value for one in inputs]
        message.input_stamps = [stamp_to_msg(one.stamp_ns) for one in inputs]
        message.pose_age_ms = (self._node.now_ns() - estimate.stamp_ns) / 1e6
        self._status_publisher.publish(message)
        self._log_state(estimate)

    def _log_state(self, estimate: Estimate) -> None:
        """Log a state that is another one than before."""
        if estimate.state is self._logged_state:
            return
        if estimate.state is State.DEGRADED and estimate.reason is Reason.OVERLOADED:  # it may be each second frame
            self._node.get_logger().warning(words_for(estimate)[1], throttle_duration_sec=_OVERLOADED_PERIOD_S)
            return
        self._logged_state = estimate.state
        self._node.get_logger().info(words_for(estimate)[1])

    def publish_end(self, reason: Reason) -> None:
        """Replace the latched status, so that it does not claim a pose that is not computed any more."""
        self._sent = None
        if rclpy.ok():
            self.publish_status(Estimate(self._node.now_ns(), State.UNINITIALIZED, reason))

    def publish_paths(self) -> None:
        """Send the path so far, and the anchors on it, while they have subscribers."""
        for history in (self._odom_path, self._map_path, self._accepted, self._refused):
            history.publish()

    def repeat_map_from_odom(self) -> None:
        """Send the last ``map -> odom`` again after a period without a frame, dated on by the time since.

        A listener that follows another node's odometry, or looks up the newest time, then never waits for the next
        image. Nothing is sent where the loss policy forbids it, or before the first fix.
        """
        period_ns, now_ns = NANOSECONDS / self._config.tf_publish_rate, self._node.now_ns()
        with self._sending:
            sent = self._sent
            if sent is None or not period_ns <= now_ns - sent.repeated_ns <= LONGEST_GAP_NS:
                return
            self._sent = replace(sent, repeated_ns=now_ns)
            stamp_ns = sent.stamp_ns + now_ns - sent.sent_ns
            self._send([(stamp_ns, self._config.map_frame, self._config.odom_frame, sent.map_from_odom)])

    def _broadcast(self, published: Published) -> None:
        config, transforms, stamp_ns = self._config, [], published.stamp_ns
        sent = None
        if published.odom_from_base is not None:
            transforms.append((stamp_ns, config.odom_frame, config.base_frame, published.odom_from_base))
        before_ns = self._map_sent_until_ns
        if published.map_from_odom is not None and stamp_ns > before_ns:
            ahead_ns, now_ns = stamp_ns + self._ahead_ns, self._node.now_ns()
            if before_ns and self._sent is None:  # else the time between is interpolated with the frame before
                transforms.append((before_ns + 1, config.map_frame, config.odom_frame, published.map_from_odom))
            # One precedes the first one dated ahead: lookups within the next tolerance lie between them.
            if self._sent is None or not published.is_dated_ahead:
                transforms.append((stamp_ns, config.map_frame, config.odom_frame, published.map_from_odom))
            if published.is_dated_ahead:
                transforms.append((ahead_ns, config.map_frame, config.odom_frame, published.map_from_odom))
                sent = _Sent(ahead_ns, published.map_from_odom, now_ns, now_ns)
        with self._sending:
            self._sent = sent
            self._send(transforms)
        raw = published.raw_map_from_odom
        if raw is not None and self._raw_publisher.get_subscription_count():
            self._raw_publisher.publish(transform_to_msg(stamp_ns, config.map_frame, config.odom_frame, raw))

    def _send(self, transforms: list[tuple[int, str, str, SE3]]) -> None:
        if not transforms:
            return
        if self._watch is not None:
            for stamp_ns, _, child, _ in transforms:
                self._watch.sent(child, stamp_ns)
        self._broadcaster.send(*transforms)

    def _predict(self, estimate: Estimate) -> None:
        """Send the prior to the nodes that search the map: the fused pose or, before a fix, the expected one."""
        if estimate.map_from_camera is not None and estimate.covariance is not None:
            if estimate.state is not State.LOST:
                pose = self._in_map(estimate.stamp_ns, estimate.map_from_camera, estimate.covariance)
                self._camera_pose_publisher.publish(pose)
            return
        expected = self._backend().expected()
        if expected is not None:
            self._prior_publisher.publish(
                self._in_map(estimate.stamp_ns, expected.map_from_camera, expected.covariance)
            )

    def _in_map(self, stamp_ns: int, map_from_child: SE3, covariance: Array) -> PoseWithCovarianceStamped:
        pose = pose_with_covariance_to_msg(map_from_child, covariance)
        return PoseWithCovarianceStamped(header=header(stamp_ns, self._config.map_frame), pose=pose)

    def _publish_odometry(self, odom: OdomState) -> None:
        self._odom_path.add(odom.stamp_ns, odom.odom_from_base)
        if not self._odom_publisher.get_subscription_count():
            return
        message = Odometry(header=header(odom.stamp_ns, self._config.odom_frame))
        message.child_frame_id = self._config.base_frame
        message.pose = pose_with_covariance_to_msg(odom.odom_from_base, odom.covariance)
        message.twist = twist_with_covariance_to_msg(odom.velocity, odom.velocity_covariance)
        self._odom_publisher.publish(message)

    def _publish_pose(self, stamp_ns: int, pose: BasePose) -> None:
        self._pose_publisher.publish(self._in_map(stamp_ns, pose.map_from_base, pose.covariance))
        self._map_path.add(stamp_ns, pose.map_from_base)


class PoseHistory:
    """Keeps the last ``size`` poses; messages are made of them only for subscribers."""

    def __init__(
        self, node: VislocNode[Any], message_type: type[Path | PoseArray], topic: str, frame_id: str, size: int
    ) -> None:
        self._publisher = node.publisher(message_type, topic, RELIABLE)
        self._message_type, self._frame_id = message_type, frame_id
        self._new: deque[tuple[int, SE3]] = deque(maxlen=size)
        self._made: deque[PoseStamped] = deque(maxlen=size)

    def add(self, stamp_ns: int, frame_from_child: SE3) -> None:
        """Take the next pose."""
        self._new.append((stamp_ns, frame_from_child))

    def clear(self) -> None:
        """Begin again: poses of before are in another frame."""
        self._new.clear()
        self._made.clear()

    def publish(self) -> None:
        """Send all of them while the topic has subscribers."""
        if not self._publisher.get_subscription_count():
            return
        while self._new:
            stamp_ns, pose = self._new.popleft()
            self._made.append(PoseStamped(header=header(stamp_ns, self._frame_id), pose=pose_to_msg(pose)))
        if self._made:
            poses = list(self._made) if self._message_type is Path else [one.pose for one in self._made]
            self._publisher.publish(self._message_type(header=self._made[-1].header, poses=poses))
