"""The example that holds the wheels while the pose is lost."""

import importlib.util
import time
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy")

from node_harness import TIMEOUT_S
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import Bool

from visloc_msgs.msg import LocalizationStatus
from visloc_ros.nodes.qos import EACH_LATCHED, RELIABLE

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "stop_when_lost.py"
FRAME_S = 0.05


def load_example():
    spec = importlib.util.spec_from_file_location("stop_when_lost", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Wheels:
    """Sends the status as the fusion node does, and keeps the lock."""

    def __init__(self, *arguments):
        rclpy.init(args=["--ros-args", *arguments])
        self.locks: list[bool] = []
        self.state: int | None = None
        self.executor = SingleThreadedExecutor()
        self.node, self.probe = load_example().StopWhenLost(), Node("probe")
        self.status = self.probe.create_publisher(LocalizationStatus, "/visloc/status", EACH_LATCHED)
        self.probe.create_subscription(Bool, "visloc_lost", lambda one: self.locks.append(one.data), RELIABLE)
        self.probe.create_timer(FRAME_S, self.send)
        for node in (self.node, self.probe):
            self.executor.add_node(node)

    def send(self):
        if self.state is not None:
            self.status.publish(LocalizationStatus(state=self.state))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for node in (self.node, self.probe):
            node.destroy_node()
        rclpy.shutdown()

    def wait_for(self, lock, state=None):
        """Serve until the lock is as expected, while each frame tells the state, or nothing comes."""
        deadline = time.monotonic() + TIMEOUT_S
        self.state = state
        self.locks.clear()
        while not self.locks or self.locks[-1] is not lock:
            assert time.monotonic() < deadline, (lock, state)
            self.executor.spin_once(timeout_sec=0.05)


def test_the_wheels_are_held_while_nobody_knows_where_the_robot_is(ros_domain):
    with Wheels() as wheels:
        wheels.wait_for(True)  # nothing has been heard yet
        for state in (LocalizationStatus.LOCALIZED, LocalizationStatus.DEGRADED):
            wheels.wait_for(False, state)
            wheels.wait_for(True, LocalizationStatus.LOST)
        wheels.wait_for(False, LocalizationStatus.LOCALIZED)
        wheels.wait_for(True, LocalizationStatus.INITIALIZING)
        wheels.wait_for(False, LocalizationStatus.LOCALIZED)
        wheels.wait_for(True)  # silence


def test_odometry_alone_may_be_too_little(ros_domain):
    with Wheels("-p", "degraded:=true") as wheels:
        wheels.wait_for(False, LocalizationStatus.LOCALIZED)
        wheels.wait_for(True, LocalizationStatus.DEGRADED)
