"""Odometry with map tracking, anchors, fusion and the map builder for one camera and one map.

mode:=hloc leaves the odometry out, mode:=odom everything that needs a map. Another machine searches with
anchor_host:=remote over ROS (tethered_robot.launch.py, tethered_anchor.launch.py), and with
anchor_host:=http://HOST:8090 over HTTP, if a plug-in asks there.
"""

from visloc_ros.core.plugin_nodes import is_address
from visloc_ros.nodes.launching import (
    CAMERA,
    CAMERA_PARAMETERS,
    NAMESPACE,
    PLUGINS,
    PROCESS,
    RVIZ,
    SEARCH,
    Argument,
    asking_process,
    camera_topics,
    describe,
    further_cameras,
    plugin_processes,
    process,
    rviz,
    sensor_topics,
    switch,
)

ARGUMENTS = {
    "mode": Argument("fused", "fused; hloc: anchors alone; odom: odometry alone, no map", ("fused", "hloc", "odom")),
    "map_path": Argument("", "Map folder or reference.tar.gz; not needed with mode:=odom"),
    "namespace": NAMESPACE,
    **CAMERA,
    "cameras": Argument("", "Namespaces of further cameras, whose topics are named as the first one's: '/left /rear'"),
    "odometry_backend": Argument("klt", "Name of an odometry that is installed; plug-ins add others than klt"),
    "anchor_host": Argument("local", "Where images are searched: local, remote, or an address that a plug-in asks"),
    "search": SEARCH,
    "fix_topic": Argument("fix", "NavSatFix topic of a satellite receiver, if there is one: where to search first"),
    "server_map": Argument("", "Name of the map at that address; not needed if there is only one"),
    "token_file": Argument("", "File with the token for that address, if it wants one"),
    "composition": switch(False, "Whether the search runs in the process of odometry and fusion: takes less memory"),
    "map_tracking": switch(True, "Whether map points are tracked between anchors; needs the map on this machine"),
    "map_frame": Argument("map", "Frame of the map"),
    "odom_frame": Argument("odom", "Frame of the odometry; a different one for each robot"),
    "base_frame": Argument("base_link", "Frame of the robot; the camera's own frame for a bare camera"),
    "publish_odom_tf": switch(True, "Whether to send odom -> base_frame; false where an EKF or the base does"),
    "initialpose_topic": Argument("/initialpose", "Topic of RViz's initial pose; one for each robot"),
    "tf_namespace": Argument("", "Namespace of tf and tf_static: /robot1 where each robot has a tree of its own"),
    "viewer": switch(False, "Whether to show everything in a browser: http://localhost:8890"),
    **PLUGINS,
    **PROCESS,
    **RVIZ,
}
FUSION = {
    "mode": "mode",
    "map_frame": "map_frame",
    "odom_frame": "odom_frame",
    "base_frame": "base_frame",
    "publish_odom_to_base_tf": "publish_odom_tf",
}
SEARCHING = {"map_path": "map_path", "map_frame": "map_frame", "anchor.search": "search"}
TRACKING = {
    "odometry.backend": "odometry_backend",
    "map_tracking.map_path": "map_path",
    "map_tracking.map_frame": "map_frame",
}


def start(given):
    """The processes of the mode."""
    transforms = {f"/{name}": f"{given['tf_namespace'].rstrip('/')}/{name}" for name in ("tf", "tf_static")}
    priors = {"/initialpose": given["initialpose_topic"]}
    rig, others = further_cameras(given)
    cameras, sensors, receivers = camera_topics(given), sensor_topics(given), {"fix": given["fix_topic"]}
    follows = given["mode"] == "fused" and given["map_tracking"]
    alone = rig if follows else {"map_tracking.enabled": False} | rig

    host = given["anchor_host"]
    if host not in ("local", "remote") and not is_address(host):
        raise ValueError(f"anchor_host:={host} is neither local nor remote nor an address like http://gpu-box:8090")
    if given["composition"] and (given["mode"] != "fused" or host != "local"):
        raise ValueError("composition:=true needs mode:=fused and anchor_host:=local: there is nothing else to join")
    processes, topics = [], cameras | others | sensors | transforms | priors
    if given["composition"]:
        every = SEARCHING | CAMERA_PARAMETERS | TRACKING | FUSION
        processes.append(process("visloc_node", given, every, topics | receivers, alone))
    elif given["mode"] == "hloc":
        processes.append(process("fusion_node", given, FUSION, transforms | priors))
    else:
        both = CAMERA_PARAMETERS | TRACKING | FUSION
        processes.append(process("localization_node", given, both, topics, alone))
    if given["mode"] != "odom" and host == "local" and not given["composition"]:
        heard = cameras | others | receivers | transforms
        processes.append(process("anchor_node", given, SEARCHING | CAMERA_PARAMETERS, heard, rig))
    if given["mode"] != "odom" and is_address(host):
        processes.append(asking_process(given, cameras))
    processes += plugin_processes(given, cameras | receivers | transforms)
    processes.append(process("map_builder_node", given, CAMERA_PARAMETERS, cameras | sensors | transforms))
    if given["viewer"]:
        processes.append(process("viewer_node", given, {}))
    return [*processes, *rviz(given)]


def generate_launch_description():
    """Declare the arguments and start the nodes."""
    return describe(ARGUMENTS, start)
