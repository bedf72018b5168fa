"""How the time of a search grows with the number of maps: simulated rooms, each mapped by a few small images."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.anchor.map_trials import prepared_apart
from benchmarks.anchor.several_places import count_anchors, map_of, queries, simulated_place
from benchmarks.places import FeatureCache, Place
from benchmarks.program import median
from benchmarks.results_file import Figures
from visloc_ros.core.map import LocalFeatures, Map
from visloc_ros.core.types import Anchor, Frame
from visloc_ros.localization import AnchorConfig
from visloc_ros.localization.config import RETRIEVAL
from visloc_ros.localization.multi_map import MultiMapEngine
from visloc_ros.localization.strategies.landmarks.config import LANDMARKS
from visloc_ros.simulation import SimulationConfig
from visloc_ros.simulation.living_room import make_living_room
from visloc_ros.simulation.room import Quad, Room

FIRST_SEED = 1000
SMALL = SimulationConfig(width=480, height=360, focal_px=360.0, rate_hz=0.7, exposure_ms=0.0, samples=2)
MOST_STRETCHED = (1.4, 1.25)
NUM_SEARCHED = 3
"""Rooms whose queries are searched, as far as there are as many."""


def search_growing(work: Path, sizes: Sequence[int], minutes: float) -> list[Figures]:
    """Outcomes and times with ever more maps; the queries are those of the first rooms. A row for each number."""
    places = [room(work, number) for number in range(max(sizes))]
    maps = [prepared_apart(map_of(place, work / "rooms"), minutes) for place in places]
    rows = []
    for size in sorted(sizes):
        found = {search: measure(work, maps[:size], places, search) for search in (LANDMARKS, RETRIEVAL)}
        rows.append({"maps": size, "trained_s": trained_seconds(maps[:size]), **found})
        print(rows[-1], flush=True)
    return rows


def trained_seconds(maps: Sequence[Map]) -> float:
    """How long the networks of the maps had been trained when they were best, in the median."""
    return median([map_.manifest.prepared[LANDMARKS]["recogniser"]["seconds"] for map_ in maps])


def room(work: Path, number: int) -> Place:
    """A furnished room of its own, painted and proportioned as no other."""
    return simulated_place(
        work / "room_images",
        f"room_{number:02}",
        stretched(make_living_room(FIRST_SEED + number), number),
        SMALL,
        SMALL,
    )


def stretched(room: Room, seed: int) -> Room:
    """The room, longer, wider and higher by shares that depend on the seed: all are furnished by one plan."""
    plane, height = np.random.default_rng(seed).uniform(1.0, MOST_STRETCHED)
    scale = np.array([plane, plane, height])
    return Room(
        tuple(
            Quad(one.name, scale * one.corner, scale * one.right, scale * one.down, one.texture) for one in room.quads
        )
    )


def measure(work: Path, maps: Sequence[Map], places: Sequence[Place], search: str) -> Figures:
    """What becomes of the queries, and how many milliseconds one of the first room takes, without its features."""
    engine = MultiMapEngine(maps, AnchorConfig(search=search))
    cache = FeatureCache(work / "features", engine)
    counts: list[Figures] = []
    times: list[list[float]] = []
    for place in places[: min(NUM_SEARCHED, len(maps))]:
        sampled = [(frame, cache(f"{place.name}/{frame.name}", frame), truth) for frame, truth in queries(place, 1)]
        for frame, features, _ in sampled:  # what is worked out once for each landmark is not of a query
            engine.localize(frame, features)
        timed = [(*timed_search(engine, frame, features), truth) for frame, features, truth in sampled]
        counts.append(count_anchors(place.name, [(anchor, truth) for anchor, _, truth in timed]))
        times.append([taken for _, taken, _ in timed])
    totals = {
        key: sum(one[key] for one in counts) for key in ("queries", "poses", "in_right_map", "in_wrong_map", "right")
    }
    return {**totals, "median_ms": median(times[0])}


def timed_search(engine: MultiMapEngine, frame: Frame, features: LocalFeatures) -> tuple[Anchor, float]:
    """What becomes of a query, and the milliseconds that it takes, those of rivals too."""
    started = time.perf_counter()
    anchor = engine.localize(frame, features)
    return anchor, 1e3 * (time.perf_counter() - started)
