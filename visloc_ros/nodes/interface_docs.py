"""Write ``docs/ros_interface.md``: topics, services, actions and messages, as the nodes and the files have them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.interface import DESCRIPTIONS, Endpoint, Kind, NodeInterface, list_interfaces

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
    sections = (_node_section(one) for one in interfaces)
    return "\n".join([HEAD, *sections, "## Messages, services and actions\n", *_definitions()])


def _node_section(interface: NodeInterface) -> str:
    node_type = interface.node_type
    parts = [f"### {node_type.default_name}", _first_line(node_type) + " " + _parameters(node_type)]
    parts += [_table(kind, endpoints) for kind, endpoints in interface.endpoints.items() if endpoints]
    return "\n\n".join(parts) + "\n"


def _first_line(node_type: type[VislocNode[Any]]) -> str:
    return (node_type.__doc__ or "").strip().partition("\n")[0]


def _parameters(node_type: type[VislocNode[Any]]) -> str:
    name = f"{node_type.default_name}.yaml"
    return f"Parameters: [`config/{name}`](../config/{name})."


def _table(kind: Kind, endpoints: Sequence[Endpoint]) -> str:
    has_qos = kind in (Kind.SUBSCRIBED, Kind.PUBLISHED)
    rows = [[kind.value, "type", *(["QoS"] if has_qos else []), "what"]]
    rows.append(["---"] * len(rows[0]))
    for one in endpoints:
        rows.append([f"`{one.name}`", one.type_name, *([one.qos] if has_qos else []), DESCRIPTIONS[one.name]])
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
