"""Nodes whose camera nobody calibrated: which camera they use, and when, over DDS."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray
from mapped_room import SIMULATION
from node_harness import COMPRESSED, Harness, started
from sensor_msgs.msg import CameraInfo, CompressedImage

from visloc_msgs.msg import Anchor, LocalizationStatus, OdometryStatus
from visloc_ros.core.calibration import CalibrationSource
from visloc_ros.core.camera import with_focal_length
from visloc_ros.nodes import conversions, diagnostics, odometry_node
from visloc_ros.nodes.anchor_node import AnchorNode
from visloc_ros.nodes.fusion_node import FusionNode
from visloc_ros.nodes.odometry_node import OdometryNode
from visloc_ros.nodes.qos import LATCHED, RELIABLE
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.sources.calibration import calibration_from_camera_info
from visloc_ros.sources.camera_files import write_camera_yaml
from visloc_ros.sources.ros_images import encode_jpeg
from visloc_ros.sources.ros_messages import pose_from_msg, stamp_from_msg

ZOOMED = replace(SIMULATION, focal_px=430.0)  # the guess for this size is 576
BEGIN_NS, STEP_NS = 1_700_000_000_000_000_000, 500_000_000


@lru_cache
def images_of(simulation: SimulationConfig) -> list[bytes]:
    """What a camera sees on its way through the room, as JPEG."""
    return [encode_jpeg(frame.image, 95) for frame in simulate(simulation, "map")]


@pytest.fixture(autouse=True)
def frequent_diagnostics(monkeypatch):
    monkeypatch.setattr(diagnostics, "PERIOD_S", 0.1)


class Driver:
    """Plays a camera in the simulated room, one frame at a time, and keeps what the nodes answer."""

    def __init__(self, harness: Harness, simulation=SIMULATION, topic: str = "image/compressed") -> None:
        self.harness, self.simulation, self.sequence = harness, simulation, simulate(simulation, "map")
        self.camera = self.sequence.camera
        self.anchors: dict[int, Anchor] = {}
        self.odometry: dict[int, OdometryStatus] = {}
        self.statuses: list[LocalizationStatus] = []
        self.found: list[CameraInfo] = []
        self.diagnostics: dict[str, tuple[str, dict[str, str]]] = {}
        self._count = 0
        probe = harness.probe
        self._images = probe.create_publisher(CompressedImage, topic, RELIABLE)
        self._infos = probe.create_publisher(CameraInfo, "camera_info", RELIABLE)
        probe.create_subscription(Anchor, "anchor", self._keep(self.anchors), RELIABLE)
        probe.create_subscription(OdometryStatus, "odometry_status", self._keep(self.odometry), RELIABLE)
        probe.create_subscription(LocalizationStatus, "status", self.statuses.append, LATCHED)
        probe.create_subscription(CameraInfo, "anchor_camera_info", self.found.append, LATCHED)
        probe.create_subscription(DiagnosticArray, "/diagnostics", self._take_diagnostics, RELIABLE)

    def connect(self, nodes: int, answers: tuple[str, ...]) -> None:
        """Wait until so many nodes hear the images, all nodes camera_info, and these topics of theirs are heard."""
        self.harness.wait_for(
            lambda: (
                self._images.get_subscription_count() == nodes
                and self._infos.get_subscription_count() >= nodes
                and all(
                    publisher.get_subscription_count()
                    for node in self.harness.nodes
                    for publisher in node.publishers
                    if publisher.topic_name.removeprefix("/visloc/") in answers
                )
            ),
            "connections",
        )

    def send_info(self, camera=None) -> None:
        """Publish a calibration; without a camera the message that says that there is none."""
        message = conversions.camera_to_msg(BEGIN_NS, "camera", camera or self.camera)
        if camera is None:
            message.k, message.d, message.p = np.zeros(9), [], np.zeros(12)
        self._infos.publish(message)

    def send(self) -> tuple[int, int]:
        """Publish the next frame, back and forth along the path; give its index there and its stamp."""
        last = len(self.sequence) - 1
        index = last - abs(last - self._count % (2 * last))
        stamp_ns = BEGIN_NS + self._count * STEP_NS
        self._count += 1
        image = CompressedImage(header=conversions.header(stamp_ns, "camera"), format="jpeg")
        image.data = images_of(self.simulation)[index]
        self._images.publish(image)
        return index, stamp_ns

    def anchor(self) -> tuple[Anchor, float]:
        """Send a frame, and wait for its anchor; with the error of its position, in metres."""
        index, stamp_ns = self.send()
        self.harness.wait_for(lambda: stamp_ns in self.anchors, f"anchor at {stamp_ns}")
        anchor = self.anchors[stamp_ns]
        position = pose_from_msg(anchor.pose.pose).translation if anchor.accepted else np.full(3, np.nan)
        return anchor, float(np.linalg.norm(position - self.sequence.pose(index).translation))

    def track(self) -> OdometryStatus:
        """Send a frame, and wait for its odometry."""
        _, stamp_ns = self.send()
        self.harness.wait_for(lambda: stamp_ns in self.odometry, f"odometry at {stamp_ns}")
        return self.odometry[stamp_ns]

    def wait_for_diagnostics(self, node: str, words: str, camera: str = "") -> None:
        """Images go on meanwhile, one for each message: without any for a while, these speak of nothing else."""
        before = None

        def is_reported() -> bool:
            nonlocal before
            latest = message, values = self.diagnostics.get(node, ("", {}))
            if words in message and camera in values.get("camera", ""):
                return True
            if latest is not before and values:
                before = latest
                self.send()
            return False

        self.harness.wait_for(is_reported, f"diagnostics of {node} with '{words}' and '{camera}'")

    @staticmethod
    def _keep(answers):
        def keep(message) -> None:
            answers[stamp_from_msg(message.header.stamp)] = message

        return keep

    def _take_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {item.key: item.value for item in status.values}
            self.diagnostics[status.name.removeprefix("visloc/").removesuffix(": status")] = (status.message, values)


@pytest.mark.parametrize(
    ("simulation", "words"),
    [(SIMULATION, "the map's camera, confirmed"), (ZOOMED, "estimated from frames found")],
    ids=["the map's camera", "another camera"],
)
def test_the_anchor_node_finds_the_calibration_out_and_the_odometry_waits_for_it(
    room_map, ros_domain, simulation, words
):
    with started(AnchorNode, *COMPRESSED, "-p", f"map_path:={room_map}", others=[OdometryNode]) as harness:
        driver = Driver(harness, simulation)
        driver.connect(2, ("anchor", "odometry_status", "anchor_camera_info"))
        driver.send_info()
        while not driver.found:
            answer, error = driver.anchor()
            assert not answer.accepted or error < 0.1  # never a pose by the guess, which is metres off
            stamp_ns = stamp_from_msg(answer.header.stamp)
            harness.wait_for(lambda stamp_ns=stamp_ns: stamp_ns in driver.odometry, "odometry")
            assert not driver.odometry[stamp_ns].tracked
        assert driver.odometry[BEGIN_NS].reason == "UNKNOWN_INTRINSICS"
        (found,) = driver.found
        assert conversions.camera_from_msg(found).mean_focal_length() == pytest.approx(simulation.focal_px, rel=0.02)
        driver.wait_for_diagnostics("anchor_node", "Localizing", words)
        assert driver.track().reason != "UNKNOWN_INTRINSICS"
        driver.wait_for_diagnostics("odometry_node", "", "estimated from frames found in the map")
        anchor, error = driver.anchor()
        assert anchor.accepted
        assert error < 0.05


def test_a_calibration_that_the_camera_shows_later_takes_over(room_map, ros_domain):
    with started(AnchorNode, *COMPRESSED, "-p", f"map_path:={room_map}", others=[OdometryNode]) as harness:
        driver = Driver(harness)
        driver.connect(2, ("anchor", "odometry_status", "anchor_camera_info"))
        driver.anchor()
        driver.wait_for_diagnostics("odometry_node", "Waiting: the camera is not calibrated")
        while not driver.found:
            driver.anchor()
        driver.send_info(driver.camera)
        while len(driver.found) < 2:
            driver.anchor()
        assert conversions.camera_from_msg(driver.found[1]).params.tolist() == driver.camera.params.tolist()
        driver.track()
        driver.wait_for_diagnostics("odometry_node", "", "as recorded with the images")
        driver.wait_for_diagnostics("anchor_node", "", "as recorded with the images")


def test_keyframes_go_to_an_anchor_machine_before_the_calibration_is_known(room_map, ros_domain):
    """It needs them to find the calibration out, and the odometry needs that."""
    remapped = ("-r", "anchor_node:image/compressed:=keyframe/compressed")
    options = (*COMPRESSED, "-p", f"map_path:={room_map}", "-p", "keyframe.max_interval:=0.01", *remapped)
    with started(OdometryNode, *options, others=[AnchorNode]) as harness:
        driver = Driver(harness)
        driver.connect(1, ("anchor", "odometry_status", "anchor_camera_info", "keyframe/compressed"))
        reasons = []
        while not driver.found:
            known = len(driver.anchors)
            reasons.append(driver.track().reason)
            harness.wait_for(lambda known=known: len(driver.anchors) > known, "anchor of a keyframe")
        assert reasons[0] == "UNKNOWN_INTRINSICS"
        assert conversions.camera_from_msg(driver.found[0]).mean_focal_length() == pytest.approx(360.0, rel=0.02)


def test_odometry_with_nobody_to_ask_tracks_by_a_guess_and_says_so(ros_domain, monkeypatch):
    monkeypatch.setattr(odometry_node, "GUESS_AFTER_S", 0.0)
    with started(OdometryNode, *COMPRESSED) as harness:
        driver = Driver(harness)
        driver.connect(1, ("odometry_status",))
        driver.send_info()
        for _ in range(4):
            assert driver.track().reason != "UNKNOWN_INTRINSICS"
        driver.wait_for_diagnostics("odometry_node", "", "guessed from the image size alone")


def test_the_status_says_why_there_is_no_pose_while_the_calibration_is_not_known(ros_domain):
    fusion = []

    def make_fusion():
        fusion.append(FusionNode(takes_odometry=False))
        return fusion[0]

    options = (*COMPRESSED, "-p", "base_frame:=camera")
    with started(make_fusion, *options, others=[lambda: OdometryNode(fusion[0])]) as harness:
        driver = Driver(harness)
        driver.connect(1, ("odometry_status", "status"))
        driver.send_info()
        driver.track()
        harness.wait_for(
            lambda: driver.statuses and driver.statuses[-1].reason == "UNKNOWN_INTRINSICS", "status with the reason"
        )


@pytest.mark.parametrize("node_type", [OdometryNode, AnchorNode])
def test_a_calibration_file_goes_before_camera_info(room_map, tmp_path, ros_domain, node_type):
    sequence = simulate(SIMULATION, "map")
    write_camera_yaml(tmp_path / "camera.yaml", sequence.camera)
    options = (*COMPRESSED, "-p", f"camera.calibration_file:={tmp_path / 'camera.yaml'}", "-p", f"map_path:={room_map}")
    with started(node_type, *options) as harness:
        driver = Driver(harness)
        driver.connect(1, ("anchor",) if node_type is AnchorNode else ("odometry_status",))
        driver.send_info(with_focal_length(driver.camera, 600.0))
        driver.anchor() if node_type is AnchorNode else driver.track()
        driver.wait_for_diagnostics(harness.node.default_name, "", "focal length 360.0 px, as given")


def test_a_calibration_file_that_cannot_be_read_keeps_a_node_from_starting(ros_domain, tmp_path):
    with started(OdometryNode, "-p", f"camera.calibration_file:={tmp_path / 'absent.yaml'}", succeeds=False):
        pass


def test_calibration_sources_of_a_message():
    camera = simulate(SIMULATION, "map").camera
    recorded = calibration_from_camera_info(conversions.camera_to_msg(BEGIN_NS, "camera", camera), "")
    assert recorded.source is CalibrationSource.RECORDED
    assert calibration_from_camera_info(CameraInfo(width=480, height=360), "") is None
