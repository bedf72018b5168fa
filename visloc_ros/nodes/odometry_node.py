"""Tracks every frame of a camera: images in, ``odometry_status`` with the unscaled pose, and keyframes out.

``visual_odom`` carries the same pose as a standard message, for viewers; ``loop_closure`` tells when a place is seen
again. Where a map is given its points are followed in the same images: one reception and one decoding for both.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from nav_msgs.msg import Odometry as OdometryMsg
from std_srvs.srv import Trigger

from visloc_msgs.msg import LoopClosure, OdometryStatus
from visloc_ros.core.config import Config, section
from visloc_ros.core.map import open_map
from visloc_ros.core.types import Frame, OdometryPose, Rejection
from visloc_ros.nodes.base import VislocNode, run
from visloc_ros.nodes.camera_input import CameraInput, CameraInputConfig
from visloc_ros.nodes.conversions import odometry_status_to_msg, visual_odometry_to_msg
from visloc_ros.nodes.diagnostics import publish_diagnostics
from visloc_ros.nodes.keyframe_choice import KeyframeConfig
from visloc_ros.nodes.keyframe_output import KeyframeOutput
from visloc_ros.nodes.loop_closure_messages import loop_closure_to_msg
from visloc_ros.nodes.map_following import MapFollowing, MapFollowingConfig
from visloc_ros.nodes.odometry_tally import OdometryTally
from visloc_ros.nodes.qos import RELIABLE
from visloc_ros.nodes.sensor_input import SensorInput
from visloc_ros.odometry import OdometryConfig, make_odometry


@dataclass(frozen=True)
class OdometryNodeConfig(Config):
    """Parameters of the odometry node."""

    camera: CameraInputConfig = section(CameraInputConfig)
    odometry: OdometryConfig = section(OdometryConfig)
    keyframe: KeyframeConfig = section(KeyframeConfig)
    map_tracking: MapFollowingConfig = section(MapFollowingConfig)


class OdometryNode(VislocNode[OdometryNodeConfig]):
    """Feeds each image, and what an IMU and wheels tell, to the odometry and publishes what comes out."""

    default_name = "odometry_node"
    config_type = OdometryNodeConfig

    def configure(self) -> None:
        """Load the map, make the odometry and the publishers."""
        following = self.config.map_tracking
        self._map = open_map(Path(following.map_path)) if following.enabled and following.map_path else None
        self._odometry = make_odometry(self.config.odometry, live=True)
        self.undo(self._odometry.close)
        self._pose_publisher = self.publisher(OdometryMsg, "visual_odom", RELIABLE)
        self._status_publisher = self.publisher(OdometryStatus, "odometry_status", RELIABLE)
        self._loop_publisher = self.publisher(LoopClosure, "loop_closure", RELIABLE)
        self._tally = OdometryTally()
        self._reset_asked = threading.Event()
        self.service(Trigger, "~/reset_odometry", self._ask_for_reset)

    def activate(self) -> None:
        """Start tracking."""
        self._keyframes = KeyframeOutput(self, self.config.keyframe)
        self._following = None if self._map is None else MapFollowing(self, self.config.map_tracking, self._map)
        self._input = CameraInput(self, self.config.camera, self._track, self._restart)
        self._sensors = SensorInput(self, self._odometry, lambda: self._input.camera_frame)
        self.undo(self._odometry.reset)
        publish_diagnostics(self, self._report)

    def _track(self, frame: Frame, camera_frame: str) -> None:
        if self._reset_asked.is_set():  # done here, between two frames, since tracking runs in another thread
            self._reset_asked.clear()
            self._odometry.reset()
        result = self._odometry.track(frame)
        status = odometry_status_to_msg(result, camera_frame)
        status.frames_received, status.frames_dropped = self._input.received, self._input.dropped
        self._status_publisher.publish(status)
        if isinstance(result, OdometryPose) and self._pose_publisher.get_subscription_count():
            self._pose_publisher.publish(visual_odometry_to_msg(result, camera_frame))
        for loop in self._odometry.take_loops():
            self._loop_publisher.publish(loop_closure_to_msg(loop, camera_frame))
        self._keyframes.offer(frame, camera_frame, result)
        self._tally.add(result)
        self._odometry.settle()
        if self._following is not None:
            self._following.offer(frame, camera_frame, self._input.is_late)

    def _restart(self) -> None:
        self._odometry.reset()
        if self._following is not None:
            self._following.restart()

    def _ask_for_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._reset_asked.set()
        response.success, response.message = True, "a new segment starts with the next frame"
        return response

    def _report(self) -> tuple[str, str, dict[str, object]]:
        values: dict[str, object] = {"received": self._input.received, "dropped": self._input.dropped}
        values |= {f"restarts because {why}": count for why, count in self._input.restarts.items()}
        values |= {**self._input.rejected, **self._sensors.rejected, **self._odometry.counts, **self._tally.values()}
        values["keyframes sent"] = self._keyframes.published
        if self._following is not None:
            values |= {f"map tracking: {what}": value for what, value in self._following.values().items()}
        return *self._judge(self._tally.last), values

    def _judge(self, last: OdometryPose | Rejection | None) -> tuple[str, str]:
        """Level and words of the diagnostics."""
        if last is None:
            return "warn", "no frame tracked yet"
        if isinstance(last, Rejection):
            return "warn", f"Lost! {last}"
        if not self._odometry.gyroscope_is_trusted:
            return "warn", "Tracking, but the gyroscope contradicts the images: check its axes and its clock."
        if self._sensors.rejected:
            return "warn", f"Tracking, but not all sensors are used: {', '.join(self._sensors.rejected)}."
        return "ok", "Tracking."


def main() -> None:
    """Run the node."""
    run(OdometryNode)


if __name__ == "__main__":
    main()
