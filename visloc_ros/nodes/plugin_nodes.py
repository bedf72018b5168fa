"""Nodes that plug-ins add: to the launch file of a robot, and to the rights of its processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from visloc_ros.core.plugins import installed_plugins

if TYPE_CHECKING:
    from visloc_ros.nodes.interface import NodeInterface


@dataclass(frozen=True)
class PluginNode:
    """A node of a plug-in; an entry point of the group ``visloc_ros.nodes`` names such an object.

    ``visloc.launch.py`` has the ``argument``, with its ``description``, and starts the node with the camera's topics, a
    satellite receiver's and those of transforms if the argument is given: it is the node's ``parameter``.
    ``list_interfaces`` runs the node to list its interface; ``topics`` says what its own topics are for.
    """

    package: str
    executable: str
    argument: str
    description: str
    parameter: str
    list_interfaces: Callable[[], Sequence[NodeInterface]]
    topics: Mapping[str, str] = field(default_factory=dict)


def plugin_nodes() -> list[PluginNode]:
    """The nodes of the installed plug-ins."""
    return list(installed_plugins("visloc_ros.nodes").values())
