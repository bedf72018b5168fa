"""``visloc simulate``: a camera in a simulated room, with exact poses."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from visloc_ros.apps.console import AsJson, console, print_json
from visloc_ros.apps.options import ConfigFile, Overwrite
from visloc_ros.core.config import read_config
from visloc_ros.simulation import SimulationConfig, write_folder
from visloc_ros.simulation import simulate as simulate_pass
from visloc_ros.sources.bag_writer import write_bag


class Pass(str, Enum):
    """The pass through the room."""

    map = "map"
    localize = "localize"


def simulate(
    output: Annotated[Path, typer.Argument(help="Folder to write; with --bag a ROS 2 bag.")],
    which: Annotated[Pass, typer.Option("--pass", help="The pass to map with, or the one to localize.")] = Pass.map,
    bag: Annotated[bool, typer.Option("--bag", help="Write a ROS 2 bag instead of an image folder.")] = False,
    config: ConfigFile = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Render one pass through the simulated room, with exact poses.

    Example: visloc simulate out/room_map --pass map
    """
    sequence = simulate_pass(read_config(SimulationConfig, config), which.value)
    if bag:
        write_bag(sequence, output, sequence.ground_truth, overwrite=overwrite)
    else:
        write_folder(sequence, output, overwrite=overwrite)
    if as_json:
        print_json({"source": output, "images": len(sequence)})
    else:
        console.print(f"wrote {len(sequence)} images with exact poses to {output}")
