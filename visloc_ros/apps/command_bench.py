"""``visloc bench``: how long the parts take on this machine, with the accuracy they have."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from visloc_ros.apps import command_bench_odometry
from visloc_ros.apps.console import console
from visloc_ros.apps.odometry_options import provenance, write_json
from visloc_ros.apps.options import CameraFile, ConfigFile, First, GroundTruth, ImageTopic, Last
from visloc_ros.core.config import read_config
from visloc_ros.core.map import open_map
from visloc_ros.core.trajectory import read_tum
from visloc_ros.evaluation.anchor_benchmark import (
    STAGES,
    AnchorTimings,
    measure_anchors,
    summarize_timings,
)
from visloc_ros.evaluation.anchor_plots import write_stage_plot
from visloc_ros.evaluation.decoding import sample_frames
from visloc_ros.evaluation.machine import peak_rss_mb
from visloc_ros.evaluation.table import format_errors
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.sources import SourceConfig, open_source

PLAIN, PREDICTED = "without a prediction", "with a predicted pose"

app = typer.Typer(help="Measure how long the parts take on this machine.", no_args_is_help=True)
app.command("odometry")(command_bench_odometry.odometry)


@app.callback()
def bench() -> None:
    """Measure how long the parts take on this machine."""


@app.command("anchor")
def anchor(
    map_path: Annotated[Path, typer.Option("--map", help="Map folder, or its reference.tar.gz.")],
    source: Annotated[Path, typer.Option(help="Video file, image folder, or ROS 2 bag.")],
    fps: Annotated[float, typer.Option(min=0.0, help="Frames taken a second; 0 takes all.")] = 2.0,
    max_frames: Annotated[int, typer.Option(min=0, help="Frames measured at most; 0 measures all.")] = 10,
    with_prior: Annotated[bool, typer.Option("--with-prior", help="Also measure with a predicted pose.")] = False,
    warm_up: Annotated[int, typer.Option(min=0, help="Times the first frame is localized before, apart.")] = 2,
    ground_truth: GroundTruth = None,
    first: First = 0,
    last: Last = -1,
    image_topic: ImageTopic = "",
    camera: CameraFile = "",
    config: ConfigFile = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for all figures.")] = None,
    plot: Annotated[Path | None, typer.Option(help="PNG with the stages of every frame.")] = None,
) -> None:
    """Time every stage of finding single frames in a map, and compare the poses with the truth.

    Example: visloc bench anchor --map maps/office --source query.mp4 --fps 2 --max-frames 10
    """
    source_config = SourceConfig(first=first, last=last, image_topic=image_topic, camera=camera)
    report, timings = bench_anchor(
        map_path, source, source_config, fps, max_frames, with_prior, warm_up, ground_truth, config
    )
    print_report(report)
    if json_file is not None:
        write_json(json_file, report)
    if plot is not None:
        title = f"{report['source']} in {report['map']}, {report['machine']}"
        write_stage_plot(plot, title, {PLAIN: timings.plain, PREDICTED: timings.predicted})


def bench_anchor(
    map_path: Path,
    source: Path,
    source_config: SourceConfig,
    fps: float = 2.0,
    max_frames: int = 10,
    with_prior: bool = False,
    warm_up: int = 2,
    ground_truth: Path | None = None,
    config: Path | None = None,
) -> tuple[dict[str, Any], AnchorTimings]:
    """Measure, and give the figures as they are written to JSON, with the timings of every frame."""
    frames = open_source(source, source_config)
    truth = read_tum(ground_truth) if ground_truth else frames.ground_truth
    start = time.perf_counter()
    map_ = open_map(map_path)
    map_load_s = time.perf_counter() - start
    engine = AnchorEngine(map_, read_config(AnchorConfig, config))
    timings = measure_anchors(engine, sample_frames(frames, fps, max_frames), truth, with_prior, warm_up)
    report = {
        "map": map_.name,
        "map_images": len(map_.images),
        "source": frames.name,
        **summarize_timings(timings.plain),
        "warm_up_ms": list(timings.warm_up_ms),
        "map_load_s": map_load_s,
        "peak_rss_mb": peak_rss_mb(),
        **provenance(),
    }
    if timings.predicted:
        report["with_prior"] = summarize_timings(timings.predicted)
    return report, timings


def print_report(report: Mapping[str, Any]) -> None:
    """Print the stage table, then errors and counts."""
    predicted = report.get("with_prior")
    table = Table(title=f"{report['source']} in {report['map']}", title_justify="left")
    table.add_column("stage")
    for path in [PLAIN, PREDICTED][: 2 if predicted else 1]:
        table.add_column(f"{path}\np50 ms", justify="right")
        table.add_column("p95 ms", justify="right")
    summaries = [report, predicted] if predicted else [report]
    for stage, words in STAGES.items():
        table.add_row(words, *(cell for summary in summaries for cell in _cells(summary["stage_ms"].get(stage))))
    table.add_section()
    table.add_row("total", *(cell for summary in summaries for cell in _cells(summary["total_ms"])))
    console.print(table)
    for path, summary in zip((PLAIN, PREDICTED), summaries, strict=False):
        console.print(f"{path}: {_outcome_words(summary)}", highlight=False)
    console.print(
        f"map of {report['map_images']} images opened in {report['map_load_s']:.2f} s, "
        f"peak memory {report['peak_rss_mb']:.0f} MB; {report['machine']}, {report['date']}",
        highlight=False,
    )


def _cells(spread: Mapping[str, float] | None) -> tuple[str, str]:
    return (f"{spread['p50']:.1f}", f"{spread['p95']:.1f}") if spread else ("", "")


def _outcome_words(summary: Mapping[str, Any]) -> str:
    rejected = "".join(f", {count} {reason}" for reason, count in summary["rejected"].items())
    words = f"{summary['accepted']} of {summary['frames']} found{rejected}"
    if summary["position_error_m"] is None:
        return words
    position, rotation = (format_errors(summary[key], unit) for key, unit in _ERROR_UNITS)
    return f"{words}; position {position}; rotation {rotation}"


_ERROR_UNITS = (("position_error_m", "m"), ("rotation_error_deg", "deg"))
