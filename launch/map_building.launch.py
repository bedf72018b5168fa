"""Maps a new place: records the camera while the robot drives through it, then builds the map.

ros2 service call /visloc/map_builder_node/record std_srvs/srv/SetBool "{data: true}"
ros2 action send_goal --feedback /visloc/map_builder_node/build_map visloc_msgs/action/BuildMap "{name: office}"
"""

from visloc_ros.nodes.launching import (
    CAMERA,
    CAMERA_PARAMETERS,
    NAMESPACE,
    PROCESS,
    Argument,
    camera_topics,
    describe,
    process,
    sensor_topics,
)

ARGUMENTS = {
    "maps_folder": Argument("maps", "Folder for maps and for the recordings they are built from"),
    "namespace": NAMESPACE,
    **CAMERA,
    **PROCESS,
}


def start(given):
    """The map builder alone."""
    topics = camera_topics(given) | sensor_topics(given)
    return [process("map_builder_node", given, CAMERA_PARAMETERS | {"maps_folder": "maps_folder"}, topics)]


def generate_launch_description():
    """Declare the arguments and start the map builder."""
    return describe(ARGUMENTS, start)
