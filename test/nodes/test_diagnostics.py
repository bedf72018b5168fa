"""What the nodes say of themselves when something around them is wrong, over DDS."""

import threading
from itertools import count

import numpy as np
import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from node_harness import DEMO_MAP, TIMEOUT_S, given, started
from sensor_msgs.msg import CameraInfo, Image

from visloc_msgs.msg import OdometryStatus
from visloc_ros.core import watchdog
from visloc_ros.core.camera import guess_camera
from visloc_ros.core.types import Reason, Rejection
from visloc_ros.localization import AnchorEngine
from visloc_ros.nodes import camera_health, conversions, diagnostics
from visloc_ros.nodes.anchor_node import AnchorNode
from visloc_ros.nodes.fusion_node import FusionNode
from visloc_ros.nodes.odometry_node import OdometryNode
from visloc_ros.nodes.qos import RELIABLE

BEGIN_NS = 1_700_000_000 * 1_000_000_000
CAMERA = guess_camera(320, 240)


@pytest.fixture(autouse=True)
def impatience(monkeypatch):
    """Diagnostics ten times a second, of cameras that are silent after one."""
    monkeypatch.setattr(diagnostics, "PERIOD_S", 0.1)
    monkeypatch.setattr(camera_health, "STALE_S", 1.0)


class Listener:
    """Keeps the newest status of each node."""

    def __init__(self, harness):
        self.harness, self.newest = harness, {}
        harness.probe.create_subscription(DiagnosticArray, "/diagnostics", self._take, RELIABLE)

    def _take(self, message):
        self.newest |= {status.name: status for status in message.status}

    def wait_for(self, name, level, words, meanwhile=lambda: None):
        def is_reported():
            meanwhile()
            status = self.newest.get(f"{name}: status", DiagnosticStatus())
            return status.level == level and words in status.message

        self.harness.wait_for(is_reported, f"'{words}' of {name}")


def test_images_that_nobody_publishes_are_an_error_that_names_their_topic(ros_domain):
    with started(OdometryNode, "-r", "image:=/front/image_raw") as harness:
        expected = "no node publishes /front/image_raw"
        Listener(harness).wait_for("visloc/odometry_node", DiagnosticStatus.ERROR, expected)


def test_images_that_stop_are_an_error_and_so_are_images_without_stamps(ros_domain):
    with started(OdometryNode) as harness:
        listener, node = Listener(harness), "visloc/odometry_node"
        images, infos = harness.publisher(Image, "image"), harness.publisher(CameraInfo, "camera_info")
        steps, rng = count(), np.random.default_rng(0)

        def send(stamp_ns):
            header = conversions.header(stamp_ns and stamp_ns + next(steps) * 50_000_000, "camera")
            pixels = rng.integers(0, 256, (240, 320), dtype=np.uint8).tobytes()
            images.publish(Image(header=header, height=240, width=320, encoding="mono8", step=320, data=pixels))

        infos.publish(conversions.camera_to_msg(BEGIN_NS, "camera", CAMERA))
        listener.wait_for(node, DiagnosticStatus.WARN, "Lost!", lambda: send(BEGIN_NS))
        listener.wait_for(node, DiagnosticStatus.ERROR, "No image has come for")
        unstamped = "none can be used: an image has no stamp"
        listener.wait_for(node, DiagnosticStatus.ERROR, unstamped, lambda: send(0))
        listener.wait_for(node, DiagnosticStatus.WARN, "Lost!", lambda: send(BEGIN_NS))


@pytest.fixture
def searching(ros_domain):
    """The diagnostics of an anchor node that gets images of nothing, three a second."""
    with started(AnchorNode, *given(f"map_path:={DEMO_MAP}", "camera.qos:=reliable")) as harness:
        images, infos = harness.publisher(Image, "image"), harness.publisher(CameraInfo, "camera_info")
        infos.publish(conversions.camera_to_msg(BEGIN_NS, "camera", CAMERA))
        stamps = count(BEGIN_NS, 50_000_000)

        def send():
            header = conversions.header(next(stamps), "camera")
            data = bytes(240 * 320)
            images.publish(Image(header=header, height=240, width=320, encoding="mono8", step=320, data=data))

        harness.probe.create_timer(0.3, send)
        yield Listener(harness)


def test_images_that_are_not_found_in_the_map_are_reported_with_the_reason(searching):
    expected = "images is found in the map 'demo_room' (FEW_FEATURES"
    searching.wait_for("visloc/anchor_node", DiagnosticStatus.WARN, expected)


def test_a_search_that_does_not_end_is_an_error(searching, monkeypatch):
    go_on, find = threading.Event(), AnchorEngine.solve

    def hung(*arguments):
        go_on.wait(TIMEOUT_S)
        return find(*arguments)

    monkeypatch.setattr(AnchorEngine, "solve", hung)
    monkeypatch.setattr(watchdog, "HUNG_S", 0.5)
    try:
        searching.wait_for("visloc/anchor_node", DiagnosticStatus.ERROR, "the work on one image has been running for")
    finally:
        go_on.set()
    searching.wait_for("visloc/anchor_node", DiagnosticStatus.WARN, "is found in the map")


def test_a_robot_whose_camera_has_no_place_on_it_is_told_which_transform_to_publish(ros_domain):
    with started(FusionNode) as harness:
        listener = Listener(harness)
        odometry = harness.publisher(OdometryStatus, "odometry_status")
        odometry.publish(conversions.odometry_status_to_msg(Rejection(BEGIN_NS, Reason.BLURRED), "front_camera"))
        expected = "base_link -> front_camera on /tf_static"
        listener.wait_for("visloc/fusion_node", DiagnosticStatus.ERROR, expected)


def test_diagnostics_come_while_no_clock_is_published_and_name_the_robot(ros_domain):
    with started(OdometryNode, "-p", "use_sim_time:=true", "-r", "__ns:=/robot1/visloc") as harness:
        listener = Listener(harness)
        listener.wait_for("robot1/visloc/odometry_node", DiagnosticStatus.ERROR, "/robot1/visloc/image")
