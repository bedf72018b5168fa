"""What a user of TF such as Nav2 gets from ROS's own tf2_ros while the nodes play a bag.

Run: python -m benchmarks.transforms --data ../shared/data --markdown results/ros.md

The demo's bags are replayed. A program beside the nodes subscribes to what any program would: /tf, /tf_static, /clock,
images. At the stamp of each image it looks up ``map -> camera`` and waits for it at most TOLERANCE_S, as costmaps and
message filters do. At 20 Hz it does what Nav2's controller does: it takes the newest pose of the robot, which must not
be older than that, and ``map -> odom`` at the time of that pose. It needs tf2_ros, which is in no package registry:
source a ROS installation, or build tf2, tf2_py and tf2_ros_py and put them on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import rclpy
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.time import Time
from sensor_msgs.msg import CompressedImage

from benchmarks.places import SIMULATED, demo_folder
from benchmarks.program import add_outputs, new_parser, percentiles
from benchmarks.results_file import Figures, table, write_outputs
from visloc_msgs.msg import LocalizationStatus
from visloc_ros.apps.replay import LOOPBACK_ONLY, free_domain_id
from visloc_ros.core.middleware import fast_dds_profile
from visloc_ros.evaluation.machine import provenance
from visloc_ros.nodes.qos import EACH_LATCHED, RELIABLE

try:
    from tf2_ros import Buffer, TransformException, TransformListener
except ImportError as error:
    sys.exit(f"tf2_ros cannot be imported ({error}): the docstring of this program says where it comes from")

REAL_PLACES = ("7scenes_redkitchen", "euroc_mh05")
TOLERANCE_S = 0.2  # of Nav2's transform_tolerance; docs/with_nav2.md recommends 0.3
CONTROLLER_S = 0.05  # Nav2's controller_frequency
IMAGE_TOPIC, CAMERA = "/camera/image_raw/compressed", "camera_optical_frame"
KEPT_S = 10.0  # that tf2 buffers keep, by default


def main() -> None:
    """Replay each place several times, and write what a client of TF got."""
    parser = new_parser(__doc__)
    parser.add_argument("--data", type=Path, help="folder of the real sequences; without it only the simulated room")
    parser.add_argument("--work", type=Path, default=Path("out/layouts"), help="folder for maps and bags")
    parser.add_argument("--runs", type=int, default=3)
    add_outputs(parser)
    arguments = parser.parse_args()
    os.environ.update(LOOPBACK_ONLY | fast_dds_profile() | {"ROS_DOMAIN_ID": str(free_domain_id())})
    runs = {name: [measure(folder) for _ in range(arguments.runs)] for name, folder in places(arguments).items()}
    report = {**provenance(), "runs": runs}
    write_outputs(arguments, "Transforms, as tf2_ros resolves them", report, as_table(runs))


def places(arguments: argparse.Namespace) -> dict[str, Path]:
    """Folders with map and bag."""
    names = (SIMULATED,) if arguments.data is None else (SIMULATED, *REAL_PLACES)
    return {name: demo_folder(name, arguments.work, arguments.data) for name in names}


class Client(Node):
    """Asks tf2 for transforms, as Nav2 does; counts from the first image that is LOCALIZED on."""

    def __init__(self) -> None:
        super().__init__("tf_client")
        self._buffer = Buffer(cache_time=Duration(seconds=KEPT_S))
        self._listener = TransformListener(self._buffer, self)
        self._pending: dict[int, tuple[int, float]] = {}  # stamp of an image, and when it came by two clocks
        self.waits_ms: list[float] = []
        self.ages_ms: list[float] = []
        self.unresolved: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.create_subscription(CompressedImage, IMAGE_TOPIC, self._take_image, RELIABLE)
        self.create_subscription(LocalizationStatus, "/visloc/status", self._take_status, EACH_LATCHED)
        self._first_fix_ns: int | None = None
        self._next_cycle_s, self._came_ns = time.monotonic(), 0

    def work(self) -> None:
        """Look at what waits, and do a cycle of the controller when it is time."""
        self._resolve()
        if time.monotonic() >= self._next_cycle_s:
            self._next_cycle_s = time.monotonic() + CONTROLLER_S
            is_playing = self._now_ns() - self._came_ns <= TOLERANCE_S * 1e9
            if is_playing and self._is_after_first_fix(self._came_ns):
                self._control()

    def _take_image(self, message: CompressedImage) -> None:
        stamp = Time.from_msg(message.header.stamp)
        self._came_ns = self._now_ns()
        self._pending[stamp.nanoseconds] = self._came_ns, time.monotonic()

    def _take_status(self, message: LocalizationStatus) -> None:
        if self._first_fix_ns is None and message.state == LocalizationStatus.LOCALIZED:
            self._first_fix_ns = Time.from_msg(message.header.stamp).nanoseconds

    def _is_after_first_fix(self, stamp_ns: int) -> bool:
        return self._first_fix_ns is not None and stamp_ns >= self._first_fix_ns

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _resolve(self) -> None:
        now_ns = self._now_ns()
        for stamp_ns, (came_ns, came_s) in list(self._pending.items()):
            try:
                self._lookup("map", CAMERA, stamp_ns)
            except TransformException as error:
                if now_ns - came_ns <= TOLERANCE_S * 1e9:
                    continue
                if self._is_after_first_fix(stamp_ns):  # before it there is nothing to resolve
                    self.unresolved[type(error).__name__] += 1
            else:
                self.waits_ms.append(1000.0 * (time.monotonic() - came_s))
            del self._pending[stamp_ns]

    def _control(self) -> None:
        try:
            newest = self._buffer.lookup_transform("map", CAMERA, Time())
            stamp_ns = Time.from_msg(newest.header.stamp).nanoseconds
            self._lookup("map", "odom", stamp_ns)
        except TransformException as error:
            self.refused[type(error).__name__] += 1
            return
        age_ms = (self._now_ns() - stamp_ns) / 1e6
        self.ages_ms.append(age_ms)
        if age_ms > 1000.0 * TOLERANCE_S:
            self.refused["older than the tolerance"] += 1

    def _lookup(self, parent: str, child: str, stamp_ns: int) -> None:
        self._buffer.lookup_transform(parent, child, Time(nanoseconds=stamp_ns, clock_type=self.get_clock().clock_type))


def measure(folder: Path) -> Figures:
    """What a client gets in one replay."""
    rclpy.init(args=["--ros-args", "-p", "use_sim_time:=true"])
    client, executor = Client(), SingleThreadedExecutor()
    executor.add_node(client)
    command = [sys.executable, "-m", "visloc_ros.apps.cli", "replay", folder / "maps" / folder.name, folder / "query"]
    options = ["--output", folder / "tf_report", "--domain-id", os.environ["ROS_DOMAIN_ID"]]
    replay = subprocess.Popen([*map(str, command), *map(str, options)], stdout=subprocess.DEVNULL)
    try:
        while replay.poll() is None:
            executor.spin_once(timeout_sec=0.005)
            client.work()
        figures = figures_of(client)
    finally:
        replay.kill()
        rclpy.shutdown()
    print(folder.name, figures, flush=True)
    return figures


def figures_of(client: Client) -> Figures:
    """Counts, and percentiles in milliseconds."""
    resolved, unresolved = len(client.waits_ms), sum(client.unresolved.values())
    return {
        "images_after_first_fix": resolved + unresolved,
        "resolved_share": resolved / max(1, resolved + unresolved),
        "unresolved": dict(client.unresolved),
        "wait_ms": percentiles(client.waits_ms),
        "cycles": len(client.ages_ms) + sum(client.refused.values()) - client.refused["older than the tolerance"],
        "refused": dict(client.refused),
        "age_ms": percentiles(client.ages_ms),
    }


def as_table(runs: dict[str, list[Figures]]) -> str:
    """A row for each place: the worst of its runs."""
    rows = [
        (
            name,
            str(len(found)),
            f"{100 * min(one['resolved_share'] for one in found):.1f} %",
            *(f"{max(one['wait_ms'][rank] for one in found):.0f} ms" for rank in ("p50", "p95")),
            str(max(sum(one["refused"].values()) for one in found)),
            f"{max(one['age_ms']['p95'] for one in found):.0f} ms",
        )
        for name, found in runs.items()
    ]
    header = (
        "place",
        "runs, of which the worst",
        f"images resolved at their stamp within {TOLERANCE_S} s",
        "median after",
        "95 % after",
        "controller cycles refused",
        "age of 95 % of the newest poses",
    )
    return table(header, rows)


if __name__ == "__main__":
    main()
