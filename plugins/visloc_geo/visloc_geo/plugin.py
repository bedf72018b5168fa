"""What visloc_ros gets to know of this plug-in: its commands, programs of other tools by their names, and its node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from visloc_ros.apps import Alias, Command, PluginCommands
from visloc_ros.core.plugin_nodes import PluginNode

_STREET_VIEW = {"provider": "gsv"}  # whose terms the user accepts by an option

COMMANDS = PluginCommands(
    commands={
        "geo": Command(
            "visloc_geo.apps.command_geo",
            "app",
            "Find where on the earth photos were taken, by geotagged street views.",
        ),
    },
    aliases={
        "preview": Alias("geo preview"),
        "metadata": Alias("geo metadata", _STREET_VIEW),
        "postview": Alias("geo postview"),
        "elevation": Alias("geo elevation"),
        "panoramas": Alias("geo panoramas", _STREET_VIEW),
        "run-experiments": Alias("geo experiment"),
        "generate-global-descriptors": Alias("geo global-descriptors"),
        "generate-local-descriptors": Alias("geo local-descriptors"),
    },
)

GEO_POSE = "geo/geo_pose"
TOPICS = {
    "geo/fix": "Where the camera is on the earth by views of streets, at the stamp of an image: a `fix` whose "
    "covariance is known. `STATUS_NO_FIX` if it is not located; `/diagnostics` reports the reason.",
    GEO_POSE: "Its latitude, longitude and orientation, if the package geographic_msgs is installed.",
    "geo/pose": "The camera's pose in `enu_frame`, the local frame of the database: east, north, up.",
    "/tf_static": "`earth -> enu`, the local frame of the database in ECEF (REP 105).",
}


def list_interfaces() -> Sequence[Any]:
    """The interface of the node, which is run."""
    from visloc_geo.nodes.interface import list_interfaces  # it needs rclpy: command lines start without it

    return list_interfaces()


GEO_NODE = PluginNode(
    package="visloc_geo",
    executable="geo_node",
    argument="geo_database",
    description="Folder of geotagged views, if there is one: where on the earth the camera is",
    parameter="database",
    list_interfaces=list_interfaces,
    topics=TOPICS,
)
