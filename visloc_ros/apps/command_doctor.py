"""``visloc doctor``: finds problems of this computer, a map, a recording, and a robot's camera and transforms."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.text import Text

from visloc_ros.apps.console import AsJson, console, print_json
from visloc_ros.apps.options import CameraFile, Domain, MapOption
from visloc_ros.apps.processes import camera_remappings, camera_transport, check_ros, node_environment
from visloc_ros.core.errors import SetupError, VislocError
from visloc_ros.core.finding import Finding, Level
from visloc_ros.core.map import Map
from visloc_ros.core.map_versions import list_damaged, list_versions
from visloc_ros.execution.this_computer import overload
from visloc_ros.localization.searchable_map import open_searchable_map

STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "red"}
LEAST_MEMORY_GB = 2.0  # the nodes with the map of a building take 1.3 GB
LEAST_DISK_GB = 1.0  # half of what a map of 10,000 images takes
BUSY_LOAD = 0.7  # of the cores: with less left a search takes seconds
FEW_IMAGES = 10
LARGE_ERROR_PX = 2.0  # mean reprojection error: maps of calibrated cameras have 0.5 to 1.3


def doctor(
    map_path: MapOption = None,
    source: Annotated[Path | None, typer.Option(help="Video, folder of images, bag or photo to look at.")] = None,
    image_topic: Annotated[
        str, typer.Option(help="Image topic to listen to; one that ends in /compressed carries JPEG.")
    ] = "",
    camera_info_topic: Annotated[str, typer.Option(help="CameraInfo topic.")] = "camera_info",
    camera: CameraFile = "",
    rectified: Annotated[bool, typer.Option("--rectified", help="Images come rectified.")] = False,
    base_frame: Annotated[
        str, typer.Option(help="Frame of the robot; the camera's own for a bare camera.")
    ] = "base_link",
    use_sim_time: Annotated[
        bool, typer.Option("--use-sim-time", help="Time comes from /clock, as in a replay.")
    ] = False,
    seconds: Annotated[float, typer.Option(min=1.0, max=3600.0, help="How long to listen.")] = 10.0,
    domain_id: Domain = 0,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong with this computer, a map, a recording, a camera and a robot's transforms, and what to do.

    Exit code 1 where anything keeps the package from working. Example: visloc doctor --map maps/office
    --image-topic /camera/image_raw/compressed --camera-info-topic /camera/camera_info, or before a map is made: visloc
    doctor --source office.mp4
    """
    findings = [*examine_computer(), *(examine_map(map_path) if map_path is not None else ())]
    if source is not None:
        from visloc_ros.apps.examine_source import examine_source  # opens videos, which takes a moment to import

        findings += examine_source(source, camera)
    if image_topic:
        transport = camera_transport(image_topic)
        parameters = {
            "camera.transport": transport,
            "camera.calibration_file": camera,
            "camera.is_rectified": rectified,
            "base_frame": base_frame,
            "use_sim_time": use_sim_time,
        }
        topics = camera_remappings(transport, image_topic, camera_info_topic)
        findings += _listen(parameters, topics, seconds, node_environment(domain_id))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        _print(findings)
    if any(finding.level is Level.ERROR for finding in findings):
        raise typer.Exit(1)


def _listen(
    parameters: Mapping[str, object], topics: Mapping[str, str], seconds: float, environment: Mapping[str, str]
) -> list[Finding]:
    """The findings of a node in a separate process. Raises SetupError where it does not start."""
    given = [word for name, value in parameters.items() for word in ("-p", f"{name}:={json.dumps(value)}")]
    renamed = [word for source, target in topics.items() for word in ("-r", f"{source}:={target}")]
    command = [sys.executable, "-m", "visloc_ros.nodes.doctor", str(seconds), "--ros-args", *given, *renamed]
    ended = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if ended.returncode:
        words = (ended.stderr.strip() or "it says nothing").splitlines()[-1]
        raise SetupError(f"cannot listen to {' and '.join(topics.values())} over ROS: {words}")
    found = next(line for line in ended.stdout.splitlines() if line.startswith('[{"'))  # the middleware prints, too
    return [Finding(Level(one["level"]), one["subject"], one["text"]) for one in json.loads(found)]


def _print(findings: list[Finding]) -> None:
    for finding in findings:
        mark = Text(f"{finding.level.value:<8}", STYLES[finding.level])
        console.print(mark, f"{finding.subject}: {finding.text}", highlight=False, soft_wrap=True)


def examine_computer() -> Iterator[Finding]:
    """Findings on processors, memory, disk, and the ROS installation."""
    cores, load = os.cpu_count() or 1, os.getloadavg()[0]
    memory_gb, disk_gb = psutil.virtual_memory().available / 1e9, shutil.disk_usage(Path.cwd()).free / 1e9
    yield Finding(
        Level.OK, "computer", f"{cores} cores, {memory_gb:.1f} GB of memory and {disk_gb:.0f} GB of disk free"
    )
    if load > BUSY_LOAD * cores:
        busy = overload() or f"programs keep {load:.1f} of {cores} cores busy"
        text = f"{busy}: a search takes seconds, and the first pose comes later. End other programs"
        yield Finding(Level.WARNING, "computer", text)
    if memory_gb < LEAST_MEMORY_GB:
        text = f"the nodes take up to {LEAST_MEMORY_GB:g} GB of memory: close other programs"
        yield Finding(Level.WARNING, "computer", text)
    if disk_gb < LEAST_DISK_GB:
        yield Finding(Level.WARNING, "computer", "a map may not fit on this disk: free some space")
    try:
        check_ros()
    except SetupError as error:
        yield Finding(Level.ERROR, "ROS", str(error))
        return
    middleware = os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    words = f"{os.environ.get('ROS_DISTRO', 'wheels, no installation')}, {middleware}"
    yield Finding(Level.OK, "ROS", f"{words}, domain {os.environ.get('ROS_DOMAIN_ID', '0')}")


def examine_map(path: Path) -> Iterator[Finding]:
    """Open a map, every file checked."""
    try:
        map_ = open_searchable_map(path, whole=True)
    except VislocError as error:
        yield Finding(Level.ERROR, "map", str(error))
        return
    images, points = len(map_.images), len(map_.points)
    yield Finding(Level.OK, "map", f"'{map_.name}': {images} images, {points} points, {map_.manifest.created_from}")
    yield from _warnings(map_)


def examine_versions(path: Path) -> Iterator[Finding]:
    """Open the earlier versions of a map's folder, every file checked; nothing where its manifest cannot be read."""
    try:
        versions, damaged = list_versions(path), list_damaged(path, checksums=True)
    except VislocError:  # of the map itself
        return
    problems = {one.folder: one.problem for one in damaged}
    for version in versions:
        if not version.is_present and version.folder not in problems:
            yield Finding(Level.OK, f"version {version.number}", f"{version.manifest.counts.get('images', 0)} images")
    for folder, problem in problems.items():
        yield Finding(Level.ERROR, f"version {folder.name}", problem)


def _warnings(map_: Map) -> Iterator[Finding]:
    manifest = map_.manifest
    if not manifest.metric:
        text = "it is not metric: build it with --reference-poses or a known distance, else poses are in its own unit"
        yield Finding(Level.WARNING, "map", text)
    if not manifest.gravity_aligned:
        yield Finding(Level.WARNING, "map", "it does not know which way is up: its floor may be tilted in RViz")
    if manifest.counts.get("images", len(map_.images)) < FEW_IMAGES:
        yield Finding(Level.WARNING, "map", "these are few images: record the place from more sides")
    if manifest.reprojection_error_px > LARGE_ERROR_PX:
        text = (
            f"its points are {manifest.reprojection_error_px:.1f} px off on average: calibrate the camera, and rebuild"
        )
        yield Finding(Level.WARNING, "map", text)
