"""The ROS interface of the node: what launch files need of it, its page, its parameter file.

Run: python -m visloc_geo.nodes.interface plugins/visloc_geo
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from visloc_ros.core.plugin_nodes import PluginNode

if TYPE_CHECKING:  # launch files start without it
    from visloc_ros.nodes.interface import NodeInterface

GEO_POSE = "geo/geo_pose"
TOPICS = {
    "geo/fix": "Where the camera is on the earth by views of streets, at the stamp of an image: a `fix` whose "
    "covariance is known. `STATUS_NO_FIX` if it is not located; `/diagnostics` reports the reason.",
    GEO_POSE: "Its latitude, longitude and orientation, if the package geographic_msgs is installed.",
    "geo/pose": "The camera's pose in `enu_frame`, the local frame of the database: east, north, up.",
    "/tf_static": "`earth -> enu`, the local frame of the database in ECEF (REP 105).",
}
HEAD = """\
# ROS interface

Made from the node itself by `python -m visloc_geo.nodes.interface plugins/visloc_geo`; a test compares the two. Names
are below the namespace `visloc`, as those of the other nodes are, and
[the same holds for messages and covariances](../../../docs/ros_interface.md).

"""


def list_interfaces() -> Sequence[NodeInterface]:
    """Run the node with each kind of images, and list its interface. Raises SetupError when it does not start."""
    from visloc_geo.nodes.geo_node import GeoNode  # it needs rclpy
    from visloc_ros.nodes.interface import Endpoint, Kind, interfaces_of

    with tempfile.TemporaryDirectory(prefix="visloc_") as folder:
        views = f"database:={one_view(Path(folder) / 'views')}"
        runs = [[f"camera.transport:={transport}", views] for transport in ("raw", "compressed")]
        (found,) = interfaces_of(lambda: [GeoNode()], runs)
    published = {one.name: one for one in found.endpoints[Kind.PUBLISHED]}
    published[GEO_POSE] = Endpoint(GEO_POSE, "geographic_msgs/GeoPoseStamped", published["geo/pose"].qos)
    return [replace(found, endpoints={**found.endpoints, Kind.PUBLISHED: tuple(sorted(published.values()))})]


def one_view(folder: Path) -> Path:
    """Make a database of one view, by which the node starts that locates nothing, and return its folder."""
    import numpy as np

    from visloc_geo.database import GeoDatabase
    from visloc_geo.features import describe_globally
    from visloc_geo.view import View
    from visloc_ros.core.camera import camera_from_params
    from visloc_ros.sources.measurements import GeoPosition
    from visloc_ros.sources.ros_images import encode_jpeg

    database, image = GeoDatabase.create(folder), np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    camera = camera_from_params("SIMPLE_PINHOLE", 64, 64, [64.0, 32.0, 32.0])
    database.add(View("view", GeoPosition(0.0, 0.0), camera=camera), encode_jpeg(image))
    describe_globally(database)
    return folder


def interface_page(interface: NodeInterface) -> str:
    """Text of the page."""
    from visloc_ros.nodes.interface import DESCRIPTIONS, node_section

    return HEAD + node_section(interface, {**DESCRIPTIONS, **TOPICS})


GEO_NODE = PluginNode(
    package="visloc_geo",
    executable="geo_node",
    argument="geo_database",
    description="Folder of geotagged views, if there is one: where on the earth the camera is",
    parameter="database",
    list_interfaces=list_interfaces,
    topics=TOPICS,
)


def main() -> None:
    """Write the page and the parameter file."""
    from visloc_ros.nodes.default_parameters import parameter_file

    parser = argparse.ArgumentParser(description="Write the page of the node's interface, and its parameter file.")
    parser.add_argument("folder", type=Path, help="folder of the plug-in")
    folder = parser.parse_args().folder
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "OFF"  # keep the node invisible to robots
    (interface,) = list_interfaces()
    (folder / "docs" / "ros_interface.md").write_text(interface_page(interface), encoding="utf-8")
    (folder / "config" / "geo_node.yaml").write_text(parameter_file(interface.node_type), encoding="utf-8")


if __name__ == "__main__":
    main()
