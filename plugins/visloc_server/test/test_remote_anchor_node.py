"""A robot whose images are found over HTTP: the same anchors, and none made up while the server is away."""

import shutil
import time
from contextlib import ExitStack

import numpy as np
import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray
from mapped_room import SIMULATION
from node_harness import COMPRESSED, given, jpeg_msg, started
from sensor_msgs.msg import CameraInfo

from plugins.visloc_server.testing.server_process import free_port, running
from visloc_msgs.msg import Anchor, MapIdentity
from visloc_ros.core.geometry import Sim3
from visloc_ros.core.manifest import read_manifest
from visloc_ros.core.map import open_map
from visloc_ros.localization import AnchorEngine
from visloc_ros.mapping.alignment.aligned_map import align_map
from visloc_ros.mapping.alignment.fit import MapFit
from visloc_ros.nodes import diagnostics
from visloc_ros.nodes.conversions import camera_to_msg
from visloc_ros.nodes.qos import LATCHED, RELIABLE
from visloc_ros.simulation import simulate
from visloc_ros.sources.ros_images import encode_jpeg
from visloc_ros.sources.ros_messages import pose_from_msg, stamp_from_msg
from visloc_server.nodes.remote_anchor_node import JPEG_QUALITY, RemoteAnchorNode
from visloc_server.uploads import read_upload

BEGIN_NS, STEP_NS = 1_700_000_000_000_000_000, 500_000_000
SEQUENCE = simulate(SIMULATION, "map")
FIT = MapFit(Sim3(1.0, np.eye(3), np.array([3.0, -2.0, 0.5])), "a test", {}, metric=True, gravity_aligned=True)
ANSWER_S = 12.0  # the node waits less for an answer
TOKEN = "correct-horse-battery"


@pytest.fixture(autouse=True)
def frequent_diagnostics(monkeypatch):
    monkeypatch.setattr(diagnostics, "PERIOD_S", 0.1)


class Robot:
    """Sends frames one at a time to the node, and keeps what it tells."""

    def __init__(self, harness):
        self.harness, self.node = harness, harness.node
        self.anchors, self.diagnostics, self._count = {}, ("", ""), 0
        probe = harness.probe
        probe.create_subscription(Anchor, "anchor", self._keep, RELIABLE)
        probe.create_subscription(DiagnosticArray, "/diagnostics", self._judge, RELIABLE)
        self._infos, self._images = harness.camera()
        (publisher,) = (one for one in self.node.publishers if one.topic_name.endswith("/anchor"))
        harness.wait_for(publisher.get_subscription_count, "listener")

    def _keep(self, anchor):
        self.anchors[stamp_from_msg(anchor.header.stamp)] = anchor

    def _judge(self, message):
        for status in message.status:
            self.diagnostics = status.level, status.message

    def send(self, index):
        """Send a frame; give its stamp."""
        self._count += 1
        stamp_ns = BEGIN_NS + self._count * STEP_NS
        self._infos.publish(camera_to_msg(stamp_ns, "camera", SEQUENCE.camera))
        self._images.publish(jpeg_msg(SEQUENCE.frame(index).image, stamp_ns))
        return stamp_ns

    def wait_for_words(self, begin):
        """Go on as a camera does, until the diagnostics begin so: a silent camera is what they would speak of."""

        def is_reported():
            if self.diagnostics[1].startswith(begin):
                return True
            if self.diagnostics[1]:
                self.diagnostics = ("", "")
                self.send(1)
            return False

        self.harness.wait_for(is_reported, f"diagnostics that begin with '{begin}'")

    def find(self, index):
        """The anchor of a frame, which is sent again where the server was too slow: its first search loads the map."""
        sent, again_s = list[int](), 0.0

        def is_found():
            nonlocal again_s
            if time.monotonic() > max(again_s, self.node._not_before_s):
                again_s = time.monotonic() + ANSWER_S
                sent.append(self.send(index))
            return any(stamp_ns in self.anchors for stamp_ns in sent)

        self.harness.wait_for(is_found, "anchor")
        return next(self.anchors[stamp_ns] for stamp_ns in sent if stamp_ns in self.anchors)


def asking(port, *more):
    return [*given(f"server_url:=http://127.0.0.1:{port}", *more), *COMPRESSED]


def assert_no_answer(robot):
    stamp_ns = robot.send(0)
    robot.harness.wait_for(lambda: "does not answer" in robot.diagnostics[1], "words")
    assert robot.diagnostics[0] == b"\x02"
    assert stamp_ns not in robot.anchors


def test_anchors_are_those_of_the_map_on_the_server_and_without_it_the_diagnostics_say_why(
    ros_domain, room_map, tmp_path
):
    (tmp_path / "token").write_text(TOKEN)
    copied = shutil.copytree(room_map, tmp_path / "maps" / room_map.name)
    with_token, port = f"token_file:={tmp_path / 'token'}", free_port()
    with ExitStack() as server:
        with started(RemoteAnchorNode, *asking(port, with_token)) as harness:
            robot = Robot(harness)
            assert_no_answer(robot)
            server.enter_context(running(copied.parent, "--token-file", str(tmp_path / "token"), port=port))
            assert robot.find(1).accepted
            robot.wait_for_words("Localizing")
        with started(RemoteAnchorNode, *asking(port, with_token, f"server_map:={room_map.name}")) as harness:
            robot = Robot(harness)
            announced = harness.received(MapIdentity, "loaded_map", LATCHED)
            has_the_anchors_of(robot, room_map)
            before = read_manifest(copied).frame
            align_map(copied, copied, lambda _: FIT, overwrite=True)
            assert robot.find(1).map_frame_uuid == read_manifest(copied).frame_uuid
            harness.wait_for(
                lambda: announced[-1].frame_uuid == read_manifest(copied).frame_uuid, "the map's new frame"
            )
            assert [one.uuid for one in announced[-1].earlier_frames] == [before.uuid]
            assert announced[-1].requested
            server.close()
            assert_no_answer(robot)


def has_the_anchors_of(robot, room_map):
    engine = AnchorEngine(open_map(room_map))
    for index in (1, 4):
        found = robot.find(index)
        assert found.accepted, found.reason
        sent = read_upload(encode_jpeg(SEQUENCE.frame(index).image, 95), lambda *_: SEQUENCE.camera)
        again = read_upload(encode_jpeg(sent.image, JPEG_QUALITY), lambda *_: SEQUENCE.camera)
        own = engine.localize(again)
        assert pose_from_msg(found.pose.pose).is_close(own.map_from_camera, 1e-6, 1e-4)
        assert found.pose.covariance == pytest.approx(own.covariance.reshape(36), rel=1e-6)
        assert found.map_covariance == pytest.approx(own.map_covariance.reshape(36), rel=1e-6)
        assert (found.num_inliers, len(found.inlier_points)) == (own.num_inliers, own.num_inliers)
        assert found.inlier_pixels == pytest.approx(own.inlier_pixels.reshape(-1), abs=1e-3)
        assert (found.map_name, found.metric) == (room_map.name, True)


def test_a_camera_that_nobody_calibrated_is_not_searched(ros_domain, room_map):
    with started(RemoteAnchorNode, *asking(free_port())) as harness:
        robot = Robot(harness)
        robot._infos = robot.harness.probe.create_publisher(CameraInfo, "nowhere", RELIABLE)
        robot.send(0)
        harness.wait_for(lambda: "not calibrated" in robot.diagnostics[1], "words")


@pytest.mark.parametrize(
    ("parameters", "starts"),
    [
        ((), False),
        (("server_url:=gpu-box",), False),
        (("server_url:=ftp://gpu-box",), False),
        (("server_url:=http://gpu-box:8090", "token_file:=/nowhere"), False),
        (("server_url:=http://gpu-box:8090",), True),
    ],
)
def test_only_what_can_be_a_server_is_asked(ros_domain, parameters, starts):
    with started(RemoteAnchorNode, *given(*parameters), succeeds=starts):
        pass
