"""Joins odometry, followed map points and anchors to one pose; only it publishes ``map -> odom -> base_link``."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import rclpy
from geometry_msgs.msg import PoseWithCovarianceStamped
from std_srvs.srv import Trigger

from visloc_msgs.msg import Anchor, Innovation, LocalizationStatus, LoopClosure, OdometryStatus, TrackedPose
from visloc_ros.core.geometry import SE3, Array, move_covariance
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import AnchorPose, Estimate, Reason, Rejection, State
from visloc_ros.fusion.alone import FUSERS, Mode, standing_on_base
from visloc_ros.fusion.last_pose import LastPose
from visloc_ros.nodes.base import VislocNode, run
from visloc_ros.nodes.conversions import (
    MessageError,
    anchor_from_msg,
    header,
    innovation_to_msg,
    odometry_from_status_msg,
    pose_with_covariance_to_msg,
)
from visloc_ros.nodes.diagnostics import publish_diagnostics
from visloc_ros.nodes.fusion_output import FusionOutput
from visloc_ros.nodes.fusion_parameters import FusionNodeConfig
from visloc_ros.nodes.fusion_status import status_to_msg, words_for
from visloc_ros.nodes.loop_closure_messages import loop_closure_from_msg
from visloc_ros.nodes.pose_hints import BaseHint, InitialPoses, PoseKeeper
from visloc_ros.nodes.qos import LATCHED, RELIABLE
from visloc_ros.nodes.segment_numbers import SegmentNumbers
from visloc_ros.nodes.time_guard import StampVerdict, TimeGuard
from visloc_ros.nodes.tracked_pose_messages import tracked_pose_from_msg
from visloc_ros.nodes.transforms import StaticTransforms

PATH_PERIOD_S = 0.5
WATCH_PERIOD_S = 0.1


class FusionNode(VislocNode[FusionNodeConfig]):
    """Feeds the fuser from messages and publishes its estimate for every frame of the odometry, or anchor alone."""

    default_name = "fusion_node"
    config_type = FusionNodeConfig

    def configure(self) -> None:
        """Make the fuser, the publishers and the services."""
        mode = Mode(self.config.mode)
        self._fuser = FUSERS[mode](self.config.fusion, metric=False)  # until the anchors say which map they are from
        self._silence = Reason.NO_ANCHOR if mode == Mode.HLOC else Reason.NO_ODOMETRY
        self._guard, self._segments = TimeGuard(), SegmentNumbers()
        self._bad: Counter[str] = Counter()
        self._map_name, self._camera_frame = "", ""
        self._estimate = Estimate(0, State.UNINITIALIZED)
        self._hint: BaseHint | None = None
        self._heard_ns: int | None = None
        self._waiting: list[tuple[Anchor, AnchorPose | Rejection]] = []
        self._static = StaticTransforms(self)
        self._output = FusionOutput(self, self.config, self._static)
        self._camera_pose_publisher = self.publisher(PoseWithCovarianceStamped, "camera_pose", RELIABLE)
        self._hint_publisher = self.publisher(PoseWithCovarianceStamped, "search_hint", RELIABLE)
        self._status_publisher = self.publisher(LocalizationStatus, "status", LATCHED)
        self._innovation_publisher = self.publisher(Innovation, "innovation", RELIABLE)
        self.service(Trigger, "~/relocalize", self._relocalize)
        self._publish_status(Estimate(self.now_ns(), State.UNINITIALIZED, self._silence))

    def activate(self) -> None:
        """Start fusing."""
        self.undo(self._say_that_it_ends)
        self._keeper = PoseKeeper(self, Path(self.config.state_dir)) if self.config.state_dir else None
        mode = self.config.mode
        if mode == Mode.HLOC:
            self.subscription(Anchor, "anchor", self._take_anchor_alone, RELIABLE)
        else:
            self.subscription(OdometryStatus, "odometry_status", self._take_odometry, RELIABLE)
        if mode == Mode.FUSED:
            self.subscription(Anchor, "anchor", self._take_anchor, RELIABLE)
            self.subscription(TrackedPose, "map_tracking", self._take_tracked, RELIABLE)
            self.subscription(LoopClosure, "loop_closure", self._take_loop, RELIABLE)
            InitialPoses(self, self.config.map_frame, self._take_hint, self._refuse)
        self.timer(PATH_PERIOD_S, self._output.publish_paths)
        self.timer(WATCH_PERIOD_S, self._watch)
        publish_diagnostics(self, self._report)

    def _take_odometry(self, message: OdometryStatus) -> None:
        message.segment = self._segments.number(message)
        try:
            odometry = odometry_from_status_msg(message)
        except MessageError as error:
            self._refuse(error)
            return
        if not self._accept_stamp(odometry.stamp_ns):
            return
        self._heard_ns, self._camera_frame = self.now_ns(), message.header.frame_id
        self._fuser.add_odometry(odometry)
        self._offer_hint()
        self._publish(self._fuser.estimate(odometry.stamp_ns))
        self._join_anchors()
        self._publish_innovations()

    def _take_anchor(self, message: Anchor) -> None:
        """Take an anchor. It is late anyway, and joining it takes as long as many poses: the next one goes first."""
        try:
            anchor = anchor_from_msg(message)
        except MessageError as error:
            self._refuse(error)
            return
        self._waiting.append((message, anchor))

    def _take_anchor_alone(self, message: Anchor) -> None:
        """Publish an anchor, or that there is none, as it comes."""
        try:
            anchor = anchor_from_msg(message)
        except MessageError as error:
            self._refuse(error)
            return
        if not self._accept_stamp(anchor.stamp_ns):
            return
        self._heard_ns, self._camera_frame = self.now_ns(), message.camera_frame_id
        self._follow_map(message)
        self._fuser.add_anchor(anchor)
        self._publish(self._fuser.estimate(anchor.stamp_ns))

    def _join_anchors(self) -> None:
        waiting, self._waiting = self._waiting, []
        for message, anchor in waiting:
            self._follow_map(message)
            self._fuser.add_anchor(anchor)

    def _take_tracked(self, message: TrackedPose) -> None:
        """Take followed map points; they improve the frames after theirs, and nobody waits for them."""
        try:
            tracked = tracked_pose_from_msg(message)
        except MessageError as error:
            self._refuse(error)
            return
        self._join_anchors()  # it may be from one of them
        self._fuser.add_tracked(tracked)

    def _take_loop(self, message: LoopClosure) -> None:
        """Take a place that odometry has seen before; like followed map points it improves the frames after."""
        try:
            loop = loop_closure_from_msg(message)
        except MessageError as error:
            self._refuse(error)
            return
        self._join_anchors()  # a loop needs a fix
        self._fuser.add_loop(loop)

    def _follow_map(self, message: Anchor) -> None:
        """Forget the alignment when the anchors come from another map than before."""
        if self._map_name and message.map_name != self._map_name:
            self._fuser.relocalize()
        if not self._map_name and self._keeper is not None and self._hint is None and self._fuser.hint is None:
            self._hint = self._keeper.take_hint(message.map_name)
        self._map_name = message.map_name
        self._fuser.metric, self._fuser.gravity_aligned = message.metric, message.gravity_aligned

    def _accept_stamp(self, stamp_ns: int) -> bool:
        verdict = self._guard.judge(stamp_ns)
        if verdict is StampVerdict.CLOCK_JUMP:
            self.get_logger().warning("the clock jumped back: starting anew")
            self._join_anchors()  # of the time before
            self._fuser.reset()
            self._output.reset()
        if verdict in (StampVerdict.UNSTAMPED, StampVerdict.UNORDERED):
            self._bad[verdict.value] += 1
            return False
        return True

    def _watch(self) -> None:
        """Where no odometry comes any more there is a loss, too, and nobody else would tell."""
        self._join_anchors()
        if self._heard_ns is None:
            return
        silence_ns = self.now_ns() - self._heard_ns
        if silence_ns > self.config.silence_s * NANOSECONDS:
            estimate = self._fuser.estimate(self._guard.last_ns + silence_ns)
            self._publish(replace(estimate, reason=self._silence))

    def _publish(self, estimate: Estimate) -> None:
        base_from_camera = self._static.lookup(self.config.base_frame, self._camera_frame)
        self._predict(estimate)
        if base_from_camera is None:
            reason = f"no fixed transform {self.config.base_frame} -> {self._camera_frame} on /tf_static"
            self.get_logger().warning(reason, throttle_duration_sec=5.0)
            self._bad[Reason.NO_TRANSFORM.value] += 1
            self._publish_status(replace(estimate, reason=Reason.NO_TRANSFORM))
            return
        self._publish_status(estimate)
        raw_map_from_odom = self._fuser.raw_map_from_odom
        if self.config.mode != Mode.FUSED:
            estimate, raw_map_from_odom = standing_on_base(estimate, raw_map_from_odom, base_from_camera)
        self._output.publish(estimate, raw_map_from_odom, base_from_camera)
        self._keep(estimate, base_from_camera)

    def _predict(self, estimate: Estimate) -> None:
        """Tell the nodes that search the map where to look first: the fused pose or, before a fix, its prior."""
        map_from_camera, prior = estimate.map_from_camera, self._fuser.search_prior
        if map_from_camera is not None and estimate.covariance is not None and estimate.state is not State.LOST:
            self._camera_pose_publisher.publish(self._in_map(estimate.stamp_ns, map_from_camera, estimate.covariance))
        elif prior is not None:
            self._hint_publisher.publish(self._in_map(estimate.stamp_ns, prior.map_from_camera, prior.covariance))

    def _in_map(self, stamp_ns: int, map_from_camera: SE3, covariance: Array) -> PoseWithCovarianceStamped:
        pose = pose_with_covariance_to_msg(map_from_camera, covariance)
        return PoseWithCovarianceStamped(header=header(stamp_ns, self.config.map_frame), pose=pose)

    def _keep(self, estimate: Estimate, base_from_camera: SE3) -> None:
        map_from_camera = estimate.map_from_camera
        if self._keeper is None or map_from_camera is None or estimate.covariance is None:
            return
        map_from_base = map_from_camera @ base_from_camera.inverse
        covariance = move_covariance(estimate.covariance, -(map_from_base.rotation @ base_from_camera.translation))
        self._keeper.keep(estimate.state, LastPose(self._map_name, estimate.stamp_ns, map_from_base, covariance))

    def _publish_innovations(self) -> None:
        innovations = self._fuser.take_innovations()
        if not self._innovation_publisher.get_subscription_count():
            return
        for innovation in innovations:
            self._innovation_publisher.publish(innovation_to_msg(innovation, self.config.map_frame))

    def _publish_status(self, estimate: Estimate) -> None:
        self._estimate = estimate
        message = status_to_msg(estimate, self.config.map_frame, self._map_name, self._fuser.counts)
        message.pose_age_ms = (self.now_ns() - estimate.stamp_ns) / 1e6
        self._status_publisher.publish(message)

    def _say_that_it_ends(self) -> None:
        """The latched status must not go on claiming a pose that nobody computes any more."""
        if rclpy.ok():
            self._publish_status(Estimate(self.now_ns(), State.UNINITIALIZED, self._silence))

    def _refuse(self, error: MessageError) -> None:
        self._bad["bad message"] += 1
        self.get_logger().warning(f"message left out: {error}", throttle_duration_sec=5.0)

    def _take_hint(self, hint: BaseHint) -> None:
        self._join_anchors()
        self._hint = hint
        self._offer_hint()

    def _offer_hint(self) -> None:
        """Give a hint to the fuser as soon as it is known where on the base the camera is."""
        newest_ns = self._guard.last_ns
        if self._hint is None or newest_ns is None:
            return
        base_from_camera = self._static.lookup(self.config.base_frame, self._camera_frame)
        if base_from_camera is None:
            return
        hint, self._hint = self._hint, None
        is_used = self._fuser.set_initial_pose(newest_ns, *hint.for_camera(base_from_camera))
        what = "the search begins around it" if is_used else "the pose agrees with it and stays"
        self.get_logger().info(f"hint from {hint.source}: {what}")

    def _relocalize(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._join_anchors()
        self._hint = None
        self._fuser.relocalize()
        response.success = True
        response.message = "forgot the place in the map and every hint; agreeing anchors set it anew, odom goes on"
        return response

    def _report(self) -> tuple[str, str, dict[str, object]]:
        values: dict[str, object] = {"map": self._map_name or "none yet"}
        values |= {f"anchors {verdict}": count for verdict, count in self._fuser.counts.items()}
        values |= {f"map tracking {verdict}": count for verdict, count in self._fuser.tracked_counts.items()}
        values |= {f"loops {verdict}": count for verdict, count in self._fuser.loop_counts.items()}
        values |= self._bad
        if self._heard_ns is None:
            return "warn", f"{self._silence.value.lower().replace('_', ' ')} received", values
        values["hint"] = "in use" if self._fuser.hint is not None else "none"
        return *words_for(self._estimate), values


def main() -> None:
    """Run the node."""
    run(FusionNode)


if __name__ == "__main__":
    main()
