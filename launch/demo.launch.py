"""Everything live without a robot: a camera in the simulated room, localized in the demo map."""

from visloc_ros.nodes.launching import NAMESPACE, PROCESS, RVIZ, SHARE, Argument, describe, include, process, switch

ARGUMENTS = {
    "map_path": Argument(str(SHARE / "maps" / "demo_room.tar.gz"), "Map of the simulated room"),
    "namespace": NAMESPACE,
    **PROCESS,
    **RVIZ,
    "rviz": switch(True, "Whether to start RViz, if it is installed"),
}


def start(given):
    """The nodes, and the simulated camera that they localize."""
    same = {name: given.values[name] for name in ("map_path", "namespace", "rviz")}
    nodes = include("visloc.launch.py", image_transport="compressed", **same)
    # In this order: if the nodes' file refuses an argument, no camera starts.
    return [nodes, process("simulated_camera_node", given, {})]


def generate_launch_description():
    """Declare the arguments and start everything."""
    return describe(ARGUMENTS, start)
