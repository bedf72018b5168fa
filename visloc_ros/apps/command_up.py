"""``visloc up``: the nodes as processes, for machines without the launch tool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from visloc_ros.apps.options import CameraFile, Domain, MapOption, MapTracking, Search
from visloc_ros.apps.processes import (
    NodeSpec,
    camera_remappings,
    camera_transport,
    node_environment,
    run_until_stopped,
)
from visloc_ros.core.errors import ConfigError, MapError
from visloc_ros.core.plugin_nodes import remote_search
from visloc_ros.core.types import Mode

RESTART_AFTER_S = 2.0  # as in visloc.launch.py
HELPER_NICENESS = 5  # a third of the share of the nodes that localize, at its start as in a build
Parameters = Mapping[str, object]


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
        str, typer.Option(help="Address that a plug-in asks, and that searches instead: http://gpu-box:8090.")
    ] = "",
    server_map: Annotated[str, typer.Option(help="Name of the map there; not needed if there is only one.")] = "",
    token_file: Annotated[Path | None, typer.Option(help="File with the token for that address.")] = None,
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
    _check_map(map_path, mode, anchor_host)
    _check_search(mode, anchor_host, composition, search)
    transport = camera_transport(image_topic)
    robot = _Robot(
        {"__ns": f"/{namespace.strip('/')}"},
        camera_remappings(transport, image_topic, camera_info_topic),
        {"imu": imu_topic, "wheel_odom": wheel_odom_topic},
        {"camera.transport": transport, "camera.calibration_file": camera},
        params_file,
    )
    fusion = {"base_frame": base_frame, "odom_frame": odom_frame, "mode": mode.value}
    follows = map_tracking and mode is Mode.FUSED and map_path is not None
    following = {"map_tracking.map_path": str(map_path) if follows else ""}
    if anchor_host:
        searching = robot.searching_on(anchor_host, server_map, token_file)
    else:
        searching = robot.searching_in(map_path, search)
    specs = [
        *robot.localizing(mode, composition, searching, fusion, following),
        *([robot.node("simulated_camera_node")] if simulated else []),
        *([robot.node("viewer_node", niceness=HELPER_NICENESS)] if viewer else []),
        robot.recording_node("map_builder_node", niceness=HELPER_NICENESS),
    ]
    run_until_stopped(specs, node_environment(domain_id), RESTART_AFTER_S)


def _check_map(map_path: Path | None, mode: Mode, anchor_host: str) -> None:
    """Raise ConfigError or MapError where there is no map that could be searched."""
    if mode is Mode.ODOM:
        return
    if map_path is None and not anchor_host:
        raise ConfigError("give the map with --map, or --mode odom to go without one")
    if map_path is not None and not map_path.exists():
        raise MapError(f"there is no map at {map_path}: build one with 'visloc build-map SOURCE'")


def _check_search(mode: Mode, anchor_host: str, composition: bool, search: str) -> None:
    """Raise ConfigError for options of a search that the nodes do not do."""
    if composition and (mode is not Mode.FUSED or anchor_host):
        raise ConfigError("--composition needs --mode fused and no --anchor-host: there is nothing else to join")
    if search and anchor_host:
        raise ConfigError(f"{anchor_host} searches as it was started: give --search there")


@dataclass(frozen=True)
class _Robot:
    """What the nodes of a robot have in common: their namespace, the topics that they hear, the camera's parameters."""

    place: Mapping[str, str]
    images: Mapping[str, str]
    sensors: Mapping[str, str]
    camera: Parameters
    params_file: Path | None

    def node(self, name: str, parameters: Parameters | None = None, niceness: int = 0) -> NodeSpec:
        """A node without a camera."""
        return NodeSpec(name, parameters or {}, self.params_file, self.place, niceness)

    def recording_node(self, name: str, parameters: Parameters | None = None, niceness: int = 0) -> NodeSpec:
        """A node that hears the camera and the other sensors."""
        topics = {**self.images, **self.sensors, **self.place}
        return NodeSpec(name, {**self.camera, **(parameters or {})}, self.params_file, topics, niceness)

    def searching_in(self, map_path: Path | None, search: str) -> NodeSpec:
        """The node that searches images in a map."""
        own = {"map_path": str(map_path), **({"anchor.search": search} if search else {})}
        return NodeSpec("anchor_node", {**self.camera, **own}, self.params_file, {**self.images, **self.place})

    def searching_on(self, server_url: str, server_map: str, token_file: Path | None) -> NodeSpec:
        """The node that lets another machine search images. Raises ConfigError if none is installed."""
        own = {"server_url": server_url, "server_map": server_map, "token_file": str(token_file or "")}
        node, topics = remote_search(server_url), {**self.images, **self.place}
        return NodeSpec(node.executable, {**self.camera, **own}, self.params_file, topics, module=node.module)

    def localizing(
        self, mode: Mode, composition: bool, searching: NodeSpec, fusion: Parameters, following: Parameters
    ) -> list[NodeSpec]:
        """The nodes from images to poses. The search takes longest to start, and begins first."""
        if composition:
            return [self.recording_node("visloc_node", {**searching.parameters, **following, **fusion})]
        if mode is Mode.ANCHORS:
            return [searching, self.node("fusion_node", fusion)]
        tracking = self.recording_node("localization_node", {**following, **fusion})
        return [tracking] if mode is Mode.ODOM else [searching, tracking]
