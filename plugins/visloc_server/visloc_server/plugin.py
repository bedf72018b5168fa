"""What visloc_ros gets to know of this plug-in: its commands, and the node of a robot that asks a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from visloc_ros.apps import Alias, Command, PluginCommands
from visloc_ros.core.plugin_nodes import PluginNode

COMMANDS = PluginCommands(
    commands={
        "serve": Command(
            "visloc_server.command_serve",
            "serve",
            "A page in the browser, and answers over HTTP: where a camera is, which maps there are; Ctrl-C stops it.",
            is_lasting=True,
        ),
        "maps pull": Command("visloc_server.command_pull", "pull"),
    },
    aliases={"server": Alias("serve", {"maps": "data/hloc_reference"})},
)


def list_interfaces() -> Sequence[Any]:
    """The interface of the node, which is run."""
    from visloc_server.nodes.interface import list_interfaces  # it needs rclpy: command lines start without it

    return list_interfaces()


REMOTE_ANCHOR_NODE = PluginNode("visloc_server", "remote_anchor_node", list_interfaces)
