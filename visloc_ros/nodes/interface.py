"""The ROS interface of the nodes, listed from the running nodes, and written as ``docs/ros_interface.md``."""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import chain
from pathlib import Path
from typing import Any

import rclpy
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from visloc_ros.core.errors import SetupError
from visloc_ros.nodes.anchor_node import AnchorNode
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.fusion_node import FusionNode
from visloc_ros.nodes.map_builder_node import MapBuilderNode
from visloc_ros.nodes.odometry_node import OdometryNode
from visloc_ros.nodes.simulated_camera_node import SimulatedCameraNode
from visloc_ros.nodes.viewer_node import ViewerNode

DESCRIPTIONS = {
    # Inputs
    "image": "Images of the camera, `camera.transport: raw`.",
    "image/compressed": "Images of the camera as JPEG or PNG, `camera.transport: compressed`.",
    "camera_info": "Calibration of the camera; binning and the region of interest count. Where it is "
    "missing, or all zeros, the camera is estimated with the help of the map.",
    "left/image": "Images of a further camera of the robot, here with `cameras: left` ([rigs](rigs.md)).",
    "left/image/compressed": "The same as JPEG or PNG.",
    "left/camera_info": "Its calibration, which is not estimated.",
    "imu": "Optional: predicts how the camera turns between images, and gives the direction of up. "
    "Needs its place in `/tf_static`.",
    "wheel_odom": "Optional: gives the odometry's scale. Needs the place of the camera on its `child_frame_id` in "
    "`/tf_static`.",
    "fix": "Optional: where the robot is on the earth, for searches that no pose predicts, in a map on the earth: "
    "poses far away are refused, places that look alike distinguished. The height does not count.",
    "compass": "Optional: the orientation of an IMU with a magnetometer, axes east, north, up (REP 145), for the "
    "same: which way the camera looks. Needs its place in `/tf_static`.",
    "geo/fix": "Optional: where the camera is on the earth, at the stamp of an image, of a node that finds its images "
    "there: a `fix` whose covariance is known. `STATUS_NO_FIX` if it is not located.",
    "geo/compass": "The orientation of the camera's optical axes in east, north, up, of the same image: a `compass`.",
    "/initialpose": "Where the robot is believed to be (RViz: 2D Pose Estimate). The search begins there; it is "
    "never an output.",
    "/tf_static": "Where the camera, the IMU and the base are on the robot.",
    # Outputs
    "/tf": "`map -> odom` and `odom -> base_link`, sent by the fusion node alone. It listens whether another "
    "node sends them, too; with `publish_odom_to_base_tf: false` it corrects that node's `odom -> base_link`.",
    "pose": "`map_from_base` at the stamp of the image, with its covariance.",
    "gps/filtered": "Where `base_frame` is on the earth, at the stamp of the image, while `LOCALIZED` or `DEGRADED` "
    "in a map on the earth. The covariance holds the map's own error and, for the height, that of the sea's level; "
    "where the map's height is not known the altitude is NaN.",
    "odom": "`odom_from_base`, scaled and continuous, with its velocity. Made only for subscribers.",
    "status": "State of the pose, its reason, and what the pose rests on; one for each frame.",
    "odom_path": "The last poses in `odom`, twice a second.",
    "map_path": "The last poses in `map`, twice a second.",
    "map_to_odom_raw": "`map -> odom` before it is slewed.",
    "map_points": "The points that are searched, once for each map; coloured by landmark or instance, or grey.",
    "map_plan": "The map's points seen from above, of a map whose z axis points up: a picture, not to plan by.",
    "inlier_points": "The map points that hold the last anchor.",
    "accepted_anchors": "Where the last accepted anchors saw the camera, with x ahead, twice a second.",
    "refused_anchors": "The same of those that were found but refused: another place, or too uncertain.",
    "camera_frustum": "What the camera sees as a pyramid in its own frame, at most ten times a second.",
    "followed_points": "The map points that hold this frame; none where they are lost.",
    "matches/compressed": "The image of the last anchor with the pixels that hold it, by landmark or instance.",
    "/diagnostics": "What each node counts, once a second: results by reason, drops, failed calls.",
    # Between the nodes
    "odometry_status": "Odometry of each frame: the unscaled pose, or why there is none.",
    "visual_odom": "The same pose as a standard message, for viewers.",
    "loop_closure": "A place that odometry has seen before, from an odometry that closes loops.",
    "map_tracking": "Map points of the last anchor, followed into this frame: the pose they give, or why there is "
    "none.",
    "loaded_map": "The map that is searched: its name, path and frame. The fusion node uses it if no other one is in "
    "use, or if `load_map` asked for it.",
    "map_in_use": "The map that poses are in, from the image of its stamp on. Map tracking follows it, and a restarted "
    "anchor node loads it.",
    "anchor": "Each search of an image in the map: the pose, or why there is none.",
    "anchor_camera_info": "The calibration that the anchor node uses, once it is sure of it; for a camera whose "
    "`camera_info` is missing, or is all zeros. The odometry node waits for it.",
    "camera_pose": "`map_from_camera` of each frame; the anchor node searches there first.",
    "search_prior": "Where the anchor node searches before the first fix: near anchors that agree, or near "
    "`/initialpose`.",
    "innovation": "Anchors and tracked poses against their prediction, for tests of consistency.",
    "keyframe/compressed": "Sharp, spread images as JPEG for anchors on another machine. Made only for subscribers.",
    "ground_truth": "Where the simulated camera is.",
    # Services
    "anchor_node/list_maps": "The maps in the folder `maps_folder`, and which of them can be used.",
    "anchor_node/load_map": "Use another map or version; while it loads, or if it is broken, the old one stays in use.",
    "anchor_node/save_map": "Pack the map in use into one file, which ends in `.tar.gz`.",
    "anchor_node/localize": "Find one image in the map, perhaps near a rough position or heading.",
    "fusion_node/relocalize": "Forget the place in the map; agreeing anchors set it again, `odom` goes on.",
    "fusion_node/set_initial_pose": "Where the robot is believed to be, as `/initialpose`, with an answer.",
    "fusion_node/set_mode": "Change what the pose is made from: `fused`, `hloc` or `odom`.",
    "map_builder_node/build_map": "Build a map from a recording on the node's machine, or from what `record` recorded.",
    "map_builder_node/build_map (action)": "The same with progress as feedback; it can be cancelled.",
    "map_builder_node/update_map (action)": "Update a map by a recording, or go back to an earlier version of it.",
    "map_builder_node/record": "Begin to record the camera for a map, and end it: `data: true`, `data: false`.",
    "odometry_node/reset_odometry": "Begin a new segment of odometry with the next frame.",
}
"""Purpose of each topic, service and action, by its name below the nodes' namespace."""

NodeMaker = Callable[[], Sequence[VislocNode[Any]]]
_CAMERA = (["camera.transport:=raw"], ["camera.transport:=compressed"])
_FURTHER = "cameras:=left"


class Kind(Enum):
    """How a node uses a name."""

    SUBSCRIBED = "Subscribed topics"
    PUBLISHED = "Published topics"
    SERVICE = "Services"
    ACTION = "Actions"


@dataclass(frozen=True, order=True)
class Endpoint:
    """A topic, a service or an action of a node: its name below the namespace, its ROS type, and in words its QoS."""

    name: str
    type_name: str
    qos: str = ""


@dataclass(frozen=True)
class NodeInterface:
    """The whole interface of a node, with any parameters."""

    node_type: type[VislocNode[Any]]
    endpoints: dict[Kind, tuple[Endpoint, ...]]


def list_interfaces(map_path: Path) -> list[NodeInterface]:
    """Start each node with the parameters that create all of its topics, and list them; ``map_path`` is any map.

    Raises SetupError when a node does not start.
    """
    with tempfile.TemporaryDirectory(prefix="visloc_") as folder:
        return _list_interfaces(map_path, folder)


def _list_interfaces(map_path: Path, folder: str) -> list[NodeInterface]:
    following = f"map_tracking.map_path:={map_path}"
    return [
        *interfaces_of(lambda: [OdometryNode()], [[*one, following, _FURTHER] for one in _CAMERA]),
        *interfaces_of(lambda: [AnchorNode()], [[*one, f"map_path:={map_path}", _FURTHER] for one in _CAMERA]),
        *interfaces_of(lambda: [FusionNode()], [[], ["publish_odom_to_base_tf:=false"]]),
        *interfaces_of(lambda: [MapBuilderNode()], [[*one, f"maps_folder:={folder}"] for one in _CAMERA]),
        *interfaces_of(lambda: [SimulatedCameraNode()], [["simulation.duration_s:=0.1"]]),
        *interfaces_of(lambda: [ViewerNode()], [[]]),
    ]


def list_joined_interfaces(make_nodes: NodeMaker, map_path: Path) -> list[NodeInterface]:
    """The same of nodes that are joined in one process, some of which then do not need each other's topics."""
    maps = [f"map_tracking.map_path:={map_path}", f"map_path:={map_path}", _FURTHER]
    return interfaces_of(make_nodes, [[*one, *maps] for one in _CAMERA])


def interfaces_of(make_nodes: NodeMaker, runs: Iterable[list[str]]) -> list[NodeInterface]:
    """The interface of each node of a process in any of the runs with these parameters."""
    found: dict[type[VislocNode[Any]], dict[Kind, set[Endpoint]]] = {}
    for parameters in runs:
        for node_type, offered in _offered(make_nodes, parameters).items():
            of_node = found.setdefault(node_type, {kind: set() for kind in Kind})
            for kind, endpoints in offered.items():
                of_node[kind] |= endpoints
    return [
        NodeInterface(node_type, {kind: tuple(sorted(endpoints)) for kind, endpoints in of_node.items()})
        for node_type, of_node in found.items()
    ]


def _offered(make_nodes: NodeMaker, parameters: list[str]) -> dict[type[VislocNode[Any]], dict[Kind, set[Endpoint]]]:
    """The interface of each active node of a process, without that of every lifecycle node."""
    rclpy.init(args=["--ros-args", *(part for one in parameters for part in ("-p", one))])
    nodes = make_nodes()
    plain = _of_a_plain_node()
    try:
        for node in nodes:
            if not node.start():
                raise SetupError(f"{node.default_name} does not start with {' '.join(parameters)}: see its message")
            node.open_on_demand()
        return {
            type(node): {kind: endpoints - plain(kind, node) for kind, endpoints in _endpoints(node).items()}
            for node in nodes
        }
    finally:
        for node in nodes:
            node.release()
            node.destroy_node()
        rclpy.shutdown()
        del nodes, node
        gc.collect()  # nodes are reference cycles: only now do the threads of DDS end


def _of_a_plain_node() -> Callable[[Kind, VislocNode[Any]], set[Endpoint]]:
    """The interface that every lifecycle node has."""
    plain = LifecycleNode("plain", namespace="visloc")
    found = _endpoints(plain)
    plain.destroy_node()

    def of(kind: Kind, node: VislocNode[Any]) -> set[Endpoint]:
        return {replace(one, name=one.name.replace("plain/", f"{node.get_name()}/", 1)) for one in found[kind]}

    return of


def _endpoints(node: LifecycleNode) -> dict[Kind, set[Endpoint]]:
    namespace = f"{node.get_namespace()}/"
    actions = node.action_types if isinstance(node, VislocNode) else {}

    def endpoint(name: str, ros_type: Any, qos: QoSProfile | None = None) -> Endpoint:
        type_name = f"{ros_type.__module__.partition('.')[0]}/{ros_type.__name__}"
        return Endpoint(name.removeprefix(namespace), type_name, "" if qos is None else _words(qos))

    return {
        Kind.SUBSCRIBED: {endpoint(one.topic_name, one.msg_type, one.qos_profile) for one in node.subscriptions},
        Kind.PUBLISHED: {endpoint(one.topic_name, one.msg_type, one.qos_profile) for one in node.publishers},
        Kind.SERVICE: {endpoint(one.service_name, one.srv_type) for one in node.services},
        Kind.ACTION: {endpoint(f"{node.get_name()}/{name} (action)", kind) for name, kind in actions.items()},
    }


def _words(qos: QoSProfile) -> str:
    reliability = "best effort" if qos.reliability == ReliabilityPolicy.BEST_EFFORT else "reliable"
    durability = ", transient local" if qos.durability == DurabilityPolicy.TRANSIENT_LOCAL else ""
    return f"{reliability}{durability}, {qos.depth}"


REPOSITORY = Path(__file__).resolve().parents[2]
MESSAGES = REPOSITORY / "visloc_msgs"
MAP = REPOSITORY / "maps" / "demo_room.tar.gz"

HEAD = """\
# ROS interface

Made by `make docs` from the nodes themselves; a test compares the two.

Names that do not begin with `/` are below the namespace `visloc`. Poses follow REP 103 and REP 105. Covariances are in
the order x, y, z, rotation about x, y, z, about the axes of the parent frame. Every message is checked; a bad one is
counted in `/diagnostics` and left out.

## TF

| edge | sent by | unless |
|---|---|---|
| `map -> odom` | the fusion node | `publish_map_to_odom_tf` is false |
| `odom -> base_link` | the fusion node | `publish_odom_to_base_tf` is false, because another node sends it |
| `base_link -> camera` | the robot, on `/tf_static` | `base_frame` is the camera's own frame: a bare camera |

Nothing is sent before the first fix (with `mode: odom`, before the scale is known). From then on `odom -> base_link`
comes with every frame that odometry tracks, and `map -> odom`, dated ahead by `transform_tolerance`, too, except while
LOST if `loss_policy` is `stop_tf`. With a frame that odometry does not track, `map -> odom` has the frame's own stamp.
`base_link -> camera` must be fixed.

The frames' names are the parameters `map_frame`, `odom_frame` and `base_frame`; the camera's is in the header of its
images. TF carries no scale: the scale of the map multiplies the increments of the odometry.

## Nodes

`localization_node` is `odometry_node` and `fusion_node` in one process; both call each other directly, and do not
subscribe to each other's topics. `visloc_node` is these two and `anchor_node`. All keep their names, topics, services
and parameters.

All nodes are lifecycle nodes, which activate themselves unless `autostart` is false. The services and topics that every
lifecycle node has are not listed. QoS is reliability, durability unless it is volatile, and the depth of the queue;
that of the camera's topics follows `camera.qos`. `visloc replay` publishes `/clock` and what the bag holds.
"""


def interface_page(interfaces: Sequence[NodeInterface]) -> str:
    """Text of the page."""
    sections = (node_section(one) for one in interfaces)
    return "\n".join([HEAD, *sections, "## Messages, services and actions\n", *_definitions()])


def node_section(interface: NodeInterface, descriptions: Mapping[str, str] = DESCRIPTIONS) -> str:
    """The part of the page about a node; ``descriptions`` are of its topics, services and actions."""
    node_type = interface.node_type
    parts = [f"### {node_type.default_name}", _first_line(node_type) + " " + _parameters(node_type)]
    parts += [_table(kind, endpoints, descriptions) for kind, endpoints in interface.endpoints.items() if endpoints]
    return "\n\n".join(parts) + "\n"


def _first_line(node_type: type[VislocNode[Any]]) -> str:
    return (node_type.__doc__ or "").strip().partition("\n")[0]


def _parameters(node_type: type[VislocNode[Any]]) -> str:
    name = f"{node_type.default_name}.yaml"
    return f"Parameters: [`config/{name}`](../config/{name})."


def _table(kind: Kind, endpoints: Sequence[Endpoint], descriptions: Mapping[str, str]) -> str:
    has_qos = kind in (Kind.SUBSCRIBED, Kind.PUBLISHED)
    rows = [[kind.value, "type", *(["QoS"] if has_qos else []), "what"]]
    rows.append(["---"] * len(rows[0]))
    for one in endpoints:
        rows.append([f"`{one.name}`", one.type_name, *([one.qos] if has_qos else []), descriptions[one.name]])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _definitions() -> Iterator[str]:
    """The definitions of this project's messages, services and actions."""
    for path in chain.from_iterable(
        sorted(MESSAGES.glob(kind)) for kind in ("msg/*.msg", "srv/*.srv", "action/*.action")
    ):
        title = f"{path.stem} (action)" if path.suffix == ".action" else path.stem
        yield f"### visloc_msgs/{title}\n\n```\n{path.read_text(encoding='utf-8').strip()}\n```\n"


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description="Write the page of the ROS interface.")
    parser.add_argument("page", type=Path)
    page = parser.parse_args().page
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "OFF"  # keep these nodes invisible to robots
    page.write_text(interface_page(list_interfaces(MAP)), encoding="utf-8")


if __name__ == "__main__":
    main()
