"""Write ``config/<node>.yaml``: the parameters of every node, their defaults and meanings."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from visloc_ros.core.config import OptionInfo
from visloc_ros.nodes.anchor_node import AnchorNode
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.fusion_node import FusionNode
from visloc_ros.nodes.map_builder_node import MapBuilderNode
from visloc_ros.nodes.odometry_node import OdometryNode
from visloc_ros.nodes.parameters import CONFIG_FILE, CONFIG_FILE_MEANING, select_options
from visloc_ros.nodes.simulated_camera_node import SimulatedCameraNode
from visloc_ros.nodes.viewer_node import ViewerNode

COMMENT_WIDTH = 114
NODES: tuple[type[VislocNode[Any]], ...] = (
    OdometryNode,
    AnchorNode,
    FusionNode,
    MapBuilderNode,
    SimulatedCameraNode,
    ViewerNode,
)


def parameter_file(node_type: type[VislocNode[Any]]) -> str:
    """Text of a node's parameter file."""
    head = f"# Parameters of {node_type.default_name} with their defaults; made by 'make config'.\n"
    return head + f"/**/{node_type.default_name}:\n  ros__parameters:\n" + "".join(_lines(node_type))


def _lines(node_type: type[VislocNode[Any]]) -> Iterator[str]:
    for item in select_options(node_type.config_type, node_type.parameter_names):
        yield _line(item.name, item.default, item.description + _range(item))
    yield _line(CONFIG_FILE, "", CONFIG_FILE_MEANING)


def _line(name: str, default: object, meaning: str) -> str:
    value = yaml.safe_dump(default, default_flow_style=True).strip().removesuffix("...").strip()
    comment = textwrap.wrap(meaning, COMMENT_WIDTH, break_on_hyphens=False)
    return "".join(f"    # {line}\n" for line in comment) + f"    {name}: {value}\n"


def _range(item: OptionInfo) -> str:
    if item.has_open_choices:
        return " (one that is installed)"
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
