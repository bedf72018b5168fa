"""``visloc localize``: every frame by itself in the map, one line a frame."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from visloc_ros.apps.console import console
from visloc_ros.apps.options import (
    ConfigFile,
    MapArgument,
    SourceArgument,
    takes_source_config,
)
from visloc_ros.core.config import read_config
from visloc_ros.core.errors import OutputError
from visloc_ros.core.geometry import rotation_angle_deg
from visloc_ros.core.map import open_map
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory, write_tum
from visloc_ros.core.types import AnchorPose, Rejection
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.sources import SourceConfig, open_source

TRUTH_TOLERANCE_NS = 5_000_000


@takes_source_config
def localize(
    map_path: MapArgument,
    source: SourceArgument,
    source_config: SourceConfig,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for poses.tum and poses.jsonl.")] = None,
    config: ConfigFile = None,
) -> None:
    """Localize frames one by one: a line each, failures too.

    Example: visloc localize maps/office query.mp4 --every 15 --output out/office
    """
    frames = open_source(source, source_config)
    options = read_config(AnchorConfig, config)
    if not frames.calibrated:  # its focal length is a guess
        options = replace(options, refine_focal_length=True)
    engine = AnchorEngine(open_map(map_path), options)
    results = []
    for frame in frames:
        result = engine.localize(frame)
        results.append((frame.name or str(frame.stamp_ns), result))
        console.print(describe(frame.name, result, frames.ground_truth), highlight=False, soft_wrap=True)
    accepted = sum(isinstance(result, AnchorPose) for _, result in results)
    console.print(f"localized {accepted} of {len(results)} frames")
    if output is not None:
        write_results(output, results)


def describe(name: str, result: AnchorPose | Rejection, truth: Trajectory | None) -> str:
    """One line about a frame: where it is and what that rests on, or why there is no pose."""
    stamp = f"{result.stamp_ns / NANOSECONDS:.3f} {name}"
    milliseconds = f"{sum(result.stage_ms.values()):.0f} ms"
    if isinstance(result, Rejection):
        return f"{stamp}  [yellow]{result}[/yellow]  {milliseconds}"
    x, y, z = result.map_from_camera.translation
    line = (
        f"{stamp}  x {x:.3f} y {y:.3f} z {z:.3f}  {result.num_inliers} inliers  {result.reprojection_error_px:.2f} px"
    )
    true_pose = truth.nearest(result.stamp_ns, TRUTH_TOLERANCE_NS) if truth else None
    if true_pose is not None:
        error_cm = 100 * float(sum((result.map_from_camera.translation - true_pose.translation) ** 2)) ** 0.5
        angle = rotation_angle_deg(result.map_from_camera.rotation, true_pose.rotation)
        line += f"  error {error_cm:.1f} cm {angle:.2f} deg"
    return f"{line}  {milliseconds}"


def write_results(folder: Path, results: list[tuple[str, AnchorPose | Rejection]]) -> None:
    """Write the poses as TUM and every outcome as a JSON line. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        poses = [result for _, result in results if isinstance(result, AnchorPose)]
        write_tum(folder / "poses.tum", [p.stamp_ns for p in poses], [p.map_from_camera for p in poses])
        lines = (json.dumps(_as_json(name, result)) + "\n" for name, result in results)
        (folder / "poses.jsonl").write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error}") from error


def _as_json(name: str, result: AnchorPose | Rejection) -> dict[str, Any]:
    common = {"name": name, "stamp_ns": result.stamp_ns, "success": isinstance(result, AnchorPose)}
    common["timings_ms"] = dict(result.stage_ms)
    if isinstance(result, Rejection):
        return common | {"reason": result.reason.value, "counts": dict(result.counts)}
    return common | {
        "map_from_camera": dict(zip(("qw", "qx", "qy", "qz"), result.map_from_camera.quaternion.tolist(), strict=True))
        | dict(zip(("tx", "ty", "tz"), result.map_from_camera.translation.tolist(), strict=True)),
        "covariance": result.covariance.tolist(),
        "num_inliers": result.num_inliers,
        "num_matches": result.num_matches,
        "reprojection_error_px": result.reprojection_error_px,
        "focal_length_px": result.focal_length,
        "references": list(result.references),
    }
