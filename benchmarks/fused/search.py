"""Search by fused descriptors beside retrieval and landmarks: the same images, maps and features.

Run: OMP_NUM_THREADS=1 python -m benchmarks.fused.search --data ../shared/data --markdown results/fused.md

The ways of searching take turns image by image. Times are processor times of the search on one thread. Prepared maps
and features are kept in the work folder, that of the landmarks' benchmarks, so that a second run is quicker.
"""

import argparse
from typing import Any

import torch

from benchmarks.fused.prepared import fused_map
from benchmarks.landmarks.measured import ACCURACY_HEADER, accuracy_cells, search_in_turn
from benchmarks.landmarks.prepared import add_folders, all_places, chosen_places
from benchmarks.landmarks.queries import features_ms, known_images
from benchmarks.places import FeatureCache, Place
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.search_comparison import searched_bytes
from visloc_ros.features import make_extractor, make_matcher
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.config import RETRIEVAL
from visloc_ros.localization.strategies.fused.config import FUSED
from visloc_ros.localization.strategies.landmarks.config import LANDMARKS

SECTION = "Beside retrieval and landmarks"
BASELINE = "retrieval, always LightGlue"
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "local only": {"rho": 0.0},
    "int8": {"storage": "int8"},
    "as in the paper": {"smooth": 0, "convert": False},
    "3 candidates": {"candidates": 3},
}
HEADER = (
    "search", *ACCURACY_HEADER, "search ms", "95 %", f"times faster than {BASELINE}", "matched by LightGlue", "MB",
)  # fmt: skip


def main() -> None:
    """Measure all places, and write the tables."""
    arguments = parse_arguments()
    torch.set_num_threads(1)
    places = chosen_places(arguments.data, arguments.work, arguments.only, ["redkitchen"])
    report = {**provenance(), "places": {place.name: measure_place(place, arguments) for place in places}}
    body = as_markdown(report)
    print(body)
    write_outputs(arguments, SECTION, report, body)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_folders(parser)
    parser.add_argument("--only", nargs="*", help="places: redkitchen (the default), euroc, room, drive, painted")
    parser.add_argument("--every", type=int, default=1, help="search for every n-th image only")
    parser.add_argument("--options", nargs="*", default=list(OPTIONS), help=f"of the fused search: {list(OPTIONS)}")
    add_outputs(parser)
    return parser.parse_args()


def measure_place(place: Place, arguments: argparse.Namespace) -> Figures:
    """Figures of all ways of searching one place, and their bytes."""
    places = all_places(arguments.data, arguments.work)
    extractor, matcher = make_extractor(), make_matcher()
    engines: dict[str, AnchorEngine] = {}
    megabytes: dict[str, float] = {}
    for name in arguments.options:
        map_ = fused_map(place, places, arguments.work, name, OPTIONS[name])
        if not engines:
            for way in (RETRIEVAL, LANDMARKS):
                engines[way] = AnchorEngine(map_, AnchorConfig(search=way), extractor, matcher)
                megabytes[way] = sum(searched_bytes(map_, way).values()) / 1e6
            engines[BASELINE] = AnchorEngine(map_, AnchorConfig(nearest_first=False), extractor, matcher)
            megabytes[BASELINE] = megabytes[RETRIEVAL]
        own = f"{FUSED}, {name}"
        engines[own] = AnchorEngine(map_, AnchorConfig(search=FUSED), extractor, matcher)
        megabytes[own] = sum(searched_bytes(map_, FUSED).values()) / 1e6
    images = known_images(place, FeatureCache(arguments.work / "features", engines[RETRIEVAL]), arguments.every)
    measured = search_in_turn(engines, images)
    ways = {name: {**one.figures(), "megabytes": megabytes[name]} for name, one in measured.items()}
    memory = map_.manifest.prepared[FUSED]["memory"]
    return {"features_ms": features_ms(extractor, images), "ways": ways, "memory": memory}


def as_markdown(report: Figures) -> str:
    """A table for each place."""
    return "\n\n".join(place_part(name, figures) for name, figures in report["places"].items())


def place_part(name: str, figures: Figures) -> str:
    """One place's table."""
    baseline = figures["ways"][BASELINE]["search_ms"]
    rows = [way_row(way, one, baseline) for way, one in figures["ways"].items()]
    memory = figures["memory"]
    shares = ", ".join(f"{memory[one]['percent_of_hierarchical']:.1f} % as {one}" for one in ("float16", "int8"))
    words = (
        f"The features of an image take {figures['features_ms']:.0f} ms. Of the bytes of hierarchical localization "
        f"({memory['hierarchical'] / 1e6:.2f} MB: keypoints in half precision and global descriptors) fused "
        f"descriptors take {shares}."
    )
    return f"### {name}\n\n{words}\n\n{table(HEADER, rows)}"


def way_row(way: str, one: Figures, baseline: float) -> list[str]:
    """One way's line; ``baseline`` are ms of the search that it is compared to."""
    return [
        way,
        *accuracy_cells(one),
        f"{one['search_ms']:.1f}",
        f"{one['search_p95_ms']:.1f}",
        f"{baseline / one['search_ms']:.1f}",
        f"{one['tried_learned']:.1f}",
        f"{one['megabytes']:.2f}",
    ]


if __name__ == "__main__":
    main()
