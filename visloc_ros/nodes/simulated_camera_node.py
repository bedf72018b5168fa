"""A camera in the simulated room, for seeing everything live without a robot."""

from __future__ import annotations

from dataclasses import dataclass

from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import CameraInfo, CompressedImage
from tf2_msgs.msg import TFMessage

from visloc_ros.core.config import Config, option, section
from visloc_ros.nodes.base import VislocNode, run
from visloc_ros.nodes.conversions import BASE_FROM_OPTICAL, camera_to_msg, header, pose_to_msg, transform_to_msg
from visloc_ros.nodes.qos import RELIABLE, SENSOR, TF_STATIC
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.sources.ros_images import encode_jpeg

JPEG_QUALITY = 95


@dataclass(frozen=True)
class SimulatedCameraNodeConfig(Config):
    """Parameters of the simulated camera."""

    which_pass: str = option("localize", "which pass through the room", choices=("map", "localize"))
    camera_frame: str = option("camera_optical_frame", "frame id of the images")
    base_frame: str = option("base_link", "frame id of the robot that carries the camera")
    map_frame: str = option("map", "frame id of the ground truth")
    simulation: SimulationConfig = section(SimulationConfig)


class SimulatedCameraNode(VislocNode[SimulatedCameraNodeConfig]):
    """Renders one pass beforehand, then plays it forwards and backwards at the camera's rate."""

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
        """Render the pass to memory."""
        self.get_logger().info("rendering the simulated room")
        sequence = simulate(self.config.simulation, self.config.which_pass)
        self._images = [(encode_jpeg(frame.image, JPEG_QUALITY), frame.camera) for frame in sequence]
        self._truth = sequence.ground_truth.poses
        self._next = 0
        self._image_publisher = self.publisher(CompressedImage, "image/compressed", SENSOR)
        self._info_publisher = self.publisher(CameraInfo, "camera_info", SENSOR)
        self._truth_publisher = self.publisher(PoseStamped, "ground_truth", RELIABLE)
        self._static_publisher = self.publisher(TFMessage, "/tf_static", TF_STATIC)

    def activate(self) -> None:
        """Start the camera."""
        mounting = transform_to_msg(self.now_ns(), self.config.base_frame, self.config.camera_frame, BASE_FROM_OPTICAL)
        self._static_publisher.publish(TFMessage(transforms=[mounting]))
        self.timer(1.0 / self.config.simulation.rate_hz, self._publish)

    def _publish(self) -> None:
        index = self._ping_pong(self._next)
        self._next += 1
        stamp_ns, (jpeg, camera) = self.now_ns(), self._images[index]
        head = header(stamp_ns, self.config.camera_frame)
        self._info_publisher.publish(camera_to_msg(stamp_ns, self.config.camera_frame, camera))
        self._image_publisher.publish(CompressedImage(header=head, format="jpeg", data=jpeg))
        truth = PoseStamped(header=header(stamp_ns, self.config.map_frame), pose=pose_to_msg(self._truth[index]))
        self._truth_publisher.publish(truth)

    def _ping_pong(self, count: int) -> int:
        """Index of the image to show: forwards, then backwards, so that the motion never jumps."""
        last = len(self._images) - 1
        position = count % (2 * last) if last else 0
        return position if position <= last else 2 * last - position


def main() -> None:
    """Run the node."""
    run(SimulatedCameraNode)


if __name__ == "__main__":
    main()
