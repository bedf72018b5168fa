"""Shared code of the launch files: checked arguments, and the nodes' processes. Needs ROS's launch and launch_ros."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_prefix, get_package_share_directory
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.launch_context import LaunchContext
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription
from visloc_ros.core.middleware import fast_dds_profile
from visloc_ros.core.plugin_nodes import plugin_nodes, remote_search
from visloc_ros.localization.config import RETRIEVAL, search_names

SHARE = Path(get_package_share_directory("visloc_ros"))
BOOLEANS = ("true", "false", "True", "False")
RESPAWN_AFTER_S = 2.0
SIMILAR = 0.85  # of an undeclared name to a declared one: a letter left out, added or swapped


@dataclass(frozen=True)
class Argument:
    """An argument of a launch file; without a default it must be given."""

    default: str | None
    description: str
    choices: Sequence[str] = ()

    def read(self, value: str | None = None) -> str | bool | None:
        """A value as bool or text, the default where none is given."""
        text = self.default if value is None else value
        return text == "true" or text == "True" if self.choices is BOOLEANS else text


def switch(default: bool, description: str) -> Argument:
    """An argument that is true or false."""
    return Argument(str(default).lower(), description, BOOLEANS)


NAMESPACE = Argument("visloc", "Namespace of the nodes, a different one for each robot")
CAMERA = {
    "image_topic": Argument("image", "Raw image topic; with image_transport:=compressed the one without '/compressed'"),
    "camera_info_topic": Argument("camera_info", "CameraInfo topic"),
    "image_transport": Argument("raw", "How images come: large raw ones may get lost", ("raw", "compressed")),
    "camera_qos": Argument("sensor_data", "What the driver of the camera offers", ("sensor_data", "reliable")),
    "camera_file": Argument("", "Calibration file (COLMAP, ROS, Kalibr and more) instead of camera_info"),
    "rectified": switch(False, "Whether images come rectified, as image_proc gives them"),
    "imu_topic": Argument("imu", "IMU topic, if there is one: predicts turns and gives the direction of up"),
    "wheel_odom_topic": Argument("wheel_odom", "Wheel odometry topic, if there is one: gives the scale"),
}
SEARCH = Argument(
    RETRIEVAL,
    f"How images are searched in the map; others than {RETRIEVAL} in one that 'visloc prepare' has prepared",
    search_names(),
)
PROCESS = {
    "params_file": Argument("", "Parameter file for the nodes; arguments that are not the default override it"),
    "use_sim_time": switch(False, "Whether time comes from /clock"),
    "autostart": switch(True, "Whether the nodes activate themselves"),
    "respawn": switch(False, "Whether a node that ends is started again after two seconds"),
    "log_level": Argument("info", "Log level of the nodes", ("debug", "info", "warn", "error", "fatal")),
}
RVIZ = {
    "rviz": switch(False, "Whether to start RViz, if it is there"),
    "rviz_config": Argument(str(SHARE / "rviz" / "visloc.rviz"), "What RViz shows"),
}

PLUGINS = {one.argument: Argument("", one.description) for one in plugin_nodes() if one.argument}

# Parameters by the arguments that they come from.
CAMERA_PARAMETERS = {
    "camera.transport": "image_transport",
    "camera.qos": "camera_qos",
    "camera.calibration_file": "camera_file",
    "camera.is_rectified": "rectified",
}
ASKING = {
    "server_url": "anchor_host",
    "server_map": "server_map",
    "token_file": "token_file",
    "map_frame": "map_frame",
}
COMMON_PARAMETERS = {"use_sim_time": "use_sim_time", "autostart": "autostart"}


@dataclass(frozen=True)
class Given:
    """The arguments of a launch file with their values, as texts."""

    arguments: Mapping[str, Argument]
    values: Mapping[str, str]

    def __getitem__(self, name: str) -> Any:
        """Value of an argument: a text, or a bool where it is true or false."""
        return self.arguments[name].read(self.values[name])

    def parameters(self, arguments: Mapping[str, str]) -> dict[str, Any]:
        """Parameters from arguments, but for those at their defaults, which are the nodes' own."""
        return {name: self[one] for name, one in arguments.items() if self[one] != self.arguments[one].read()}


def describe(arguments: Mapping[str, Argument], start: Callable[[Given], list[Any]]) -> LaunchDescription:
    """A launch file with these arguments, which starts the actions that ``start`` gives for their values."""

    def started(context: LaunchContext) -> list[Any]:
        check_names(context.launch_configurations, {name: one.default for name, one in arguments.items()})
        return start(Given(arguments, {name: LaunchConfiguration(name).perform(context) for name in arguments}))

    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(
                    name, default_value=one.default, description=one.description, choices=one.choices or None
                )
                for name, one in arguments.items()
            ),
            *(SetEnvironmentVariable(name, value) for name, value in fast_dds_profile().items()),
            OpaqueFunction(function=started),
        ]
    )


def check_names(given: Mapping[str, str], defaults: Mapping[str, str | None]) -> None:
    """Raise ValueError for a misspelt name, which launch itself silently ignores.

    A file that includes this one may have other arguments: only a name similar to one that was not given counts as
    misspelt.
    """
    for name in given.keys() - defaults.keys():
        for known in get_close_matches(name, defaults, cutoff=SIMILAR):
            if given.get(known) == defaults[known]:
                raise ValueError(f"there is no argument '{name}': did you mean '{known}'?")


def camera_topics(given: Given) -> dict[str, str]:
    """Remappings of nodes that take images."""
    image = given["image_topic"]
    return {"image": image, "image/compressed": f"{image}/compressed", "camera_info": given["camera_info_topic"]}


def further_cameras(given: Given) -> tuple[dict[str, str], dict[str, str]]:
    """The parameter ``cameras`` by the namespaces of these, and remappings of their topics, named as the first's."""
    namespaces = {one.rstrip("/").rpartition("/")[2]: one.rstrip("/") for one in given["cameras"].split()}
    image, info = (given[topic].rpartition("/")[2] for topic in ("image_topic", "camera_info_topic"))
    own = {"image": image, "image/compressed": f"{image}/compressed", "camera_info": info}
    topics = {f"{name}/{topic}": f"{there}/{one}" for name, there in namespaces.items() for topic, one in own.items()}
    return ({"cameras": " ".join(namespaces)} if namespaces else {}), topics


def sensor_topics(given: Given) -> dict[str, str]:
    """Remappings of nodes that take an IMU and wheel odometry."""
    return {"imu": given["imu_topic"], "wheel_odom": given["wheel_odom_topic"]}


def process(
    executable: str,
    given: Given,
    arguments: Mapping[str, str],
    topics: Mapping[str, str] | None = None,
    fixed: Mapping[str, Any] | None = None,
    package: str = "visloc_ros",
) -> Node:
    """One process of nodes, with parameters from ``arguments`` and ``fixed`` ones."""
    parameters = given.parameters(COMMON_PARAMETERS | dict(arguments)) | dict(fixed or {})
    values = {  # launch would parse a text as YAML
        name: ParameterValue(value, value_type=str) if isinstance(value, str) else value
        for name, value in parameters.items()
    }
    enclave = "/".join(["", *filter(None, given["namespace"].split("/")), executable])  # of SROS 2
    return Node(
        package=package,
        executable=executable,
        namespace=given["namespace"],
        parameters=[*([given["params_file"]] if given["params_file"] else []), *([values] if values else [])],
        remappings=list((topics or {}).items()),
        arguments=["--ros-args", "--log-level", given["log_level"], "--enclave", enclave],
        output="screen",
        respawn=given["respawn"],
        respawn_delay=RESPAWN_AFTER_S,
    )


def plugin_processes(given: Given, topics: Mapping[str, str]) -> list[Node]:
    """The processes of plug-ins whose arguments are given."""
    return [
        process(one.executable, given, {one.parameter: one.argument} | CAMERA_PARAMETERS, topics, package=one.package)
        for one in plugin_nodes()
        if one.argument and given[one.argument]
    ]


def asking_process(given: Given, topics: Mapping[str, str]) -> Node:
    """The process that lets the machine at the address ``anchor_host`` search. Raises ConfigError if none does."""
    node = remote_search(given["anchor_host"])
    return process(node.executable, given, ASKING | CAMERA_PARAMETERS, topics, package=node.package)


def include(file: str, **arguments: str) -> IncludeLaunchDescription:
    """Another launch file of the package; arguments that are not given here are passed on unchanged."""
    source = PythonLaunchDescriptionSource(str(SHARE / "launch" / file))
    return IncludeLaunchDescription(source, launch_arguments=arguments.items())


def rviz(given: Given) -> list[Any]:
    """RViz where it is wanted, or a message where it is missing: everything else runs without it."""
    if not given["rviz"]:
        return []
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError:
        return [LogInfo(msg="rviz2 is not installed, so RViz is not started: install ros-$ROS_DISTRO-rviz2")]
    return [Node(package="rviz2", executable="rviz2", arguments=["-d", given["rviz_config"]])]
