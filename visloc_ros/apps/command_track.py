"""``visloc track``: odometry alone, without a map."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from visloc_ros.apps.console import console, print_table
from visloc_ros.apps.options import (
    ConfigFile,
    GroundTruth,
    SourceArgument,
    takes_source_config,
)
from visloc_ros.core.config import read_config
from visloc_ros.core.trajectory import read_tum, write_tum
from visloc_ros.core.types import OdometryPose
from visloc_ros.evaluation import Row, evaluate_odometry, odometry_rows
from visloc_ros.odometry import OdometryConfig, make_odometry
from visloc_ros.sources import SourceConfig, open_source


@takes_source_config
def track(
    source: SourceArgument,
    source_config: SourceConfig,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="TUM file for odom_from_camera (unscaled).")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the figures as JSON.")] = None,
    ground_truth: GroundTruth = None,
    config: ConfigFile = None,
) -> None:
    """Track a camera by visual odometry alone: every frame, unscaled.

    Example: visloc track flight.mcap --output out/flight.tum
    """
    frames = open_source(source, source_config)
    odometry = make_odometry(read_config(OdometryConfig, config))
    results, milliseconds = [], []
    for frame in frames:
        begin = time.perf_counter()
        results.append(odometry.track(frame))
        milliseconds.append((time.perf_counter() - begin) * 1e3)
    odometry.close()
    poses = [result for result in results if isinstance(result, OdometryPose)]
    truth = read_tum(ground_truth) if ground_truth else frames.ground_truth
    speed = f"median {np.median(milliseconds):.1f} ms, p95 {np.percentile(milliseconds, 95):.1f} ms"
    rows = [Row("tracked", f"{len(poses)} of {len(results)} frames"), Row("time a frame", speed)]
    figures = {
        "frames": len(results),
        "tracked_frames": len(poses),
        "latency_ms": {"p50": float(np.median(milliseconds)), "p95": float(np.percentile(milliseconds, 95))},
    }
    if truth is not None:
        errors = evaluate_odometry(results, truth)
        rows += odometry_rows(errors)
        figures["ate_sim3_m"] = errors.position_error_m.rmse if errors.position_error_m else None
    print_table(f"odometry on {source}", rows)
    if output is not None:
        write_tum(output, [pose.stamp_ns for pose in poses], [pose.odom_from_camera for pose in poses])
        console.print(f"wrote {output}")
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
