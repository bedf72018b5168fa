"""Tracks every frame of a camera: images in, unscaled ``visual_odom`` and ``odometry_status`` out."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from nav_msgs.msg import Odometry as OdometryMsg
from std_srvs.srv import Trigger

from visloc_msgs.msg import OdometryStatus
from visloc_ros.core.config import Config, section
from visloc_ros.core.types import Frame, OdometryPose, Rejection
from visloc_ros.nodes.base import VislocNode, run
from visloc_ros.nodes.camera_input import CameraInput, CameraInputConfig
from visloc_ros.nodes.conversions import header, stages_to_msg, visual_odometry_to_msg
from visloc_ros.nodes.diagnostics import publish_diagnostics
from visloc_ros.nodes.qos import RELIABLE
from visloc_ros.odometry import OdometryConfig, make_odometry


@dataclass(frozen=True)
class OdometryNodeConfig(Config):
    """Parameters of the odometry node."""

    camera: CameraInputConfig = section(CameraInputConfig)
    odometry: OdometryConfig = section(OdometryConfig)


class OdometryNode(VislocNode[OdometryNodeConfig]):
    """Feeds each image to the odometry and publishes what comes out."""

    default_name = "odometry_node"
    config_type = OdometryNodeConfig

    def configure(self) -> None:
        """Make the odometry and the publishers."""
        self._odometry = make_odometry(self.config.odometry, live=True)
        self.undo(self._odometry.close)
        self._pose_publisher = self.publisher(OdometryMsg, "visual_odom", RELIABLE)
        self._status_publisher = self.publisher(OdometryStatus, "odometry_status", RELIABLE)
        self._last: OdometryPose | Rejection | None = None
        self._reset_asked = threading.Event()
        self.service(Trigger, "~/reset_odometry", self._ask_for_reset)

    def activate(self) -> None:
        """Start tracking."""
        self._input = CameraInput(self, self.config.camera, self._track, self._odometry.reset)
        self.undo(self._odometry.reset)
        publish_diagnostics(self, self._report)

    def _track(self, frame: Frame, camera_frame: str) -> None:
        if self._reset_asked.is_set():  # done here, between two frames, since tracking runs in another thread
            self._reset_asked.clear()
            self._odometry.reset()
        result = self._odometry.track(frame)
        if isinstance(result, OdometryPose):
            self._pose_publisher.publish(visual_odometry_to_msg(result, camera_frame))
        self._status_publisher.publish(self._status(result, camera_frame))
        self._last = result

    def _ask_for_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._reset_asked.set()
        response.success, response.message = True, "a new segment starts with the next frame"
        return response

    def _status(self, result: OdometryPose | Rejection, camera_frame: str) -> OdometryStatus:
        message = OdometryStatus(header=header(result.stamp_ns, camera_frame))
        message.frames_received, message.frames_dropped = self._input.received, self._input.dropped
        message.stages = stages_to_msg(result.stage_ms)
        message.latency_ms = float(sum(result.stage_ms.values()))
        if isinstance(result, Rejection):
            message.reason = result.reason.value
            return message
        message.tracked, message.segment = True, result.segment
        message.num_tracked, message.is_keyframe = result.num_tracked, result.is_keyframe
        return message

    def _report(self) -> tuple[str, str, dict[str, object]]:
        values = {"received": self._input.received, "dropped": self._input.dropped, **self._input.rejected}
        if self._last is None:
            return "warn", "no frame tracked yet", values
        if isinstance(self._last, Rejection):
            return "warn", f"Lost! {self._last}", values
        return "ok", "Tracking.", values | {"features": self._last.num_tracked, "segment": self._last.segment}


def main() -> None:
    """Run the node."""
    run(OdometryNode)


if __name__ == "__main__":
    main()
