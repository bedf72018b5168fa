"""Seconds from the command ``visloc up`` to its first pose, with a camera that publishes already.

The simulated camera shares the cores with the nodes, with this program and with busy ones.

Run: python -m benchmarks.start --runs 5 --condition "2 busy" --json results/start.json
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import rclpy
from rclpy.node import Node

from benchmarks.busy_programs import conditions
from benchmarks.program import median, new_parser
from benchmarks.results_file import write_json
from visloc_msgs.msg import Anchor, LocalizationStatus
from visloc_ros.apps.processes import NodeProcesses, NodeSpec
from visloc_ros.apps.replay import LOOPBACK_ONLY, free_domain_id
from visloc_ros.core.middleware import fast_dds_profile
from visloc_ros.evaluation.machine import provenance
from visloc_ros.nodes.qos import LATCHED, RELIABLE

TIMEOUT_S = 60.0
CAMERA = NodeSpec("simulated_camera_node", {"simulation.duration_s": 10.0})
DRAWING_S = 30.0  # for the rest of its pass, which it draws beside the first images
MOMENTS = ("first_status_s", "first_anchor_s", "first_pose_s")


def main() -> None:
    """Start the nodes several times, and report when each published what."""
    parser = new_parser(__doc__)
    parser.add_argument("--map", type=Path, default=Path("maps/demo_room.tar.gz"), help="map of the simulated room")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--cores", type=int, default=2, help="cores that everything shares")
    parser.add_argument("--condition", choices=[one.name for one in conditions()], default="quiet")
    parser.add_argument("--json", type=Path, help="file for all figures")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
    os.environ.update(LOOPBACK_ONLY | fast_dds_profile() | {"ROS_DOMAIN_ID": str(free_domain_id())})
    rclpy.init()
    condition = next(one for one in conditions() if one.name == arguments.condition)
    with TemporaryDirectory() as folder, NodeProcesses([CAMERA], Path(folder)):
        node = rclpy.create_node("watcher", namespace="visloc")
        spin_until(node, lambda: node.count_publishers("image/compressed") > 0)
        drawn_s = time.monotonic() + DRAWING_S
        spin_until(node, lambda: time.monotonic() > drawn_s)
        with condition.make():
            runs = [measure(node, arguments.map) for _ in range(arguments.runs)]
    report = {**provenance(), "runs": runs, "median": {name: median(run[name] for run in runs) for name in MOMENTS}}
    print(report["median"])
    if arguments.json:
        write_json(arguments.json, report)


@contextmanager
def running_nodes(map_path: Path) -> Iterator[None]:
    """``visloc up`` as long as the block lasts."""
    process = subprocess.Popen([sys.executable, "-m", "visloc_ros.apps.cli", "up", "--map", str(map_path)])
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def measure(node: Node, map_path: Path) -> dict[str, float]:
    """Seconds from the command to the first status, the first anchor, and the first pose."""
    moments: dict[str, float] = {}

    def keep(name: str) -> None:
        moments.setdefault(name, round(time.monotonic() - begin_s, 2))

    def take_status(message: LocalizationStatus) -> None:
        keep("first_status_s")
        if message.state == LocalizationStatus.LOCALIZED:
            keep("first_pose_s")

    subscriptions = [
        node.create_subscription(LocalizationStatus, "status", take_status, LATCHED),
        node.create_subscription(Anchor, "anchor", lambda _: keep("first_anchor_s"), RELIABLE),
    ]
    begin_s = time.monotonic()
    with running_nodes(map_path):
        spin_until(node, lambda: len(moments) == len(MOMENTS))
    for subscription in subscriptions:
        node.destroy_subscription(subscription)
    print(moments, flush=True)
    return moments


def spin_until(node: Node, condition: Callable[[], bool]) -> None:
    """Serve the node's callbacks. Raises TimeoutError."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"nothing came within {TIMEOUT_S:.0f} s")
        rclpy.spin_once(node, timeout_sec=0.1)


if __name__ == "__main__":
    main()
