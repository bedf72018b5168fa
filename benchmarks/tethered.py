"""A robot and the machine that searches for it, with a network between them that fails.

Run as root: python -m benchmarks.tethered --markdown results/ros.md

Two network namespaces, joined by a pair of virtual Ethernet devices, stand for the two machines; each has its own
shared memory. The robot runs the simulated camera, odometry and fusion, without a map; the other machine runs the
anchor node, which receives keyframes. Phases: a good link; the link down for 30 s; the link up again; then a relay that
delays each anchor by 0.2 to 3 s, and loses 5 % of them. The simulated camera knows the truth. A jump is a step of the
pose beyond the true one.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from argparse import SUPPRESS
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from rclpy.node import Node

from benchmarks.listener import count_wrong, read_lines, spin
from benchmarks.places import DEMO_MAP
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_msgs.msg import Anchor
from visloc_ros.core.middleware import fast_dds_profile
from visloc_ros.evaluation.machine import provenance
from visloc_ros.nodes.qos import RELIABLE

ROBOT, SERVER = "visloc_robot", "visloc_searcher"
ADDRESSES = {ROBOT: "10.77.0.1/24", SERVER: "10.77.0.2/24"}
ENVIRONMENT = {"ROS_DOMAIN_ID": "77", "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET", "OMP_NUM_THREADS": "1"}
START_S, GOOD_S, DOWN_S, AGAIN_S, RELAY_S = 60.0, 30.0, 30.0, 20.0, 60.0
DELAYS_S, LOST_SHARE = (0.2, 3.0), 0.05
RANKS = {"p50": 50, "p95": 95, "max": 100}


def main() -> None:
    """Run all phases, or one part in a process of its own."""
    parser = new_parser(__doc__)
    add_outputs(parser)
    parser.add_argument("--part", choices=("relay",), help=SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        spin(Relay)
        return
    phases = run_phases()
    report = {**provenance(), "phases": phases}
    write_outputs(arguments, "The search on another machine", report, as_table(phases))


class Machine:
    """A network namespace with shared memory of its own; programs are started in it."""

    def __init__(self, name: str, stack: ExitStack) -> None:
        self._name, self._stack = name, stack
        hold = "mount -t tmpfs tmpfs /dev/shm && echo ready && exec sleep infinity"
        command = ["ip", "netns", "exec", name, "unshare", "--mount", "sh", "-c", hold]
        self._holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        stack.callback(self._holder.kill)
        assert self._holder.stdout is not None
        self._holder.stdout.readline()

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a program, which is stopped at the end."""
        inside = ["nsenter", "--target", str(self._holder.pid), "--mount", "--net", "--", *command]
        here = {"PYTHONPATH": str(Path(__file__).parents[1])}  # nsenter begins at the root
        process = subprocess.Popen(inside, env={**os.environ, **fast_dds_profile(), **ENVIRONMENT, **here})
        self._stack.callback(stop, process)
        return process

    def start_node(self, module: str, parameters: Mapping[str, object], **topics: str) -> subprocess.Popen[bytes]:
        """Start a node, by its module or, of this package, by its name."""
        given = [word for key, value in parameters.items() for word in ("-p", f"{key}:={json.dumps(value)}")]
        renamed = [word for key, value in topics.items() for word in ("-r", f"{key.replace('__', '/')}:={value}")]
        quiet = ["--ros-args", "--log-level", "warn"]
        return self.start(
            sys.executable, "-m", module if "." in module else f"visloc_ros.nodes.{module}", *quiet, *given, *renamed
        )


@contextmanager
def machines() -> Iterator[tuple[Machine, Machine]]:
    """Two machines with a link between them."""
    with ExitStack() as stack:
        for name in ADDRESSES:
            run("ip", "netns", "add", name)
            stack.callback(run, "ip", "netns", "del", name)
        run("ip", "link", "add", "veth0", "netns", ROBOT, "type", "veth", "peer", "name", "veth0", "netns", SERVER)
        for name, address in ADDRESSES.items():
            run("ip", "-n", name, "address", "add", address, "dev", "veth0")
            run("ip", "-n", name, "link", "set", "lo", "up")
        set_link("up")
        yield Machine(ROBOT, stack), Machine(SERVER, stack)


def set_link(state: str) -> None:
    """Connect or disconnect the machines; a device that comes up has lost its routes."""
    for name in ADDRESSES:
        run("ip", "-n", name, "link", "set", "veth0", state)
        if state == "up":
            run("ip", "-n", name, "route", "replace", "224.0.0.0/4", "dev", "veth0")


def run(*command: str) -> str:
    """Run a program and give what it prints. Raises CalledProcessError."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a program, and wait for it."""
    process.terminate()
    process.wait(20.0)


def run_phases() -> Figures:
    """Figures of each phase."""
    with tempfile.TemporaryDirectory() as folder, machines() as (robot, server):
        heard = Path(folder) / "heard.jsonl"
        robot.start_node("simulated_camera_node", {})
        camera = {"camera.transport": "compressed"}
        robot.start_node("localization_node", camera | {"map_tracking.enabled": False})
        searching = camera | {"camera.qos": "reliable", "camera.are_keyframes": True}
        topics = {"image__compressed": "keyframe/compressed"}
        anchors = server.start_node("anchor_node", searching | {"map_path": str(DEMO_MAP)}, **topics)
        robot.start("sh", "-c", f"exec {sys.executable} -m benchmarks.listener > {heard}")
        wait_until(heard, "LOCALIZED", START_S)
        phases = {"good link": phase(heard, GOOD_S)}
        set_link("down")
        phases["link down"] = phase(heard, DOWN_S)
        set_link("up")
        phases["link up again"] = phase(heard, AGAIN_S)
        stop(anchors)
        server.start_node("anchor_node", searching | {"map_path": str(DEMO_MAP)}, **topics, anchor="anchor_direct")
        server.start(sys.executable, "-m", "benchmarks.tethered", "--part", "relay")
        wait_until(heard, "LOCALIZED", START_S)
        phases["anchors 0.2 to 3 s late, 5 % lost"] = phase(heard, RELAY_S)
        return phases


def phase(heard: Path, seconds: float) -> Figures:
    """What is received in so many seconds."""
    begin_s, sent = time.monotonic(), sent_bytes()
    time.sleep(seconds)
    lines = [line for line in read_lines(heard) if begin_s <= line["heard_s"] <= begin_s + seconds]
    figures = figures_of(lines, begin_s, seconds) | {"link_kb_s": (sent_bytes() - sent) / seconds / 1e3}
    print(figures, flush=True)
    return figures


def sent_bytes() -> int:
    """Bytes that the robot has sent and received so far."""
    counters = json.loads(run("ip", "-n", ROBOT, "-json", "-statistics", "link", "show", "veth0"))[0]["stats64"]
    return int(counters["rx"]["bytes"] + counters["tx"]["bytes"])


def figures_of(lines: list[Figures], begin_s: float, seconds: float) -> Figures:
    """Rates, states, errors, jumps."""
    frames, poses = [one for one in lines if "state" in one], [one for one in lines if "error_m" in one]
    states = [one["state"] for one in frames]
    localized_s = [one["heard_s"] - begin_s for one in frames if one["state"] == "LOCALIZED"]
    return {
        "frames_hz": len(frames) / seconds,
        "poses_hz": len(poses) / seconds,
        "states": {name: states.count(name) / max(1, len(states)) for name in sorted(set(states))},
        "first_localized_s": min(localized_s, default=None),
        "error_cm": {name: percentile(poses, "error_m", rank) for name, rank in RANKS.items()},
        "largest_jump_cm": percentile(poses, "jump_m", 100),
        "wrong": count_wrong(poses),
    }


def percentile(poses: list[Figures], key: str, rank: float) -> float | None:
    """A percentile in centimetres; None without poses."""
    return round(100.0 * float(np.percentile([one[key] for one in poses], rank)), 2) if poses else None


def wait_until(heard: Path, state: str, most_s: float) -> None:
    """Wait for a state. Raises TimeoutError."""
    begin_s = time.monotonic()
    while not any(one.get("state") == state and one["heard_s"] > begin_s for one in read_lines(heard)):
        if time.monotonic() - begin_s > most_s:
            raise TimeoutError(f"no {state} within {most_s:.0f} s")
        time.sleep(0.5)


class Relay(Node):
    """Relays anchors late, and drops some of them, by a fixed seed."""

    def __init__(self) -> None:
        super().__init__("relay", namespace="visloc")
        self._random = random.Random(0)
        self._publisher = self.create_publisher(Anchor, "anchor", RELIABLE)
        self._waiting: list[tuple[float, Anchor]] = []
        self.create_subscription(Anchor, "anchor_direct", self._take, RELIABLE)
        self.create_timer(0.02, self._hand_on)

    def _take(self, message: Anchor) -> None:
        if self._random.random() >= LOST_SHARE:
            self._waiting.append((time.monotonic() + self._random.uniform(*DELAYS_S), message))

    def _hand_on(self) -> None:
        now_s = time.monotonic()
        for due_s, message in [one for one in self._waiting if one[0] <= now_s]:
            self._waiting.remove((due_s, message))
            self._publisher.publish(message)


def as_table(phases: Figures) -> str:
    """One row a phase."""

    def cm(value: float | None) -> str:
        return "–" if value is None else f"{value:.1f}"

    rows = [
        (
            name,
            f"{one['poses_hz']:.1f}",
            ", ".join(f"{100 * share:.0f} % {state}" for state, share in one["states"].items()),
            "–" if one["first_localized_s"] is None else f"{one['first_localized_s']:.1f} s",
            " / ".join(cm(one["error_cm"][rank]) for rank in ("p50", "max")) + " cm",
            f"{cm(one['largest_jump_cm'])} cm",
            str(one["wrong"]),
            f"{one['link_kb_s']:.0f} kB/s",
        )
        for name, one in phases.items()
    ]
    header = (
        "phase",
        "poses a second",
        "states",
        "LOCALIZED after",
        "error, median / largest",
        "largest jump",
        "wrong poses",
        "on the link, both ways",
    )
    return f"Wrong poses are off by more than 10 cm and 4 of their sigmas.\n\n{table(header, rows)}"


if __name__ == "__main__":
    main()
