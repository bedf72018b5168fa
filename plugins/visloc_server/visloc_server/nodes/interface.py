"""The ROS interface of the node, and its page and parameter file, which are made of it.

Run: python -m visloc_server.nodes.interface plugins/visloc_server
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from visloc_ros.nodes.default_parameters import parameter_file
from visloc_ros.nodes.interface import NodeInterface, interfaces_of, node_section
from visloc_server.nodes.remote_anchor_node import RemoteAnchorNode

HEAD = """\
# ROS interface

Made from the node itself by `python -m visloc_server.nodes.interface plugins/visloc_server`; a test compares the two.
Names are below the namespace `visloc`, as those of the other nodes are, and
[the same holds for messages and covariances](../../../docs/ros_interface.md).

"""


def list_interfaces() -> Sequence[NodeInterface]:
    """Run the node with each kind of images, and list its interface. Raises SetupError when it does not start."""
    no_server = "server_url:=http://localhost:1"  # it need not exist
    runs = [[f"camera.transport:={transport}", no_server] for transport in ("raw", "compressed")]
    return interfaces_of(lambda: [RemoteAnchorNode()], runs)


def interface_page(interface: NodeInterface) -> str:
    """Text of the page."""
    return HEAD + node_section(interface)


def main() -> None:
    """Write the page and the parameter file."""
    parser = argparse.ArgumentParser(description="Write the page of the node's interface, and its parameter file.")
    parser.add_argument("folder", type=Path, help="folder of the plug-in")
    folder = parser.parse_args().folder
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "OFF"  # keep the node invisible to robots
    (interface,) = list_interfaces()
    (folder / "docs" / "ros_interface.md").write_text(interface_page(interface), encoding="utf-8")
    parameters = folder / "config" / f"{interface.node_type.default_name}.yaml"
    parameters.write_text(parameter_file(interface.node_type), encoding="utf-8")


if __name__ == "__main__":
    main()
