"""What a node makes of a camera_info that its images or its own numbers contradict, over DDS."""

from functools import lru_cache

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray
from node_harness import COMPRESSED, Harness, jpeg_msg, started
from sensor_msgs.msg import CameraInfo, CompressedImage

from visloc_msgs.msg import OdometryStatus
from visloc_ros.nodes import diagnostics
from visloc_ros.nodes.conversions import camera_to_msg
from visloc_ros.nodes.odometry_node import OdometryNode
from visloc_ros.nodes.qos import RELIABLE
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.sources.ros_messages import stamp_from_msg

SIMULATION = SimulationConfig(
    width=480, height=360, focal_px=360.0, lens="strong", duration_s=3.0, rate_hz=8.0, noise_std=1.0, samples=1
)
RECTIFIED = ("-r", "image/compressed:=image_rect/compressed")


@lru_cache
def rectified_images() -> list[np.ndarray]:
    """Images of a lens with strong distortion, rectified by its own K and D."""
    sequence = simulate(SIMULATION, "map")
    info = info_of()
    k, d = info.k.reshape(3, 3), np.array(info.d)
    return [cv2.undistort(frame.rgb, k, d) for frame in sequence]


def info_of(**changes) -> CameraInfo:
    """What the driver of these images publishes: D that is not zero, and the rectified images' K in P."""
    message = camera_to_msg(1, "camera", SIMULATION.make_camera())
    message.p = np.column_stack([message.k.reshape(3, 3), np.zeros(3)]).reshape(12)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


class Driver:
    """Publishes one camera_info and images, one after the other, and keeps the node's answers."""

    def __init__(self, harness: Harness, info: CameraInfo, topic: str = "image/compressed") -> None:
        self.harness, self.answers, self.reports = harness, {}, []
        self._images = harness.publisher(CompressedImage, topic)
        self._infos = harness.publisher(CameraInfo, "camera_info")
        probe = harness.probe
        probe.create_subscription(OdometryStatus, "odometry_status", self._take_answer, RELIABLE)
        probe.create_subscription(DiagnosticArray, "/diagnostics", self.reports.append, RELIABLE)
        harness.wait_for(self._is_connected, "connections")
        self._infos.publish(info)
        self._count = 0

    def send(self) -> int:
        """Publish the next image; give its stamp."""
        self._count += 1
        stamp_ns = 1_700_000_000_000_000_000 + self._count * 125_000_000
        self._images.publish(jpeg_msg(rectified_images()[self._count - 1], stamp_ns))
        return stamp_ns

    def send_all(self, until: str) -> None:
        """Publish the images, each after the answer to the one before, until the diagnostics hold these words."""
        for _ in rectified_images():
            stamp_ns = self.send()
            self.harness.wait_for(lambda one=stamp_ns: one in self.answers or until in self.words(), "answer")
            if until in self.words():
                return

    def words(self) -> str:
        """The newest diagnostics of the node: its message and values."""
        statuses = [status for report in self.reports for status in report.status if "odometry_node" in status.name]
        if not statuses:
            return ""
        values = "; ".join(f"{one.key}: {one.value}" for one in statuses[-1].values)
        return f"{statuses[-1].message}; {values}"

    def _is_connected(self) -> bool:
        publishers = {one.topic_name.rpartition("/")[2]: one for one in self.harness.node.publishers}
        heard = publishers["odometry_status"].get_subscription_count()
        return bool(self._images.get_subscription_count() and self._infos.get_subscription_count() and heard)

    def _take_answer(self, message: OdometryStatus) -> None:
        self.answers[stamp_from_msg(message.header.stamp)] = message


@pytest.fixture(autouse=True)
def frequent_diagnostics(monkeypatch):
    monkeypatch.setattr(diagnostics, "PERIOD_S", 0.1)


def test_rectified_images_on_a_topic_that_does_not_say_so_are_noticed(ros_domain, capfd):
    with started(OdometryNode, *COMPRESSED) as harness:
        driver = Driver(harness, info_of())
        driver.send_all("; rectification: ")
        assert len(driver.answers) < len(rectified_images())
    assert "the images seem to be rectified, but their calibration has distortion" in capfd.readouterr().err


def test_rectified_images_by_the_name_of_their_topic_have_the_camera_of_p(ros_domain):
    with started(OdometryNode, *COMPRESSED, *RECTIFIED) as harness:
        driver = Driver(harness, info_of(), "image_rect/compressed")
        driver.send_all("; rectification: ")
        assert len(driver.answers) == len(rectified_images())


@pytest.mark.parametrize("binning", [0, 2], ids=["of the full image", "scaled, and binned once more"])
def test_a_matrix_of_another_image_size_is_rejected(ros_domain, capfd, binning):
    k = info_of().k.reshape(3, 3).copy()
    k[:2] *= 0.5 if binning else 2.0
    with started(OdometryNode, *COMPRESSED) as harness:
        driver = Driver(harness, info_of(k=k.reshape(9), binning_x=binning, binning_y=binning))
        driver.send()
        harness.wait_for(lambda: "; camera_info: 1" in driver.words(), "count of rejected calibrations")
    assert f"is the middle of an image of about {'240x180' if binning else '958x718'}" in capfd.readouterr().err


def test_p_alone_is_the_camera_of_the_images(ros_domain):
    info = info_of(d=[], k=np.zeros(9))
    with started(OdometryNode, *COMPRESSED) as harness:
        driver = Driver(harness, info)
        driver.send()
        harness.wait_for(
            lambda: "camera: focal length 360.0 px, as recorded" in driver.words(), "word about the camera"
        )
