"""Search by instances beside search by retrieval: the same images, in the same maps, with the same features.

Run: OMP_NUM_THREADS=1 python -m plugins.visloc_search.benchmarks.instances.search --data ../shared/data \\
         --markdown plugins/visloc_search/results/instances.md

Two real places and a simulated room, by which settings of the engine were chosen, and two other places. The searches
take turns image by image. Times are processor times on one thread. Prepared maps and features are kept in the work
folder for later runs; preparing takes all processors.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.places import FeatureCache, Place
from benchmarks.program import add_folders, add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from plugins.visloc_search.benchmarks.instances.ways import Way
from plugins.visloc_search.benchmarks.landmarks.measured import ACCURACY_HEADER, accuracy_cells, search_in_turn
from plugins.visloc_search.benchmarks.landmarks.prepared import add_places, chosen_places
from plugins.visloc_search.benchmarks.landmarks.queries import known_images
from visloc_ros.core.map import MapImage
from visloc_ros.evaluation.machine import provenance
from visloc_ros.features import make_extractor, make_matcher
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.config import RETRIEVAL
from visloc_ros.localization.evidence import Query
from visloc_search.instances.config import INSTANCES
from visloc_search.instances.opening import open_instances
from visloc_search.instances.searcher import InstanceCollector

SECTION = "Beside retrieval"
HEADER = ("place", "search", *ACCURACY_HEADER, "search, median ms", "95 % within ms")
OF_INSTANCES = (
    "place", "instances", "points in one instance", "recognised, learned images", "recognised, held-out images",
    "training", "recognition, median ms", "map images searched",
)  # fmt: skip
WHAT_IS_COUNTED = (
    "Not counted are two map images elsewhere, by which each pose is checked for a place that looks the same."
)


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
    add_folders(parser, "out/instances", "maps, rooms and features")
    add_places(parser)
    add_outputs(parser)
    return parser.parse_args()


def measure_place(place: Place, arguments: argparse.Namespace) -> Figures:
    """Figures of both ways of searching one place, and of its instances."""
    map_ = Way(INSTANCES, INSTANCES).prepared_map(place, arguments.work)
    models = make_extractor(), make_matcher()
    engines = {name: AnchorEngine(map_, AnchorConfig(search=name), *models) for name in (RETRIEVAL, INSTANCES)}
    images = known_images(place, FeatureCache(arguments.work / "features", engines[RETRIEVAL]), arguments.every)
    with counted_images() as count:
        measured = search_in_turn(engines, images)
    _, recogniser = open_instances(map_)
    return {
        "ways": {name: one.figures() for name, one in measured.items()},
        "instances": dict(map_.manifest.prepared[INSTANCES]),
        "recognition_ms": float(np.median([timed(recogniser.recognise, image.frame.image) for image in images])),
        "searched_percent": 100.0
        * len(count)
        / (1 + len(images))
        / len(map_.images),  # the first one is searched twice
    }


@contextmanager
def counted_images() -> Iterator[list[str]]:
    """Names of the map images that searches by instances match meanwhile."""
    names: list[str] = []
    match_images = InstanceCollector.match_images

    def counting(self: InstanceCollector, query: Query, images: Sequence[MapImage]) -> Any:
        names.extend(image.name for image in images)
        return match_images(self, query, images)

    with patch.object(InstanceCollector, "match_images", counting):
        yield names


def timed(function: Any, argument: Any) -> float:
    """Processor time of a call in milliseconds."""
    start = time.thread_time()
    function(argument)
    return 1e3 * (time.thread_time() - start)


def as_markdown(report: Figures) -> str:
    """A table of the searches, then one of the instances."""
    places = report["places"]
    ways = [
        [place, way, *accuracy_cells(one), f"{one['search_ms']:.1f}", f"{one['search_p95_ms']:.1f}"]
        for place, figures in places.items()
        for way, one in figures["ways"].items()
    ]
    of_instances = table(OF_INSTANCES, [instance_row(*one) for one in places.items()])
    return f"{table(HEADER, ways)}\n\n{of_instances}\n\n{WHAT_IS_COUNTED}"


def instance_row(place: str, figures: Figures) -> list[str]:
    """A place's line."""
    one = figures["instances"]
    return [
        place,
        str(one["instances"]),
        f"{one['consistent_percent']:.1f} %",
        f"{one['recognised_percent']:.1f} %",
        f"{one['held_out_percent']:.1f} %",
        f"{one['seconds']:.0f} s",
        f"{figures['recognition_ms']:.1f}",
        f"{figures['searched_percent']:.1f} %",
    ]


if __name__ == "__main__":
    main()
