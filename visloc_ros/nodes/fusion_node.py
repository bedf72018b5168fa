"""Joins odometry, followed map points and anchors to one pose; only it publishes ``map -> odom -> base_link``."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from visloc_msgs.msg import Anchor as AnchorMsg
from visloc_msgs.msg import LoopClosure, MapIdentity, OdometryStatus, TrackedPose
from visloc_msgs.srv import SetMode
from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import Mode, Reason
from visloc_ros.nodes.base import VislocNode, run
from visloc_ros.nodes.diagnostics import publish_diagnostics
from visloc_ros.nodes.fusion_output import FusionNodeConfig, FusionOutput
from visloc_ros.nodes.fusion_status import words_for
from visloc_ros.nodes.pose_priors import InitialPoses, PoseKeeper
from visloc_ros.nodes.qos import LATCHED, RELIABLE, REQUESTS
from visloc_ros.nodes.transforms import MovingTransforms, StaticTransforms, no_mount
from visloc_ros.pipeline import Backend
from visloc_ros.pipeline.anchors import RemoteAnchors
from visloc_ros.pipeline.segment_numbers import SegmentNumbers
from visloc_ros.sources.ros_messages import (
    anchor_from_msg,
    loop_closure_from_msg,
    map_identity_from_msg,
    odometry_from_status_msg,
    stamp_from_msg,
    tracked_pose_from_msg,
)

PATH_PERIOD_S = 0.5
WATCH_PERIOD_S = 0.1


class FusionNode(VislocNode[FusionNodeConfig]):
    """Feeds messages to the back end, and publishes its output.

    In one process with the odometry node (``localization_node``), ``takes_odometry`` is false, and that node borrows
    the back end for each frame.
    """

    default_name = "fusion_node"
    config_type = FusionNodeConfig
    parameter_names = (
        "mode",
        "publish_map_to_odom_tf",
        "publish_odom_to_base_tf",
        "transform_tolerance",
        "tf_publish_rate",
        "loss_policy",
        "silence_s",
        "fusion.slew",
        "fusion.state.degraded_distance",
        "fusion.state.lost_distance",
        "fusion.state.degraded_age_s",
        "fusion.state.lost_age_s",
        "fusion.state.degraded_sigma",
        "fusion.state.lost_sigma",
        "fusion.state.lost_without_pose_s",
        "fusion.sensors.use_scale",
        "fusion.sensors.use_gravity",
        "fusion.sensors.two_d_mode",
        "map_frame",
        "odom_frame",
        "base_frame",
        "state_dir",
    )

    def __init__(self, takes_odometry: bool = True) -> None:
        super().__init__()
        self._takes_odometry = takes_odometry
        self._lent: Backend | None = None  # while this node is active and its mode takes odometry
        self._lending = threading.Lock()
        self.camera_frame, self._has_camera = "", False  # of the newest odometry; whether any has named one
        ModeService(self)

    @contextmanager
    def lend_backend(self, camera_frame: str, stamp_ns: int) -> Iterator[Backend | None]:
        """Lend the back end for one frame to a node in this process, None where it is not active or takes no odometry.

        The back end's publishers live until it is returned.
        """
        with self._lending:
            if self._lent is not None:
                self._follow_camera(camera_frame, stamp_ns)
            yield self._lent

    def configure(self) -> None:
        """Make the back end, the publishers and the services."""
        config = self.config
        self._silence = Reason.NO_ANCHOR if config.mode == Mode.ANCHORS else Reason.NO_ODOMETRY
        self._segments = SegmentNumbers()
        self._refused_map = ""  # that the anchor node searches
        self._of_other_camera = 0  # anchors that came after odometry had begun to follow another camera
        self._static = StaticTransforms(self)
        self._anchors = RemoteAnchors()
        moving = None if config.publish_odom_to_base_tf else MovingTransforms(self, self._static)
        self._output = FusionOutput(self, lambda: self._backend)
        self._backend = Backend(
            config,
            self._anchors,
            self._base_from_camera,
            self._output,
            None if moving is None else lambda stamp_ns: moving.lookup(config.odom_frame, config.base_frame, stamp_ns),
        )
        self.service(Trigger, "~/relocalize", self._relocalize)
        self._output.publish_end(self._silence)

    def activate(self) -> None:
        """Start fusing."""
        self.undo(self._end)
        self._output.watch()
        if self.config.state_dir:
            self._output.keeper = PoseKeeper(self, Path(self.config.state_dir))
        mode = self.config.mode
        if mode != Mode.ODOM:
            self.subscription(MapIdentity, "loaded_map", self._take_map, LATCHED)
            self.subscription(AnchorMsg, "anchor", self._take_anchor, RELIABLE)
        if mode == Mode.FUSED:
            InitialPoses(self, self.config.map_frame, self._backend.add_prior)
        if mode != Mode.ANCHORS and self._takes_odometry:
            self.subscription(OdometryStatus, "odometry_status", self._take_odometry, RELIABLE)
        if mode == Mode.FUSED and self._takes_odometry:
            self.subscription(TrackedPose, "map_tracking", self._take_tracked, RELIABLE)
            self.subscription(LoopClosure, "loop_closure", self._take_loop, RELIABLE)
        if self.config.tf_publish_rate > 0.0:
            self.timer(1.0 / self.config.tf_publish_rate, self._output.repeat_map_from_odom)
        self.timer(PATH_PERIOD_S, self._output.publish_paths)
        self.timer(WATCH_PERIOD_S, self._watch)
        publish_diagnostics(self, self._report)
        self._lent = None if mode == Mode.ANCHORS else self._backend

    def _take_odometry(self, message: OdometryStatus) -> None:
        odometry = odometry_from_status_msg(message)
        self._follow_camera(message.header.frame_id, odometry.stamp_ns)
        self._backend.add_odometry(self._segments.renumbered(odometry, message.frames_received))

    def _follow_camera(self, camera_frame: str, stamp_ns: int) -> None:
        """Take note of the camera of the next odometry, which may be another one of the robot than before."""
        if self._has_camera and camera_frame != self.camera_frame:
            self.get_logger().info(f"odometry follows the camera '{camera_frame}' from now on")
            self._backend.change_camera(stamp_ns, lambda: self._place_of(camera_frame))
        self.camera_frame, self._has_camera = camera_frame, self._has_camera or bool(camera_frame)

    def _take_anchor(self, message: AnchorMsg) -> None:
        """Keep an anchor until the next frame's pose is out; without odometry it is published as it comes."""
        anchor = anchor_from_msg(message)
        if self.config.mode == Mode.ANCHORS:
            self.camera_frame = message.camera_frame_id
        elif self.camera_frame and message.camera_frame_id != self.camera_frame:
            self._of_other_camera += 1
            return
        self._anchors.add(anchor)
        if self.config.mode == Mode.ANCHORS:
            self._backend.join_anchors()

    def _take_map(self, message: MapIdentity) -> None:
        """Give poses in the map that the anchor node has loaded, if ``load_map`` asked for it or none is in use."""
        identity = map_identity_from_msg(message)
        is_used = self._backend.use_map(identity, stamp_from_msg(message.header.stamp), is_requested=message.requested)
        self._refused_map = "" if is_used else identity.path or identity.name
        if self._refused_map:
            self.get_logger().error(self._other_map())

    def _other_map(self) -> str:
        return (
            f"The anchor node searches the map {self._refused_map}, which is in another frame than '"
            f"{self._backend.map_name}', in use here: load one of them with load_map."
        )

    def _take_tracked(self, message: TrackedPose) -> None:
        if not self.camera_frame or message.camera_frame_id == self.camera_frame:
            self._backend.add_tracked(tracked_pose_from_msg(message))

    def _take_loop(self, message: LoopClosure) -> None:
        self._backend.add_loop(loop_closure_from_msg(message))

    def _watch(self) -> None:
        self._backend.watch(self.now_ns())
        self._output.announce_map()

    def _base_from_camera(self) -> SE3 | None:
        """Where the camera is on the base; None, with a warning, while it is unknown."""
        return self._place_of(self.camera_frame) if self.camera_frame else None

    def _place_of(self, camera_frame: str) -> SE3 | None:
        base_from_camera = self._static.lookup(self.config.base_frame, camera_frame)
        if base_from_camera is None:
            self.get_logger().warning(self._no_base_from_camera(), throttle_duration_sec=5.0)
        return base_from_camera

    def _no_base_from_camera(self) -> str:
        """The missing transform, and what to do about it."""
        if not self.camera_frame:
            return "the images name no frame: set the camera driver's frame_id."
        return no_mount(self.config.base_frame, self.camera_frame)

    def _end(self) -> None:
        with self._lending:
            self._lent = None
        self._output.publish_end(self._silence)

    def _relocalize(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._backend.relocalize()
        response.success = True
        response.message = "forgot the place in the map and all priors; agreeing anchors set it again; odom goes on"
        self.get_logger().info(f"relocalize: {response.message}", throttle_duration_sec=5.0)
        return response

    def _report(self) -> tuple[str, str, dict[str, object]]:
        backend, estimator = self._backend, self._backend.estimator
        values: dict[str, object] = {"map": backend.map_name or "none yet"}
        values |= {f"anchors {verdict}": count for verdict, count in estimator.counts.items()}
        values |= {f"map tracking {verdict}": count for verdict, count in estimator.tracked_counts.items()}
        values |= {f"loops {verdict}": count for verdict, count in estimator.loop_counts.items()}
        values |= backend.refused
        if self._of_other_camera:
            values["anchors of another camera"] = self._of_other_camera
        if estimator.failures:
            values["numerical failures"] = estimator.failures
        if not backend.has_heard:
            return "warn", f"{self._silence.value.lower().replace('_', ' ')} received", values
        values["pose prior"] = "in use" if backend.has_pose_prior else "none"
        if problem := self._output.problem():
            return "error", problem, values
        if self._refused_map:
            return "error", self._other_map(), values
        if self._base_from_camera() is None:
            return "error", f"No pose and no TF: {self._no_base_from_camera()}", values
        return *words_for(backend.latest), values


DONE = TransitionCallbackReturn.SUCCESS
MODES = tuple(mode.value for mode in Mode)


class ModeService:
    """Takes the node through its lifecycle to configure another mode; it lives as long as the node does."""

    def __init__(self, node: VislocNode[FusionNodeConfig]) -> None:
        self._node = node
        guarded = node.guard.service("set_mode", self._answer)
        node.create_service(SetMode, "~/set_mode", guarded, qos_profile=REQUESTS)

    def _answer(self, request: SetMode.Request, response: SetMode.Response) -> SetMode.Response:
        mode = request.mode
        if mode not in MODES:
            response.code = SetMode.Response.INVALID_MODE
            response.message = f"there is no mode '{mode[:40]}': choose one of {', '.join(MODES)}"
        elif not self._node.is_active:
            response.code = SetMode.Response.NOT_ACTIVE
            response.message = "the node is not active: set the parameter 'mode', then configure and activate it"
        elif self._node.config.mode == mode:
            response.code, response.message = SetMode.Response.SUCCESS, f"the mode is {mode} already"
        else:
            response.code, response.message = self._change(mode)
        self._node.get_logger().info(f"set_mode: {response.message}")
        return response

    def _change(self, mode: str) -> tuple[int, str]:
        node, before = self._node, self._node.config.mode
        is_stopped = all(step() == DONE for step in (node.trigger_deactivate, node.trigger_cleanup))
        node.set_parameters([Parameter("mode", value=mode)])
        if is_stopped and node.start():
            return SetMode.Response.SUCCESS, f"the mode is {mode} now; it was {before}"
        return SetMode.Response.UNDEFINED, "the node could not be stopped or started again: see its log"


def main() -> None:
    """Run the node."""
    run(FusionNode)


if __name__ == "__main__":
    main()
