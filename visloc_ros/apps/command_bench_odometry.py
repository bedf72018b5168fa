"""``visloc bench odometry``: what tracking takes to begin, per frame, and to end (the reference's table)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from visloc_ros.apps.console import console, print_table
from visloc_ros.apps.odometry_options import (
    Backend,
    JsonFile,
    Live,
    PlotFile,
    provenance,
    read_odometry_config,
    read_truth,
    require_folders,
    write_json,
)
from visloc_ros.apps.options import CameraFile, ConfigFile, First, GroundTruth, ImageTopic, Last
from visloc_ros.evaluation import evaluate_odometry, odometry_rows
from visloc_ros.evaluation.decoding import sample_frames
from visloc_ros.evaluation.odometry_plots import write_odometry_plot
from visloc_ros.evaluation.odometry_run import run_odometry
from visloc_ros.evaluation.odometry_summary import lifecycle, summarize_odometry
from visloc_ros.odometry import make_odometry
from visloc_ros.sources import SourceConfig, open_source

PER_FRAME: Mapping[str, str] = {
    "decode_ms": "image decode",
    "preprocess_ms": "preprocess",
    "inference_ms": "inference",
    "settle_ms": "settling",
    "total_ms": "total a frame",
}


def odometry(
    source: Annotated[Path, typer.Option(help="Video file, image folder, or ROS 2 bag.")],
    fps: Annotated[float, typer.Option(min=0.0, help="Frames taken a second; 0 takes all.")] = 15.0,
    max_frames: Annotated[int, typer.Option(min=0, help="Frames measured at most; 0 measures all.")] = 100,
    backend: Backend = None,
    live: Live = False,
    ground_truth: GroundTruth = None,
    first: First = 0,
    last: Last = -1,
    image_topic: ImageTopic = "",
    camera: CameraFile = "",
    config: ConfigFile = None,
    json_file: JsonFile = None,
    plot: PlotFile = None,
) -> None:
    """Time the odometry: making it, its first two frames, every frame by stage, and its end.

    Example: visloc bench odometry --source query.mp4 --fps 15 --max-frames 100
    """
    require_folders(json_file, plot)
    options = read_odometry_config(config, backend)
    frames = open_source(source, SourceConfig(first=first, last=last, image_topic=image_topic, camera=camera))
    truth = read_truth(ground_truth, frames)
    run = run_odometry(lambda: make_odometry(options, live=live), sample_frames(frames, fps, max_frames))
    errors = evaluate_odometry(run.results, truth, refined=run.refined)
    how = {"source": frames.name, "backend": options.backend, "live": live, "asked_fps": fps}
    report = how | summarize_odometry(run, errors) | lifecycle(run) | provenance()
    print_report(report)
    print_table("what came out", odometry_rows(errors))
    if json_file is not None:
        write_json(json_file, report)
    if plot is not None:
        write_odometry_plot(plot, f"{options.backend} on {frames.name}, {report['machine']}", run, errors, truth)


def print_report(report: Mapping[str, Any]) -> None:
    """Print what happens once, what every frame takes, and the backend's own stages."""
    table = Table(title=f"{report['backend']} on {report['source']}", title_justify="left")
    for column in ("stage", "p50 ms", "p95 ms", "mean ms", "frames"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    table.add_row("init, once", f"{report['init_ms']:.1f}")
    table.add_row(f"warm-up, first {len(report['warm_up_ms'])} frames", f"{sum(report['warm_up_ms']):.1f}")
    for key, words in PER_FRAME.items():
        spread = report[key]
        table.add_row(words, *([f"{spread['p50']:.1f}", f"{spread['p95']:.1f}"] if spread else []))
    table.add_row("finalize, once", f"{report['finalize_ms']:.1f}")
    table.add_section()
    for stage, figures in report["stage_ms"].items():
        times = [f"{figures[key]:.2f}" for key in ("p50", "p95", "mean")]
        table.add_row(f"stage {stage}", *times, str(figures["frames"]))
    console.print(table)
    console.print(
        f"{report['frames']} frames, {report['fps']:.0f} frames/s of tracking, "
        f"peak memory {report['peak_rss_mb']:.0f} MB; {report['machine']}, {report['date']}",
        highlight=False,
    )
