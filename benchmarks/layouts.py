"""Which nodes share a process: fusion with odometry (the default), none, or all.

Run: python -m benchmarks.layouts --data ../shared/data --runs 3 --json results/layouts.json

All layouts play the demo's bags in turn. The age of the odometry is reported beside that of the fused pose: with fusion
apart, odometry could predict the fused pose by the newest ``map -> odom`` of the other process, at that age at the
earliest, for at least the processor time of this layout.
"""

from pathlib import Path

from benchmarks.places import demo_folder, known_truth
from benchmarks.program import add_folders, new_parser, percentiles
from benchmarks.results_file import Figures, write_json
from visloc_ros.apps.replay import Layout, ReplayPlan, make_record, run_nodes
from visloc_ros.core.map import open_map
from visloc_ros.evaluation import summarize
from visloc_ros.evaluation.machine import provenance
from visloc_ros.sources import SourceConfig
from visloc_ros.sources.bag import BagSource

PLACES = ("7scenes_redkitchen", "euroc_mh05")


def main() -> None:
    """Play each place's bag to all layouts, several times."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/layouts", "maps and bags")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file for all figures")
    arguments = parser.parse_args()
    runs: dict[str, dict[str, list[Figures]]] = {}
    for place in PLACES:
        folder = demo_folder(place, arguments.work, arguments.data)
        runs[place] = {layout.value: [] for layout in Layout}
        for _ in range(arguments.runs):
            for layout in Layout:
                figures = measure(folder, layout)
                runs[place][layout.value].append(figures)
                print(place, layout.value, figures, flush=True)
    if arguments.json:
        write_json(arguments.json, {**provenance(), "runs": runs})


def measure(folder: Path, layout: Layout) -> Figures:
    """Figures of one replay; shares are processor seconds a second of camera, ages milliseconds since the image."""
    plan = ReplayPlan(folder / "maps" / folder.name, folder / "query", layout=layout)
    source = BagSource(plan.bag, SourceConfig())
    run = run_nodes(plan, source)
    summary = summarize(make_record(plan, source, open_map(plan.map_path), run, known_truth(source)))
    return {
        "processor_share": {name: round(share, 3) for name, share in run.processor_share.items()},
        "processor_share_total": round(sum(run.processor_share.values()), 3),
        "peak_rss_mb": {name: round(peak) for name, peak in run.peak_rss_mb.items()},
        "odometry_age_ms": percentiles(run.recording.odometry_ages_ms),
        "pose_age_ms": {name: round(summary["pose_age_ms"][name], 1) for name in ("p50", "p95")},
        "position_error_cm": {name: round(100 * summary["position_error_m"][name], 2) for name in ("median", "p95")},
        "localized_share_after_first_fix": summary["localized_share_after_first_fix"],
    }


if __name__ == "__main__":
    main()
