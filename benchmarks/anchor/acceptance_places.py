"""Places for right and wrong poses: real places, their edges, and rooms, with the images searched in each.

A room also comes repainted, with its pictures and boxes in another room, mirrored, and seen squarely in front of its
flat walls. For every frame it is known whether it shows the mapped place, and from where.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.places import Place, known_truth, photos
from benchmarks.program import add_folders
from testing.corruptions import blurred, mirrored, occluded
from testing.look_alike import make_look_alike
from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import Frame
from visloc_ros.simulation import SimulationConfig, simulate, write_folder
from visloc_ros.simulation.living_room import LENGTH, WIDTH, make_living_room
from visloc_ros.simulation.path import PosePath
from visloc_ros.simulation.room import Room
from visloc_ros.sources import SourceConfig, open_source

PLAN, MIRRORED_PLAN = "room", "mirrored room"
PLAN_SEEDS, MIRRORED_SEEDS, THINGS_SEEDS = (0, 201, 202, 203), (101, 102, 103), (301, 302)
PHOTO_FOLDERS = ("street_lund", "street_berlin", "sacre_coeur", "vpr_toy", "virtual_gallery", "exif_gps")
BOXES = ("desk box", "chest box", "sideboard crate", "sideboard books", "crate", "small crate", "bench books")
ROOM_CONFIG = SimulationConfig(rate_hz=4 / 3)
WALL_CONFIG = SimulationConfig(rate_hz=1.0, duration_s=24.0, exposure_ms=0.0)
EDGE = 9  # last mapped frame of a room that is mapped in part
TRUTH_TOLERANCE_NS = 20_000_000


@dataclass(frozen=True)
class MappedPlace:
    """A place; those of one ``family`` show the same scene, those of one ``plan`` share their coordinates."""

    place: Place
    family: str
    plan: str


@dataclass(frozen=True, eq=False)
class Planted:
    """A frame to be searched for; ``key`` names its features, ``truth`` is None where it does not show the place."""

    group: str
    key: str
    frame: Frame
    truth: SE3 | None


@dataclass(frozen=True)
class InFrontOfWalls:
    """A camera that stands in front of each wall in turn, half a dozen times, looking at it almost squarely."""

    def pose(self, seconds: float) -> SE3:
        """Give ``map_from_camera``, a new one each second."""
        step = round(seconds)
        wall, along, distance = step % 4, (step // 4 % 3 + 1) / 4, 1.5 + 0.5 * (step // 12)
        yaw = wall * np.pi / 2 + np.radians(8.0) * (-1) ** (step // 4)
        middle = np.array([along * LENGTH, along * WIDTH])
        facing = np.array([np.cos(wall * np.pi / 2), np.sin(wall * np.pi / 2)])
        ends = np.where(facing > 0.5, [LENGTH, WIDTH], 0.0)
        position = np.where(np.abs(facing) > 0.5, ends - distance * facing, middle)
        forward = np.array([np.cos(yaw), np.sin(yaw), 0.0])
        rotation = np.column_stack((np.cross(forward, [0.0, 0.0, 1.0]), [0.0, 0.0, -1.0], forward))
        return SE3(rotation, np.array([*position, 1.6]))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that all programs have which search these places."""
    add_folders(parser, "out/acceptance", "maps, rooms, features")
    parser.add_argument("--processes", type=int, default=2, help="places searched at once")
    parser.add_argument("--markdown", type=Path, help="results file to write the tables into")


def build_map(place: Place, work: Path) -> None:
    """Build a place's map if missing, in a process of its own."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    place.open_map(work / "maps")


def mapped_places(data: Path, work: Path) -> list[MappedPlace]:
    """All places with their maps' frames, rendered if missing."""
    kitchen, flight, drive = (data / name for name in ("7scenes_redkitchen", "euroc_mh05", "kitti_06"))
    parts = {
        "redkitchen": (kitchen, SourceConfig(last=499, every=10), SourceConfig(first=500, every=5)),
        "redkitchen_edge": (kitchen, SourceConfig(last=99, every=10), SourceConfig(first=600, every=5)),
        "redkitchen_part": (kitchen, SourceConfig(first=200, last=299, every=10), SourceConfig(first=300, every=8)),
        "euroc": (flight, SourceConfig(every=10), SourceConfig(first=5, every=10)),
        "euroc_edge": (flight, SourceConfig(first=150, last=199, every=5), SourceConfig(every=4)),
        "kitti": (drive, SourceConfig(every=4), SourceConfig(first=1, every=2)),
    }
    real = [
        MappedPlace(Place(name, folder, mapped, folder, queries, 2.0), folder.name, folder.name)
        for name, (folder, mapped, queries) in parts.items()
    ]
    return [*real, *(room for seed in (*PLAN_SEEDS, *MIRRORED_SEEDS) for room in mapped_rooms(work, seed))]


def mapped_rooms(work: Path, seed: int) -> Iterator[MappedPlace]:
    """The room of a seed, mapped as a whole and in part, by day; searched in the evening."""
    folder, family = rendered(work, seed, "map"), f"room_{seed}"
    plan = PLAN if seed in PLAN_SEEDS else MIRRORED_PLAN
    whole = Place(family, folder, SourceConfig(), rendered(work, seed, "localize"), SourceConfig(every=2), 2.0)
    part = replace(whole, name=f"{family}_edge", mapped=SourceConfig(last=EDGE))
    return (MappedPlace(place, family, plan) for place in (whole, part))


def planted(mapped: MappedPlace, others: list[MappedPlace], data: Path, work: Path) -> Iterator[Planted]:
    """Everything that is searched for in a place."""
    place, rng = mapped.place, np.random.default_rng(0)
    spoilt: tuple[tuple[str, Callable[[Frame], Frame]], ...] = (
        ("blurred", lambda frame: blurred(frame, 2.0)),
        ("half occluded", lambda frame: occluded(frame, 0.5, rng)),
        ("mostly occluded", lambda frame: occluded(frame, 0.8, rng)),
    )
    for index, (frame, truth) in enumerate(with_truth(place.query_folder, place.queries)):
        yield Planted("the place", place.query_folder.name, frame, truth)
        kind, spoil = spoilt[index % len(spoilt)]
        yield Planted(kind, f"{place.name} {kind}", spoil(frame), truth)
        if index % 2:
            yield Planted("mirrored", f"{place.name} mirrored", mirrored(frame), None)
    if mapped.plan in (PLAN, MIRRORED_PLAN):
        yield from planted_in_room(mapped, work)
    for other in others:
        if other.plan != mapped.plan and not other.place.name.endswith(("_edge", "_part")):
            frames = islice(with_truth(other.place.query_folder, other.place.queries), 0, None, 3)
            yield from (Planted("other place", other.place.query_folder.name, frame, None) for frame, _ in frames)
    for folder in PHOTO_FOLDERS:
        yield from (Planted("photos", folder, frame, None) for frame in islice(photos(data / folder), 0, None, 4))


def planted_in_room(mapped: MappedPlace, work: Path) -> Iterator[Planted]:
    """The room's flat walls, the rooms that share its plan and not its paint, and those with its things elsewhere."""
    seed = int(mapped.family.removeprefix("room_"))
    walls = rendered(work, seed, "walls")
    yield from (Planted("flat walls", walls.name, frame, truth) for frame, truth in with_truth(walls))
    for other in PLAN_SEEDS if mapped.plan == PLAN else MIRRORED_SEEDS:
        if other != seed:
            folder = rendered(work, other, "localize")
            frames = with_truth(folder, SourceConfig(every=4))
            yield from (Planted("repainted", folder.name, frame, truth) for frame, truth in frames)
    if seed == PLAN_SEEDS[0]:
        for other in THINGS_SEEDS:
            folder = rendered(work, other, "localize")
            frames = with_truth(folder)
            yield from (Planted("its things elsewhere", folder.name, frame, None) for frame, _ in frames)


def with_truth(folder: Path, config: SourceConfig | None = None) -> Iterator[tuple[Frame, SE3]]:
    """Frames with their true poses; those without one are left out."""
    source = open_source(folder, config or SourceConfig())
    truth = known_truth(source)
    for frame in source:
        pose = truth.nearest(frame.stamp_ns, TRUTH_TOLERANCE_NS)
        if pose is not None:
            yield frame, pose


def rendered(work: Path, seed: int, what: str) -> Path:
    """Recording of a room: along the path of a pass, or in front of its walls; rendered if missing."""
    if what == "walls":
        return recorded(work, seed, what, "localize", InFrontOfWalls(), WALL_CONFIG)
    return recorded(work, seed, what, what)


def recorded(
    work: Path,
    seed: int,
    what: str,
    pass_name: str,
    path: PosePath | None = None,
    config: SimulationConfig = ROOM_CONFIG,
) -> Path:
    """Recording of a room in the light of a pass, along the pass's path or another; ``what`` names its folder."""
    folder = work / "rooms" / f"room_{seed}_{what}"
    if not folder.exists():
        write_folder(simulate(config, pass_name, make_room(seed), path), folder)
    return folder


def make_room(seed: int) -> Room:
    """The living room repainted, or another room with its pictures, or with its boxes, too."""
    if seed in PLAN_SEEDS:
        return make_living_room(seed)
    original = make_living_room(PLAN_SEEDS[0])
    other = make_look_alike(original, seed)
    if seed in MIRRORED_SEEDS:
        return other
    kept = {quad.name: quad.texture for quad in original.quads if quad.name.startswith(BOXES)}
    return Room(tuple(quad.with_texture(kept.get(quad.name, quad.texture)) for quad in other.quads))
