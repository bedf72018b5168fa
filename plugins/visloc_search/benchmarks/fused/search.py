"""Search by fused descriptors beside retrieval: the same images, maps and features.

Run: OMP_NUM_THREADS=1 python -m plugins.visloc_search.benchmarks.fused.search --data ../shared/data \\
         --markdown plugins/visloc_search/results/fused.md

The searches take turns image by image. Times are processor times of the search on one thread. Prepared maps and
features are kept in the work folder, shared with the landmarks' benchmarks. No setting was chosen by the drive and the
painted room.
"""

import argparse
from typing import Any

import torch

from benchmarks.places import FeatureCache, Place
from benchmarks.program import add_folders, add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from plugins.visloc_search.benchmarks.fused.prepared import fused_map
from plugins.visloc_search.benchmarks.landmarks.measured import ACCURACY_HEADER, accuracy_cells, search_in_turn
from plugins.visloc_search.benchmarks.landmarks.prepared import add_places, chosen_places
from plugins.visloc_search.benchmarks.landmarks.queries import known_images
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.search_comparison import searched_bytes
from visloc_ros.features import make_extractor, make_matcher
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.config import RETRIEVAL
from visloc_search.fused.config import FUSED

SECTION = "Beside retrieval"
BASELINE = "retrieval, always LightGlue"
OPTIONS: dict[str, dict[str, Any]] = {"default": {}, "int8": {"storage": "int8"}}
HEADER = ("place", "search", *ACCURACY_HEADER, "search, median ms", "95 % within ms", "MB searched")


def main() -> None:
    """Measure all places, and write the tables."""
    arguments = parse_arguments()
    torch.set_num_threads(1)
    places = chosen_places(arguments.data, arguments.work, arguments.only)
    report = {**provenance(), "places": {place.name: measure_place(place, arguments) for place in places}}
    write_outputs(arguments, SECTION, report, as_markdown(report))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/landmarks", "maps, rooms and features")
    add_places(parser)
    add_outputs(parser)
    return parser.parse_args()


def measure_place(place: Place, arguments: argparse.Namespace) -> Figures:
    """Figures of all ways of searching one place, and their bytes."""
    extractor, matcher = make_extractor(), make_matcher()
    engines: dict[str, AnchorEngine] = {}
    megabytes: dict[str, float] = {}
    for name, options in OPTIONS.items():
        map_ = fused_map(place, arguments.work, name, options)
        if not engines:
            engines[RETRIEVAL] = AnchorEngine(map_, AnchorConfig(search=RETRIEVAL), extractor, matcher)
            megabytes[RETRIEVAL] = sum(searched_bytes(map_, RETRIEVAL).values()) / 1e6
            engines[BASELINE] = AnchorEngine(map_, AnchorConfig(nearest_first=False), extractor, matcher)
            megabytes[BASELINE] = megabytes[RETRIEVAL]
        own = f"{FUSED}, {name}"
        engines[own] = AnchorEngine(map_, AnchorConfig(search=FUSED), extractor, matcher)
        megabytes[own] = sum(searched_bytes(map_, FUSED).values()) / 1e6
    images = known_images(place, FeatureCache(arguments.work / "features", engines[RETRIEVAL]), arguments.every)
    measured = search_in_turn(engines, images)
    ways = {name: {**one.figures(), "megabytes": megabytes[name]} for name, one in measured.items()}
    return {"ways": ways}


def as_markdown(report: Figures) -> str:
    """A row for each place and search."""
    rows = [[name, *row] for name, figures in report["places"].items() for row in place_rows(figures)]
    return table(HEADER, rows)


def place_rows(figures: Figures) -> list[list[str]]:
    """One place's rows."""
    return [
        [
            way,
            *accuracy_cells(one),
            f"{one['search_ms']:.1f}",
            f"{one['search_p95_ms']:.1f}",
            f"{one['megabytes']:.2f}",
        ]
        for way, one in figures["ways"].items()
    ]


if __name__ == "__main__":
    main()
