"""Write ``security/visloc.policy.xml``: the permissions of each process on the ROS graph (SROS 2), from the nodes.

Each process has its own enclave, with the permissions for its nodes' interfaces and for that of every lifecycle node.
Only the operator calls services and actions; a viewer only listens.
"""

from __future__ import annotations

import argparse
import os
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from visloc_ros.core.atomic_write import atomic_write
from visloc_ros.core.plugin_nodes import PluginNode, plugin_nodes
from visloc_ros.nodes import localization_node, visloc_node
from visloc_ros.nodes.interface import (
    DESCRIPTIONS,
    MAP,
    Kind,
    NodeInterface,
    NodeMaker,
    list_interfaces,
    list_joined_interfaces,
)

JOINED: Mapping[str, NodeMaker] = {
    "localization_node": localization_node.make_nodes,
    "visloc_node": visloc_node.make_nodes,
}
VERSION = "0.2.0"  # of the policy's schema
ALLOW = "ALLOW"
HEAD = " Made by `make policy` from the nodes themselves; docs/with_sros2.md says how it is used. "

# Interface of every node, and of every lifecycle node, by rcl and rclpy. Humble lacks get_type_description.
CLOCK = "/clock"
EVERY_NODE_PUBLISHES = ("/parameter_events", "/rosout")
PARAMETER_SERVICES = (
    "describe_parameters",
    "get_parameter_types",
    "get_parameters",
    "get_type_description",
    "list_parameters",
    "set_parameters",
    "set_parameters_atomically",
)
COMMANDS = "/_ros2cli*"  # the names of the nodes of `ros2 service call` and similar commands
LIFECYCLE_EVENTS = "transition_event"
LIFECYCLE_SERVICES = (
    "change_state",
    "get_available_states",
    "get_available_transitions",
    "get_state",
    "get_transition_graph",
)
ACTION = " (action)"

Processes = Mapping[str, Sequence[NodeInterface]]
"""The nodes of each process, by the name of its program."""

Renamed = Callable[[str], str]


def list_processes(map_path: Path, plugins: Iterable[PluginNode] = ()) -> Processes:
    """The interfaces of the nodes in each process. Raises SetupError when one does not start."""
    alone = [*list_interfaces(map_path), *(one for plugin in plugins for one in plugin.list_interfaces())]
    joined = {name: list_joined_interfaces(make_nodes, map_path) for name, make_nodes in JOINED.items()}
    return joined | {one.node_type.default_name: [one] for one in alone}


def policy(processes: Processes, namespace: str = "visloc", remappings: Mapping[str, str] | None = None) -> str:
    """Text of the policy for nodes in a namespace, with remapped topics."""
    place, renamed = f"/{namespace.strip('/')}", remappings or {}

    def name(topic: str) -> str:
        return renamed.get(topic, topic)

    root = ET.Element("policy", version=VERSION)
    root.append(ET.Comment(HEAD))
    enclaves = ET.SubElement(root, "enclaves")
    for process, interfaces in processes.items():
        profiles = _enclave(enclaves, f"{place}/{process}")
        for interface in interfaces:
            _add_node(profiles, place, interface, name)
    interfaces = [one for process, nodes in processes.items() if process not in JOINED for one in nodes]
    operator = _add_listener(_enclave(enclaves, f"{place}/operator"), place, "operator", interfaces, name)
    _add(operator, "topics", "publish", [name("/initialpose")])
    _add(operator, "services", "request", _services(interfaces))
    _add(operator, "actions", "call", _names(interfaces, Kind.ACTION))
    _add_listener(_enclave(enclaves, f"{place}/viewer"), place, "viewer", interfaces, name)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _enclave(enclaves: ET.Element, path: str) -> ET.Element:
    return ET.SubElement(ET.SubElement(enclaves, "enclave", path=path), "profiles")


def _add_node(profiles: ET.Element, place: str, interface: NodeInterface, name: Renamed) -> None:
    node = interface.node_type.default_name
    profile = ET.SubElement(profiles, "profile", ns=place, node=node)
    own = _names([interface], Kind.SERVICE)
    _add(profile, "services", "reply", [*_every_service("~"), *(f"~{one.removeprefix(node)}" for one in own)])
    _add(profile, "actions", "execute", [f"~{one.removeprefix(node)}" for one in _names([interface], Kind.ACTION)])
    published = map(name, _names([interface], Kind.PUBLISHED))
    _add(profile, "topics", "publish", [*EVERY_NODE_PUBLISHES, f"~/{LIFECYCLE_EVENTS}", *published])
    _add(profile, "topics", "subscribe", [CLOCK, *map(name, _names([interface], Kind.SUBSCRIBED))])


def _add_listener(
    profiles: ET.Element, place: str, node: str, interfaces: Sequence[NodeInterface], name: Renamed
) -> ET.Element:
    """A node of another package, or a ros2 command, that may receive all that the nodes publish."""
    profile = ET.SubElement(profiles, "profile", ns=place, node=node)
    events = [f"{one.node_type.default_name}/{LIFECYCLE_EVENTS}" for one in interfaces]
    heard = map(name, _names(interfaces, Kind.PUBLISHED))
    _add(
        profile, "services", "reply", [f"{own}/{service}" for own in ("~", COMMANDS) for service in PARAMETER_SERVICES]
    )
    _add(profile, "topics", "publish", EVERY_NODE_PUBLISHES)
    _add(profile, "topics", "subscribe", [CLOCK, *EVERY_NODE_PUBLISHES, *events, *heard])
    return profile


def _services(interfaces: Sequence[NodeInterface]) -> list[str]:
    """All services of the nodes, with those that every lifecycle node has."""
    common = [one for interface in interfaces for one in _every_service(interface.node_type.default_name)]
    return [*common, *_names(interfaces, Kind.SERVICE)]


def _every_service(node: str) -> list[str]:
    return [f"{node}/{service}" for service in (*PARAMETER_SERVICES, *LIFECYCLE_SERVICES)]


def _names(interfaces: Iterable[NodeInterface], kind: Kind) -> list[str]:
    return [one.name.removesuffix(ACTION) for interface in interfaces for one in interface.endpoints[kind]]


def _add(profile: ET.Element, kind: str, right: str, names: Iterable[str]) -> None:
    """Allow something for names; a list of none is no valid policy."""
    ordered = sorted(set(names))
    if ordered:
        group = ET.SubElement(profile, kind, {right: ALLOW})
        for one in ordered:
            ET.SubElement(group, kind.removesuffix("s")).text = one


def _remapping(text: str) -> tuple[str, str]:
    """``name:=other`` of the command line."""
    name, _, other = text.partition(":=")
    if not other or not any(name in topics for topics in (DESCRIPTIONS, *(one.topics for one in plugin_nodes()))):
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME:=OTHER with a topic of docs/ros_interface.md as NAME")
    return name, other


def main() -> None:
    """Write the policy."""
    parser = argparse.ArgumentParser(description="Write the SROS 2 policy of the nodes.")
    parser.add_argument("policy", type=Path, help="policy file to write")
    parser.add_argument("--namespace", default="visloc", help="namespace of the nodes")
    parser.add_argument(
        "-r", dest="remappings", type=_remapping, action="append", default=[], help="a topic's name there: NAME:=OTHER"
    )
    parser.add_argument("--without-plugins", action="store_true", help="no rights for nodes of plug-ins")
    given = parser.parse_args()
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "OFF"  # keep these nodes invisible to robots
    text = policy(
        list_processes(MAP, () if given.without_plugins else plugin_nodes()), given.namespace, dict(given.remappings)
    )
    with atomic_write(given.policy) as path:
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
