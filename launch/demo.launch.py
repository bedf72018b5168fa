"""Everything live without a robot: a camera in the simulated room, localized in the demo map."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchDescription

SHARE = Path(get_package_share_directory("visloc_ros"))
FAST_DDS_PROFILE, LARGE_IMAGES = "FASTRTPS_DEFAULT_PROFILES_FILE", str(SHARE / "config" / "fastdds_large_images.xml")


def generate_launch_description():
    """Start the simulated camera and the nodes that localize it."""
    localization = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch" / "visloc.launch.py")),
        launch_arguments={
            "map_path": LaunchConfiguration("map_path"),
            "image_transport": "compressed",
            "rviz": LaunchConfiguration("rviz"),
        }.items(),
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument("map_path", default_value=str(SHARE / "maps" / "demo_room.tar.gz")),
            DeclareLaunchArgument("rviz", default_value="true"),
            Node(
                package="visloc_ros",
                executable="simulated_camera_node",
                namespace="visloc",
                parameters=[str(SHARE / "config" / "simulated_camera_node.yaml")],
                additional_env={FAST_DDS_PROFILE: EnvironmentVariable(FAST_DDS_PROFILE, default_value=LARGE_IMAGES)},
                output="screen",
            ),
            localization,
        ]
    )
