"""Run nodes of this package in one executor with a probe, with bounded waits."""

import itertools
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.action import ActionClient
from rclpy.client import Client
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, PointCloud2

from visloc_msgs.msg import Anchor
from visloc_msgs.srv import Localize
from visloc_ros.core.types import AnchorPose, Frame
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.conversions import camera_to_msg, header
from visloc_ros.nodes.qos import LATCHED, RELIABLE
from visloc_ros.sources.ros_images import encode_jpeg
from visloc_ros.sources.ros_messages import anchor_from_msg

DEMO_MAP = Path(__file__).resolve().parents[2] / "maps" / "demo_room.tar.gz"
TIMEOUT_S = 60.0
ASKED_AGAIN_S = 0.5


def given(*parameters: str) -> list[str]:
    """ROS arguments for parameters, each as "name:=value"."""
    return [word for one in parameters for word in ("-p", one)]


def read_until(process: subprocess.Popen[str], words: str) -> None:
    """Read what a process prints until a line holds these words; the middleware prints lines of its own, too."""
    seen = ""
    while words not in seen:
        part = process.stdout.readline()
        assert part, f"{words!r} never came: {seen}"
        seen += part


COMPRESSED = given("camera.transport:=compressed", "camera.qos:=reliable")


_NUMBERS = itertools.count()


def jpeg_msg(image: np.ndarray, stamp_ns: int) -> CompressedImage:
    """A message of an image of the camera; no two have the same bytes, as none of a live camera have."""
    data = encode_jpeg(image, 95) + bytes([next(_NUMBERS) % 256])  # what comes after a JPEG's end is not looked at
    return CompressedImage(header=header(stamp_ns, "camera"), format="jpeg", data=data)


def localize_request(frame: Frame, image: np.ndarray | None = None) -> Localize.Request:
    """Asks where a frame, or another image of its camera, was taken."""
    message = jpeg_msg(frame.image if image is None else image, frame.stamp_ns)
    return Localize.Request(image=message, camera_info=camera_to_msg(frame.stamp_ns, "camera", frame.camera))


class Harness:
    """Started nodes, the first of which is ``node``, and a plain node beside them."""

    def __init__(self, nodes: list[VislocNode], probe: Node, executor: SingleThreadedExecutor) -> None:
        self.node, self.nodes, self.probe, self._executor = nodes[0], nodes, probe, executor
        self._clients: dict[str, Client] = {}

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Serve callbacks until the condition holds."""
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < deadline, f"no {what} within {TIMEOUT_S:.0f} s"
            self._executor.spin_once(timeout_sec=0.05)

    def start(self, node_type: Callable[[], VislocNode]) -> VislocNode:
        """Start another node, in the place of one that has ended."""
        node = node_type()
        self._executor.add_node(node)
        self.nodes.append(node)
        assert node.start()
        return node

    def publisher(self, message_type: type, topic: str, qos: QoSProfile = RELIABLE) -> Publisher:
        """A publisher of the probe that has a subscriber."""
        publisher = self.probe.create_publisher(message_type, topic, qos)
        self.wait_for(publisher.get_subscription_count, f"subscription of {topic}")
        return publisher

    def camera(self) -> tuple[Publisher, Publisher]:
        """Publishers of a camera's calibration and of its compressed images."""
        return self.publisher(CameraInfo, "camera_info"), self.publisher(CompressedImage, "image/compressed")

    def received(self, message_type: type, topic: str, qos: QoSProfile = RELIABLE) -> list:
        """The messages of a topic from now on."""
        messages: list = []
        self.probe.create_subscription(message_type, topic, messages.append, qos)
        return messages

    def anchor_and_picture(self, frame: Frame) -> tuple[AnchorPose, PointCloud2, CompressedImage]:
        """What an anchor node finds of a frame: its anchor, the map's points, and the picture of its inliers."""
        anchors, clouds = self.received(Anchor, "anchor"), self.received(PointCloud2, "map_points", LATCHED)
        pictures = self.received(CompressedImage, "matches/compressed")
        infos, images = self.camera()
        topics = ("/visloc/anchor", "/visloc/matches/compressed")
        self.wait_for(lambda: clouds and all(map(self.probe.count_publishers, topics)), "topics of the node")
        infos.publish(camera_to_msg(frame.stamp_ns, "camera", frame.camera))
        images.publish(jpeg_msg(frame.image, frame.stamp_ns))
        self.wait_for(lambda: anchors and pictures, "anchor and picture")
        anchor = anchor_from_msg(anchors[0]).result
        assert isinstance(anchor, AnchorPose)
        return anchor, clouds[0], pictures[0]

    def call(self, service_type: type, name: str, request: object) -> object:
        """Call a service and wait for its answer."""
        future = self._client(service_type, name).call_async(request)
        self.wait_for(future.done, f"answer of {name}")
        return future.result()

    def ask(self, service_type: type, name: str, request: object) -> object:
        """Call a service that changes nothing, again where no answer comes.

        A service that has just started may hear a client before it knows where to answer to.
        """
        client = self._client(service_type, name)
        futures, asked = [], -ASKED_AGAIN_S

        def answer() -> list:
            nonlocal asked
            if time.monotonic() - asked >= ASKED_AGAIN_S:
                futures.append(client.call_async(request))
                asked = time.monotonic()
            return [one for one in futures if one.done()]

        self.wait_for(answer, f"answer of {name}")
        return next(one for one in futures if one.done()).result()

    def _client(self, service_type: type, name: str) -> Client:
        """One client a service, as long as the probe lives: to one that is gone a node's late answer fails."""
        client = self._clients.get(name) or self.probe.create_client(service_type, name)
        self._clients[name] = client
        self.wait_for(client.service_is_ready, f"service {name}")
        return client


@contextmanager
def started(
    node_type: Callable[[], VislocNode],
    *arguments: str,
    others: Sequence[Callable[[], VislocNode]] = (),
    succeeds: bool = True,
) -> Iterator[Harness]:
    """Start a node, and others beside it, with ROS arguments; tells by ``succeeds`` whether they are expected to."""
    rclpy.init(args=["--ros-args", *arguments])
    nodes, probe = [one() for one in (node_type, *others)], Node("probe", namespace="visloc")
    executor = SingleThreadedExecutor()
    for node in (*nodes, probe):
        executor.add_node(node)
    try:
        assert all(node.start() is succeeds for node in nodes)
        yield Harness(nodes, probe, executor)
    finally:
        for node in nodes:
            node.release()
        for node in (probe, *nodes):
            node.destroy_node()
        rclpy.shutdown()


class Goal:
    """A goal for an action, its feedback, and its result."""

    def __init__(self, harness: Harness, action_type: type, action: str, **fields: object) -> None:
        self.harness = harness
        self.feedback: list = []
        self._client = ActionClient(harness.probe, action_type, action)
        harness.wait_for(self._client.server_is_ready, "action")
        sent = self._client.send_goal_async(action_type.Goal(**fields), self._keep)
        harness.wait_for(sent.done, "answer to the goal")
        self.handle = sent.result()

    def _keep(self, message: Any) -> None:
        self.feedback.append(message.feedback)

    def result(self) -> tuple[int, Any]:
        """The goal's status and result."""
        future = self.handle.get_result_async()
        self.harness.wait_for(future.done, "result")
        self._client.destroy()
        return future.result().status, future.result().result
