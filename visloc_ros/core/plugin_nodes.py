"""Nodes that plug-ins add: to what starts on a robot, and to the rights of its processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.plugins import installed_plugins


@dataclass(frozen=True)
class PluginNode:
    """A node of a plug-in; an entry point of the group ``visloc_ros.nodes`` names such an object.

    ``list_interfaces`` runs the node to list its interface, a ``NodeInterface``; ``topics`` says what its own topics
    are for. If it has an ``argument``, ``visloc.launch.py`` has that, too, with its ``description``, and starts the
    node with the camera's topics, a satellite receiver's and those of transforms if the argument is given: it is the
    node's ``parameter``.

    One that lets another machine search images, in place of the anchor node, is also named in the group
    ``visloc_ros.remote_search``, by each scheme of the addresses that it asks: ``http``. It has the parameters
    ``server_url``, ``server_map``, ``token_file`` and ``map_frame``, and those of the camera.
    """

    package: str
    executable: str
    list_interfaces: Callable[[], Sequence[Any]]
    topics: Mapping[str, str] = field(default_factory=dict)
    argument: str = ""
    description: str = ""
    parameter: str = ""

    @property
    def module(self) -> str:
        """Where its function ``main`` is."""
        return f"{self.package}.nodes.{self.executable}"


def is_address(host: str) -> bool:
    """Whether images are searched by what listens at an address."""
    return "://" in host


def remote_search(address: str) -> PluginNode:
    """The node that asks a machine at an address. Raises ConfigError if none that is installed does."""
    if not is_address(address):
        raise ConfigError(f"{address!r} is no address: give it as http://gpu-box:8090")
    scheme = address.partition("://")[0].lower()
    nodes = installed_plugins("visloc_ros.remote_search")
    if scheme not in nodes:
        raise ConfigError(f"nothing that is installed asks {address!r}: a plug-in does (docs/plugins.md)")
    node: PluginNode = nodes[scheme]
    return node


def plugin_nodes() -> list[PluginNode]:
    """The nodes of the installed plug-ins."""
    return list(installed_plugins("visloc_ros.nodes").values())
