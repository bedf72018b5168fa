"""How rare is a pose for an image of another place? Searches every image of every place in all other maps.

Run: python -m benchmarks.anchor.other_places --data ../shared/data --markdown results/anchor.md

Each image is searched without a prediction and with a false one. Rooms of one plan are not searched in each other's
maps, since a pose there may be right. Images of one recording are alike, so the bound holds for such recordings. Maps,
rooms and features are kept in the work folder of ``benchmarks.anchor.acceptance``.
"""

import argparse
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy.stats import beta

from benchmarks.anchor.acceptance_places import PHOTO_FOLDERS, MappedPlace, add_options, build_map, mapped_places
from benchmarks.places import FeatureCache, photos
from benchmarks.program import new_parser
from benchmarks.results_file import write_section
from testing.corruptions import false_prior
from visloc_ros.core.types import AnchorPose, Frame
from visloc_ros.evaluation.machine import provenance
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.sources import SourceConfig, open_source

SECTION = "Images of other places"
SEQUENCES = {
    "7scenes_redkitchen": 2,
    "euroc_mh05": 1,
    "kitti_00_small": 1,
    "kitti_06": 1,
    "tum_fr1_rpy_start": 1,
    "euroc_v101_still": 1,
}
"""Real sequences, and which of their images are taken: every n-th."""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Recording:
    """Images of one place; those of one ``plan`` may show the same. Photos have none."""

    folder: Path
    plan: str = ""
    every: int = 1

    def frames(self) -> Iterator[Frame]:
        """The images."""
        return iter(open_source(self.folder, SourceConfig(every=self.every))) if self.plan else photos(self.folder)

    def key(self, frame: Frame) -> str:
        """The name that an image's features are kept under."""
        return f"{self.folder.name}/{frame.name}"


def main() -> None:
    """Search all images in all other maps, and report the number of poses."""
    arguments = parse_arguments()
    places = searched_places(arguments)
    with ProcessPoolExecutor(arguments.processes, multiprocessing.get_context("spawn")) as pool:
        # Each map is built, and each feature extracted, by one process alone.
        list(pool.map(partial(build_map, work=arguments.work), [one.place for one in places]))
        list(pool.map(partial(extract_features, arguments=arguments), recordings(arguments)))
        outcomes = sum(pool.map(partial(search, arguments=arguments), [one.place.name for one in places]), Counter())
    searches, poses = outcomes.total(), outcomes[True]
    bound = float(beta.ppf(CONFIDENCE, poses + 1, searches - poses))
    body = (
        f"{poses} poses of {searches} searches in {len(places)} maps: at most {1e4 * bound:.2f} in 10,000, with "
        f"{CONFIDENCE:.0%} confidence (Clopper and Pearson)."
    )
    write_section(arguments.markdown, SECTION, provenance(), body)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_options(parser)
    return parser.parse_args()


def searched_places(arguments: argparse.Namespace) -> list[MappedPlace]:
    """Places with maps to search: all that are mapped as a whole."""
    places = mapped_places(arguments.data, arguments.work)
    return [one for one in places if not one.place.name.endswith(("_edge", "_part"))]


def recordings(arguments: argparse.Namespace) -> Iterator[Recording]:
    """Real sequences, both passes through each room, and photos."""
    for name, every in SEQUENCES.items():
        yield Recording(arguments.data / name, name, every)
    for one in searched_places(arguments):
        if one.plan not in SEQUENCES:
            yield Recording(one.place.map_folder, one.plan)
            yield Recording(one.place.query_folder, one.plan)
    for folder in PHOTO_FOLDERS:
        yield Recording(arguments.data / folder)


def extract_features(recording: Recording, arguments: argparse.Namespace) -> None:
    """Extract the features of a recording if missing."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    _, cache = engine_and_cache(searched_places(arguments)[0], arguments)
    for frame in recording.frames():
        cache(recording.key(frame), frame)


def search(name: str, arguments: argparse.Namespace) -> Counter[bool]:
    """Search for all images of other places in the map of one: how many have a pose, and how many none."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    mapped = next(one for one in searched_places(arguments) if one.place.name == name)
    engine, cache = engine_and_cache(mapped, arguments)
    rng, outcomes = np.random.default_rng(0), Counter[bool]()
    for recording in recordings(arguments):
        for frame in recording.frames() if recording.plan != mapped.plan else ():
            features = cache(recording.key(frame), frame)
            for prior in (None, false_prior(engine.map, rng)):
                outcomes[isinstance(engine.localize(frame, prior, features), AnchorPose)] += 1
    return outcomes


def engine_and_cache(mapped: MappedPlace, arguments: argparse.Namespace) -> tuple[AnchorEngine, FeatureCache]:
    """The engine with a place's map, and the features of all images."""
    engine = AnchorEngine(mapped.place.open_map(arguments.work / "maps"), AnchorConfig())
    return engine, FeatureCache(arguments.work / "features", engine)


if __name__ == "__main__":
    main()
