"""Listens for a while to a robot's camera, transforms and nodes, and reports their problems."""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from tf2_msgs.msg import TFMessage

from visloc_ros.core.config import Config, option, section
from visloc_ros.core.finding import Finding, Level
from visloc_ros.core.geometry import SE3
from visloc_ros.core.transform_tree import LONGEST_NAME, MOST_FRAMES
from visloc_ros.core.types import Frame
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.camera_input import CameraInput, CameraInputConfig
from visloc_ros.nodes.qos import RELIABLE, TF
from visloc_ros.nodes.transforms import StaticTransforms, no_mount

_LEVELS = {DiagnosticStatus.OK: Level.OK, DiagnosticStatus.WARN: Level.WARNING}
_OUR_NODES = ("odometry_node", "anchor_node", "fusion_node", "map_builder_node")
_OUR_STATUSES = tuple(f"{name}: status" for name in _OUR_NODES)
_MOST_STATUSES = 100
_LOOKS = {(0, 1): "ahead", (0, -1): "back", (1, 1): "left", (1, -1): "right", (2, 1): "up", (2, -1): "down"}


@dataclass(frozen=True)
class DoctorNodeConfig(Config):
    """Parameters of the examination."""

    base_frame: str = option("base_link", "frame id of the robot; the camera's own frame id for a bare camera")
    camera: CameraInputConfig = section(CameraInputConfig)


class DoctorNode(VislocNode[DoctorNodeConfig]):
    """Subscribes to the inputs of the nodes, and reports its findings."""

    default_name = "doctor"
    config_type = DoctorNodeConfig
    parameter_names = (
        "base_frame",
        "camera.transport",
        "camera.calibration_file",
        "camera.is_rectified",
    )

    def activate(self) -> None:
        """Start listening."""
        self._sizes: dict[str, tuple[int, int]] = {}
        self._parents: defaultdict[str, set[str]] = defaultdict(set)
        self._statuses: dict[str, DiagnosticStatus] = {}
        self._static = StaticTransforms(self)
        self._camera = CameraInput(self, self.config.camera, self._take_frame)
        self.subscription(TFMessage, "/tf", self._take_transforms, TF)
        self.subscription(DiagnosticArray, "/diagnostics", self._take_diagnostics, RELIABLE)

    def findings(self) -> list[Finding]:
        """The findings since it was activated."""
        return [*self._of_camera(), *self._of_transforms(), *self._of_nodes()]

    def _take_frame(self, frame: Frame, camera_frame: str) -> None:
        height, width = frame.image.shape[:2]
        self._sizes[camera_frame] = width, height

    def _take_transforms(self, message: TFMessage) -> None:
        for item in message.transforms:
            if len(self._parents) < MOST_FRAMES or item.child_frame_id in self._parents:
                self._parents[item.child_frame_id[:LONGEST_NAME]].add(item.header.frame_id[:LONGEST_NAME])

    def _take_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith(_OUR_STATUSES) and len(self._statuses) < _MOST_STATUSES:
                self._statuses[status.name] = status

    def _of_camera(self) -> Iterator[Finding]:
        camera, health = self._camera, self._camera.health
        topic = self.resolve_topic_name("image/compressed" if self.config.camera.transport == "compressed" else "image")
        if health.problem or not self._sizes:
            text = health.problem or f"Too few images came on {topic} to judge anything: listen for longer (--seconds)."
            yield Finding(Level.ERROR, "camera", text)
            return
        for frame_id, (width, height) in self._sizes.items():
            words = f"{width}x{height} px, {health.rate_hz:.1f} a second, on {topic}, in the frame '{frame_id}'"
            yield Finding(Level.OK, "camera", words)
        if health.warning:
            yield Finding(Level.WARNING, "camera", health.warning)
        calibration = camera.calibration
        if calibration is not None and calibration.is_provisional:
            info = self.resolve_topic_name("camera_info")
            text = f"No calibration comes on {info}: calibrate the camera, or give its calibration file (--camera)."
            yield Finding(Level.WARNING, "calibration", f"{text} Until then: {calibration}.")
        elif calibration is not None:
            yield Finding(Level.OK, "calibration", str(calibration))

    def _of_transforms(self) -> Iterator[Finding]:
        base = self.config.base_frame
        for camera in self._sizes:
            base_from_camera = self._static.lookup(base, camera)
            if base_from_camera is None:
                yield Finding(Level.ERROR, "transforms", f"N{no_mount(base, camera)[1:]}")
            elif base == camera:
                yield Finding(Level.OK, "transforms", f"the camera itself is the robot ({base})")
            else:
                yield Finding(Level.OK, "transforms", f"{base} -> {camera}: {_mount_in_words(base_from_camera)}")
        for child, parents in sorted(self._parents.items()):
            if len(parents) > 1:
                text = f"{child} has two parents, {' and '.join(sorted(parents))}: two nodes send it; stop one of them."
                yield Finding(Level.ERROR, "transforms", text)

    def _of_nodes(self) -> Iterator[Finding]:
        if not self._statuses:
            yield Finding(Level.OK, "nodes", "none of this package's nodes is running")
        for name, status in sorted(self._statuses.items()):
            words = f"{name.removesuffix(': status')}: {status.message}"
            yield Finding(_LEVELS.get(status.level, Level.ERROR), "nodes", words)


def _mount_in_words(base_from_camera: SE3) -> str:
    """Where a camera is on the base (x ahead, y left, z up), and the main direction of its optical axis."""
    axis = base_from_camera.rotation[:, 2]
    index = int(abs(axis).argmax())
    x, y, z = base_from_camera.translation
    return f"at x {x:.2f}, y {y:.2f}, z {z:.2f} m, looks {_LOOKS[index, 1 if axis[index] > 0.0 else -1]}"


def main() -> None:
    """Listen for the seconds in the first argument, then print the findings as JSON."""
    rclpy.init(args=sys.argv)
    node, executor = DoctorNode(), SingleThreadedExecutor()
    executor.add_node(node)
    try:
        if not node.start():
            sys.exit(1)
        end_s = time.monotonic() + float(sys.argv[1])
        while time.monotonic() < end_s:
            executor.spin_once(timeout_sec=0.1)
        print(json.dumps([asdict(finding) for finding in node.findings()]))
    finally:
        node.release()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
