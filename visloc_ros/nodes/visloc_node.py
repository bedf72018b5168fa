"""All localization nodes in one process: the search in the map beside odometry, map tracking and fusion.

It needs less memory than ``localization_node`` and ``anchor_node``, but a search that crashes takes the pose with it.
"""

from __future__ import annotations

from typing import Any

from visloc_ros.nodes import localization_node
from visloc_ros.nodes.anchor_node import AnchorNode
from visloc_ros.nodes.base import VislocNode, run_all


def make_nodes() -> list[VislocNode[Any]]:
    """The three nodes; odometry comes last, so that the first frame finds the others active."""
    fusion, odometry = localization_node.make_nodes()
    return [fusion, AnchorNode(is_alone=False), odometry]


def main() -> None:
    """Run the nodes."""
    run_all(make_nodes)


if __name__ == "__main__":
    main()
