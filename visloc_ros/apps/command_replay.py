"""``visloc replay``: plays a bag to the real nodes over DDS."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from visloc_ros.apps.console import AsJson, console, print_advice, print_camera, print_json, print_table
from visloc_ros.apps.options import (
    CameraFile,
    Domain,
    GroundTruth,
    ImageTopic,
    MapArgument,
    MapTracking,
    Search,
    read_truth,
)
from visloc_ros.apps.outputs import check_outputs
from visloc_ros.apps.replay import ReplayPlan
from visloc_ros.apps.replay import replay as replay_bag
from visloc_ros.core.calibration import CalibrationSource
from visloc_ros.core.errors import SourceError
from visloc_ros.evaluation import RunRecord, summarize, summary_rows, write_results
from visloc_ros.evaluation.machine import provenance
from visloc_ros.localization import AnchorConfig, AnchorEngine, find_camera
from visloc_ros.localization.config import RETRIEVAL
from visloc_ros.localization.searchable_map import open_searchable_map
from visloc_ros.sources import SourceConfig, open_source
from visloc_ros.sources.bag import BagSource
from visloc_ros.sources.bag_writer import copy_with_camera_info


def replay(
    map_path: MapArgument,
    bag: Annotated[Path, typer.Argument(help="ROS 2 bag to play.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for trajectory, summary and report.")],
    rate: Annotated[float, typer.Option(min=0.01, max=100.0, help="Speed relative to the bag.")] = 1.0,
    ground_truth: GroundTruth = None,
    image_topic: ImageTopic = "",
    camera: CameraFile = "",
    map_tracking: MapTracking = True,
    search: Search = "",
    params_file: Annotated[Path | None, typer.Option(help="ROS parameter file for all nodes.")] = None,
    domain_id: Domain = 0,
    as_json: AsJson = False,
) -> None:
    """Play a bag to the real nodes, record their transforms, and report.

    Example: visloc replay maps/office office.mcap --output out/office
    """
    check_outputs(folder=output)
    source = open_bag(bag, SourceConfig(image_topic=image_topic, camera=camera))
    truth = read_truth(ground_truth, source)
    calibration = source.calibration
    if calibration.is_provisional:
        engine = AnchorEngine(open_searchable_map(map_path), AnchorConfig(search=search or RETRIEVAL))
        calibration = find_camera(engine, source)
    print_camera(calibration)
    with tempfile.TemporaryDirectory(prefix="visloc_replay_") as folder:
        if calibration.source is not CalibrationSource.RECORDED:  # the nodes know cameras by CameraInfo only
            copy = Path(folder) / bag.stem
            copy_with_camera_info(source, bag, copy, calibration.camera)
            bag, source = copy, open_bag(copy, SourceConfig(image_topic=source.image_topic))
        recording = output / "recording"
        plan = ReplayPlan(
            map_path, bag, rate, domain_id, params_file, map_tracking, search=search, recorded_bag=recording
        )
        record = replay_bag(plan, source, truth)
    finish(replace(record, calibration=calibration), output, as_json)


def open_bag(path: Path, config: SourceConfig) -> BagSource:
    """Open a ROS 2 bag. Raises SourceError for any other source."""
    source = open_source(path, config)
    if not isinstance(source, BagSource):
        raise SourceError(f"{path} is no ROS 2 bag; 'visloc run' takes videos and folders")
    return source


def finish(record: RunRecord, output: Path, as_json: bool = False) -> None:
    """Write the results of a run, and print them. Raises SourceError, after that, where no frame was localized."""
    report, summary = write_results(record, output), summarize(record)
    if as_json:
        print_json(summary | {"report": report} | provenance())
    else:
        print_table(record.title, summary_rows(summary))
    print_advice(summary["advice"])
    console.print(f"report: {report}")
    if not summary["localized_frames"]:
        raise SourceError(f"no frame of {record.title} was localized: what to try stands above")
