"""What the doctor finds in a robot that is well, and in one that is not."""

import numpy as np
import pytest

pytest.importorskip("rclpy")

from node_harness import Harness, started
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage
from tf2_msgs.msg import TFMessage

from visloc_ros.core.finding import Level
from visloc_ros.core.geometry import SE3
from visloc_ros.nodes import camera_health, conversions
from visloc_ros.nodes.conversions import BASE_FROM_OPTICAL
from visloc_ros.nodes.doctor import DoctorNode
from visloc_ros.nodes.qos import SENSOR, TF, TF_STATIC
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.sources.ros_images import encode_jpeg

COMPRESSED = ("-p", "camera.transport:=compressed")


@pytest.fixture(scope="module")
def frame():
    return simulate(SimulationConfig(width=320, height=240, duration_s=1.0, rate_hz=2.0), "map").frame(0)


class Robot:
    """A camera and transforms, as a driver and a URDF give them."""

    def __init__(self, harness: Harness, frame) -> None:
        self._harness, self._frame, self._probe = harness, frame, harness.probe
        self._image = self._probe.create_publisher(CompressedImage, "image/compressed", SENSOR)
        self._info = self._probe.create_publisher(CameraInfo, "camera_info", SENSOR)
        self._tf = self._probe.create_publisher(TFMessage, "/tf", TF)
        self._static = self._probe.create_publisher(TFMessage, "/tf_static", TF_STATIC)
        self.stamp_offset_ns, self.brightness, self.is_calibrated = 0, 1.0, True
        self.sent = 0
        self.timer = self._probe.create_timer(0.05, self._send)

    def mount(self, base_from_camera: SE3) -> None:
        self._static.publish(
            TFMessage(transforms=[conversions.transform_to_msg(1, "base_link", "camera", base_from_camera)])
        )

    def send_transform(self, parent: str, child: str) -> None:
        self._tf.publish(TFMessage(transforms=[conversions.transform_to_msg(1, parent, child, SE3.identity())]))

    def findings(self, subject: str, until: str) -> list[tuple[Level, str]]:
        """What is found of a subject once it holds these words."""

        def found() -> list[tuple[Level, str]]:
            return [(one.level, one.text) for one in self._harness.node.findings() if one.subject == subject]

        self._harness.wait_for(lambda: any(until in text for _, text in found()), f"{subject}: {until}")
        return found()

    def _send(self) -> None:
        stamp_ns = self._probe.get_clock().now().nanoseconds + self.stamp_offset_ns
        if self.is_calibrated:
            self._info.publish(conversions.camera_to_msg(stamp_ns, "camera", self._frame.camera))
        image = np.clip(self._frame.image * self.brightness, 0, 255).astype(np.uint8)
        image[:8, :8] = self.sent % 256  # two images of a live camera differ
        jpeg = encode_jpeg(image, 90)
        head = conversions.header(stamp_ns, "camera")
        self._image.publish(CompressedImage(header=head, format="jpeg", data=jpeg))
        self.sent += 1


def test_a_robot_that_is_well(ros_domain, frame):
    with started(DoctorNode, *COMPRESSED) as harness:
        robot = Robot(harness, frame)
        robot.mount(SE3(BASE_FROM_OPTICAL.rotation, np.array([0.1, 0.0, 0.3])))
        (level, text), *others = robot.findings("camera", "320x240 px")
        assert (level, others) == (Level.OK, [])
        assert "/visloc/image/compressed, in the frame 'camera'" in text
        assert robot.findings("transforms", "base_link -> camera") == [
            (Level.OK, "base_link -> camera: at x 0.10, y 0.00, z 0.30 m, looks ahead")
        ]
        assert [level for level, _ in robot.findings("calibration", "focal length")] == [Level.OK]
        assert robot.findings("nodes", "none of") == [(Level.OK, "none of this package's nodes is running")]


def test_a_camera_that_is_not_there(ros_domain, monkeypatch):
    monkeypatch.setattr(camera_health, "STALE_S", 0.2)
    with started(DoctorNode, *COMPRESSED) as harness:
        harness.wait_for(lambda: "no node publishes" in harness.node.findings()[0].text, "a finding")
        assert harness.node.findings()[0].level is Level.ERROR


def test_a_robot_with_four_faults(ros_domain, frame, monkeypatch):
    monkeypatch.setattr(camera_health, "PATIENCE_S", 0.5)
    with started(DoctorNode, *COMPRESSED) as harness:
        robot = Robot(harness, frame)
        robot.is_calibrated, robot.stamp_offset_ns = False, 2 * 10**9
        assert robot.findings("calibration", "No calibration comes")[0][0] is Level.WARNING
        assert robot.findings("transforms", "No fixed transform base_link -> camera")[0][0] is Level.ERROR
        assert "synchronize them" in dict(robot.findings("camera", "in the future"))[Level.WARNING]
        robot.send_transform("odom", "base_link")
        robot.send_transform("map", "base_link")
        found = robot.findings("transforms", "base_link has two parents")
        assert [level for level, _ in found] == [Level.ERROR, Level.ERROR]


def test_a_clock_that_stands_still(ros_domain, frame, monkeypatch):
    monkeypatch.setattr(camera_health, "STALE_S", 0.5)
    with started(DoctorNode, *COMPRESSED, "-p", "use_sim_time:=true") as harness:
        harness.probe.set_parameters([Parameter("use_sim_time", value=False)])  # a live camera
        harness.publisher(Clock, "/clock").publish(Clock(clock=harness.probe.get_clock().now().to_msg()))
        robot = Robot(harness, frame)
        robot.findings("camera", "/clock has stood still")
        robot.timer.cancel()  # images stop with it, as those of a bag that is paused
        harness.wait_for(lambda: "let the bag" in harness.node.findings()[0].text, "the first finding")
        assert harness.node.findings()[0].level is Level.ERROR


def test_a_dark_camera(ros_domain, frame, monkeypatch):
    monkeypatch.setattr(camera_health, "PATIENCE_S", 0.5)
    with started(DoctorNode, *COMPRESSED) as harness:
        robot = Robot(harness, frame)
        robot.brightness = 0.05
        assert "dark" in dict(robot.findings("camera", "Images are dark"))[Level.WARNING]
