"""Search by landmarks beside search by retrieval: the same images, in the same maps, with the same features.

Run: OMP_NUM_THREADS=1 python -m plugins.visloc_search.benchmarks.landmarks.search --data ../shared/data \\
         --markdown plugins/visloc_search/results/landmarks.md

Two real places and a simulated room, by which settings of the engine were chosen, and two other places are mapped. With
--network, maps are also searched by landmarks that a network recognises, which is trained for them. The searches take
turns image by image. Times are processor times of the search on one thread. Prepared maps and features are kept in the
work folder for later runs.
"""

import argparse

import torch

from benchmarks.places import FeatureCache, Place, all_places
from benchmarks.program import add_folders, add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from plugins.visloc_search.benchmarks.landmarks.measured import ACCURACY_HEADER, accuracy_cells, search_in_turn
from plugins.visloc_search.benchmarks.landmarks.prepared import (
    DEFAULT,
    TRAINED,
    add_places,
    chosen_places,
    preparation_minutes,
    prepared_map,
)
from plugins.visloc_search.benchmarks.landmarks.queries import known_images
from plugins.visloc_search.benchmarks.landmarks.storage import (
    STORAGE_HEADER,
    WHAT_IS_COUNTED,
    storage_figures,
    storage_row,
)
from visloc_ros.evaluation.machine import provenance
from visloc_ros.features import make_extractor, make_matcher
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.config import RETRIEVAL
from visloc_search.landmarks.config import LANDMARKS, NETWORK, POINTS

SECTION = "Beside retrieval"
BASELINE = "retrieval, always LightGlue"
WAYS = {
    RETRIEVAL: AnchorConfig(),
    BASELINE: AnchorConfig(nearest_first=False),
    LANDMARKS: AnchorConfig(search=LANDMARKS),
}
BY_NETWORK = "landmarks, by a network"
HEADER = ("place", "search", *ACCURACY_HEADER, "search, median ms", "95 % within ms")


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
    parser.add_argument("--network", nargs="*", default=(), help="places for which a network is trained, too")
    add_outputs(parser)
    return parser.parse_args()


def measure_place(place: Place, arguments: argparse.Namespace) -> Figures:
    """Figures of all ways of searching one place, and its bytes."""
    places, work = all_places(arguments.data, arguments.work), arguments.work
    preparations = [DEFAULT, TRAINED] if place.name in arguments.network else [DEFAULT]
    maps = {one.recogniser: prepared_map(place, places, work, one) for one in preparations}
    models = make_extractor(), make_matcher()
    engines = {way: AnchorEngine(maps[POINTS], config, *models) for way, config in WAYS.items()}
    if NETWORK in maps:
        engines[BY_NETWORK] = AnchorEngine(maps[NETWORK], WAYS[LANDMARKS], *models)
    images = known_images(place, FeatureCache(arguments.work / "features", engines[RETRIEVAL]), arguments.every)
    measured = search_in_turn(engines, images)
    return {
        "ways": {name: one.figures() for name, one in measured.items()},
        "recognisers": {
            one.recogniser: {
                "bytes": storage_figures(place, maps[one.recogniser], work),
                "minutes": preparation_minutes(place, work, one),
            }
            for one in preparations
        },
    }


def as_markdown(report: Figures) -> str:
    """A table of all places, then the bytes."""
    places = report["places"]
    ways = [way_row(name, way, one) for name, figures in places.items() for way, one in figures["ways"].items()]
    rows = [
        storage_row(name, recogniser, one["bytes"], one["minutes"])
        for name, figures in places.items()
        for recogniser, one in figures["recognisers"].items()
    ]
    return f"{table(HEADER, ways)}\n\n### Bytes\n\n{table(STORAGE_HEADER, rows)}\n\n{WHAT_IS_COUNTED}"


def way_row(place: str, way: str, one: Figures) -> list[str]:
    """One way's line."""
    return [place, way, *accuracy_cells(one), f"{one['search_ms']:.1f}", f"{one['search_p95_ms']:.1f}"]


if __name__ == "__main__":
    main()
