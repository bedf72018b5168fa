"""A room after people have changed it, searched in all ways in the map from before.

Run: OMP_NUM_THREADS=1 python -m plugins.visloc_search.benchmarks.instances.changed \\
         --markdown plugins/visloc_search/results/instances.md

Of two simulated rooms, the second of which chose no setting, a share of the pictures and of the boxes on furniture
hang or stand elsewhere, or are replaced. Maps and rooms are kept in the work folder.
"""

import argparse
from pathlib import Path

import torch

from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from plugins.visloc_search.benchmarks.instances.rooms import KNOWN_SEED, UNSEEN_SEED, changed_room, images_of
from plugins.visloc_search.benchmarks.instances.ways import add_ways, engines_of, search_images
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.search_comparison import THRESHOLDS

SECTION = "Changed places"
SHARES = (0.0, 0.2, 0.4, 0.8)
HEADER = (
    *("room", "changed", "search", "found"),
    *(f"within {metres:g} m, {degrees:g}°" for metres, degrees in THRESHOLDS),
    *("wrong poses accepted", "error, median cm"),
)


def main() -> None:
    """Measure both rooms, and write the table."""
    arguments = parse_arguments()
    torch.set_num_threads(1)
    rooms = {str(seed): measure_room(seed, arguments) for seed in (KNOWN_SEED, UNSEEN_SEED)}
    report = {**provenance(), "rooms": rooms}
    write_outputs(arguments, SECTION, report, as_markdown(report))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/instances"), help="folder for maps and rooms")
    parser.add_argument("--every", type=int, default=1, help="search every n-th image only")
    add_ways(parser)
    add_outputs(parser)
    return parser.parse_args()


def measure_room(seed: int, arguments: argparse.Namespace) -> Figures:
    """Figures of all ways, by the share that has changed."""
    places = [changed_room(arguments.work, seed, share) for share in SHARES]
    engines = engines_of(places[0], arguments.work, arguments.ways)
    shares = [search_images(engines, images_of(place, arguments.every)) for place in places]
    return {"unseen": seed == UNSEEN_SEED, "shares": shares}


def as_markdown(report: Figures) -> str:
    """A row for each room, share and way."""
    rows = [
        [room, f"{100 * share:.0f} %", way, *cells(one)]
        for room, figures in report["rooms"].items()
        for share, ways in zip(SHARES, figures["shares"], strict=True)
        for way, one in ways.items()
    ]
    what = "Of the pictures, and of the boxes on furniture, a share has changed; no setting was chosen by room"
    return f"{what} {UNSEEN_SEED}.\n\n{table(HEADER, rows)}"


def cells(figures: Figures) -> list[str]:
    """What follows the way's name."""
    error = figures["position_m"]
    return [
        f"{figures['found']} of {figures['images']}",
        *(f"{one['percent']:.0f} %" for one in figures["recall"]),
        str(figures["wrong"]),
        "–" if error is None else f"{100 * error:.2f}",
    ]


if __name__ == "__main__":
    main()
