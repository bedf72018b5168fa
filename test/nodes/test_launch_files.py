"""The launch files, started by ROS's own launch; where there is no such tool, or no build of the workspace, skipped."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

pytest.importorskip("launch_ros", reason="ROS's launch tool is in no package registry: test it where ROS is sourced")
rclpy = pytest.importorskip("rclpy")

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch.actions import DeclareLaunchArgument
from launch.launch_description_sources import PythonLaunchDescriptionSource
from node_harness import TIMEOUT_S, Harness
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy
from std_srvs.srv import SetBool

import launch
from visloc_msgs.msg import LocalizationStatus
from visloc_ros.core.config import list_options
from visloc_ros.nodes import launching
from visloc_ros.nodes.fusion_node import FusionNode
from visloc_ros.nodes.map_builder_node import MapBuilderNode
from visloc_ros.nodes.odometry_node import OdometryNode
from visloc_ros.nodes.qos import EACH_LATCHED

try:
    FOLDER = Path(get_package_share_directory("visloc_ros")) / "launch"
except PackageNotFoundError:
    pytest.skip("build the workspace with colcon, and source it", allow_module_level=True)

BOOLEAN = ("rectified", "publish_odom_tf", "autostart", "use_sim_time")
DEMO_MAP = Path(__file__).parents[2] / "maps" / "demo_room.tar.gz"
FILES = sorted(FOLDER.glob("*.launch.py"))

# Includes a file with arguments, and tells in the end how each process ended.
PROGRAM = """
import json, sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.actions import DeclareLaunchArgument
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


def start(file: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(FOLDER / file), *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | environment
    )


def stop(running: subprocess.Popen[str]) -> dict[str, int]:
    """Exit codes of the processes after Ctrl-C."""
    running.send_signal(signal.SIGINT)
    return ended_of(running)


def end(running: subprocess.Popen[str]) -> None:
    """Leave nothing behind after a test that failed: killed, launch would."""
    if running.poll() is None:
        running.send_signal(signal.SIGINT)
        try:
            running.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            running.kill()


def ended_of(running: subprocess.Popen[str]) -> dict[str, int]:
    output, _ = running.communicate(timeout=TIMEOUT_S)
    lines = [line for line in output.splitlines() if line.startswith("ENDED")]
    assert lines, output
    ended: dict[str, int] = json.loads(lines[-1].removeprefix("ENDED"))
    return ended


@contextmanager
def watched(file: str, *arguments: str, **environment: str):
    """A running launch file, and a node beside it, which it does not outlive."""
    running = start(file, *arguments, **environment)
    rclpy.init(args=[])
    probe, executor = Node("probe"), SingleThreadedExecutor()
    executor.add_node(probe)
    try:
        yield running, Harness([probe], probe, executor)
    finally:
        end(running)
        probe.destroy_node()
        rclpy.shutdown()


def nodes_of(probe: Node) -> set[str]:
    return {f"{namespace}/{name}" for name, namespace in probe.get_node_names_and_namespaces()} - {"//probe"}


def test_all_files_are_installed():
    assert {one.name for one in FILES} == {one.name for one in (Path(__file__).parents[2] / "launch").glob("*.py")}


def described(file: Path) -> dict[str, DeclareLaunchArgument]:
    description = PythonLaunchDescriptionSource(str(file)).get_launch_description(launch.LaunchContext())
    return {one.name: one for one in description.get_launch_arguments()}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_argument_is_described(file):
    arguments = described(file)
    assert arguments
    assert [name for name, one in arguments.items() if not one.description or "no description" in one.description] == []


def test_defaults_are_those_of_the_nodes():
    """An argument at its default is not handed to the nodes, so that a parameter file can say otherwise."""
    parameters = launching.CAMERA_PARAMETERS | launching.COMMON_PARAMETERS
    parameters |= {"odometry.backend": "odometry_backend", "publish_odom_to_base_tf": "publish_odom_tf"}
    parameters |= {name: name for name in ("mode", "map_frame", "odom_frame", "base_frame", "maps_folder")}
    own = {"autostart": True, "use_sim_time": False}
    for node_type in (OdometryNode, FusionNode, MapBuilderNode):
        own |= {one.name: one.default for one in list_options(node_type.config_type)}
    for file in ("visloc.launch.py", "map_building.launch.py"):
        arguments = described(FOLDER / file)
        for parameter, name in parameters.items():
            if name in arguments:
                default = "".join(one.describe().strip("'") for one in arguments[name].default_value)
                assert default == (str(own[parameter]).lower() if name in BOOLEAN else own[parameter]), name


@pytest.mark.parametrize(
    ("file", "argument", "word"),
    [
        ("visloc.launch.py", "mode:=fusd", "fusd"),
        ("visloc.launch.py", "rviz:=yes", "yes"),
        ("visloc.launch.py", "composition:=true mode:=odom", "composition:=true needs mode:=fused"),
        ("visloc.launch.py", "imag_topic:=/camera/image_raw", "did you mean 'image_topic'"),
        ("demo.launch.py", "imag_topic:=/camera/image_raw", "did you mean 'image_topic'"),
        ("replay.launch.py", "bag:=/bags/office imag_topic:=/camera/image_raw", "did you mean 'image_topic'"),
        ("map_building.launch.py", "map_folder:=/maps", "did you mean 'maps_folder'"),
        ("tethered_anchor.launch.py", "namespace:=a", "map_path"),
        ("replay.launch.py", "rate:=2.0", "bag"),
    ],
)
def test_an_argument_that_cannot_be_is_refused_in_words(file, argument, word):
    running = start(file, *argument.split())
    output, _ = running.communicate(timeout=TIMEOUT_S)
    assert word in output
    assert "process started" not in output  # launch would leave it running
    assert "ENDED {}" in output


def test_a_robot_and_the_machine_that_searches_for_it(ros_domain, tmp_path):
    """The map that the robot follows is in its parameter file, which no argument overrules."""
    file = tmp_path / "robot.yaml"
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": {"map_tracking.map_path": str(DEMO_MAP)}}}))
    given = ("namespace:=r1/visloc", "tf_namespace:=/r1", f"params_file:={file}")
    with (
        watched("tethered_robot.launch.py", *given) as (robot, harness),
        subprocess_of(start("tethered_anchor.launch.py", f"map_path:={DEMO_MAP}", "namespace:=r1/visloc")) as anchor,
    ):
        expected = {f"/r1/visloc/{one}_node" for one in ("odometry", "fusion", "map_builder", "anchor")}
        harness.wait_for(lambda: nodes_of(harness.probe) >= expected, "nodes")
        names = {"/r1/tf", "/r1/visloc/keyframe/compressed"}
        harness.wait_for(lambda: all(harness.probe.count_publishers(one) for one in names), "topics")
        harness.wait_for(lambda: harness.probe.count_subscribers("/r1/visloc/keyframe/compressed"), "anchor node")
        assert not harness.probe.count_publishers("/tf")
        harness.wait_for(lambda: harness.probe.count_publishers("/r1/visloc/map_tracking"), "following of the map")
        for running in (robot, anchor):
            assert set(stop(running).values()) == {0}


@contextmanager
def subprocess_of(running: subprocess.Popen[str]):
    try:
        yield running
    finally:
        end(running)


def test_a_map_builder_alone_takes_a_parameter_file_and_arguments(ros_domain, tmp_path):
    """The file says what arguments at their defaults would, too; another argument goes before it."""
    file = tmp_path / "parameters.yaml"
    values = {"camera.transport": "compressed", "camera.qos": "reliable", "maps_folder": str(tmp_path / "no")}
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
    arguments = (f"params_file:={file}", f"maps_folder:={tmp_path / 'maps'}", "image_topic:=/camera/image_raw")
    with watched("map_building.launch.py", *arguments) as (running, harness):
        answer = harness.call(SetBool, "/visloc/map_builder_node/record", SetBool.Request(data=True))
        assert answer.success, answer.message
        assert str(tmp_path / "maps") in answer.message
        harness.wait_for(lambda: harness.probe.count_subscribers("/camera/image_raw/compressed"), "subscription")
        (image,) = harness.probe.get_subscriptions_info_by_topic("/camera/image_raw/compressed")
        assert image.qos_profile.reliability == ReliabilityPolicy.RELIABLE
        assert set(stop(running).values()) == {0}


def test_a_bag_is_played_to_nodes_on_its_time(ros_domain, tmp_path):
    player = tmp_path / "ros2"
    player.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/said\n')
    player.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    arguments = ("bag:=/bags/office", "rate:=2.0", "loop:=true", "mode:=odom")
    with watched("replay.launch.py", *arguments, PATH=path) as (running, harness):
        harness.wait_for(lambda: "/visloc/odometry_node" in nodes_of(harness.probe), "nodes")
        harness.wait_for(lambda: harness.probe.count_subscribers("/clock"), "nodes on simulated time")
        said = (tmp_path / "said").read_text().split()
        assert said == ["bag", "play", "/bags/office", "--rate", "2.0", "--delay", "10.0", "--clock", "100", "--loop"]
        assert set(stop(running).values()) == {0}


@pytest.mark.parametrize(("composition", "num_processes"), [("false", 4), ("true", 3)])
def test_the_demo_is_localized_and_ends_in_peace(ros_domain, composition, num_processes):
    states: list[int] = []
    arguments = ("rviz:=false", "namespace:=robot1/visloc", f"composition:={composition}")
    with watched("demo.launch.py", *arguments) as (running, harness):
        harness.probe.create_subscription(
            LocalizationStatus, "/robot1/visloc/status", lambda message: states.append(message.state), EACH_LATCHED
        )
        harness.wait_for(lambda: LocalizationStatus.LOCALIZED in states, "pose of the demo")
        ended = stop(running)
    assert len(ended) == num_processes
    assert set(ended.values()) == {0}, ended
