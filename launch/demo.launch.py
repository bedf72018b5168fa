"""Everything live without a robot: a camera in the simulated room, localized in the demo map."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, SetEnvironmentVariable
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PythonExpression
from launch_ros.actions import Node

from launch import LaunchDescription
from visloc_ros.apps.middleware import fast_dds_profile

SHARE = Path(get_package_share_directory("visloc_ros"))


def generate_launch_description():
    """Start the simulated camera and the nodes that localize it."""
    localization = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch" / "visloc.launch.py")),
        launch_arguments={
            "map_path": LaunchConfiguration("map_path"),
            "image_transport": "compressed",
            "namespace": LaunchConfiguration("namespace"),
            "rviz": LaunchConfiguration("rviz"),
        }.items(),
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "map_path",
                default_value=str(SHARE / "maps" / "demo_room.tar.gz"),
                description="Map folder or reference.tar.gz of the simulated room",
            ),
            DeclareLaunchArgument("namespace", default_value="visloc", description="Namespace of the nodes"),
            DeclareLaunchArgument("rviz", default_value="true", description="Whether to start RViz, if it is there"),
            *(SetEnvironmentVariable(name, value) for name, value in fast_dds_profile().items()),
            Node(
                package="visloc_ros",
                executable="simulated_camera_node",
                namespace=LaunchConfiguration("namespace"),
                parameters=[str(SHARE / "config" / "simulated_camera_node.yaml")],
                arguments=[
                    "--ros-args",
                    "--enclave",
                    enclave(LaunchConfiguration("namespace"), "simulated_camera_node"),
                ],
                output="screen",
            ),
            localization,
        ]
    )


def enclave(namespace, executable):
    """Where SROS 2 finds the rights of a process; of no effect without it."""
    return PythonExpression(["'/'.join(['', *filter(None, '", namespace, f"'.split('/')), '{executable}'])"])
