"""The search on another machine than the robot's: it receives JPEG keyframes and camera_info, and sends poses back.

On the robot: tethered_robot.launch.py. Both machines must be in one ROS domain.
"""

from visloc_ros.nodes.launching import CAMERA, NAMESPACE, PROCESS, SEARCH, Argument, describe, process

ARGUMENTS = {
    "map_path": Argument(None, "Map folder or reference.tar.gz on this machine"),
    "map_frame": Argument("map", "Frame of the map"),
    "search": SEARCH,
    "namespace": NAMESPACE,
    "camera_info_topic": CAMERA["camera_info_topic"],
    **PROCESS,
}
KEYFRAMES = {
    "camera.transport": "compressed",
    "camera.qos": "reliable",
    "camera.are_keyframes": True,
}


def start(given):
    """The anchor node, with keyframes as its images."""
    topics = {"image/compressed": "keyframe/compressed", "camera_info": given["camera_info_topic"]}
    searching = {"map_path": "map_path", "map_frame": "map_frame", "anchor.search": "search"}
    return [process("anchor_node", given, searching, topics, KEYFRAMES)]


def generate_launch_description():
    """Declare the arguments and start the anchor node."""
    return describe(ARGUMENTS, start)
