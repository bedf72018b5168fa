"""What visloc_ros gets to know of this plug-in: its commands, and the node of a robot that asks a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from visloc_ros.apps import Alias, Command, PluginCommands
from visloc_ros.core.plugin_nodes import PluginNode

if TYPE_CHECKING:  # command lines and launch files start without it
    from visloc_ros.nodes.interface import NodeInterface

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


def list_interfaces() -> Sequence[NodeInterface]:
    """Run the node with each kind of images, and list its interface. Raises SetupError when it does not start."""
    from visloc_ros.nodes.interface import interfaces_of
    from visloc_server.nodes.remote_anchor_node import RemoteAnchorNode

    no_server = "server_url:=http://localhost:1"  # it need not exist
    runs = [[f"camera.transport:={transport}", no_server] for transport in ("raw", "compressed")]
    return interfaces_of(lambda: [RemoteAnchorNode()], runs)


REMOTE_ANCHOR_NODE = PluginNode("visloc_server", "remote_anchor_node", list_interfaces)
