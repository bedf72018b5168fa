"""Views at the edge of a map: of places that are mapped in part, from twice as far as they were mapped, from the side.

Run: python -m benchmarks.anchor.edges --data ../shared/data --markdown results/anchor.md

Each image is searched for twice: as the engine does, and with nothing refused, which shows what could be found. A pose
is right when it is within 25 cm and 5 degrees of the truth, or, far from the map, within four of its own standard
deviations. Maps, rooms and features are kept in the work folder of ``benchmarks.anchor.acceptance``.
"""

import argparse
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.anchor.acceptance_places import (
    PLAN_SEEDS,
    add_options,
    build_map,
    mapped_places,
    recorded,
    rendered,
    with_truth,
)
from benchmarks.places import FeatureCache, Place
from benchmarks.program import new_parser
from benchmarks.results_file import table, write_section
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.evaluation.integrity import Outcome, judge
from visloc_ros.evaluation.machine import provenance
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.simulation.path import PATHS, PosePath
from visloc_ros.sources import SourceConfig

SECTION = "At the edge of maps"
HEADER = ("map and images", "images", "found, nothing refused", "of them right", "found", "of them right")
PARTS = ("_edge", "_part")
DEPTH_M = 2.5  # of what a camera in the room typically looks at
SIDE_DEG = 40.0


@dataclass(frozen=True)
class Displaced:
    """A path whose camera goes about the point it looks at, and back from it.

    Even through walls: seen from outside they are not there.
    """

    path: PosePath
    back_m: float = 0.0
    about_deg: float = 0.0

    def pose(self, seconds: float) -> SE3:
        """Give ``map_from_camera`` at a time."""
        pose = self.path.pose(seconds)
        looked_at = pose @ np.array([[0.0, 0.0, DEPTH_M]])
        turned = rotation_matrix(np.radians([0.0, 0.0, self.about_deg])) @ pose.rotation
        return SE3(turned, looked_at[0] - (DEPTH_M + self.back_m) * turned[:, 2])


VIEWS = {
    "twice as far": Displaced(PATHS["localize"], back_m=DEPTH_M),
    "from the side": Displaced(PATHS["localize"], about_deg=SIDE_DEG),
}


def main() -> None:
    """Search for all images, print the table, and write it where that is asked for."""
    arguments = parse_arguments()
    searched = edges(arguments)
    places = {place.name: place for _, place in searched}  # each map is built once, before two processes need it
    with ProcessPoolExecutor(arguments.processes, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(partial(build_map, work=arguments.work), places.values()))
        rows = list(pool.map(partial(search, arguments=arguments), searched))
    total = ["all", *(str(sum(int(row[column]) for row in rows)) for column in range(1, len(HEADER)))]
    body = table(HEADER, [*rows, total])
    print(body)
    write_section(arguments.markdown, SECTION, provenance(), body)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_options(parser)
    return parser.parse_args()


def edges(arguments: argparse.Namespace) -> list[tuple[str, Place]]:
    """Places mapped in part, and whole rooms with images of another kind."""
    places = [one.place for one in mapped_places(arguments.data, arguments.work)]
    parts = [(place.name, place) for place in places if place.name.endswith(PARTS)]
    return [*parts, *(odd_view(arguments.work, seed, kind) for seed in PLAN_SEEDS for kind in VIEWS)]


def odd_view(work: Path, seed: int, kind: str) -> tuple[str, Place]:
    """A whole room, looked at from where no image of its map was taken."""
    folder = recorded(work, seed, kind.replace(" ", "_"), "localize", VIEWS[kind])
    place = Place(f"room_{seed}", rendered(work, seed, "map"), SourceConfig(), folder, SourceConfig(every=2), 2.0)
    return f"room_{seed}, {kind}", place


def search(edge: tuple[str, Place], arguments: argparse.Namespace) -> list[str]:
    """A row: how many images the engine finds, refusing nothing, and as it is."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    name, place = edge
    frames, found = list(with_truth(place.query_folder, place.queries)), []
    for config in (replace(AnchorConfig(), max_risk=1.0), AnchorConfig()):
        engine = AnchorEngine(place.open_map(arguments.work / "maps"), config)
        cache = FeatureCache(arguments.work / "features", engine)
        key = place.query_folder.name
        answers = [engine.localize(frame, None, cache(f"{key}/{frame.name}", frame)) for frame, _ in frames]
        outcomes = [judge(answer, truth) for answer, (_, truth) in zip(answers, frames, strict=True)]
        found += [
            sum(one is not Outcome.REJECTED for one in outcomes),
            sum(one in (Outcome.RIGHT, Outcome.WEAK) for one in outcomes),
        ]
    return [name, str(len(frames)), *map(str, found)]


if __name__ == "__main__":
    main()
