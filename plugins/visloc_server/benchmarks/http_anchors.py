"""Anchors over HTTP beside anchors over DDS, in replays of the same bags.

Run: python -m plugins.visloc_server.benchmarks.http_anchors --data ../shared/data --runs 3 \\
         --markdown plugins/visloc_server/results/server.md

Robot and server share the computer. Over DDS the anchor node searches; over HTTP the remote anchor node asks ``visloc
serve``. ``benchmarks.tethered`` runs them on two machines, and kills the server.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from benchmarks.layouts import PLACES
from benchmarks.places import demo_folder
from benchmarks.program import add_folders, add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from benchmarks.searches import measure
from plugins.visloc_server.testing.server_process import running
from visloc_ros.apps.replay import ReplayPlan
from visloc_ros.evaluation.machine import provenance


def main() -> None:
    """Play each place's bag both ways, in turn."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/layouts", "maps and bags")
    parser.add_argument("--runs", type=int, default=3)
    add_outputs(parser)
    arguments = parser.parse_args()
    runs = {place: both_ways(demo_folder(place, arguments.work, arguments.data), arguments) for place in PLACES}
    write_outputs(arguments, "Anchors over HTTP", {**provenance(), "runs": runs}, as_table(runs))


def both_ways(folder: Path, arguments: Namespace) -> dict[str, list[Figures]]:
    """Figures of each replay of a place, by the way that anchors take."""
    found: dict[str, list[Figures]] = {"DDS": [], "HTTP": []}
    with running(folder / "maps") as server:
        server.client.post("/localize", files={"image": b""})  # what it needs is imported
        for _ in range(arguments.runs):
            for way, url in (("DDS", ""), ("HTTP", f"http://127.0.0.1:{server.port}")):
                plan = ReplayPlan(folder / "maps" / folder.name, folder / "query", server_url=url)
                found[way].append(measure(plan))
                print(folder.name, way, found[way][-1], flush=True)
    return found


def as_table(runs: dict[str, dict[str, list[Figures]]]) -> str:
    """A row for each place and way, with all its replays."""
    rows = [
        [
            place,
            way,
            ", ".join(str(one["anchors"]) for one in found),
            f"{min(one['localized_share_after_first_fix'] for one in found):.1%}",
            f"{max(one['pose_age_ms']['p95'] for one in found)} ms",
            ", ".join(str(one["error_cm"]["median"]) for one in found),
        ]
        for place, ways in runs.items()
        for way, found in ways.items()
    ]
    header = ["place", "anchors over", "anchors, each run", "LOCALIZED after the first fix, at least"]
    return table([*header, "age of 95 % of the poses, at most", "error of fused poses, median cm, each run"], rows)


if __name__ == "__main__":
    main()
