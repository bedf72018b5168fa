"""The ROS interface of the node, and its page and parameter file, which are made of it.

Run: python -m visloc_geo.nodes.interface plugins/visloc_geo
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from visloc_geo.database import GeoDatabase
from visloc_geo.features import describe_globally
from visloc_geo.nodes.geo_node import GeoNode
from visloc_geo.plugin import GEO_POSE, TOPICS
from visloc_geo.view import View
from visloc_ros.core.camera import camera_from_params
from visloc_ros.nodes.default_parameters import parameter_file
from visloc_ros.nodes.interface import DESCRIPTIONS, Endpoint, Kind, NodeInterface, interfaces_of, node_section
from visloc_ros.sources.measurements import GeoPosition
from visloc_ros.sources.ros_images import encode_jpeg

HEAD = """\
# ROS interface

Made from the node itself by `python -m visloc_geo.nodes.interface plugins/visloc_geo`; a test compares the two. Names
are below the namespace `visloc`, as those of the other nodes are, and
[the same holds for messages and covariances](../../../docs/ros_interface.md).

"""


def list_interfaces() -> Sequence[NodeInterface]:
    """Run the node with each kind of images, and list its interface. Raises SetupError when it does not start."""
    with tempfile.TemporaryDirectory(prefix="visloc_") as folder:
        views = f"database:={one_view(Path(folder) / 'views')}"
        runs = [[f"camera.transport:={transport}", views] for transport in ("raw", "compressed")]
        (found,) = interfaces_of(lambda: [GeoNode()], runs)
    published = {one.name: one for one in found.endpoints[Kind.PUBLISHED]}
    published[GEO_POSE] = Endpoint(GEO_POSE, "geographic_msgs/GeoPoseStamped", published["geo/pose"].qos)
    return [replace(found, endpoints={**found.endpoints, Kind.PUBLISHED: tuple(sorted(published.values()))})]


def one_view(folder: Path) -> Path:
    """Make a database of one view, by which the node starts that locates nothing, and return its folder."""
    database, image = GeoDatabase.create(folder), np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    camera = camera_from_params("SIMPLE_PINHOLE", 64, 64, [64.0, 32.0, 32.0])
    database.add(View("view", GeoPosition(0.0, 0.0), camera=camera), encode_jpeg(image))
    describe_globally(database)
    return folder


def interface_page(interface: NodeInterface) -> str:
    """Text of the page."""
    return HEAD + node_section(interface, {**DESCRIPTIONS, **TOPICS})


def main() -> None:
    """Write the page and the parameter file."""
    parser = argparse.ArgumentParser(description="Write the page of the node's interface, and its parameter file.")
    parser.add_argument("folder", type=Path, help="folder of the plug-in")
    folder = parser.parse_args().folder
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "OFF"  # keep the node invisible to robots
    (interface,) = list_interfaces()
    (folder / "docs" / "ros_interface.md").write_text(interface_page(interface), encoding="utf-8")
    (folder / "config" / "geo_node.yaml").write_text(parameter_file(interface.node_type), encoding="utf-8")


if __name__ == "__main__":
    main()
