"""Prints what the nodes publish for the simulated camera, which knows the truth, as lines of JSON.

Run: python -m benchmarks.listener
A line for each status, and one for each pose: its error, its jump, and its standard deviation. With ``--parts`` also
one for each anchor, tracked pose and motion of odometry, of which a pose is made. Benchmarks start it as a process.
"""

import argparse
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
from visloc_msgs.msg import Anchor, LocalizationStatus, OdometryStatus, TrackedPose
from visloc_ros.core.geometry import SE3, Array, rotation_vector
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.types import OdometryPose, Rejection
from visloc_ros.nodes.conversions import BASE_FROM_OPTICAL
from visloc_ros.nodes.qos import EACH_LATCHED, LATCHED, RELIABLE
from visloc_ros.sources.ros_messages import (
    anchor_from_msg,
    odometry_from_status_msg,
    pose_from_msg,
    stamp_from_msg,
    tracked_pose_from_msg,
)

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


class PartsListener(Listener):
    """Prints the errors of anchors, tracked poses and motions of odometry, too."""

    def __init__(self) -> None:
        super().__init__()
        self._odometry: tuple[OdometryPose, SE3] | None = None
        self.create_subscription(Anchor, "anchor", self._take_anchor, RELIABLE)
        self.create_subscription(TrackedPose, "map_tracking", self._take_tracked, RELIABLE)
        self.create_subscription(OdometryStatus, "odometry_status", self._take_odometry, RELIABLE)

    def _take_anchor(self, message: Anchor) -> None:
        result = anchor_from_msg(message).result
        if isinstance(result, Rejection):
            report(part="anchor", stamp_ns=result.stamp_ns, reason=result.reason.value)
        else:
            self._report_pose("anchor", result.stamp_ns, result.map_from_camera, result.covariance)

    def _take_tracked(self, message: TrackedPose) -> None:
        result = tracked_pose_from_msg(message)
        if isinstance(result, Rejection):
            report(part="tracked", stamp_ns=result.stamp_ns, reason=result.reason.value)
        else:
            self._report_pose("tracked", result.stamp_ns, result.map_from_camera, result.covariance)

    def _report_pose(self, part: str, stamp_ns: int, map_from_camera: SE3, covariance: Array) -> None:
        true = self._truth.get(stamp_ns)
        if true is not None:
            error = pose_difference(true @ BASE_FROM_OPTICAL, map_from_camera)
            sigmas = float(np.sqrt(error @ np.linalg.solve(covariance, error)))
            report(part=part, stamp_ns=stamp_ns, off_m=float(np.linalg.norm(error[:3])), sigmas=sigmas)

    def _take_odometry(self, message: OdometryStatus) -> None:
        result = odometry_from_status_msg(message)
        if isinstance(result, Rejection):
            report(part="odometry", stamp_ns=result.stamp_ns, reason=result.reason.value)
            return
        before, true = self._odometry, self._truth.get(result.stamp_ns)
        if before is not None and true is not None and before[0].segment == result.segment:
            moved = before[0].odom_from_camera.inverse @ result.odom_from_camera
            truly = (before[1] @ BASE_FROM_OPTICAL).inverse @ true @ BASE_FROM_OPTICAL
            report(
                part="odometry",
                stamp_ns=result.stamp_ns,
                since_ns=result.stamp_ns - before[0].stamp_ns,
                turn_off_deg=float(np.degrees(np.linalg.norm(rotation_vector(moved.rotation.T @ truly.rotation)))),
                moved=float(np.linalg.norm(moved.translation)),
                truly_moved_m=float(np.linalg.norm(truly.translation)),
                num_tracked=result.num_tracked,
                segment=result.segment,
            )
        self._odometry = None if true is None else (result, true)


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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", action="store_true", help="print what poses are made of, too")
    spin(PartsListener if parser.parse_args().parts else Listener)
