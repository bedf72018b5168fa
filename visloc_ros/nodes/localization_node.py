"""Odometry, map tracking and fusion in one process, from the camera to TF.

The nodes keep their names, parameters, services and topics; ``odometry_node`` and ``fusion_node`` are the same two as
separate processes.
"""

from __future__ import annotations

from typing import Any

from visloc_ros.nodes.base import VislocNode, run_all
from visloc_ros.nodes.fusion_node import FusionNode
from visloc_ros.nodes.odometry_node import OdometryNode


def make_nodes() -> list[VislocNode[Any]]:
    """Both nodes, joined; the fusion node comes first, so that the first frame finds it active."""
    fusion = FusionNode(takes_odometry=False)
    return [fusion, OdometryNode(fusion)]


def main() -> None:
    """Run both nodes."""
    run_all(make_nodes)


if __name__ == "__main__":
    main()
