"""What the fusion node sends: both transforms, odometry, pose and paths, and what of it goes on through a loss."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped, TransformStamped
from nav_msgs.msg import Odometry, Path

from visloc_ros.core.geometry import SE3, Array, move_covariance
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Estimate, State
from visloc_ros.fusion.alone import Mode
from visloc_ros.fusion.health import inflated_covariance
from visloc_ros.fusion.odom_velocity import OdomState
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.conversions import (
    header,
    pose_to_msg,
    pose_with_covariance_to_msg,
    transform_to_msg,
    twist_with_covariance_to_msg,
)
from visloc_ros.nodes.fusion_parameters import FusionNodeConfig
from visloc_ros.nodes.qos import LATCHED, RELIABLE
from visloc_ros.nodes.transforms import MovingTransforms, StaticTransforms, TransformBroadcaster

RECENT = 8  # frames that may wait for the transform of another node's odometry


@dataclass(frozen=True, eq=False)
class BasePose:
    """Where the robot is in the map at one frame: as broadcast, and as the newest measurements would have it (raw)."""

    stamp_ns: int
    map_from_base: SE3
    raw_map_from_base: SE3


class PathOutput:
    """The last poses of the base in one frame; messages are made of them once somebody listens."""

    def __init__(self, node: VislocNode, topic: str, frame_id: str, size: int) -> None:
        self._publisher, self._frame_id = node.publisher(Path, topic, RELIABLE), frame_id
        self._new: deque[tuple[int, SE3]] = deque(maxlen=size)
        self._made: deque[PoseStamped] = deque(maxlen=size)

    def add(self, stamp_ns: int, frame_from_base: SE3) -> None:
        """Take the next pose."""
        self._new.append((stamp_ns, frame_from_base))

    def publish(self) -> None:
        """Send all of them to those who listen."""
        if not self._publisher.get_subscription_count():
            return
        while self._new:
            stamp_ns, pose = self._new.popleft()
            self._made.append(PoseStamped(header=header(stamp_ns, self._frame_id), pose=pose_to_msg(pose)))
        if self._made:
            self._publisher.publish(Path(header=self._made[-1].header, poses=list(self._made)))


@dataclass(frozen=True, eq=False)
class Correction:
    """``map_from_odom`` as broadcast, and raw."""

    map_from_odom: SE3
    raw_map_from_odom: SE3


class FusionOutput:
    """Publishes one estimate after the other; what a loss changes is up to ``loss_policy``."""

    def __init__(self, node: VislocNode, config: FusionNodeConfig, static: StaticTransforms) -> None:
        self._config = config
        self._odom_publisher = node.publisher(Odometry, "odom", RELIABLE)
        self._pose_publisher = node.publisher(PoseWithCovarianceStamped, "pose", LATCHED)
        self._raw_publisher = node.publisher(TransformStamped, "map_to_odom_raw", RELIABLE)
        self._odom_path = PathOutput(node, "odom_path", config.odom_frame, config.path_max_size)
        self._map_path = PathOutput(node, "map_path", config.map_frame, config.path_max_size)
        self._broadcaster = TransformBroadcaster(node)
        self._odometry_of_others = None if config.publish_odom_to_base_tf else MovingTransforms(node, static)
        self.reset()

    def reset(self) -> None:
        """Begin anew after a jump of the clock."""
        self._motion: OdomState | None = None
        self._correction: Correction | None = None
        self._recent: deque[BasePose] = deque(maxlen=RECENT)

    def publish(self, estimate: Estimate, raw_map_from_odom: SE3 | None, base_from_camera: SE3) -> None:
        """Send what is true at one frame, and of what was true before it what may go on."""
        camera_from_base = base_from_camera.inverse
        odom_from_base = None
        if estimate.odom_from_camera is not None:
            odom_from_base = estimate.odom_from_camera @ camera_from_base
        self._correct(estimate, raw_map_from_odom, odom_from_base)
        self._broadcast(estimate, odom_from_base)
        if odom_from_base is not None and self._config.mode != Mode.HLOC:
            self._publish_odometry(estimate.stamp_ns, odom_from_base)
        if estimate.map_from_camera is not None and estimate.covariance is not None:
            map_from_base = estimate.map_from_camera @ camera_from_base
            camera_to_base = -(map_from_base.rotation @ base_from_camera.translation)
            covariance = move_covariance(estimate.covariance, camera_to_base)
            self._publish_pose(estimate, map_from_base, covariance)

    def publish_paths(self) -> None:
        """Send the way so far to those who listen."""
        self._odom_path.publish()
        self._map_path.publish()

    def _correct(self, estimate: Estimate, raw_map_from_odom: SE3 | None, odom_from_base: SE3 | None) -> None:
        """Follow ``map_from_odom``; through frames without a pose the last one goes on, until a new start."""
        if estimate.map_from_odom is None or raw_map_from_odom is None or odom_from_base is None:
            if estimate.state in (State.UNINITIALIZED, State.INITIALIZING):
                self._correction = None
                self._recent.clear()
            return
        if self._odometry_of_others is None:
            self._correction = Correction(estimate.map_from_odom, raw_map_from_odom)
            return
        self._recent.append(
            BasePose(estimate.stamp_ns, estimate.map_from_odom @ odom_from_base, raw_map_from_odom @ odom_from_base)
        )
        self._correct_others(self._odometry_of_others)

    def _correct_others(self, transforms: MovingTransforms) -> None:
        """Correct another node's odometry at the newest frame that it has reached."""
        for pose in reversed(self._recent):
            odom_from_base = transforms.lookup(self._config.odom_frame, self._config.base_frame, pose.stamp_ns)
            if odom_from_base is not None:
                base_from_odom = odom_from_base.inverse
                self._correction = Correction(
                    pose.map_from_base @ base_from_odom, pose.raw_map_from_base @ base_from_odom
                )
                return

    def _broadcast(self, estimate: Estimate, odom_from_base: SE3 | None) -> None:
        config, transforms = self._config, []
        if config.publish_odom_to_base_tf and odom_from_base is not None:
            transforms.append((estimate.stamp_ns, config.odom_frame, config.base_frame, odom_from_base))
        goes_on = estimate.state is not State.LOST or config.loss_policy != "stop_tf"
        if config.publish_map_to_odom_tf and self._correction is not None and goes_on:
            ahead_ns = estimate.stamp_ns + int(config.transform_tolerance * NANOSECONDS)
            transforms.append((ahead_ns, config.map_frame, config.odom_frame, self._correction.map_from_odom))
        if transforms:
            self._broadcaster.send(*transforms)
        is_corrected = self._correction is not None and estimate.map_from_odom is not None
        if is_corrected and self._raw_publisher.get_subscription_count():
            raw = self._correction.raw_map_from_odom
            self._raw_publisher.publish(transform_to_msg(estimate.stamp_ns, config.map_frame, config.odom_frame, raw))

    def _publish_odometry(self, stamp_ns: int, odom_from_base: SE3) -> None:
        noise = self._config.fusion.odometry_noise
        motion = (
            OdomState.begin(stamp_ns, odom_from_base)
            if self._motion is None
            else self._motion.moved(stamp_ns, odom_from_base, noise)
        )
        self._motion = motion
        self._odom_path.add(stamp_ns, odom_from_base)
        if not self._odom_publisher.get_subscription_count():
            return
        message = Odometry(header=header(stamp_ns, self._config.odom_frame), child_frame_id=self._config.base_frame)
        message.pose = pose_with_covariance_to_msg(odom_from_base, motion.covariance)
        message.twist = twist_with_covariance_to_msg(motion.velocity, motion.velocity_covariance)
        self._odom_publisher.publish(message)

    def _publish_pose(self, estimate: Estimate, map_from_base: SE3, covariance: Array) -> None:
        if estimate.state is State.LOST:
            if self._config.loss_policy != "inflate":
                return
            age_s, distance = (estimate.age_ns or 0) / NANOSECONDS, estimate.distance_since_fix or 0.0
            covariance = inflated_covariance(covariance, age_s, distance, self._config.fusion.state)
        message = PoseWithCovarianceStamped(header=header(estimate.stamp_ns, self._config.map_frame))
        message.pose = pose_with_covariance_to_msg(map_from_base, covariance)
        self._pose_publisher.publish(message)
        self._map_path.add(estimate.stamp_ns, map_from_base)
