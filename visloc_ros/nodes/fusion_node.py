"""Joins odometry and anchors to one pose and is the only one to publish ``map -> odom -> base_link``."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from nav_msgs.msg import Odometry, Path
from std_srvs.srv import Trigger

from visloc_msgs.msg import Anchor, LocalizationStatus, OdometryStatus
from visloc_ros.core.config import Config, option, section
from visloc_ros.core.geometry import SE3, Array, skew
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Estimate, Reason, Rejection, State
from visloc_ros.fusion import Fuser, FusionConfig
from visloc_ros.nodes.base import VislocNode, run
from visloc_ros.nodes.conversions import (
    MessageError,
    anchor_from_msg,
    header,
    pose_to_msg,
    pose_with_covariance_to_msg,
    reason_from_msg,
    stamp_from_msg,
    state_to_msg,
    visual_odometry_from_msg,
)
from visloc_ros.nodes.diagnostics import publish_diagnostics
from visloc_ros.nodes.qos import LATCHED, RELIABLE
from visloc_ros.nodes.time_guard import StampVerdict, TimeGuard
from visloc_ros.nodes.transforms import StaticTransforms, TransformBroadcaster

LEVEL_OF_STATE = {State.LOCALIZED: "ok", State.LOST: "error"}
PATH_PERIOD_S = 0.5


@dataclass(frozen=True)
class FusionNodeConfig(Config):
    """Parameters of the fusion node."""

    map_frame: str = option("map", "frame id of the map")
    odom_frame: str = option("odom", "frame id of the continuous odometry")
    base_frame: str = option("base_link", "frame id of the robot; the camera's own frame id for a bare camera")
    publish_map_to_odom_tf: bool = option(True, "broadcast map -> odom")
    publish_odom_to_base_tf: bool = option(True, "broadcast odom -> base (false when another node owns it)")
    transform_tolerance: float = option(0.1, "seconds map -> odom is dated ahead", minimum=0.0, maximum=2.0)
    loss_policy: str = option(
        "stop_tf", "map -> odom while LOST: keep sending it, or stop", choices=("hold", "stop_tf")
    )
    path_max_size: int = option(1024, "poses kept in odom_path and map_path", minimum=2, maximum=100000)
    fusion: FusionConfig = section(FusionConfig)


class FusionNode(VislocNode[FusionNodeConfig]):
    """Feeds the fuser from messages and publishes its estimate for every frame of the odometry."""

    default_name = "fusion_node"
    config_type = FusionNodeConfig

    def configure(self) -> None:
        """Make the fuser, the publishers and the services."""
        self._fuser = Fuser(self.config.fusion, metric=False)  # until the anchors say which map they are from
        self._guard = TimeGuard()
        self._counts: Counter[str] = Counter()
        self._map_name = ""
        self._estimate: Estimate | None = None
        self._odom_publisher = self.publisher(Odometry, "odom", RELIABLE)
        self._pose_publisher = self.publisher(PoseWithCovarianceStamped, "pose", LATCHED)
        self._camera_pose_publisher = self.publisher(PoseWithCovarianceStamped, "camera_pose", RELIABLE)
        self._status_publisher = self.publisher(LocalizationStatus, "status", LATCHED)
        self._paths = {
            name: (self.publisher(Path, name, RELIABLE), deque(maxlen=self.config.path_max_size))
            for name in ("odom_path", "map_path")
        }
        self._broadcaster = TransformBroadcaster(self)
        self._static = StaticTransforms(self)
        self.service(Trigger, "~/relocalize", self._relocalize)
        self._publish_status(Estimate(self.now_ns(), State.UNINITIALIZED), None)

    def activate(self) -> None:
        """Start fusing."""
        self.subscription(Odometry, "visual_odom", self._take_odometry, RELIABLE)
        self.subscription(OdometryStatus, "odometry_status", self._take_loss, RELIABLE)
        self.subscription(Anchor, "anchor", self._take_anchor, RELIABLE)
        self.timer(PATH_PERIOD_S, self._publish_paths)
        publish_diagnostics(self, self._report)

    def _take_odometry(self, message: Odometry) -> None:
        try:
            odometry = visual_odometry_from_msg(message)
        except MessageError as error:
            self._refuse(error)
            return
        if not self._accept_stamp(odometry.stamp_ns):
            return
        self._fuser.add_odometry(odometry)
        self._publish(self._fuser.estimate(odometry.stamp_ns), message.child_frame_id)

    def _take_loss(self, message: OdometryStatus) -> None:
        if message.tracked:
            return
        stamp_ns = stamp_from_msg(message.header.stamp)
        try:
            reason = reason_from_msg(message.reason)
        except MessageError as error:
            self._refuse(error)
            return
        if self._accept_stamp(stamp_ns):
            self._fuser.add_odometry(Rejection(stamp_ns, reason))
            self._publish(self._fuser.estimate(stamp_ns), message.header.frame_id)

    def _take_anchor(self, message: Anchor) -> None:
        try:
            anchor = anchor_from_msg(message)
        except MessageError as error:
            self._refuse(error)
            return
        self._follow_map(message)
        rejection = self._fuser.add_anchor(anchor)
        self._counts["anchors accepted" if rejection is None else f"anchors rejected {rejection.reason.value}"] += 1

    def _follow_map(self, message: Anchor) -> None:
        """Forget the alignment when the anchors come from another map than before."""
        if self._map_name and message.map_name != self._map_name:
            self._fuser.reset()
        self._map_name, self._fuser.metric = message.map_name, message.metric

    def _accept_stamp(self, stamp_ns: int) -> bool:
        verdict = self._guard.judge(stamp_ns)
        if verdict is StampVerdict.CLOCK_JUMP:
            self.get_logger().warning("the clock jumped back: starting anew")
            self._fuser.reset()
        if verdict in (StampVerdict.UNSTAMPED, StampVerdict.UNORDERED):
            self._counts[verdict.value] += 1
            return False
        return True

    def _publish(self, estimate: Estimate, camera_frame: str) -> None:
        base_from_camera = self._static.lookup(self.config.base_frame, camera_frame)
        self._estimate = estimate
        self._publish_camera_pose(estimate)
        if base_from_camera is None:
            reason = f"no fixed transform {self.config.base_frame} -> {camera_frame} on /tf_static"
            self.get_logger().warning(reason, throttle_duration_sec=5.0)
            self._counts[Reason.NO_TRANSFORM.value] += 1
            self._publish_status(estimate, Reason.NO_TRANSFORM)
            return
        self._publish_status(estimate, estimate.reason)
        if estimate.odom_from_camera is not None:
            self._publish_poses(estimate, estimate.odom_from_camera, base_from_camera)

    def _publish_camera_pose(self, estimate: Estimate) -> None:
        """Tell the anchor node where to search first."""
        map_from_camera = estimate.map_from_camera
        if map_from_camera is None or estimate.covariance is None or estimate.state is State.LOST:
            return
        message = PoseWithCovarianceStamped(header=header(estimate.stamp_ns, self.config.map_frame))
        message.pose = pose_with_covariance_to_msg(map_from_camera, estimate.covariance)
        self._camera_pose_publisher.publish(message)

    def _publish_poses(self, estimate: Estimate, odom_from_camera: SE3, base_from_camera: SE3) -> None:
        stamp_ns, config = estimate.stamp_ns, self.config
        # The odom frame starts level with the base, not with the camera: base_from_camera leads the chain.
        odom_from_base = base_from_camera @ odom_from_camera @ base_from_camera.inverse
        transforms = []
        if config.publish_odom_to_base_tf:
            transforms.append((stamp_ns, config.odom_frame, config.base_frame, odom_from_base))
        if estimate.map_from_odom is not None:
            map_from_odom = estimate.map_from_odom @ base_from_camera.inverse
            if config.publish_map_to_odom_tf and not (estimate.state is State.LOST and config.loss_policy == "stop_tf"):
                ahead_ns = stamp_ns + int(config.transform_tolerance * NANOSECONDS)
                transforms.append((ahead_ns, config.map_frame, config.odom_frame, map_from_odom))
            self._publish_map_pose(estimate, map_from_odom @ odom_from_base, base_from_camera)
        if transforms:
            self._broadcaster.send(*transforms)
        message = Odometry(header=header(stamp_ns, config.odom_frame), child_frame_id=config.base_frame)
        message.pose.pose = pose_to_msg(odom_from_base)
        self._odom_publisher.publish(message)
        self._remember("odom_path", stamp_ns, config.odom_frame, odom_from_base)

    def _publish_map_pose(self, estimate: Estimate, map_from_base: SE3, base_from_camera: SE3) -> None:
        if estimate.covariance is None:
            return
        message = PoseWithCovarianceStamped(header=header(estimate.stamp_ns, self.config.map_frame))
        covariance = move_covariance(estimate.covariance, map_from_base, base_from_camera)
        message.pose = pose_with_covariance_to_msg(map_from_base, covariance)
        self._pose_publisher.publish(message)
        self._remember("map_path", estimate.stamp_ns, self.config.map_frame, map_from_base)

    def _remember(self, path: str, stamp_ns: int, frame_id: str, pose: SE3) -> None:
        self._paths[path][1].append(PoseStamped(header=header(stamp_ns, frame_id), pose=pose_to_msg(pose)))

    def _publish_paths(self) -> None:
        for publisher, poses in self._paths.values():
            if poses and publisher.get_subscription_count():
                publisher.publish(Path(header=poses[-1].header, poses=list(poses)))

    def _publish_status(self, estimate: Estimate, reason: Reason | None) -> None:
        message = LocalizationStatus(header=header(estimate.stamp_ns, self.config.map_frame))
        message.state = state_to_msg(estimate.state)
        message.reason = reason.value if reason is not None else ""
        message.age_s = -1.0 if estimate.age_ns is None else estimate.age_ns / NANOSECONDS
        message.distance_since_fix = float(estimate.distance_since_fix or 0.0)
        message.scale, message.metric = float(estimate.scale or 0.0), estimate.metric
        message.anchors_accepted = self._counts["anchors accepted"]
        message.anchors_rejected = sum(n for key, n in self._counts.items() if key.startswith("anchors rejected"))
        message.map_name = self._map_name
        message.pose_age_ms = (self.now_ns() - estimate.stamp_ns) / 1e6
        self._status_publisher.publish(message)

    def _refuse(self, error: MessageError) -> None:
        self._counts["bad message"] += 1
        self.get_logger().warning(f"message left out: {error}", throttle_duration_sec=5.0)

    def _relocalize(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._fuser.reset()
        response.success, response.message = True, "forgot the alignment; the next agreeing anchors set it anew"
        return response

    def _report(self) -> tuple[str, str, dict[str, object]]:
        estimate = self._estimate
        if estimate is None:
            return "warn", "no odometry received", dict(self._counts)
        reason = f": {estimate.reason.value}" if estimate.reason else ""
        return LEVEL_OF_STATE.get(estimate.state, "warn"), f"{estimate.state.value}{reason}", dict(self._counts)


def move_covariance(covariance: Array, map_from_base: SE3, base_from_camera: SE3) -> Array:
    """Covariance (6, 6) of ``map_from_base`` from that of ``map_from_camera``: the lever arm turns with the base."""
    camera_in_base = map_from_base.rotation @ base_from_camera.translation
    jacobian = np.eye(6)
    jacobian[:3, 3:] = skew(camera_in_base)
    return np.asarray(jacobian @ covariance @ jacobian.T)


def main() -> None:
    """Run the node."""
    run(FusionNode)


if __name__ == "__main__":
    main()
