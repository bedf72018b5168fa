"""``visloc doctor``: finds problems of this computer, a map, a recording, and a robot's camera and transforms."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from visloc_ros.apps.console import console
from visloc_ros.apps.doctor import examine_computer, examine_map
from visloc_ros.apps.json_output import AsJson, print_json
from visloc_ros.apps.node_options import CameraFile, Domain
from visloc_ros.apps.options import MapOption
from visloc_ros.core.errors import SetupError
from visloc_ros.core.finding import Finding, Level
from visloc_ros.core.middleware import fast_dds_profile

STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "red"}


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
        is_compressed = image_topic.endswith("compressed")
        parameters = {
            "camera.transport": "compressed" if is_compressed else "raw",
            "camera.calibration_file": camera,
            "camera.is_rectified": rectified,
            "base_frame": base_frame,
            "use_sim_time": use_sim_time,
        }
        topics = {"image/compressed" if is_compressed else "image": image_topic, "camera_info": camera_info_topic}
        environment = fast_dds_profile() | ({"ROS_DOMAIN_ID": str(domain_id)} if domain_id else {})
        findings += _listen(parameters, topics, seconds, environment)
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
    return [Finding(Level(one["level"]), one["subject"], one["text"]) for one in json.loads(ended.stdout)]


def _print(findings: list[Finding]) -> None:
    for finding in findings:
        mark = Text(f"{finding.level.value:<8}", STYLES[finding.level])
        console.print(mark, f"{finding.subject}: {finding.text}", highlight=False, soft_wrap=True)
