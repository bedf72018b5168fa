"""A robot that sends keyframes as JPEG to another machine, which searches them in the map.

Takes the arguments of visloc.launch.py. With map_path of a map on the robot, too, its points are tracked between
anchors. The parameters keyframe.* of the odometry node say how often keyframes are sent.
"""

from launch import LaunchDescription
from visloc_ros.nodes.launching import include


def generate_launch_description():
    """Start all but the search."""
    return LaunchDescription([include("visloc.launch.py", anchor_host="remote")])
