"""``visloc run``: the whole pipeline over a source, every frame, deterministic, without ROS."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visloc_ros.apps.command_replay import finish
from visloc_ros.apps.console import StageBars
from visloc_ros.apps.offline_run import RunConfig, run_offline
from visloc_ros.apps.options import (
    ConfigFile,
    GroundTruth,
    MapArgument,
    SourceArgument,
    takes_source_config,
)
from visloc_ros.core.config import read_config
from visloc_ros.core.map import open_map
from visloc_ros.core.trajectory import read_tum
from visloc_ros.sources import SourceConfig, open_source


@takes_source_config
def run(
    map_path: MapArgument,
    source: SourceArgument,
    source_config: SourceConfig,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for trajectory, summary and report.")],
    ground_truth: GroundTruth = None,
    config: ConfigFile = None,
) -> None:
    """Track and localize every frame of a video, folder or bag, without ROS; the same result twice.

    Example: visloc run maps/office query.mp4 --output out/office
    """
    frames = open_source(source, source_config)
    truth = read_tum(ground_truth) if ground_truth else frames.ground_truth
    with StageBars() as bars:
        record = run_offline(open_map(map_path), frames, truth, read_config(RunConfig, config), bars)
    finish(record, output)
