"""Lets ``visloc serve`` on another machine find frames: for robots that share no ROS network with it.

It replaces the anchor node on the robot. While the server does not answer, there are no anchors: odometry carries the
pose on, and with a map on the robot map tracking.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from visloc_msgs.msg import MapIdentity as MapIdentityMsg
from visloc_ros.core.config import Config, option, section
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.files import read_token
from visloc_ros.core.types import Anchor, Frame, MapIdentity
from visloc_ros.nodes.anchor_output import AnchorOutput
from visloc_ros.nodes.base import VislocNode, run
from visloc_ros.nodes.camera_input import CAMERA_PARAMETERS, CameraInput, CameraInputConfig
from visloc_ros.nodes.conversions import map_identity_to_msg, uuid_of
from visloc_ros.nodes.diagnostics import publish_diagnostics
from visloc_ros.nodes.predicted_poses import LONGEST_REST_S, PredictedPoses
from visloc_ros.nodes.qos import LATCHED
from visloc_ros.sources.ros_images import encode_jpeg
from visloc_server.client import LocalizationClient, ServerError

RETRY_S = 1.0  # after a server has not answered
JPEG_QUALITY = 90  # of an image of 640x480 60 kB: two a second are 1 Mbit/s


@dataclass(frozen=True)
class RemoteAnchorNodeConfig(Config):
    """Parameters of the remote anchor node."""

    server_url: str = option("", "address of visloc serve, which has the map: http://gpu-box:8090")
    server_map: str = option("", "name of the map there; empty where there is only one")
    token_file: str = option("", "file with the token of the server; empty for none")
    map_frame: str = option("map", "frame id of the map")
    longest_rest_s: float = option(
        LONGEST_REST_S,
        "longest time between searches while followed map points hold the confirmed pose; 0 searches all the time",
        minimum=0.0,
    )
    camera: CameraInputConfig = section(CameraInputConfig)


class RemoteAnchorNode(VislocNode[RemoteAnchorNodeConfig]):
    """Sends the newest frame of a calibrated camera to the server as often as it helps, and publishes the answers."""

    default_name = "remote_anchor_node"
    config_type = RemoteAnchorNodeConfig
    parameter_names = (
        "server_url",
        "server_map",
        "token_file",
        "map_frame",
        *CAMERA_PARAMETERS,
    )

    def configure(self) -> None:
        """Set the server's address; it need not run yet."""
        if not self.config.server_url:
            raise ConfigError("parameter 'server_url' is empty: give the address of 'visloc serve'")
        token = read_token(Path(self.config.token_file) if self.config.token_file else None)
        self._client = LocalizationClient(self.config.server_url, token)
        self.undo(self._client.close)
        self._output = AnchorOutput(self, self.config.map_frame)
        self._map_publisher = self.publisher(MapIdentityMsg, "loaded_map", LATCHED)
        self._map: MapIdentity | None = None  # of the newest answer
        self._failure, self._num_failures = "", 0
        self._map_name = self.config.server_map

    def activate(self) -> None:
        """Start sending frames."""
        self._not_before_s = 0.0
        self._predicted = PredictedPoses(self, self.config.longest_rest_s)
        self._input = CameraInput(self, self.config.camera, self._localize, 1, self._wants)
        publish_diagnostics(self, self._report)

    def _wants(self, stamp_ns: int) -> bool:
        return time.monotonic() >= self._not_before_s and self._predicted.wants(stamp_ns)

    def _localize(self, frame: Frame, camera_frame: str) -> None:
        predicted = self._predicted.at(frame.stamp_ns)
        try:
            if frame.calibration is not None and frame.calibration.is_provisional:
                raise ServerError("the camera is not calibrated: give its camera_info, or camera.calibration_file")
            answer = self._client.localize(
                encode_jpeg(frame.image, JPEG_QUALITY),
                map_name=self.config.server_map,
                camera=frame.camera,
                prior=predicted,
                with_inliers=True,
                frame_uuid="" if self._map is None else uuid_of(self._map.frame),
            )
            anchor = answer.anchor(frame.stamp_ns)
        except ServerError as error:
            self._fail(str(error), RETRY_S if error.retry_after_s is None else error.retry_after_s)
            return
        except (KeyError, TypeError, ValueError) as error:
            self._fail(f"the server's answer is not understood ({type(error).__name__}): use its version here", RETRY_S)
            return
        self._succeed(anchor)
        self._follow_map(anchor.map)
        self._predicted.add_search(anchor.result, predicted)
        self._output.publish(anchor, frame, camera_frame)

    def _follow_map(self, identity: MapIdentity) -> None:
        """Tell the other nodes which map the server searches: where it is in another frame now, that was done there."""
        if identity == self._map:
            return
        self._map = identity
        message = map_identity_to_msg(identity, self.now_ns(), self.config.map_frame, is_requested=True)
        self._map_publisher.publish(message)
        self._predicted.search_in(identity)

    def _fail(self, words: str, pause_s: float) -> None:
        self._not_before_s = time.monotonic() + pause_s
        self._num_failures += 1
        if words != self._failure:
            self.get_logger().error(f"no anchors: {words}")
        self._failure = words

    def _succeed(self, anchor: Anchor) -> None:
        if self._failure:
            self.get_logger().info("the server answers again")
        self._failure, self._map_name = "", anchor.map.name

    def _report(self) -> tuple[str, str, dict[str, object]]:
        values: dict[str, object] = {
            "server": self.config.server_url,
            "map": self._map_name or "not known yet",
            "received": self._input.received,
            "not answered": self._num_failures,
            **self._output.outcomes,
            **self._input.rejected,
        }
        if self._failure:
            return "error", f"No anchors come: {self._failure}.", values
        return *self._output.judge(self._map_name, self._input.health), values


def main() -> None:
    """Run the node."""
    run(RemoteAnchorNode)


if __name__ == "__main__":
    main()
