"""Searches side by side, in replays of the same bags through the nodes.

Run: python -m benchmarks.searches --data ../shared/data --runs 3 --markdown results/ros.md

Maps are prepared where necessary. All searches play the bags in turn; odometry and map tracking give the poses between
anchors in all.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

from benchmarks.layouts import PLACES
from benchmarks.places import demo_folder, known_truth
from benchmarks.program import add_folders, add_outputs, new_parser, run_visloc
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.apps.replay import ReplayPlan, make_record, run_nodes
from visloc_ros.core.map import open_map
from visloc_ros.evaluation import summarize
from visloc_ros.evaluation.machine import provenance
from visloc_ros.localization.config import RETRIEVAL, search_names
from visloc_ros.sources import SourceConfig
from visloc_ros.sources.bag import BagSource

CENTIMETRES = 100.0


def main() -> None:
    """Play each place's bag with each way of searching, in turn."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/layouts", "maps and bags")
    parser.add_argument("--places", nargs="+", default=PLACES, help="sequences there")
    parser.add_argument("--search", nargs="+", default=search_names(), choices=search_names(), help="ways of searching")
    parser.add_argument("--map", type=Path, help="prepared map of a single place, instead of the demo's")
    parser.add_argument("--runs", type=int, default=3)
    add_outputs(parser)
    arguments = parser.parse_args()
    runs = {place: replays(demo_folder(place, arguments.work, arguments.data), arguments) for place in arguments.places}
    write_outputs(arguments, "Ways of searching, replayed", {**provenance(), "runs": runs}, as_table(runs))


def replays(folder: Path, arguments: Namespace) -> dict[str, list[Figures]]:
    """Figures of each replay of a place, by the way of searching."""
    place = arguments.map or folder / "maps" / folder.name
    for search in set(arguments.search) - {RETRIEVAL, *open_map(place).prepared}:
        run_visloc("prepare", place, "--for", search)
    found: dict[str, list[Figures]] = {search: [] for search in arguments.search}
    for _ in range(arguments.runs):
        for search, figures in found.items():
            figures.append(measure(ReplayPlan(place, folder / "query", search=search)))
            print(folder.name, search, figures[-1], flush=True)
    return found


def measure(plan: ReplayPlan) -> Figures:
    """Figures of one replay."""
    source = BagSource(plan.bag, SourceConfig())
    record = make_record(plan, source, open_map(plan.map_path), run_nodes(plan, source), known_truth(source))
    summary = summarize(record)
    return {
        "anchors": sum(anchor.accepted for anchor in record.anchors),
        "searched": len(record.anchors),
        "search_ms": rounded(summary["anchor_latency_ms"], 1),
        "localized_share_after_first_fix": summary["localized_share_after_first_fix"],
        "pose_age_ms": rounded(summary["pose_age_ms"], 1),
        "error_cm": {name: round(CENTIMETRES * summary["position_error_m"][name], 2) for name in ("median", "p95")},
    }


def rounded(values: Mapping[str, float], digits: int) -> Figures:
    """Median and 95th percentile, for reading."""
    return {name: round(values[name], digits) for name in ("p50", "p95")}


def as_table(runs: dict[str, dict[str, list[Figures]]]) -> str:
    """A row for each replay."""
    rows = [
        [
            place,
            search,
            f"{one['anchors']} of {one['searched']}",
            f"{one['search_ms']['p50']} / {one['search_ms']['p95']} ms",
            f"{one['localized_share_after_first_fix']:.1%}",
            f"{one['error_cm']['median']} / {one['error_cm']['p95']} cm",
        ]
        for place, ways in runs.items()
        for search, found in ways.items()
        for one in found
    ]
    header = ["place", "search", "anchors", "a search, median / 95 %", "LOCALIZED after the first fix"]
    return table([*header, "error of fused poses, median / 95 %"], rows)


if __name__ == "__main__":
    main()
