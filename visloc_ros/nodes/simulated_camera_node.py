"""A camera in the simulated room, for live tests without a robot."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import CameraInfo, CompressedImage
from tf2_msgs.msg import TFMessage

from visloc_ros.core.config import Config, option, section
from visloc_ros.core.geometry import SE3
from visloc_ros.core.own_process import give_way
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.nodes.base import VislocNode, run
from visloc_ros.nodes.conversions import BASE_FROM_OPTICAL, camera_to_msg, header, pose_to_msg, transform_to_msg
from visloc_ros.nodes.qos import RELIABLE, SENSOR, TF_STATIC
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.simulation.path import PATHS, EasedPath, PosePath
from visloc_ros.sources.ros_images import encode_jpeg

JPEG_QUALITY = 95
MAP_FRAME = "map"  # of the ground truth
DRAWN_FIRST_S = 2.0  # of the pass, before the camera starts: drawing one image takes longer than showing it


@dataclass(frozen=True)
class SimulatedCameraNodeConfig(Config):
    """Parameters of the simulated camera."""

    camera_frame: str = option("camera_optical_frame", "frame id of the images")
    base_frame: str = option("base_link", "frame id of the robot that carries the camera")
    simulation: SimulationConfig = section(SimulationConfig)


class SimulatedCameraNode(VislocNode[SimulatedCameraNodeConfig]):
    """Plays one pass through the room forwards and backwards at the camera's rate; at first only its begin.

    The camera slows down before it turns back, as every camera must.
    """

    default_name = "simulated_camera_node"
    config_type = SimulatedCameraNodeConfig
    parameter_names = (
        "camera_frame",
        "base_frame",
        "simulation.rate_hz",
        "simulation.duration_s",
        "simulation.samples",
    )

    def configure(self) -> None:
        """Draw the first images of the pass; the others follow beside the camera."""
        self.get_logger().info("rendering the simulated room")
        config = self.config.simulation
        count, begun = config.num_frames, max(2, round(DRAWN_FIRST_S * config.rate_hz))
        self._num_begun = begun if begun < count else 0
        tour = _Tour(PATHS["localize"], config.rate_hz, self._num_begun, count)
        duration_s = (self._num_begun + count) / config.rate_hz
        self._sequence = simulate(replace(config, duration_s=duration_s), "localize", path=tour)
        self._truth = self._sequence.ground_truth.poses
        self._jpegs: list[bytes] = []
        self._index, self._step = 0, 1
        self._shown = range(self._num_begun or count)
        self._draw(len(self._shown))
        self._is_ended = threading.Event()
        rest = threading.Thread(target=self.guard.callback("drawing", self._draw_rest), name="drawing", daemon=True)
        self.undo(rest.join)
        self.undo(self._is_ended.set)
        rest.start()
        self._image_publisher = self.publisher(CompressedImage, "image/compressed", SENSOR)
        self._info_publisher = self.publisher(CameraInfo, "camera_info", SENSOR)
        self._truth_publisher = self.publisher(PoseStamped, "ground_truth", RELIABLE)
        self._static_publisher = self.publisher(TFMessage, "/tf_static", TF_STATIC)

    def activate(self) -> None:
        """Start the camera."""
        mounting = transform_to_msg(self.now_ns(), self.config.base_frame, self.config.camera_frame, BASE_FROM_OPTICAL)
        self._static_publisher.publish(TFMessage(transforms=[mounting]))
        self._shown_ns = self.now_ns()
        self.timer(1.0 / self.config.simulation.rate_hz, self._publish)

    def _publish(self) -> None:
        """Show the image that is due: on a busy computer some are left out, but the motion keeps to the stamps."""
        period_ns = round(NANOSECONDS / self.config.simulation.rate_hz)
        steps = round((self.now_ns() - self._shown_ns) / period_ns)
        if steps < 0:  # the clock was set back
            self._shown_ns, steps = self.now_ns() - period_ns, 1
        if steps == 0:
            return
        for _ in range(steps % (2 * len(self._sequence))):
            self._advance()
        self._shown_ns += steps * period_ns
        index, stamp_ns = self._index, self._shown_ns
        head = header(stamp_ns, self.config.camera_frame)
        self._info_publisher.publish(camera_to_msg(stamp_ns, self.config.camera_frame, self._sequence.camera))
        self._image_publisher.publish(CompressedImage(header=head, format="jpeg", data=self._jpegs[index]))
        truth = PoseStamped(header=header(stamp_ns, MAP_FRAME), pose=pose_to_msg(self._truth[index]))
        self._truth_publisher.publish(truth)

    def _advance(self) -> None:
        """Go on to the next image: forwards, then backwards, so that the motion never jumps."""
        is_drawn = len(self._jpegs) == len(self._sequence)
        if self._index == 0 and self._num_begun and is_drawn:  # at rest where the whole pass begins
            self._shown = range(self._num_begun, len(self._sequence))
            self._index, self._step = self._shown.start, 1
        if self._index + self._step not in self._shown:
            self._step = -self._step
        if self._index + self._step in self._shown:
            self._index += self._step

    def _draw(self, count: int) -> None:
        for index in range(len(self._jpegs), count):
            self._jpegs.append(encode_jpeg(self._sequence.frame(index).image, JPEG_QUALITY))

    def _draw_rest(self) -> None:
        """Draw the missing images at low priority."""
        give_way()
        while len(self._jpegs) < len(self._sequence) and not self._is_ended.is_set():
            self._draw(len(self._jpegs) + 1)


@dataclass(frozen=True)
class _Tour:
    """First the begin of a path in some frames, then the whole of it in others, each from rest to rest."""

    path: PosePath
    rate_hz: float
    num_begun: int
    num_whole: int

    def pose(self, seconds: float) -> SE3:
        """Give ``map_from_camera`` at a time."""
        is_begin = seconds * self.rate_hz < self.num_begun - 0.5
        first, count = (0, self.num_begun) if is_begin else (self.num_begun, self.num_whole)
        return EasedPath(self.path, (count - 1) / self.rate_hz).pose(seconds - first / self.rate_hz)


def main() -> None:
    """Run the node."""
    run(SimulatedCameraNode)


if __name__ == "__main__":
    main()
