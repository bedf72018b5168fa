"""The odometry over one source, timed: making it, its first two frames, every frame by stage, and its end.

Run: python -m benchmarks.odometry.one_source --source query.mp4 --fps 15 --max-frames 100
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.program import add_source, new_parser, source_config
from benchmarks.results_file import write_json
from visloc_ros.apps.console import console, print_table
from visloc_ros.apps.odometry_options import read_odometry_config
from visloc_ros.apps.options import read_truth
from visloc_ros.evaluation import evaluate_odometry, odometry_rows
from visloc_ros.evaluation.decoding import sample_frames
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.odometry_plots import write_odometry_plot
from visloc_ros.evaluation.odometry_run import run_odometry
from visloc_ros.evaluation.odometry_summary import lifecycle, summarize_odometry
from visloc_ros.odometry import make_odometry
from visloc_ros.odometry.base import backend_names
from visloc_ros.sources import open_source

PER_FRAME: Mapping[str, str] = {
    "decode_ms": "image decode",
    "preprocess_ms": "preprocess",
    "inference_ms": "inference",
    "settle_ms": "settling",
    "total_ms": "total a frame",
}


def main() -> None:
    """Measure, print, and write what was asked for."""
    arguments = parse_arguments()
    options = read_odometry_config(arguments.config, arguments.backend)
    frames = open_source(arguments.source, source_config(arguments))
    truth = read_truth(arguments.ground_truth, frames)
    sampled = sample_frames(frames, arguments.fps, arguments.max_frames)
    run = run_odometry(lambda: make_odometry(options, live=arguments.live), sampled)
    errors = evaluate_odometry(run.results, truth, refined=run.refined)
    how = {"source": frames.name, "backend": options.backend, "live": arguments.live, "asked_fps": arguments.fps}
    report = how | summarize_odometry(run, errors) | lifecycle(run) | provenance()
    print_report(report)
    print_table("what came out", odometry_rows(errors))
    if arguments.json:
        write_json(arguments.json, report)
    if arguments.plot:
        title = f"{options.backend} on {frames.name}, {report['machine']}"
        write_odometry_plot(arguments.plot, title, run, errors, truth)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_source(parser)
    parser.add_argument("--fps", type=float, default=15.0, help="frames taken a second; 0 takes all")
    parser.add_argument("--max-frames", type=int, default=100, help="frames measured at most; 0 measures all")
    parser.add_argument("--backend", choices=backend_names(), help="which odometry; else that of the configuration")
    parser.add_argument("--live", action="store_true", help="do slow work beside the frames, as the node does")
    parser.add_argument("--config", type=Path, help="YAML file with options of the odometry")
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--plot", type=Path, help="PNG with path, errors, latencies and stages")
    return parser.parse_args()


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


if __name__ == "__main__":
    main()
