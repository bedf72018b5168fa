"""Search by landmarks beside search by retrieval: the same images, in the same maps, with the same features.

Run: OMP_NUM_THREADS=1 python -m benchmarks.landmarks.search --data ../shared/data --markdown results/landmarks.md

Two real places and a simulated room are mapped, by which settings of the engine were chosen, and two by which none was.
The ways of searching take turns image by image. Times are processor times of the search on one thread. Prepared maps
and features are kept in the work folder, so that a second run is quicker.
"""

import argparse

import torch

from benchmarks.landmarks.engines import Parts, nearest_recogniser
from benchmarks.landmarks.measured import ACCURACY_HEADER, accuracy_cells, search_in_turn
from benchmarks.landmarks.prepared import add_folders, all_places, chosen_places, preparation_minutes, prepared_map
from benchmarks.landmarks.queries import features_ms, known_images
from benchmarks.landmarks.storage import STORAGE_HEADER, WHAT_IS_COUNTED, storage_figures, storage_row
from benchmarks.places import FeatureCache, Place
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.evaluation.machine import provenance
from visloc_ros.features import make_extractor, make_matcher
from visloc_ros.localization import AnchorEngine

SECTION = "Beside retrieval"
BASELINE = "retrieval, always LightGlue"
HEADER = (
    "search", *ACCURACY_HEADER, "search ms", "95 %", "with features ms", f"times faster than {BASELINE}",
    "with features", "tried by nearest neighbours", "matched by LightGlue",
)  # fmt: skip


def main() -> None:
    """Measure all places, and write the tables."""
    arguments = parse_arguments()
    torch.set_num_threads(1)
    places = chosen_places(arguments.data, arguments.work, arguments.only)
    report = {**provenance(), "places": {place.name: measure_place(place, arguments) for place in places}}
    body = as_markdown(report)
    print(body)
    write_outputs(arguments, SECTION, report, body)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_folders(parser)
    parser.add_argument("--only", nargs="*", help="places: redkitchen, euroc, room, drive, painted")
    parser.add_argument("--every", type=int, default=1, help="search for every n-th image only")
    add_outputs(parser)
    return parser.parse_args()


def measure_place(place: Place, arguments: argparse.Namespace) -> Figures:
    """Figures of all ways of searching one place, and its bytes."""
    map_ = prepared_map(place, all_places(arguments.data, arguments.work), arguments.work)
    parts = Parts.of(map_, make_extractor(), make_matcher())
    engines = make_engines(parts)
    images = known_images(place, FeatureCache(arguments.work / "features", parts.engine()), arguments.every)
    measured = search_in_turn(engines, images)
    return {
        "landmarks": parts.landmarks.num_landmarks,
        "features_ms": features_ms(parts.extractor, images),
        "ways": {name: one.figures() for name, one in measured.items()},
        "bytes": storage_figures(place, map_, arguments.work),
        "minutes": preparation_minutes(place, arguments.work),
    }


def make_engines(parts: Parts) -> dict[str, AnchorEngine]:
    """All ways of searching, by name."""
    nearest = Parts(parts.map, parts.landmarks, nearest_recogniser(parts.landmarks), parts.extractor, parts.matcher)
    return {
        "retrieval (default)": parts.engine(),
        BASELINE: parts.engine({"nearest_first": False}),
        "landmarks": parts.landmark_engine(),
        "landmarks by nearest neighbours": nearest.landmark_engine(),
        "landmarks without LightGlue": parts.landmark_engine({"matcher": {"name": "nearest"}}),
    }


def as_markdown(report: Figures) -> str:
    """A table for each place, then the bytes."""
    places = report["places"]
    parts = [place_part(name, figures) for name, figures in places.items()]
    rows = [storage_row(name, figures["bytes"], figures["minutes"]) for name, figures in places.items()]
    storage = f"### Bytes\n\n{table(STORAGE_HEADER, rows)}\n\nIn kB. {WHAT_IS_COUNTED}"
    return "\n\n".join([*parts, storage])


def place_part(name: str, figures: Figures) -> str:
    """One place's table."""
    features = figures["features_ms"]
    baseline = figures["ways"][BASELINE]["search_ms"]
    rows = [way_row(way, one, features, baseline) for way, one in figures["ways"].items()]
    words = f"{figures['landmarks']} landmarks; the features of an image take {features:.0f} ms."
    return f"### {name}\n\n{words}\n\n{table(HEADER, rows)}"


def way_row(way: str, one: Figures, features: float, baseline: float) -> list[str]:
    """One way's line; ``features`` and ``baseline`` are ms of the features and of the search that it is compared to."""
    search = one["search_ms"]
    return [
        way,
        *accuracy_cells(one),
        f"{search:.1f}",
        f"{one['search_p95_ms']:.1f}",
        f"{search + features:.0f}",
        f"{baseline / search:.1f}",
        f"{(baseline + features) / (search + features):.2f}",
        f"{one['tried_quickly']:.1f}",
        f"{one['tried_learned']:.1f}",
    ]


if __name__ == "__main__":
    main()
