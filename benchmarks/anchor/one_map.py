"""Every stage of finding single frames in one map, timed, and the poses compared with the truth.

Run: python -m benchmarks.anchor.one_map --map maps/office --source query.mp4 --fps 2 --max-frames 10
"""

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.anchor.timing import STAGES, measure_anchors, summarize_timings
from benchmarks.program import add_device, add_source, new_parser, source_config
from benchmarks.results_file import Figures, write_json
from visloc_ros.apps.console import console
from visloc_ros.core.config import read_config
from visloc_ros.core.map import open_map
from visloc_ros.core.own_process import keep_loaded_objects
from visloc_ros.core.trajectory_files import read_tum
from visloc_ros.evaluation.decoding import decode
from visloc_ros.evaluation.machine import peak_rss_mb, provenance
from visloc_ros.evaluation.table import format_errors
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.sources import SourceConfig, open_source

PLAIN, PREDICTED, ELSEWHERE = "without a prediction", "with a predicted pose", "of another place"
ERROR_UNITS = {"position_error_m": "m", "rotation_error_deg": "deg"}


def main() -> None:
    """Measure, and write the results."""
    arguments = parse_arguments()
    report = measure(arguments)
    print_report(report)
    if arguments.json:
        write_json(arguments.json, report)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--map", type=Path, required=True, help="map folder, or its reference.tar.gz")
    add_source(parser)
    parser.add_argument("--fps", type=float, default=2.0, help="frames taken a second; 0 takes all")
    parser.add_argument("--max-frames", type=int, default=10, help="frames measured at most; 0 measures all")
    parser.add_argument("--with-prior", action="store_true", help="also measure with a predicted pose")
    parser.add_argument("--elsewhere", type=Path, help="source of another place, which must be rejected")
    parser.add_argument("--warm-up", type=int, default=2, help="times the first frame is localized before, apart")
    parser.add_argument("--config", type=Path, help="YAML file with options of the engine")
    add_device(parser)
    parser.add_argument("--json", type=Path, help="file for all figures")
    return parser.parse_args()


def measure(arguments: argparse.Namespace) -> Figures:
    """The figures as they are written to JSON. Raises VislocError."""
    sampled = SourceConfig(fps=arguments.fps, max_frames=arguments.max_frames)
    given = source_config(arguments)
    frames = open_source(arguments.source, replace(given, fps=sampled.fps, max_frames=sampled.max_frames))
    truth = read_tum(arguments.ground_truth) if arguments.ground_truth else frames.ground_truth
    start = time.perf_counter()
    map_ = open_map(arguments.map)
    map_load_s = time.perf_counter() - start
    engine = AnchorEngine(map_, on_device(read_config(AnchorConfig, arguments.config), arguments.device))
    keep_loaded_objects()  # as nodes and the server do
    timings = measure_anchors(engine, decode(frames), truth, arguments.with_prior, arguments.warm_up)
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
    if arguments.elsewhere:
        others = decode(open_source(arguments.elsewhere, sampled))
        report["elsewhere"] = summarize_timings(measure_anchors(engine, others, None, warm_up=0).plain)
    return report


def on_device(config: AnchorConfig, device: str | None) -> AnchorConfig:
    """The same options with all networks on a device; None leaves them where they are."""
    if device is None:
        return config
    return replace(
        config,
        features=replace(config.features, device=device),
        matcher=replace(config.matcher, device=device),
        global_descriptor=replace(config.global_descriptor, device=device),
    )


def print_report(report: Mapping[str, Any]) -> None:
    """Print the stage table, then errors and counts."""
    measured = {PLAIN: report, PREDICTED: report.get("with_prior"), ELSEWHERE: report.get("elsewhere")}
    summaries = {path: summary for path, summary in measured.items() if summary is not None}
    table = Table(title=f"{report['source']} in {report['map']}", title_justify="left")
    table.add_column("stage")
    for path in summaries:
        table.add_column(f"{path}\np50 ms", justify="right")
        table.add_column("p95 ms", justify="right")
    for stage, words in STAGES.items():
        table.add_row(words, *(cell for one in summaries.values() for cell in cells(one["stage_ms"].get(stage))))
    table.add_section()
    table.add_row("total", *(cell for one in summaries.values() for cell in cells(one["total_ms"])))
    console.print(table)
    for path, summary in summaries.items():
        console.print(f"{path}: {outcome(summary)}", highlight=False)
    console.print(
        f"map of {report['map_images']} images opened in {report['map_load_s']:.2f} s, "
        f"peak memory {report['peak_rss_mb']:.0f} MB; {report['machine']}, {report['date']}",
        highlight=False,
    )


def cells(spread: Mapping[str, float] | None) -> tuple[str, str]:
    """Percentiles as text; empty where the stage does not belong to the path."""
    return (f"{spread['p50']:.1f}", f"{spread['p95']:.1f}") if spread else ("", "")


def outcome(summary: Mapping[str, Any]) -> str:
    """How many were found, and how far off where the truth is known."""
    rejected = "".join(f", {count} {reason}" for reason, count in summary["rejected"].items())
    words = f"{summary['accepted']} of {summary['frames']} found{rejected}"
    if summary["position_error_m"] is None:
        return words
    position, rotation = (format_errors(summary[key], unit) for key, unit in ERROR_UNITS.items())
    return f"{words}; position {position}; rotation {rotation}"


if __name__ == "__main__":
    main()
