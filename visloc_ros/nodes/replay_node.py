"""Plays a bag to the running nodes with /clock and records their answers, as JSON lines.

Messages keep the bag's stamps, so nodes run on simulated time. The age of a pose is measured here on the wall clock:
from the publication of its image to the arrival of its transform.
"""

from __future__ import annotations

import json
import math
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from rclpy.parameter_client import AsyncParameterClient
from rclpy.publisher import Publisher
from rclpy.qos import HistoryPolicy, QoSProfile
from rclpy.serialization import deserialize_message
from rclpy.task import Future
from rosgraph_msgs.msg import Clock
from tf2_msgs.msg import TFMessage

from visloc_msgs.msg import (
    Anchor,
    Innovation,
    LocalizationStatus,
    LoopClosure,
    MapIdentity,
    OdometryStatus,
    TrackedPose,
)
from visloc_ros.core.config import Config, list_options, option
from visloc_ros.core.errors import SetupError, VislocError
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.nodes.bag_recorder import message_class, write_recording
from visloc_ros.nodes.conversions import stamp_to_msg, state_from_msg, support_from_msg
from visloc_ros.nodes.diagnostics import processor_percent
from visloc_ros.nodes.parameters import EFFECTIVE_CONFIG, declare_parameters, read_parameters
from visloc_ros.nodes.qos import EACH_LATCHED, LATCHED, RELIABLE, TF, TF_STATIC
from visloc_ros.sources.bag_messages import iterate_serialized
from visloc_ros.sources.ros_messages import (
    MessageError,
    pose_from_msg,
    stages_from_msg,
    stamp_from_msg,
    transform_from_msg,
)

CLOCK_PERIOD_S = 0.05  # at least: every node works for a millisecond at each tick
QUIET_S = 3.0
SUBSCRIBERS, START_TIMEOUT_S = 2, 120.0  # of the images, which are waited for: odometry and search
DRAIN_LIMIT_S = 30.0
CDR_STAMP_OFFSET = 4
SPIN_PERIOD_S = 0.05
PARAMETER_TIMEOUT_S = 30.0
PATIENCE = 1000  # messages of a topic that may wait while this process does not run: a recording must be complete


@dataclass(frozen=True)
class ReplayConfig(Config):
    """Parameters of the replay."""

    bag: str = option("", "bag to play")
    image_topic: str = option("", "image topic of the bag that the nodes listen to")
    recording: str = option("", "file that the answers are written to, as JSON lines")
    recorded_bag: str = option("", "bag that the answers are written to as they came; empty: none")
    rate: float = option(1.0, "speed of the replay relative to the bag", minimum=0.01, maximum=100.0)
    nodes: str = option("odometry_node anchor_node fusion_node", "nodes whose configuration is recorded")


class Recorder:
    """Keeps the nodes' messages, serialized, with their times of arrival; they are parsed after the replay.

    ``last_answer_s`` is the arrival of the last result of an image: nodes publish their status without images, too.
    """

    def __init__(self, node: Node) -> None:
        self._logger = node.get_logger()
        self._received: list[tuple[float, str, bytes]] = []
        self.last_answer_s = time.monotonic()
        kinds = {**ONLY_KEPT, **{topic: (kind, qos) for topic, (kind, qos, _) in ANSWERS.items()}}
        for topic, (message_type, qos) in kinds.items():
            patient = QoSProfile(
                reliability=qos.reliability, durability=qos.durability, history=HistoryPolicy.KEEP_LAST, depth=PATIENCE
            )
            node.create_subscription(message_type, topic, self._keeper(topic), patient, raw=True)
        self._namespace = node.get_namespace()

    def _keeper(self, topic: str) -> Callable[[bytes], None]:
        def keep(serialized: bytes) -> None:
            arrival_s = time.monotonic()
            self._received.append((arrival_s, topic, serialized))
            if topic in RESULTS:
                self.last_answer_s = arrival_s

        return keep

    def lines(self) -> Iterator[dict[str, Any]]:
        """Each message as a plain dictionary; one that cannot be read is left out."""
        for arrival_s, topic, serialized in self._received:
            if topic in ONLY_KEPT:
                continue
            message_type, _, read = ANSWERS[topic]
            try:
                content = read(deserialize_message(serialized, message_type))
            except MessageError as error:
                self._logger.warning(f"a message on {topic} was left out of the recording: {error}")
                continue
            yield {"topic": topic.lstrip("/"), "arrival_s": arrival_s} | content

    def messages(self) -> list[tuple[int, str, type, bytes]]:
        """Each message as it came: time of arrival in ns, full topic, type, serialized."""
        types = {topic: kind for topic, (kind, _, _) in ANSWERS.items()}
        types |= {topic: kind for topic, (kind, _) in ONLY_KEPT.items()}
        return [
            (round(arrival_s * NANOSECONDS), self._full_name(topic), types[topic], serialized)
            for arrival_s, topic, serialized in self._received
        ]

    def _full_name(self, topic: str) -> str:
        return topic if topic.startswith("/") else f"{self._namespace}/{topic}"


def _read_tf(message: TFMessage) -> dict[str, Any]:
    return {
        "transforms": [
            {
                "stamp_ns": stamp_from_msg(item.header.stamp),
                "parent": item.header.frame_id,
                "child": item.child_frame_id,
                "pose": _plain_pose(transform_from_msg(item.transform)),
            }
            for item in message.transforms
        ]
    }


def _plain_pose(pose: Any) -> list[float]:
    return [*pose.translation.tolist(), *pose.quaternion.tolist()]


def _read_pose(message: PoseWithCovarianceStamped) -> dict[str, Any]:
    return {
        "stamp_ns": stamp_from_msg(message.header.stamp),
        "covariance": [float(value) for value in message.pose.covariance],
    }


def _read_status(message: LocalizationStatus) -> dict[str, Any]:
    return {
        "stamp_ns": stamp_from_msg(message.header.stamp),
        "state": state_from_msg(message.state).value,
        "support": support_from_msg(message.support).value,
        "reason": message.reason,
        "anchors_accepted": message.anchors_accepted,
        "anchors_rejected": message.anchors_rejected,
    }


def _read_anchor(message: Anchor) -> dict[str, Any]:
    pose = _plain_pose(pose_from_msg(message.pose.pose)) if message.accepted else None
    return {
        "stamp_ns": stamp_from_msg(message.header.stamp),
        "accepted": message.accepted,
        "reason": message.reason,
        "pose": pose,
        "covariance": [float(value) for value in message.pose.covariance] if message.accepted else None,
        "num_inliers": message.num_inliers,
        "probability": None if math.isnan(message.probability) else message.probability,
        "latency_ms": message.latency_ms,
        "stage_ms": stages_from_msg(message.stages),
    }


def _read_odometry(message: OdometryStatus) -> dict[str, Any]:
    return {
        "stamp_ns": stamp_from_msg(message.header.stamp),
        "tracked": message.tracked,
        "reason": message.reason,
        "latency_ms": message.latency_ms,
        "stage_ms": stages_from_msg(message.stages),
    }


def _read_diagnostics(message: DiagnosticArray) -> dict[str, Any]:
    """The processor time that each node reports; the bag may hold diagnostics of other nodes, which report none."""
    values = {status.name: {value.key: value.value for value in status.values} for status in message.status}
    return {"processor_percent": {name: processor_percent(of_node) for name, of_node in values.items()}}


def _read_innovation(message: Innovation) -> dict[str, Any]:
    return {
        "stamp_ns": stamp_from_msg(message.header.stamp),
        "source": message.source,
        "accepted": message.accepted,
        "squared": message.squared,
    }


ANSWERS: Mapping[str, tuple[type, QoSProfile, Callable[[Any], dict[str, Any]]]] = {
    "/tf": (TFMessage, TF, _read_tf),
    "pose": (PoseWithCovarianceStamped, EACH_LATCHED, _read_pose),
    "status": (LocalizationStatus, EACH_LATCHED, _read_status),
    "anchor": (Anchor, RELIABLE, _read_anchor),
    "odometry_status": (OdometryStatus, RELIABLE, _read_odometry),
    "innovation": (Innovation, RELIABLE, _read_innovation),
    "/diagnostics": (DiagnosticArray, RELIABLE, _read_diagnostics),
}
RESULTS = frozenset({"odometry_status", "anchor", "pose", "innovation"})


ONLY_KEPT: Mapping[str, tuple[type, QoSProfile]] = {
    "/tf_static": (TFMessage, TF_STATIC),
    "loaded_map": (MapIdentity, LATCHED),
    "map_tracking": (TrackedPose, RELIABLE),
    "loop_closure": (LoopClosure, RELIABLE),
    "/initialpose": (PoseWithCovarianceStamped, RELIABLE),
}
"""Topics that are not read here, but complete the inputs of the fusion node in the recorded bag."""


class Player:
    """Publishes a bag's messages at the times they were recorded, and the simulated clock between them."""

    def __init__(self, node: Node, config: ReplayConfig) -> None:
        self._node, self._config = node, config
        self._clock = node.create_publisher(Clock, "/clock", RELIABLE)
        self._messages = list(iterate_serialized(Path(config.bag), None))
        if not self._messages:
            raise SetupError(f"the bag {config.bag} holds no messages")
        self._publishers = self._make_publishers()
        self.published: list[dict[str, Any]] = []
        self._clock_s = -CLOCK_PERIOD_S

    def _make_publishers(self) -> dict[str, Publisher]:
        publishers = {}
        for topic, type_name in {(topic, kind) for _, topic, kind, _ in self._messages}:
            qos = TF_STATIC if topic == "/tf_static" else RELIABLE
            publishers[topic] = self._node.create_publisher(message_class(type_name), topic, qos)
        return publishers

    def wait_for_subscribers(self) -> None:
        """Wait for the nodes to subscribe to the images. Raises SetupError after the timeout."""
        images, config = self._publishers.get(self._config.image_topic), self._config
        if images is None:
            raise SetupError(
                f"the bag has no topic '{config.image_topic}'; it has: {', '.join(sorted(self._publishers))}"
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while images.get_subscription_count() < SUBSCRIBERS:
            self._publish_clock(self._messages[0][0])
            if time.monotonic() > deadline:
                raise SetupError(
                    f"only {images.get_subscription_count()} of {SUBSCRIBERS} nodes listen to "
                    f"'{config.image_topic}' after {START_TIMEOUT_S:.0f} s; look at their output above"
                )
            time.sleep(SPIN_PERIOD_S)

    def play(self) -> None:
        """Publish everything in time."""
        begin_bag_ns, begin_s = self._messages[0][0], time.monotonic()
        for moment_ns, messages in groupby(self._messages, key=itemgetter(0)):
            self._tick_until(begin_s + (moment_ns - begin_bag_ns) / NANOSECONDS / self._config.rate, moment_ns)
            if time.monotonic() - self._clock_s >= CLOCK_PERIOD_S:
                self._publish_clock(moment_ns)
            for _, topic, _, data in messages:
                self._publish(topic, data)

    def _publish(self, topic: str, data: bytes) -> None:
        if topic == self._config.image_topic:
            self.published.append({"topic": "image", "stamp_ns": cdr_stamp_ns(data), "arrival_s": time.monotonic()})
        self._publishers[topic].publish(data)

    def drain(self, recorder: Recorder) -> None:
        """Keep the clock running until no image has had a result for a while."""
        end_s, now_ns = time.monotonic(), self._messages[-1][0]
        while time.monotonic() - max(recorder.last_answer_s, end_s) < QUIET_S:
            elapsed_s = time.monotonic() - end_s
            if elapsed_s > DRAIN_LIMIT_S:
                break
            self._publish_clock(now_ns + int(elapsed_s * self._config.rate * NANOSECONDS))
            time.sleep(CLOCK_PERIOD_S)

    def _tick_until(self, due_s: float, due_bag_ns: int) -> None:
        while (left_s := due_s - time.monotonic()) > 0:
            if left_s > CLOCK_PERIOD_S:
                self._publish_clock(due_bag_ns - int(left_s * self._config.rate * NANOSECONDS))
            time.sleep(min(left_s, CLOCK_PERIOD_S))

    def _publish_clock(self, bag_ns: int) -> None:
        self._clock.publish(Clock(clock=stamp_to_msg(bag_ns)))
        self._clock_s = time.monotonic()


def cdr_stamp_ns(data: bytes) -> int:
    """Stamp of a serialized message that begins with a std_msgs/Header."""
    order = "<" if data[1] & 1 else ">"
    seconds, nanoseconds = struct.unpack_from(f"{order}iI", data, CDR_STAMP_OFFSET)
    return int(seconds) * NANOSECONDS + int(nanoseconds)


def read_node_config(node: Node, name: str) -> dict[str, Any]:
    """The configuration of another node. Raises SetupError when that does not publish it."""
    client = AsyncParameterClient(node, name)
    if not client.wait_for_services(PARAMETER_TIMEOUT_S):
        raise SetupError(f"{name} offers no parameters after {PARAMETER_TIMEOUT_S:.0f} s")
    (value,) = _wait_for(client.get_parameters([EFFECTIVE_CONFIG])).values
    config = yaml.safe_load(parameter_value_to_python(value) or "")
    if not isinstance(config, dict):
        raise SetupError(f"{name} does not publish its configuration: it is not configured, or of another version")
    return config


def _wait_for(future: Future) -> Any:
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    if not done.wait(PARAMETER_TIMEOUT_S):
        raise SetupError(f"a node did not give its parameters within {PARAMETER_TIMEOUT_S:.0f} s")
    return future.result()


@contextmanager
def spinning(node: Node) -> Iterator[None]:
    """Serve a node's callbacks in a separate thread."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=_spin, args=(executor,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        executor.shutdown()
        thread.join(timeout=5.0)


def _spin(executor: SingleThreadedExecutor) -> None:
    try:
        executor.spin()
    except ExternalShutdownException:
        return


def replay(node: Node) -> None:
    """Play the bag, record the answers, write the recording."""
    config = ReplayConfig.from_mapping(read_parameters(node, list_options(ReplayConfig)))
    player, recorder = Player(node, config), Recorder(node)
    with spinning(node):
        player.wait_for_subscribers()
        configs = {name: read_node_config(node, name) for name in config.nodes.split()}
        player.play()
        player.drain(recorder)
    of_nodes = ({"topic": "config", "node": name, "values": values} for name, values in configs.items())
    with Path(config.recording).open("w", encoding="utf-8") as file:
        for line in chain(of_nodes, player.published, recorder.lines()):
            file.write(json.dumps(line) + "\n")
    if config.recorded_bag:
        custom_data = {name: json.dumps(values) for name, values in configs.items()}
        write_recording(Path(config.recorded_bag), recorder.messages(), custom_data)


def main() -> None:
    """Replay as a process; exit code 0 when the recording is complete, 1 with one line of reason otherwise."""
    rclpy.init(args=sys.argv)
    node = Node("replay", namespace="visloc")
    declare_parameters(node, list_options(ReplayConfig))
    try:
        replay(node)
    except VislocError as error:
        node.get_logger().error(str(error))
        sys.exit(1)
    except (KeyboardInterrupt, ExternalShutdownException):
        sys.exit(1)
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
