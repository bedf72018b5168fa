"""``visloc up``: the nodes as processes, for machines without the launch tool."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from visloc_ros.apps.console import console
from visloc_ros.apps.options import CameraFile, Domain, MapOption, MapTracking, Search
from visloc_ros.apps.processes import NodeProcesses, NodeSpec
from visloc_ros.core.errors import ConfigError, MapError
from visloc_ros.core.middleware import fast_dds_profile
from visloc_ros.core.mode import Mode

RESTART_AFTER_S = 2.0  # as in visloc.launch.py
HELPER_NICENESS = 5  # a third of the share of the nodes that localize, at its start as in a build


def up(
    map_path: MapOption = None,
    mode: Annotated[
        Mode, typer.Option(help="fused; hloc: anchors alone; odom: odometry alone, which needs no map.")
    ] = Mode.FUSED,
    image_topic: Annotated[
        str, typer.Option(help="Image topic; one that ends in /compressed carries JPEG.")
    ] = "image/compressed",
    camera_info_topic: Annotated[str, typer.Option(help="CameraInfo topic.")] = "camera_info",
    camera: CameraFile = "",
    imu_topic: Annotated[str, typer.Option(help="IMU topic, if there is one.")] = "imu",
    wheel_odom_topic: Annotated[str, typer.Option(help="Wheel odometry topic, if there is one.")] = "wheel_odom",
    base_frame: Annotated[
        str, typer.Option(help="Frame of the robot; the camera's own for a bare camera.")
    ] = "base_link",
    odom_frame: Annotated[str, typer.Option(help="Frame of the odometry, a different one for each robot.")] = "odom",
    namespace: Annotated[str, typer.Option(help="Namespace of the nodes, a different one for each robot.")] = "visloc",
    viewer: Annotated[
        bool, typer.Option("--viewer", help="Also show everything in a browser: http://localhost:8890.")
    ] = False,
    simulated: Annotated[bool, typer.Option("--simulated", help="Also start the simulated camera.")] = False,
    anchor_host: Annotated[
        str, typer.Option(help="Address of 'visloc serve', which searches instead: http://gpu-box:8090.")
    ] = "",
    server_map: Annotated[str, typer.Option(help="Name of the map there; not needed where there is only one.")] = "",
    token_file: Annotated[Path | None, typer.Option(help="File with the token of that server.")] = None,
    map_tracking: MapTracking = True,
    search: Search = "",
    composition: Annotated[
        bool, typer.Option("--composition", help="Search in the process of odometry and fusion: takes less memory.")
    ] = False,
    params_file: Annotated[Path | None, typer.Option(help="ROS parameter file for all nodes.")] = None,
    domain_id: Domain = 0,
) -> None:
    """Start odometry with map tracking, anchors, fusion and the map builder, and restart what dies; Ctrl-C stops them.

    Example: visloc up --map maps/demo_room.tar.gz --simulated
    """
    if mode is not Mode.ODOM:
        if map_path is None and not anchor_host:
            raise ConfigError("give the map with --map, or --mode odom to go without one")
        if map_path is not None and not map_path.exists():
            raise MapError(f"there is no map at {map_path}: build one with 'visloc build-map SOURCE'")
    if composition and (mode is not Mode.FUSED or anchor_host):
        raise ConfigError("--composition needs --mode fused and no --anchor-host: there is nothing else to join")
    if search and anchor_host:
        raise ConfigError(f"{anchor_host} searches as it was started: give --search to 'visloc serve'")
    compressed = image_topic.endswith("compressed")
    images = {("image/compressed" if compressed else "image"): image_topic, "camera_info": camera_info_topic}
    camera_options: dict[str, object] = {
        "camera.transport": "compressed" if compressed else "raw",
        "camera.calibration_file": camera,
    }
    follows = map_tracking and mode is Mode.FUSED and map_path is not None
    following: dict[str, object] = {"map_tracking.map_path": str(map_path) if follows else ""}
    sensors = {"imu": imu_topic, "wheel_odom": wheel_odom_topic}
    fusion: dict[str, object] = {"base_frame": base_frame, "odom_frame": odom_frame, "mode": mode.value}
    place = {"__ns": f"/{namespace.strip('/')}"}
    searching = camera_options | {"map_path": str(map_path)} | ({"anchor.search": search} if search else {})
    tracking = camera_options | following | fusion
    specs = []
    if mode is not Mode.ODOM and not composition:  # takes longest to start, and begins first
        asking = camera_options | {
            "server_url": anchor_host,
            "server_map": server_map,
            "token_file": str(token_file or ""),
        }
        name, parameters = ("remote_anchor_node", asking) if anchor_host else ("anchor_node", searching)
        specs.append(NodeSpec(name, parameters, params_file, images | place))
    if composition:
        specs.append(NodeSpec("visloc_node", searching | tracking, params_file, images | sensors | place))
    elif mode is Mode.HLOC:
        specs.append(NodeSpec("fusion_node", fusion, params_file, place))
    else:
        specs.append(NodeSpec("localization_node", tracking, params_file, images | sensors | place))
    if simulated:
        specs.append(NodeSpec("simulated_camera_node", {}, params_file, place))
    if viewer:
        specs.append(NodeSpec("viewer_node", {}, params_file, place, HELPER_NICENESS))
    recorded = images | sensors | place
    specs.append(NodeSpec("map_builder_node", camera_options, params_file, recorded, HELPER_NICENESS))
    environment = fast_dds_profile() | ({"ROS_DOMAIN_ID": str(domain_id)} if domain_id else {})
    with (
        tempfile.TemporaryDirectory(prefix="visloc_up_") as folder,
        NodeProcesses(specs, Path(folder), environment, RESTART_AFTER_S) as nodes,
    ):
        console.print(f"{len(specs)} processes are starting; Ctrl-C stops them")
        try:
            nodes.wait_for_any()
        except KeyboardInterrupt:
            console.print("stopping")
