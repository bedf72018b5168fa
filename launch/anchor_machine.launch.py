"""Anchors on another machine than the robot's: it receives JPEG keyframes and camera_info, and sends poses back.

On the robot: ros2 launch visloc_ros visloc.launch.py anchor:=false map_tracking:=false map_path:=none image_topic:=...
With the map on the robot, too, give its map_path and leave map_tracking:=false out: its points are then followed there.
Here: ros2 launch visloc_ros anchor_machine.launch.py map_path:=... camera_info_topic:=...
Both must be in one ROS domain. The odometry node's parameters keyframe.* say how often keyframes are sent.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration, PythonExpression
from launch_ros.actions import Node

from launch import LaunchDescription
from visloc_ros.apps.middleware import fast_dds_profile

SHARE = Path(get_package_share_directory("visloc_ros"))


def generate_launch_description():
    """Start the anchor node with keyframes as its images."""
    remappings = [
        ("image/compressed", "keyframe/compressed"),
        ("camera_info", LaunchConfiguration("camera_info_topic")),
    ]
    given = {
        "map_path": LaunchConfiguration("map_path"),
        "use_sim_time": LaunchConfiguration("use_sim_time"),
        "camera.transport": "compressed",
        "camera.qos": "reliable",
        "camera.are_keyframes": True,
        "camera.in_spare_time": False,
    }
    return LaunchDescription(
        [
            DeclareLaunchArgument("map_path", description="Map folder or reference.tar.gz on this machine"),
            DeclareLaunchArgument("camera_info_topic", default_value="camera_info", description="CameraInfo topic"),
            DeclareLaunchArgument("namespace", default_value="visloc", description="Namespace of the robot's nodes"),
            DeclareLaunchArgument("use_sim_time", default_value="false", description="Whether time is from /clock"),
            DeclareLaunchArgument(
                "respawn", default_value="false", description="Whether a node that ends is started again"
            ),
            *(SetEnvironmentVariable(name, value) for name, value in fast_dds_profile().items()),
            Node(
                package="visloc_ros",
                executable="anchor_node",
                namespace=LaunchConfiguration("namespace"),
                parameters=[str(SHARE / "config" / "anchor_node.yaml"), given],
                remappings=remappings,
                arguments=["--ros-args", "--enclave", enclave(LaunchConfiguration("namespace"), "anchor_node")],
                output="screen",
                respawn=LaunchConfiguration("respawn"),
                respawn_delay=2.0,
            ),
        ]
    )


def enclave(namespace, executable):
    """Where SROS 2 finds the rights of a process; of no effect without it."""
    return PythonExpression(["'/'.join(['', *filter(None, '", namespace, f"'.split('/')), '{executable}'])"])
