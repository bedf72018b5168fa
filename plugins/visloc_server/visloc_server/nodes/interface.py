"""Writes the page of the node's ROS interface, and its parameter file.

Run: python -m visloc_server.nodes.interface plugins/visloc_server
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from visloc_ros.nodes.default_parameters import parameter_file
from visloc_ros.nodes.interface import NodeInterface, node_section
from visloc_server.plugin import REMOTE_ANCHOR_NODE

HEAD = """\
# ROS interface

Made from the node itself by `python -m visloc_server.nodes.interface plugins/visloc_server`; a test compares the two.
Names are below the namespace `visloc`, as those of the other nodes are, and
[the same holds for messages and covariances](../../../docs/ros_interface.md).

"""


def interface_page(interface: NodeInterface) -> str:
    """Text of the page."""
    return HEAD + node_section(interface)


def main() -> None:
    """Write the page and the parameter file."""
    parser = argparse.ArgumentParser(description="Write the page of the node's interface, and its parameter file.")
    parser.add_argument("folder", type=Path, help="folder of the plug-in")
    folder = parser.parse_args().folder
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "OFF"  # keep the node invisible to robots
    (interface,) = REMOTE_ANCHOR_NODE.list_interfaces()
    (folder / "docs" / "ros_interface.md").write_text(interface_page(interface), encoding="utf-8")
    parameters = folder / "config" / f"{REMOTE_ANCHOR_NODE.executable}.yaml"
    parameters.write_text(parameter_file(interface.node_type), encoding="utf-8")


if __name__ == "__main__":
    main()
