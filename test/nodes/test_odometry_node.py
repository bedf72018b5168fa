"""The odometry node with good and bad images over DDS, and what its diagnostics say of the newest frames."""

import itertools
import threading
from collections.abc import Iterator

import cv2
import numpy as np
import pycolmap
import pytest

pytest.importorskip("rclpy")

from node_harness import Harness, jpeg_msg, started
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import Trigger

from visloc_msgs.msg import OdometryStatus
from visloc_ros.core.camera import guess_camera
from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import OdometryPose, OdometryScale, Reason, Rejection
from visloc_ros.nodes import conversions, odometry_node
from visloc_ros.nodes.odometry_node import OdometryNode
from visloc_ros.nodes.qos import RELIABLE
from visloc_ros.nodes.tracking_output import OdometryStatistics
from visloc_ros.sources import ros_messages

SECOND = 1_000_000_000
BEGIN_NS = 1_700_000_000 * SECOND
CAMERA = guess_camera(320, 240)
RELIABLE_RAW = ("-p", "camera.qos:=reliable")


class Camera:
    """Publishes images and calibration to the node and keeps its statuses."""

    def __init__(self, harness: Harness, image_type: type = Image, topic: str = "image") -> None:
        self.harness = harness
        self.statuses: list[OdometryStatus] = []
        probe = harness.probe
        self._images = probe.create_publisher(image_type, topic, RELIABLE)
        self._infos = probe.create_publisher(CameraInfo, "camera_info", RELIABLE)
        probe.create_subscription(OdometryStatus, "odometry_status", self.statuses.append, RELIABLE)
        harness.wait_for(
            lambda: (
                self._images.get_subscription_count()
                and self._infos.get_subscription_count()
                and harness.node._output.has_subscribers
            ),
            "subscription",
        )

    def send_info(self, message: CameraInfo | None = None) -> None:
        self._infos.publish(message or conversions.camera_to_msg(BEGIN_NS, "camera", CAMERA))

    def send(self, message: Image | CompressedImage) -> None:
        self._images.publish(message)

    def wait_for_status(self, stamp_ns: int) -> OdometryStatus:
        def newest() -> bool:
            return bool(self.statuses) and ros_messages.stamp_from_msg(self.statuses[-1].header.stamp) == stamp_ns

        self.harness.wait_for(newest, f"status at {stamp_ns}")
        return self.statuses[-1]

    def wait_for_calibration(self, camera: pycolmap.Camera) -> None:
        """Wait until the next image is taken for one of this camera."""

        def is_used() -> bool:
            known = self.harness.node._input._choice.of_images(camera.width, camera.height)
            return not known.is_provisional and known.camera.mean_focal_length() == pytest.approx(camera.focal_length)

        self.harness.wait_for(is_used, "calibration")

    def wait_for_rejection(self, kind: str) -> None:
        node = self.harness.node
        self.harness.wait_for(lambda: (node._input.rejected + node._localizer.refused)[kind], f"rejection '{kind}'")


def raw_image(stamp_ns: int, pixels: np.ndarray) -> Image:
    height, width = pixels.shape
    return Image(
        header=conversions.header(stamp_ns, "camera"),
        height=height,
        width=width,
        encoding="mono8",
        step=width,
        data=pixels.tobytes(),
    )


_NUMBERS = itertools.count()


def noise(seed: int = 0) -> np.ndarray:
    """The same picture each time, but for a pixel: equal images are those of a frozen camera."""
    pixels = np.random.default_rng(seed).integers(0, 255, (240, 320), dtype=np.uint8)
    pixels[0, 0] = next(_NUMBERS) % 256
    return pixels


@pytest.fixture
def camera(ros_domain) -> Iterator[Camera]:
    """A calibrated camera before a node that is active."""
    with started(OdometryNode, *RELIABLE_RAW) as harness:
        camera = Camera(harness)
        camera.send_info()
        yield camera


def test_every_good_frame_gets_a_status(camera):
    node = camera.harness.node
    for index in range(5):
        camera.send(raw_image(BEGIN_NS + index * SECOND // 30, noise()))
        status = camera.wait_for_status(BEGIN_NS + index * SECOND // 30)
        assert (status.tracked, status.reason) == (False, "STANDING_STILL" if index else "DEGENERATE_MOTION")
    assert (status.frames_received, status.frames_dropped) == (5, 0)
    assert node._output.keyframes_sent == 0  # nobody listens
    assert camera.harness.call(Trigger, "odometry_node/reset_odometry", Trigger.Request()).success
    camera.send(raw_image(BEGIN_NS + SECOND, noise()))
    assert camera.wait_for_status(BEGIN_NS + SECOND).reason == "DEGENERATE_MOTION"


def test_the_odometry_is_reset_only_when_it_no_longer_tracks(ros_domain, monkeypatch):
    done, is_tracking, may_end = [], threading.Event(), threading.Event()
    make = odometry_node.make_odometry

    def make_slow(config, live):
        odometry = make(config, live=live)
        track, reset = odometry.track, odometry.reset

        def slow_track(frame):
            is_tracking.set()
            assert may_end.wait(10.0)
            result = track(frame)
            done.append("tracked")
            return result

        odometry.track = slow_track
        odometry.reset = lambda: (done.append("reset"), reset())
        return odometry

    monkeypatch.setattr(odometry_node, "make_odometry", make_slow)
    with started(OdometryNode, *RELIABLE_RAW) as harness:
        camera = Camera(harness)
        camera.send_info()
        camera.send(raw_image(BEGIN_NS, noise()))
        harness.wait_for(is_tracking.is_set, "a frame at work")
        threading.Timer(0.3, may_end.set).start()
        harness.node.trigger_deactivate()
        assert done == ["tracked", "reset"]


def test_compressed_images_are_decoded(ros_domain):
    with started(OdometryNode, *RELIABLE_RAW, "-p", "camera.transport:=compressed") as harness:
        camera = Camera(harness, CompressedImage, "image/compressed")
        camera.send_info()
        image = jpeg_msg(noise(), BEGIN_NS)
        camera.send(image)
        assert camera.wait_for_status(BEGIN_NS).reason == "DEGENERATE_MOTION"
        image.data = image.data[:100]
        image.header.stamp = conversions.stamp_to_msg(BEGIN_NS + SECOND)
        camera.send(image)
        camera.wait_for_rejection("SourceError")


def test_images_without_camera_info_wait_for_a_calibration_and_later_ones_are_tracked(ros_domain):
    with started(OdometryNode, *RELIABLE_RAW) as harness:
        camera = Camera(harness)
        camera.send(raw_image(BEGIN_NS, noise()))
        assert camera.wait_for_status(BEGIN_NS).reason == "UNKNOWN_INTRINSICS"
        camera.send_info()
        camera.wait_for_calibration(CAMERA)
        camera.send(raw_image(BEGIN_NS + SECOND, noise()))
        assert camera.wait_for_status(BEGIN_NS + SECOND).reason == "DEGENERATE_MOTION"


def test_bad_messages_are_counted_and_the_next_image_tracked(camera):
    impossible = conversions.camera_to_msg(BEGIN_NS, "camera", CAMERA)
    impossible.k = -np.ones(9)
    camera.send_info(impossible)
    camera.wait_for_rejection("camera_info")
    wrong_height = raw_image(BEGIN_NS, noise())
    wrong_height.height = 480
    for image, kind in (
        (raw_image(BEGIN_NS, np.zeros((480, 640), np.uint8)), "CalibrationError"),
        (wrong_height, "SourceError"),
        (raw_image(0, noise()), "unstamped"),
    ):
        camera.send(image)
        camera.wait_for_rejection(kind)
    camera.send(raw_image(BEGIN_NS, np.zeros((240, 320), np.uint8)))
    assert camera.wait_for_status(BEGIN_NS).reason == "FEW_FEATURES"
    camera.send(raw_image(BEGIN_NS + SECOND, noise()))
    assert camera.wait_for_status(BEGIN_NS + SECOND).reason == "DEGENERATE_MOTION"


def test_a_shuffled_frame_is_dropped_and_a_looped_bag_starts_again(camera):
    for stamp_ns in (BEGIN_NS + 10 * SECOND, BEGIN_NS + 10 * SECOND - 1000):
        camera.send(raw_image(stamp_ns, noise()))
    camera.wait_for_rejection("unordered")
    camera.send(raw_image(BEGIN_NS, noise()))
    assert camera.wait_for_status(BEGIN_NS).reason == "DEGENERATE_MOTION"


def test_an_earlier_image_is_frozen_though_there_was_no_time_for_it_when_it_came_first(camera, monkeypatch):
    rng = np.random.default_rng(0)
    wall = cv2.GaussianBlur(rng.normal(128.0, 400.0, (240, 600)), (0, 0), 20.0)
    steps = [*range(12), 12 - 7, 13, 14]  # driver's buffers are sent again
    monkeypatch.setattr(camera.harness.node._loads["main"], "skips", lambda *_: len(camera.statuses) % 3 == 2)
    for index, step in enumerate(steps):
        pixels = wall[:, 10 * step : 10 * step + 320] + rng.normal(0.0, 2.0, (240, 320))
        camera.send(raw_image(BEGIN_NS + index * SECOND // 10, np.clip(pixels, 0, 255).astype(np.uint8)))
        camera.wait_for_status(BEGIN_NS + index * SECOND // 10)
    reasons = [status.reason for status in camera.statuses]
    assert [index for index, reason in enumerate(reasons) if reason == "OVERLOADED"] == [2, 5, 8, 11, 14]
    assert [index for index, reason in enumerate(reasons) if reason == "FROZEN"] == [12]


def test_another_camera_info_begins_again(camera):
    camera.send(raw_image(BEGIN_NS, noise()))
    camera.wait_for_status(BEGIN_NS)
    longer = guess_camera(320, 240)
    longer.focal_length = 1.5 * CAMERA.focal_length
    for repetition in range(2):
        camera.send_info(conversions.camera_to_msg(BEGIN_NS + repetition, "camera", longer))
    camera.wait_for_calibration(longer)
    for index, reason in ((1, "DEGENERATE_MOTION"), (2, "STANDING_STILL")):
        camera.send(raw_image(BEGIN_NS + index * SECOND // 30, noise()))
        assert camera.wait_for_status(BEGIN_NS + index * SECOND // 30).reason == reason


def test_depth_images_are_counted_and_not_tracked(ros_domain):
    with started(OdometryNode, *RELIABLE_RAW, "-r", "image:=/camera/depth/image_rect_raw") as harness:
        camera = Camera(harness, topic="/camera/depth/image_rect_raw")
        camera.send_info()
        depth = raw_image(BEGIN_NS, noise())
        depth.encoding, depth.step, depth.data = "16UC1", 640, depth.data.tobytes() * 2
        camera.send(depth)
        camera.wait_for_rejection("SourceError")


def test_parameters_out_of_range_keep_the_node_from_starting(ros_domain):
    with started(OdometryNode, "-p", "camera.transport:=h264", succeeds=False):
        pass


def test_qos_overrides_choose_how_images_are_asked_for(ros_domain):
    override = "qos_overrides./visloc/image.subscription.reliability:=reliable"
    with started(OdometryNode, "-p", override) as harness:
        node = harness.node
        reliability = {
            info.topic_type: info.qos_profile.reliability.name
            for topic in ("image", "camera_info")
            for info in node.get_subscriptions_info_by_topic(f"/visloc/{topic}")
        }
    assert reliability == {"sensor_msgs/msg/Image": "RELIABLE", "sensor_msgs/msg/CameraInfo": "BEST_EFFORT"}


@pytest.mark.parametrize(
    ("parameters", "frame"), [(["-p", "camera.is_rectified:=true"], "camera"), ([], "camera_rect")]
)
def test_the_projection_matrix_is_the_camera_of_rectified_images(ros_domain, parameters, frame):
    with started(OdometryNode, *RELIABLE_RAW, *parameters) as harness:
        camera = Camera(harness)
        message = conversions.camera_to_msg(BEGIN_NS, frame, CAMERA)
        message.d = [-0.3, 0.1, 0.0, 0.0, 0.0]
        message.p[0] = message.p[5] = 250.0
        camera.send_info(message)
        camera.send(raw_image(BEGIN_NS, noise()))
        camera.wait_for_status(BEGIN_NS)
        used = harness.node._input.calibration.camera
        assert (used.model.name, used.focal_length_x, used.focal_length_y) == ("PINHOLE", 250.0, 250.0)


STEP_NS = 50_000_000


def pose(index, milliseconds=10.0, **more):
    return OdometryPose(index * STEP_NS, SE3.identity(), 2, 80, stage_ms={"track": milliseconds}, **more)


def test_nothing_is_said_of_no_frames():
    assert OdometryStatistics().values() == {}


def test_rate_latency_and_losses_are_reported():
    statistics = OdometryStatistics()
    for index in range(100):
        statistics.add(pose(index, milliseconds=50.0 if index % 10 == 0 else 10.0))
    statistics.add(Rejection(100 * STEP_NS, Reason.BLURRED))
    values = statistics.values()
    assert (values["tracked"], values["lost BLURRED"]) == (100, 1)
    assert values["frames a second"] == "20.0"
    assert (values["latency p50 [ms]"], values["latency p95 [ms]"]) == ("10.0", "50.0")
    assert "segment" not in values


def test_scale_and_up_are_reported_once_they_are_known():
    statistics = OdometryStatistics()
    statistics.add(pose(1))
    assert statistics.values()["segment"] == 2
    assert "metres a unit" not in statistics.values()
    statistics.add(pose(2, scale=OdometryScale(0.25, 0.011), up_in_odom=np.array([0.0, -1.0, 0.0])))
    values = statistics.values()
    assert values["metres a unit"] == "0.25 +- 1.1 %"
    assert values["up in odometry"] == "0.000 -1.000 0.000"


def test_a_looped_bag_does_not_confuse_the_rate():
    statistics = OdometryStatistics()
    for index in (100, 101, 1, 2, 3):
        statistics.add(pose(index))
    assert statistics.values()["frames a second"] == "20.0"
