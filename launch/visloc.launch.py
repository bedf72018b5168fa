"""Odometry with map tracking, anchors, fusion and the map builder for one camera and one map.

mode:=hloc leaves the odometry out, mode:=odom all that needs a map. With anchor:=false the anchor node is left to
another machine: anchor_machine.launch.py there receives keyframes.
"""

from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix, get_package_share_directory
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, PythonExpression
from launch_ros.actions import Node

from launch import LaunchDescription
from visloc_ros.apps.middleware import fast_dds_profile

SHARE = Path(get_package_share_directory("visloc_ros"))
CHOICES = {
    "mode": ["fused", "hloc", "odom"],
    "image_transport": ["raw", "compressed"],
    "camera_qos": ["sensor_data", "reliable"],
}

ARGUMENTS = {
    "mode": ("fused", "fused; hloc: anchors alone; odom: odometry alone, without a map"),
    "map_path": ("", "Map folder or reference.tar.gz; not needed with mode:=odom"),
    "namespace": ("visloc", "Namespace of the nodes"),
    "image_topic": ("image", "Raw image topic; with image_transport:=compressed the topic without '/compressed'"),
    "camera_info_topic": ("camera_info", "CameraInfo topic"),
    "image_transport": ("raw", "How images come: large raw ones may get lost on the way"),
    "camera_qos": ("sensor_data", "What the driver of the camera offers"),
    "camera_file": ("", "Calibration file (COLMAP, EuRoC or ROS YAML) instead of camera_info"),
    "rectified": ("false", "Whether images come rectified, as image_proc gives them"),
    "imu_topic": ("imu", "IMU topic, if there is one: predicts turns and tells what is up"),
    "wheel_odom_topic": ("wheel_odom", "Wheel odometry topic, if there is one: tells the odometry's scale"),
    "map_frame": ("map", "Frame of the map"),
    "odom_frame": ("odom", "Frame of the odometry; one of its own for each robot"),
    "initialpose_topic": ("/initialpose", "Where RViz tells where the robot is; one for each robot"),
    "base_frame": ("base_link", "Frame of the robot; the camera's own frame for a bare camera"),
    "params_folder": (str(SHARE / "config"), "Folder with a parameter file <node>.yaml for each node"),
    "use_sim_time": ("false", "Whether time comes from /clock"),
    "anchor": ("true", "Whether anchors are searched for on this machine"),
    "map_tracking": ("true", "Whether map points are followed between anchors; needs the map on this machine"),
    "autostart": ("true", "Whether the nodes activate themselves"),
    "respawn": ("false", "Whether a node that ends is started again after two seconds"),
    "log_level": ("info", "Log level of the nodes"),
    "rviz": ("false", "Whether to start RViz"),
}


def generate_launch_description():
    """Declare the arguments and start the nodes."""
    given = {name: LaunchConfiguration(name) for name in ARGUMENTS}
    remappings = [
        ("image", given["image_topic"]),
        ("image/compressed", [given["image_topic"], "/compressed"]),
        ("camera_info", given["camera_info_topic"]),
    ]
    sensors = [("imu", given["imu_topic"]), ("wheel_odom", given["wheel_odom_topic"])]
    priors = [("/initialpose", given["initialpose_topic"])]
    camera = {
        "camera.transport": given["image_transport"],
        "camera.qos": given["camera_qos"],
        "camera.calibration_file": given["camera_file"],
        "camera.is_rectified": given["rectified"],
    }
    following = {
        "map_tracking.enabled": is_wanted(given, ["fused"], given["map_tracking"]),
        "map_tracking.map_path": given["map_path"],
        "map_tracking.map_frame": given["map_frame"],
    }
    anchor = camera | {"map_path": given["map_path"], "map_frame": given["map_frame"]}
    fusion = {name: given[name] for name in ("mode", "map_frame", "odom_frame", "base_frame")}
    both = camera | following | fusion
    tracking = is_wanted(given, ["fused", "odom"])
    searching = is_wanted(given, ["fused", "hloc"], given["anchor"])
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=text, choices=CHOICES.get(name))
                for name, (default, text) in ARGUMENTS.items()
            ),
            *(SetEnvironmentVariable(name, value) for name, value in fast_dds_profile().items()),
            process(
                "localization_node",
                ["odometry_node", "fusion_node"],
                given,
                both,
                remappings + sensors + priors,
                tracking,
            ),
            process("anchor_node", ["anchor_node"], given, anchor, remappings, searching),
            process("fusion_node", ["fusion_node"], given, fusion, priors, is_wanted(given, ["hloc"])),
            process("map_builder_node", ["map_builder_node"], given, {}),
            OpaqueFunction(function=rviz, condition=IfCondition(given["rviz"])),
        ]
    )


def rviz(_context):
    """RViz, or a word where it is missing: everything else runs without it."""
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError:
        return [LogInfo(msg="rviz2 is not installed, so RViz is not started: install ros-$ROS_DISTRO-rviz2")]
    return [Node(package="rviz2", executable="rviz2", arguments=["-d", str(SHARE / "rviz" / "visloc.rviz")])]


def is_wanted(given, modes, switch="true"):
    """Whether the mode is one of ``modes`` and ``switch`` is true."""
    return PythonExpression(["'", given["mode"], f"' in {modes} and '", switch, "'.lower() == 'true'"])


def enclave(namespace, executable):
    """Where SROS 2 finds the rights of a process; of no effect without it."""
    return PythonExpression(["'/'.join(['', *filter(None, '", namespace, f"'.split('/')), '{executable}'])"])


def process(executable, nodes, given, parameters, remappings=(), wanted="true"):
    """One process with the parameter file of each of its nodes, then what this launch was given."""
    common = {"use_sim_time": given["use_sim_time"], "autostart": given["autostart"]}
    return Node(
        package="visloc_ros",
        executable=executable,
        namespace=given["namespace"],
        parameters=[
            *(PathJoinSubstitution([given["params_folder"], f"{node}.yaml"]) for node in nodes),
            common | parameters,
        ],
        remappings=remappings,
        condition=IfCondition(wanted),
        arguments=[
            "--ros-args",
            "--log-level",
            given["log_level"],
            "--enclave",
            enclave(given["namespace"], executable),
        ],
        output="screen",
        respawn=given["respawn"],
        respawn_delay=2.0,
    )
