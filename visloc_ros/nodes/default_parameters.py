"""Write ``config/<node>.yaml``: every parameter of every node, its default and what it means."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from visloc_ros.core.config import Config, OptionInfo, list_options
from visloc_ros.nodes.anchor_node import AnchorNode
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.fusion_node import FusionNode
from visloc_ros.nodes.map_builder_node import MapBuilderNode
from visloc_ros.nodes.odometry_node import OdometryNode
from visloc_ros.nodes.simulated_camera_node import SimulatedCameraNode

COMMENT_WIDTH = 114
NODES: tuple[type[VislocNode[Any]], ...] = (
    OdometryNode,
    AnchorNode,
    FusionNode,
    MapBuilderNode,
    SimulatedCameraNode,
)


def parameter_file(node_type: type[VislocNode[Any]]) -> str:
    """Text of a node's parameter file."""
    head = f"# Parameters of {node_type.default_name} with their defaults; made by 'make config'.\n"
    return head + f"/**/{node_type.default_name}:\n  ros__parameters:\n" + "".join(_lines(node_type.config_type))


def _lines(config_type: type[Config]) -> Iterator[str]:
    for item in list_options(config_type):
        value = yaml.safe_dump(item.default, default_flow_style=True).strip().removesuffix("...").strip()
        comment = textwrap.wrap(item.description + _range(item), COMMENT_WIDTH, break_on_hyphens=False)
        yield "".join(f"    # {line}\n" for line in comment) + f"    {item.name}: {value}\n"


def _range(item: OptionInfo) -> str:
    if item.choices is not None:
        return f" (one of {', '.join(map(str, item.choices))})"
    if item.minimum is None and item.maximum is None:
        return ""
    low = "-inf" if item.minimum is None else f"{item.minimum:g}"
    high = "inf" if item.maximum is None else f"{item.maximum:g}"
    return f" [{low}, {high}]"


def main() -> None:
    """Write the parameter files into a folder."""
    parser = argparse.ArgumentParser(description="Write the nodes' default parameter files.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for node_type in NODES:
        (folder / f"{node_type.default_name}.yaml").write_text(parameter_file(node_type), encoding="utf-8")


if __name__ == "__main__":
    main()
