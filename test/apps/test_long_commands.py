"""Commands that run until they are stopped, or are stopped half-way: nothing is left behind."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import pytest
import yaml

pytest.importorskip("rclpy")

import rclpy
from node_harness import read_until
from rclpy.executors import SingleThreadedExecutor
from visloc_command import DEMO_MAP, PROGRAM

from visloc_msgs.msg import LocalizationStatus
from visloc_ros.nodes.qos import LATCHED
from visloc_ros.sources.ros_messages import stamp_from_msg

TIMEOUT_S = 150.0


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.timeout(300)
def test_a_map_whose_build_is_stopped_leaves_the_old_one_and_nothing_else(tmp_path, shared_data, stop):
    old = tmp_path / "map"
    old.mkdir()
    (old / "precious.txt").write_text("mine")
    (old / "manifest.json").write_text("{}")
    process = start("-v", "build-map", shared_data / "7scenes_redkitchen", "--output", old, "--overwrite", "--last", 60)
    read_until(process, "are chosen")  # extraction is under way
    process.send_signal(stop)
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode != 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map"]
    assert (old / "precious.txt").read_text() == "mine"


@pytest.mark.timeout(300)
def test_up_localizes_the_simulated_camera_starts_again_what_dies_and_stops_cleanly(tmp_path, ros_domain):
    parameters = {"simulation.duration_s": 6.0, "simulation.rate_hz": 10.0, "simulation.samples": 1}
    parameters = {"/**": {"ros__parameters": parameters}}
    (tmp_path / "short.yaml").write_text(yaml.safe_dump(parameters))
    options = ("--simulated", "--params-file", tmp_path / "short.yaml", "--domain-id", ros_domain)
    with (tmp_path / "log").open("w") as log:  # a pipe that nobody reads would stop the nodes once it is full
        words = [*PROGRAM, "up", "--map", *map(str, (DEMO_MAP, *options))]
        process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)
    try:
        with watching() as is_localized_after:
            first = is_localized_after(0)
            kill_the_localization_node(process)
            again = is_localized_after(time.time_ns())
    finally:
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        process.wait(TIMEOUT_S)
    output = (tmp_path / "log").read_text()
    assert first, f"never localized: {output}"
    assert again, f"never localized again: {output}"
    assert process.returncode == 0, output
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    assert "localization_node ended with exit code -9; it is started again" in output
    assert "Traceback" not in output, output


def kill_the_localization_node(process: subprocess.Popen[bytes]) -> None:
    children = psutil.Process(process.pid).children(recursive=True)
    nodes = [child for child in children if "visloc_ros.nodes" in " ".join(child.cmdline())]
    assert len(nodes) == 4  # localization, anchors, map builder, camera
    (odometry,) = (node for node in nodes if "visloc_ros.nodes.localization_node" in " ".join(node.cmdline()))
    odometry.kill()


@contextmanager
def watching() -> Iterator[Callable[[int], bool]]:
    """Gives a function that waits until an image of a later time is localized, and tells whether one was.

    One watcher for all: a new one might hear of nobody while processes die and start.
    """
    rclpy.init()
    node, executor, localized_ns = rclpy.create_node("watcher"), SingleThreadedExecutor(), []

    def take(message: LocalizationStatus) -> None:
        if message.state == LocalizationStatus.LOCALIZED:
            localized_ns.append(stamp_from_msg(message.header.stamp))

    def is_localized_after(begin_ns: int) -> bool:
        deadline = time.monotonic() + TIMEOUT_S / 2
        while max(localized_ns, default=-1) < begin_ns and time.monotonic() < deadline:
            executor.spin_once(timeout_sec=0.1)
        return max(localized_ns, default=-1) >= begin_ns

    executor.add_node(node)
    node.create_subscription(LocalizationStatus, "/visloc/status", take, LATCHED)
    try:
        yield is_localized_after
    finally:
        node.destroy_node()
        rclpy.shutdown()
