"""Ablation of the search by landmarks: the default one against itself with one thing changed.

Run: OMP_NUM_THREADS=1 python -m benchmarks.landmarks.ablation --data ../shared/data --markdown results/landmarks.md

The variants take turns image by image, with the same features. Where the landmarks are others, or the network is, a
recogniser of its own is trained. Times are processor times of the search, without features, on one thread.
"""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from benchmarks.landmarks.engines import ConfidentSearcher, Parts, Unfiltered, UnrestrictedSearcher
from benchmarks.landmarks.measured import ACCURACY_HEADER, accuracy_cells, search_in_turn
from benchmarks.landmarks.prepared import Preparation, add_folders, all_places, chosen_places, prepared_map
from benchmarks.landmarks.queries import known_images
from benchmarks.places import FeatureCache, Place
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.evaluation.machine import provenance
from visloc_ros.features import make_extractor, make_matcher
from visloc_ros.localization import AnchorEngine
from visloc_ros.localization.strategies.landmarks import byte_report, label_points, reduce_map
from visloc_ros.localization.strategies.landmarks.config import LANDMARKS
from visloc_ros.localization.strategies.landmarks.landmark_map import Describe, mean_descriptors, medoid_descriptors

SECTION = "Ablation"
CHOSEN_BY = ("redkitchen", "euroc", "room")
SIDE_PX = 640  # of the image that radii are told for
RADII_PX = (0, 8, 30)
UNGUIDED: Mapping[str, Any] = {"guided": {"enabled": False}}
TRAINED = {
    "8 landmarks": Preparation("k8", {"landmarks": {"num_landmarks": 8}}),
    "16 landmarks": Preparation("k16", {"landmarks": {"num_landmarks": 16}}),
    "32 landmarks": Preparation("k32", {"landmarks": {"num_landmarks": 32}}),
    "points seen by three images or more": Preparation("tracks3", {"landmarks": {"min_track_length": 3}}),
    "no positions of keypoints": Preparation("no_positions", positions=False),
}
HEADER = ("changed", "landmarks", "points", "kB", *ACCURACY_HEADER, "search ms", "95 %", "landmarks tried", "LightGlue")


def main() -> None:
    """Measure all variants in all places, and write the tables."""
    arguments = parse_arguments()
    torch.set_num_threads(1)
    places = chosen_places(arguments.data, arguments.work, arguments.only, CHOSEN_BY)
    figures = {place.name: measure_place(place, arguments) for place in places}
    report, body = {**provenance(), "places": figures}, as_markdown(figures)
    print(body)
    write_outputs(arguments, SECTION, report, body)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_folders(parser)
    parser.add_argument("--only", nargs="*", help="places: redkitchen, euroc, room (these by default), drive, painted")
    parser.add_argument("--minutes", type=float, default=8.0, help="longest training of a variant")
    parser.add_argument("--untrained", action="store_true", help="leave out variants that need a training")
    parser.add_argument("--every", type=int, default=1, help="search for every n-th image only")
    add_outputs(parser)
    return parser.parse_args()


def measure_place(place: Place, arguments: argparse.Namespace) -> Figures:
    """Figures of all variants in one place."""
    places = all_places(arguments.data, arguments.work)
    default = Parts.of(prepared_map(place, places, arguments.work), make_extractor(), make_matcher())
    variants = {**searched_otherwise(default), **reduced_otherwise(default)}
    if not arguments.untrained:
        variants |= trained_otherwise(place, default, arguments)
    cache = FeatureCache(arguments.work / "features", default.engine())
    images = known_images(place, cache, arguments.every)
    measured = search_in_turn({name: engine for name, (_, engine) in variants.items()}, images)
    return {name: {**size_of(parts), **measured[name].figures()} for name, (parts, _) in variants.items()}


Variants = dict[str, tuple[Parts, AnchorEngine]]


def searched_otherwise(parts: Parts) -> Variants:
    """The same landmarks and recogniser, used in other ways."""
    unfiltered = replace(parts, recogniser=Unfiltered(parts.recogniser))
    alone = {**UNGUIDED, "matcher": {"name": "nearest"}}
    return {
        "nothing": (parts, parts.landmark_engine()),
        "no pre-filter": (unfiltered, unfiltered.landmark_engine()),
        "all keypoints with all points of the frame": (parts, parts.landmark_engine(make=UnrestrictedSearcher)),
        "no guided search: always LightGlue": (parts, parts.landmark_engine(UNGUIDED)),
        "no guided search, no LightGlue": (parts, parts.landmark_engine(alone)),
        "landmarks ranked by probability": (parts, parts.landmark_engine(make=ConfidentSearcher)),
    }


def reduced_otherwise(parts: Parts) -> Variants:
    """The same landmarks and recogniser, the map reduced to other points, or with other descriptors of them."""
    variants = {"medoid descriptors": _reduced(parts, describe=medoid_descriptors)}
    for radius in RADII_PX:
        variants[f"thinned to {radius} px of {SIDE_PX}"] = _reduced(parts, radius / SIDE_PX)
    return {name: (one, one.landmark_engine()) for name, one in variants.items()}


def _reduced(parts: Parts, radius: float | None = None, describe: Describe = mean_descriptors) -> Parts:
    config = parts.landmarks.config
    if radius is not None:
        config = replace(config, thinning_radius=radius)
    return replace(parts, landmarks=reduce_map(parts.map, label_points(parts.map, config), config, describe))


def trained_otherwise(place: Place, parts: Parts, arguments: argparse.Namespace) -> Variants:
    """Other landmarks, or another network, with a recogniser trained for them."""
    places, variants = all_places(arguments.data, arguments.work), {}
    for name, preparation in TRAINED.items():
        options = {**preparation.options, "training": {"max_minutes": arguments.minutes}}
        map_ = prepared_map(place, places, arguments.work, replace(preparation, options=options))
        one = Parts.of(map_, parts.extractor, parts.matcher)
        variants[name] = (one, one.engine({"search": LANDMARKS}))
    return variants


def size_of(parts: Parts) -> Figures:
    """What is searched."""
    landmarks = parts.landmarks
    return {
        "landmarks": landmarks.num_landmarks,
        "points": len(landmarks.map.points),
        "bytes": sum(byte_report(landmarks).values()),
    }


def as_markdown(places: Figures) -> str:
    """A table for each place."""
    parts = []
    for place, variants in places.items():
        rows = [variant_row(name, figures) for name, figures in variants.items()]
        parts.append(f"### {place}\n\n{table(HEADER, rows)}")
    return "\n\n".join(parts)


def variant_row(name: str, figures: Figures) -> list[str]:
    """One variant's line; kB are those of the landmarks without their recogniser."""
    return [
        name,
        str(figures["landmarks"]),
        str(figures["points"]),
        f"{figures['bytes'] / 1e3:,.0f}",
        *accuracy_cells(figures),
        f"{figures['search_ms']:.1f}",
        f"{figures['search_p95_ms']:.1f}",
        f"{figures['tried_quickly']:.1f}",
        f"{figures['tried_learned']:.1f}",
    ]


if __name__ == "__main__":
    main()
