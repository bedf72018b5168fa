"""The launch files, started by ROS's own launch; where there is no such tool, or no build of the workspace, skipped."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("launch_ros", reason="ROS's launch tool is in no package registry: test it where ROS is sourced")
rclpy = pytest.importorskip("rclpy")

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch.launch_description_sources import PythonLaunchDescriptionSource
from node_harness import TIMEOUT_S, Harness
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

import launch
from visloc_msgs.msg import LocalizationStatus
from visloc_ros.nodes.qos import EACH_LATCHED

try:
    FOLDER = Path(get_package_share_directory("visloc_ros")) / "launch"
except PackageNotFoundError:
    pytest.skip("build the workspace with colcon, and source it", allow_module_level=True)

FILES = sorted(FOLDER.glob("*.launch.py"))

# Includes a file with arguments, and tells in the end how each process ended.
PROGRAM = """
import json, sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource

ended = {}
note = OnProcessExit(on_exit=lambda event, _: ended.update({event.process_name: event.returncode}))
file = PythonLaunchDescriptionSource(sys.argv[1])
given = [argument.split(":=") for argument in sys.argv[2:]]
service = LaunchService(argv=[])
include = IncludeLaunchDescription(file, launch_arguments=given)
service.include_launch_description(LaunchDescription([RegisterEventHandler(note), include]))
code = service.run()
print("ENDED", json.dumps(ended), flush=True)
sys.exit(code)
"""


def start(file: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(FOLDER / file), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def stop(running: subprocess.Popen[str]) -> dict[str, int]:
    """Exit codes of the processes after Ctrl-C."""
    running.send_signal(signal.SIGINT)
    output, _ = running.communicate(timeout=TIMEOUT_S)
    lines = [line for line in output.splitlines() if line.startswith("ENDED")]
    assert lines, output
    ended: dict[str, int] = json.loads(lines[-1].removeprefix("ENDED"))
    return ended


def test_all_files_are_installed():
    assert len(FILES) == len(list((Path(__file__).parents[2] / "launch").glob("*.launch.py")))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_argument_is_described(file):
    description = PythonLaunchDescriptionSource(str(file)).get_launch_description(launch.LaunchContext())
    arguments = description.get_launch_arguments()
    assert arguments
    assert [one.name for one in arguments if not one.description or "no description" in one.description] == []


def test_a_value_that_an_argument_cannot_have_is_refused():
    running = start("visloc.launch.py", "mode:=fusd")
    output, _ = running.communicate(timeout=TIMEOUT_S)
    assert "fusd" in output
    assert "ENDED {}" in output


def test_the_demo_is_localized_and_ends_in_peace(ros_domain):
    states: list[int] = []
    running = start("demo.launch.py", "rviz:=false", "namespace:=robot1/visloc")
    rclpy.init(args=[])
    probe, executor = Node("probe"), SingleThreadedExecutor()
    executor.add_node(probe)
    try:
        probe.create_subscription(
            LocalizationStatus, "/robot1/visloc/status", lambda message: states.append(message.state), EACH_LATCHED
        )
        harness = Harness([probe], probe, executor)
        harness.wait_for(lambda: LocalizationStatus.LOCALIZED in states, "pose of the demo")
        ended = stop(running)
    finally:
        running.kill()
        probe.destroy_node()
        rclpy.shutdown()
    assert len(ended) == 4
    assert set(ended.values()) == {0}, ended
