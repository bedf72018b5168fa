"""The real nodes under a storm of messages and requests over DDS; prints its figures as JSON.

python storm.py MAP FOLDER MESSAGES CALLS SEED: between one stretch of good images and the next, junk goes to every
topic and every service of the nodes, paced and in bursts: random messages, and good ones with some of their numbers
changed. The nodes must live, answer, publish nothing absurd, and know where they are again soon after good images come.
"""

import array
import contextlib
import copy
import importlib
import json
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage
from tf2_msgs.msg import TFMessage

from visloc_msgs.msg import LocalizationStatus
from visloc_msgs.srv import BuildMap, LoadMap, Localize, SaveMap, SetMode
from visloc_ros.apps.processes import NodeProcesses, NodeSpec
from visloc_ros.core.middleware import fast_dds_profile
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Mode
from visloc_ros.nodes.bag_recorder import message_class
from visloc_ros.nodes.conversions import camera_to_msg, header
from visloc_ros.nodes.qos import RELIABLE
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.sources.ros_images import encode_jpeg
from visloc_ros.sources.ros_messages import stamp_from_msg

NODES = ("localization_node", "anchor_node", "map_builder_node", "viewer_node")
NAMESPACE = "/visloc"
RATE_HZ = 15.0
FARTHEST = 1e9  # of whatever is published
START_S, RECOVERY_S, DEADLINE_S = 120.0, 100.0, 150.0  # beside eight other programs, too
ROUND_MESSAGES, ROUND_CALLS = 5000, 500
DEPTH = 1000
FEWEST_TOPICS, FEWEST_SERVICES = 10, 6  # that the nodes have
SAME = 4  # looks at the graph in a row that find nothing new
IMAGES = 30
UNTOUCHED = ("/parameter_events", "/rosout", "/clock")
# Of rclpy, its lifecycle and its actions.
LIBRARY_SERVICES = ("parameter", "change_state", "get_", "logger", "type_description", "/_action/")
TEXTS = ("", "map", "odom", "base_link", "camera", "0", "a/b", "\u202e", "x" * 300, "x" * 20_000, "nan", "/dev/zero")


class Junk:
    """Messages that hold anything that their type allows."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def number(self):
        kind = self.rng.integers(8)
        if kind < 3:
            return float(self.rng.normal() * 10.0 ** self.rng.uniform(-3, 3))
        special = (0.0, 1.0, math.nan, math.inf, -math.inf, 1e308, -1e308, 1e-320, 1e155, -1.0)
        return special[int(self.rng.integers(len(special)))]

    def integer(self, low, high):
        kind = int(self.rng.integers(5))
        return (0, 1, low, high, int(self.rng.integers(low, high, endpoint=True)))[kind] if low <= 1 <= high else low

    def text(self):
        return TEXTS[int(self.rng.integers(len(TEXTS)))]

    def value(self, written):
        """Anything of a type as the message class writes it."""
        if written.startswith("sequence<"):
            element = written[9:-1].split(",")[0]
            length = int(
                self.rng.choice([0, 1, 2, 3, 5, 7, 36, 100, 300], p=[0.2, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.08, 0.02])
            )
            return self.values(element, length)
        if "[" in written:
            element, length = written[:-1].split("[")
            return self.values(element, int(length))
        if written in ("float", "double"):
            value = self.number()
            return value if written == "double" or not math.isfinite(value) else float(np.clip(value, -3e38, 3e38))
        if written.startswith(("int", "uint")):
            bits, is_signed = int(written.removeprefix("u").removeprefix("int")), written.startswith("int")
            return self.integer(-(2 ** (bits - 1)) if is_signed else 0, 2 ** (bits - is_signed) - 1)
        if written in ("octet", "byte"):
            return bytes([int(self.rng.integers(256))])
        if written == "boolean":
            return bool(self.rng.integers(2))
        if written.startswith(("string", "wstring")):
            return self.text()
        return self.message(message_class(written))

    def values(self, element, length):
        if element == "uint8":
            return array.array("B", self.rng.bytes(length * int(self.rng.choice([1, 100]))))
        if element in ("float", "double"):
            return np.array(
                [self.value(element) for _ in range(length)], np.float64 if element == "double" else np.float32
            )
        return [self.value(element) for _ in range(length)]

    def message(self, kind):
        """A message of a class; what the class itself does not take stays as it is."""
        message = kind()
        for name, written in kind.get_fields_and_field_types().items():
            self.put(message, name, written)
        return message

    def put(self, message, name, written):
        # What a class itself does not take, as floats in an array of other numbers, stays zero.
        with contextlib.suppress(AssertionError, OverflowError, ValueError, TypeError):
            setattr(message, name, self.value(written))

    def changed(self, good):
        """A good message with a field of it, or of a message in it, replaced."""
        message = inner = copy.deepcopy(good)
        while True:
            fields = inner.get_fields_and_field_types()
            name = list(fields)[int(self.rng.integers(len(fields)))]
            value = getattr(inner, name)
            if hasattr(value, "get_fields_and_field_types") and self.rng.random() < 0.8:
                inner = value
                continue
            self.put(inner, name, fields[name])
            return message


class Storm:
    """The attacked nodes, a camera that shows them the demo's room, and what they publish."""

    def __init__(self, map_path, folder, seed):
        self.junk, self.folder, self.map_path = Junk(seed), folder, map_path
        self.node = Node("storm", namespace=NAMESPACE)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        scene = simulate(SimulationConfig(samples=1), "localize")
        self.images = [
            (encode_jpeg(scene.frame(index).image, 90), scene.frame(index).camera) for index in range(IMAGES)
        ]
        self.shown = 0
        self.image = self.node.create_publisher(CompressedImage, "/camera/image_raw/compressed", RELIABLE)
        self.camera = self.node.create_publisher(
            type(camera_to_msg(0, "", self.images[0][1])), "/camera/camera_info", RELIABLE
        )
        self.status, self.absurd, self.received = None, [], 0
        self.stamps, self.begin_ns = frozenset(), 0  # of good images, and since when poses count
        self.node.create_subscription(LocalizationStatus, "status", self.take_status, RELIABLE)
        self.node.create_subscription(TFMessage, "/tf", self.take_transforms, RELIABLE)
        self.good, self.publishers, self.clients = {}, {}, {}
        self.sent, self.called, self.unanswered, self.slowest_s, self.recoveries_s = 0, 0, 0, 0.0, []
        self.waiting = {}

    def take_status(self, message):
        """The newest state of the fusion."""
        stamp = message.header.stamp
        if stamp.sec * NANOSECONDS + stamp.nanosec in self.stamps:  # junk is on this topic, too
            self.status = message

    def take_transforms(self, message):
        """What is sent must be finite and near; what this storm itself sends is known by its frames."""
        for item in message.transforms:
            if (item.header.frame_id, item.child_frame_id) in (("map", "odom"), ("odom", "base_link")):
                self.received += 1
                numbers = [item.transform.translation.x, item.transform.translation.y, item.transform.translation.z]
                if not all(abs(number) < FARTHEST for number in numbers):
                    self.absurd.append(numbers)

    def spin(self, seconds=0.0):
        """Serve callbacks for a time."""
        end_s = time.monotonic() + seconds
        while True:
            self.executor.spin_once(timeout_sec=max(0.0, min(0.01, end_s - time.monotonic())))
            if time.monotonic() >= end_s:
                return

    def show(self, until, limit_s):
        """Show good images at the camera's rate until a condition holds; gives the time that took, or None."""
        begin_s = time.monotonic()
        while time.monotonic() - begin_s < limit_s:
            forth = self.shown % (2 * len(self.images) - 2)
            data, camera = self.images[min(forth, 2 * len(self.images) - 2 - forth)]
            stamp_ns = time.time_ns()
            self.stamps = frozenset(sorted(self.stamps)[-100:]) | {stamp_ns}
            self.camera.publish(camera_to_msg(stamp_ns, "camera", camera))
            self.image.publish(CompressedImage(header=header(stamp_ns, "camera"), format="jpeg", data=data))
            self.shown += 1
            self.spin(1.0 / RATE_HZ)
            if until():
                return time.monotonic() - begin_s
        return None

    def is_localized(self):
        """Whether the newest image has a pose that is trusted."""
        status = self.status
        is_new = status is not None and stamp_from_msg(status.header.stamp) > self.begin_ns
        return is_new and status.state == LocalizationStatus.LOCALIZED

    def recover(self, limit_s):
        """Good images until the nodes know where they are; gives the seconds, or None."""
        self.begin_ns = time.time_ns()
        return self.show(self.is_localized, limit_s)

    def endpoints(self):
        """Topics that the nodes listen to, and their services, each with its types.

        Not asked by node: which node has which of them, DDS may tell minutes later.
        """
        topics = {
            name: kinds
            for name, kinds in self.node.get_topic_names_and_types()
            if name not in UNTOUCHED and any(map(self.is_another, self.node.get_subscriptions_info_by_topic(name)))
        }
        services = {
            name: kinds
            for name, kinds in self.node.get_service_names_and_types()
            if not any(word in name for word in LIBRARY_SERVICES)
        }
        return topics, services

    def is_another(self, endpoint):
        return endpoint.node_name != self.node.get_name()

    def listen(self):
        """Find the nodes' topics and services, once all are known, and keep a good message of each topic."""
        known, same, end_s = ({}, {}), 0, time.monotonic() + START_S
        while same < SAME or len(known[0]) < FEWEST_TOPICS or len(known[1]) < FEWEST_SERVICES:
            assert time.monotonic() < end_s, f"only these endpoints were found: {known}"
            self.show(lambda: False, 0.5)
            found = self.endpoints()
            known, same = found, same + 1 if found == known else 0
        for topic, (kind_name, *_) in known[0].items():
            kind = message_class(kind_name)
            latched = profile(DurabilityPolicy.TRANSIENT_LOCAL, 1)
            self.publishers[topic] = kind, self.node.create_publisher(kind, topic, latched)
            self.node.create_subscription(kind, topic, self.keeper(topic), profile(DurabilityPolicy.VOLATILE))
        for service, (kind_name, *_) in known[1].items():
            package, _, name = kind_name.split("/")
            kind = getattr(importlib.import_module(f"{package}.srv"), name)
            self.clients[service] = self.node.create_client(
                kind, service, qos_profile=profile(DurabilityPolicy.VOLATILE)
            )

    def keeper(self, topic):
        def keep(message):
            self.good.setdefault(topic, message)

        return keep

    def send(self, count, is_paced):
        """Junk on all topics, one after the other."""
        names = sorted(self.publishers)
        for index in range(count):
            kind, publisher = self.publishers[names[int(self.junk.rng.integers(len(names)))]]
            good = self.good.get(publisher.topic_name)
            message = self.junk.changed(good) if good is not None and index % 2 else self.junk.message(kind)
            if hasattr(message, "header") and self.junk.rng.random() < 0.7:
                message.header.stamp = header(time.time_ns(), "").stamp
            if isinstance(message, TFMessage):  # not to be taken for the nodes' own
                for item in message.transforms:
                    item.header.frame_id = "storm"
            publisher.publish(message)
            self.sent += 1
            if is_paced:
                self.spin(0.001)
        self.spin()

    def call(self, count, is_paced):
        """Requests to all services; they are waited for afterwards."""
        names = sorted(self.clients)
        for _ in range(count):
            name = names[int(self.junk.rng.integers(len(names)))]
            client = self.clients[name]
            request = self.junk.message(client.srv_type.Request)
            self.aim(request)
            self.waiting[client.call_async(request)] = time.monotonic()
            self.called += 1
            if is_paced:
                self.spin(0.002)
            self.collect()

    def aim(self, request):
        """Let a request point somewhere near, so that it goes further than its first check."""
        paths = (str(self.map_path), str(self.folder), str(self.folder / "none"), "/dev/zero", "x" * 5000, "", "/")
        path = paths[int(self.junk.rng.integers(len(paths)))]
        if isinstance(request, LoadMap.Request):
            request.map_path = path
        elif isinstance(request, SaveMap.Request):
            request.path = (str(self.folder / "saved.tar.gz"), "/proc/x.tar.gz", "x" * 5000, "")[
                int(self.junk.rng.integers(4))
            ]
        elif isinstance(request, BuildMap.Request):
            request.source, request.name = path, self.junk.text()
        elif isinstance(request, SetMode.Request) and request.mode in tuple(Mode):
            request.mode = Mode.FUSED.value  # another one would be obeyed: nothing is found in a map any more
        elif isinstance(request, Localize.Request) and self.junk.rng.random() < 0.2:
            request.image.data, request.image.format = self.images[0][0], "jpeg"

    def collect(self):
        """Take the answers that have come, and count those that never will."""
        now_s = time.monotonic()
        for future, begin_s in list(self.waiting.items()):
            if future.done():
                self.slowest_s = max(self.slowest_s, now_s - begin_s)
                del self.waiting[future]
            elif now_s - begin_s > DEADLINE_S:
                self.unanswered += 1
                del self.waiting[future]

    def settle(self):
        """Wait for the answers."""
        while self.waiting:
            self.spin(0.05)
            self.collect()


def profile(durability, depth=DEPTH):
    return QoSProfile(
        reliability=ReliabilityPolicy.RELIABLE, durability=durability, history=HistoryPolicy.KEEP_LAST, depth=depth
    )


def running():
    """The process of each node."""
    children = psutil.Process().children()
    return {
        name: child
        for name in NODES
        for child in children
        if any(f".{name} import" in word for word in child.cmdline())
    }


def memory_mb():
    """Memory of each node, with its children's."""
    return {
        name: sum(one.memory_full_info().uss for one in (process, *process.children(recursive=True))) / 1e6
        for name, process in running().items()
    }


def main(map_path, folder, messages, calls, seed):
    """Attack in rounds, and print what became of it."""
    os.environ.update(fast_dds_profile())
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    rclpy.init()
    storm = Storm(map_path, folder, seed)
    images = {"image/compressed": "/camera/image_raw/compressed", "camera_info": "/camera/camera_info"}
    camera = {"camera.transport": "compressed", "camera.qos": "reliable"}
    specs = [
        NodeSpec(
            "localization_node",
            {**camera, "base_frame": "camera", "map_tracking.map_path": str(map_path)},
            None,
            images,
        ),
        NodeSpec("anchor_node", {**camera, "map_path": str(map_path)}, None, images),
        NodeSpec("map_builder_node", {"maps_folder": str(folder / "maps")}),
        NodeSpec("viewer_node"),
    ]
    with NodeProcesses(specs, folder / "nodes") as processes:
        first_s = storm.recover(START_S)
        assert first_s is not None, "the nodes never found the camera"
        storm.listen()
        storm.show(lambda: False, 2.0)  # for a good message of each topic
        rounds, at_first, memory = 0, running(), []
        while storm.sent < messages or storm.called < calls:
            is_paced = rounds % 2 == 0
            storm.send(min(ROUND_MESSAGES, messages - storm.sent), is_paced)
            storm.call(min(ROUND_CALLS, calls - storm.called), is_paced)
            storm.settle()
            storm.recoveries_s.append(storm.recover(RECOVERY_S))
            if storm.recoveries_s[-1] is None:
                print("not localized again:", storm.status, file=sys.stderr, flush=True)
            rounds += 1
            if min(storm.sent / messages, storm.called / calls) >= (len(memory) + 1) / 10:
                memory.append(memory_mb())
            processes.watch()
        figures = {
            "messages": storm.sent,
            "calls": storm.called,
            "topics": len(storm.publishers),
            "services": len(storm.clients),
            "deaths": sum(running().get(name) != process for name, process in at_first.items()),
            "unanswered": storm.unanswered,
            "slowest_answer_s": storm.slowest_s,
            "outputs": storm.received,
            "absurd_outputs": len(storm.absurd),
            "recoveries_s": storm.recoveries_s,
            "last_status": "" if storm.status is None else f"{storm.status.state} {storm.status.reason}",
            "memory_mb": {name: [one[name] for one in memory] for name in memory[0]},  # after each tenth
        }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:6]))
