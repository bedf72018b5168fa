"""Prints what the nodes publish for the simulated camera, which knows the truth, as lines of JSON.

Run: python -m benchmarks.listener
A line for each status, and one for each pose: its error, its jump, and its standard deviation. Benchmarks start it as a
process.
"""

import json
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import rclpy
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node

from benchmarks.results_file import Figures
from visloc_msgs.msg import LocalizationStatus
from visloc_ros.core.geometry import SE3
from visloc_ros.nodes.conversions import BASE_FROM_OPTICAL
from visloc_ros.nodes.qos import EACH_LATCHED, LATCHED, RELIABLE
from visloc_ros.sources.ros_messages import pose_from_msg, stamp_from_msg

STATES = {
    getattr(LocalizationStatus, name): name
    for name in ("UNINITIALIZED", "INITIALIZING", "LOCALIZED", "DEGRADED", "LOST")
}
KEPT_TRUTHS = 1000


class Listener(Node):
    """Prints a line for each status, and for each pose how far it is from the truth and how far it jumped."""

    def __init__(self) -> None:
        super().__init__("listener", namespace="visloc")
        self._truth: dict[int, SE3] = {}
        self._before: tuple[SE3, SE3] | None = None
        self.create_subscription(PoseStamped, "ground_truth", self._take_truth, RELIABLE)
        self.create_subscription(LocalizationStatus, "status", self._take_status, EACH_LATCHED)
        self.create_subscription(PoseWithCovarianceStamped, "pose", self._take_pose, LATCHED)

    def _take_truth(self, message: PoseStamped) -> None:
        self._truth[stamp_from_msg(message.header.stamp)] = pose_from_msg(message.pose) @ BASE_FROM_OPTICAL.inverse
        if len(self._truth) > KEPT_TRUTHS:
            self._truth.pop(next(iter(self._truth)))

    def _take_status(self, message: LocalizationStatus) -> None:
        stamp_ns = stamp_from_msg(message.header.stamp)
        report(state=STATES[message.state], reason=message.reason, stamp_ns=stamp_ns)

    def _take_pose(self, message: PoseWithCovarianceStamped) -> None:
        stamp_ns = stamp_from_msg(message.header.stamp)
        true = self._truth.get(stamp_ns)
        if true is None:
            return
        pose = pose_from_msg(message.pose.pose)
        jump_m = 0.0
        if self._before is not None:
            pose_before, true_before = self._before
            moved = pose.translation - pose_before.translation
            jump_m = float(np.linalg.norm(moved - (true.translation - true_before.translation)))
        self._before = pose, true
        sigma_m = float(np.sqrt(np.linalg.eigvalsh(np.reshape(message.pose.covariance, (6, 6))[:3, :3])[-1]))
        error_m = float(np.linalg.norm(pose.translation - true.translation))
        report(error_m=error_m, jump_m=jump_m, sigma_m=sigma_m, stamp_ns=stamp_ns)


def report(**values: object) -> None:
    """Print what was received, and when."""
    print(json.dumps({"heard_s": time.monotonic(), **values}), flush=True)


def count_wrong(poses: list[Figures]) -> int:
    """How many poses are off by more than 10 cm and beyond four of their standard deviations."""
    return sum(one["error_m"] > max(0.1, 4.0 * one["sigma_m"]) for one in poses)


def read_lines(heard: Path) -> list[Figures]:
    """What has been received so far, in whole lines."""
    text = heard.read_text(encoding="utf-8") if heard.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def spin(kind: Callable[[], Node]) -> None:
    """Run a node until the process is stopped."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # pycolmap's handler prints a trace
    rclpy.init(args=[])
    with suppress(ExternalShutdownException):
        rclpy.spin(kind())


if __name__ == "__main__":
    spin(Listener)
