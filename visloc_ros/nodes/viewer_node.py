"""The view of RViz in a browser: for robots without a screen, and computers without ROS."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

import numpy as np
import viser
from geometry_msgs.msg import PolygonStamped, PoseArray, PoseWithCovarianceStamped
from nav_msgs.msg import Path
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, PointCloud2

from visloc_msgs.msg import LocalizationStatus
from visloc_ros.core.config import Config, option
from visloc_ros.core.errors import SetupError
from visloc_ros.core.geometry import Array
from visloc_ros.core.plausibility import is_plausible_position
from visloc_ros.nodes.base import VislocNode, run
from visloc_ros.nodes.conversions import (
    coloured_points_from_msg,
    image_from_msg,
    points_from_msg,
    state_from_msg,
    support_from_msg,
)
from visloc_ros.nodes.diagnostics import publish_diagnostics
from visloc_ros.nodes.fusion_status import WORDS_OF_SUPPORT
from visloc_ros.nodes.qos import EACH_LATCHED, LATCHED, RELIABLE
from visloc_ros.nodes.tracking_output import LINE
from visloc_ros.sources.ros_messages import MessageError, pose_from_msg
from visloc_ros.viewer.export import add_export_buttons
from visloc_ros.viewer.scene import Scene, as_rgb, close_server, open_server

# As in rviz/visloc.rviz.
MAP_COLOUR, PATH_COLOUR, CAMERA_COLOUR = (170, 170, 170), (25, 110, 255), (25, 110, 255)
POINT_CLOUDS = {"inlier_points": (40, 220, 80), "followed_points": (255, 170, 20)}
ANCHORS = {"accepted_anchors": (40, 220, 80), "refused_anchors": (235, 60, 50)}
UP = np.array([0.0, 0.0, 1.0])  # REP 103
ARROW_LENGTH = 0.02  # of the scene's width
PERIOD_S = 0.1  # smooth to the eye


@dataclass(frozen=True)
class ViewerNodeConfig(Config):
    """Parameters of the viewer."""

    host: str = option("127.0.0.1", "address to listen on; 0.0.0.0 shows the robot to everybody on its network")
    port: int = option(8890, "port to listen on; the next free one where it is taken", minimum=1, maximum=65535)


class ViewerNode(VislocNode[ViewerNodeConfig]):
    """Shows the map, the camera in it, anchors and followed points in a browser."""

    default_name = "viewer_node"
    config_type = ViewerNodeConfig
    parameter_names = ("host", "port")

    def configure(self) -> None:
        """Open the page."""
        try:
            self._server = open_server(self.config.host, self.config.port, "visloc")
        except OSError as error:
            raise SetupError(f"cannot listen on {self.config.host}:{self.config.port}: {error.strerror}") from error
        self.undo(close_server, self._server)
        self._words = self._server.gui.add_markdown("Waiting for the map.")
        self._picture = self._server.gui.add_image(np.full((3, 4, 3), 235, np.uint8), label="Newest keyframe")
        add_export_buttons(self._server)
        self._scene: Scene | None = None
        self._camera: viser.FrameHandle | None = None
        self._shown_words = ""
        self._shown_s: dict[str, float] = {}
        self.get_logger().info(f"open http://{self.config.host}:{self._server.get_port()} in a browser")

    def activate(self) -> None:
        """Listen to the other nodes."""
        self.subscription(PointCloud2, "map_points", self._take_map, LATCHED)
        self.subscription(LocalizationStatus, "status", self._take_status, EACH_LATCHED)
        self.subscription(PoseWithCovarianceStamped, "camera_pose", self._take_pose, RELIABLE)
        self.subscription(PolygonStamped, "camera_frustum", self._take_frustum, RELIABLE)
        self.subscription(CompressedImage, "keyframe/compressed", self._take_image, RELIABLE)
        self.subscription(Path, "map_path", self._take_path, RELIABLE)
        for topic in POINT_CLOUDS:
            self.subscription(PointCloud2, topic, partial(self._take_points, topic), RELIABLE)
        for topic in ANCHORS:
            self.subscription(PoseArray, topic, partial(self._take_anchors, topic), RELIABLE)
        publish_diagnostics(self, self._report)

    def _take_map(self, message: PointCloud2) -> None:
        points, colours = coloured_points_from_msg(message)
        if not len(points):
            raise MessageError("a map without points cannot be shown")
        self._server.scene.reset()
        self._server.scene.world_axes.visible = False
        self._scene = Scene(self._server, points, MAP_COLOUR if colours is None else colours, UP, metric=True)
        self._camera = self._server.scene.add_frame("/camera", show_axes=False, visible=False)
        self._server.scene.add_grid(
            "/grid",
            position=(*self._scene.centre[:2], points[:, 2].min()),
            width=2 * self._scene.width,
            height=2 * self._scene.width,
            cell_color=(235, 235, 235),
            section_color=(225, 225, 225),
            shadow_opacity=0.0,
        )

    def _take_status(self, message: LocalizationStatus) -> None:
        state, support = state_from_msg(message.state), support_from_msg(message.support)
        lines = [f"**{state.value}** {message.reason}", WORDS_OF_SUPPORT[support]]
        if message.position_sigma >= 0.0:
            unit = "m" if message.metric else "map units"
            lines.append(f"± {message.position_sigma:.3f} {unit}, {message.rotation_sigma_deg:.2f}°")
        lines.append(f"anchors: {message.anchors_accepted} accepted, {message.anchors_rejected} refused")
        text = "  \n".join([*lines, f"map: {message.map_name or 'none'}"])
        if text != self._shown_words:
            self._shown_words = self._words.content = text

    def _take_pose(self, message: PoseWithCovarianceStamped) -> None:
        pose = pose_from_msg(message.pose.pose)
        if self._camera is not None and self._is_due("camera_pose"):
            with self._server.atomic():
                self._camera.wxyz, self._camera.position = pose.quaternion, pose.translation
                self._camera.visible = True

    def _take_frustum(self, message: PolygonStamped) -> None:
        corners = np.array([[point.x, point.y, point.z] for point in message.polygon.points])
        if corners.shape != (len(LINE), 3) or not is_plausible_position(corners):
            raise MessageError("the frustum is not the line that the odometry node sends")
        if self._scene is None:
            return
        self._scene.show_path("/camera/frustum", corners, _colours(CAMERA_COLOUR, len(corners)))

    def _take_image(self, message: CompressedImage) -> None:
        self._picture.image = as_rgb(image_from_msg(message))

    def _report(self) -> tuple[str, str, dict[str, object]]:
        address = f"http://{self.config.host}:{self._server.get_port()}"
        words = "Waiting for the map." if self._scene is None else "Showing."
        return "ok", words, {"address": address, "viewers": len(self._server.get_clients())}

    def _is_due(self, topic: str) -> bool:
        """Whether what came last was shown long enough ago."""
        now_s = time.monotonic()
        if now_s - self._shown_s.get(topic, -PERIOD_S) < PERIOD_S:
            return False
        self._shown_s[topic] = now_s
        return True

    def _take_path(self, message: Path) -> None:
        if self._scene is not None:
            positions = np.array([pose_from_msg(one.pose).translation for one in message.poses]).reshape(-1, 3)
            self._scene.show_path("/path", positions, _colours(PATH_COLOUR, len(positions)))

    def _take_points(self, topic: str, message: PointCloud2) -> None:
        if self._scene is not None and self._is_due(topic):
            self._scene.show_points(f"/{topic}", points_from_msg(message), POINT_CLOUDS[topic], 1.3)

    def _take_anchors(self, topic: str, message: PoseArray) -> None:
        """Arrows along x, as the poses are meant."""
        if self._scene is None or not message.poses:
            return
        poses = [pose_from_msg(one) for one in message.poses]
        length = ARROW_LENGTH * self._scene.width
        arrows: Array = np.array([[one.translation, one.translation + length * one.rotation[:, 0]] for one in poses])
        self._server.scene.add_arrows(
            f"/{topic}",
            arrows.astype(np.float32),
            ANCHORS[topic],
            shaft_radius=0.06 * length,
            head_radius=0.2 * length,
            head_length=0.4 * length,
        )


def _colours(colour: tuple[int, int, int], count: int) -> NDArray[np.uint8]:
    return np.tile(np.array(colour, np.uint8), (count, 1))


def main() -> None:
    """Run the node."""
    run(ViewerNode)


if __name__ == "__main__":
    main()
