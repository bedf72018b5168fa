"""Two rooms that look the same, 50 m apart in one map: one place for a program that goes by what it sees."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.anchor.map_trials import count_answers
from benchmarks.places import FeatureCache, Place, known_truth, true_pose
from benchmarks.results_file import Figures
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.trajectory import Trajectory, write_tum
from visloc_ros.core.types import Frame
from visloc_ros.localization import AnchorEngine
from visloc_ros.localization.position_hint import PositionHint
from visloc_ros.simulation import SimulationConfig, simulate, write_folder
from visloc_ros.simulation.living_room import make_living_room
from visloc_ros.simulation.look_alike import PICTURES
from visloc_ros.simulation.room import Room
from visloc_ros.sources import SourceConfig, open_source

SECOND_FROM_FIRST = np.array([50.0, 0.0, 0.0])
"""Where the second room lies in the map, of which the first is the origin."""
CHANGED = 0.1
"""Share of the pictures, and of all other surfaces but walls, that differ."""
OTHER_SEED = 77
LATER_NS = 10**12
"""What the second room was recorded later: names of its images are not those of the first."""
CONFIG = SimulationConfig(rate_hz=1.0)
HINTS = (
    ("none", None, np.zeros(3)),
    ("sigma 10 m", 10.0, np.zeros(3)),
    ("sigma 3 m", 3.0, np.zeros(3)),
    ("sigma 3 m, 50 m off", 3.0, np.array([0.0, 50.0, 0.0])),
)
"""Name, standard deviation and error of what is known of the position; the last is far from both rooms."""
SHELL = ("floor", "ceiling", "north wall", "east wall", "south wall", "west wall")


@dataclass(frozen=True)
class Twins:
    """Folders of the recordings: of both rooms to be mapped, and of each to be searched for."""

    mapped: Path
    queries: tuple[Path, Path]

    @property
    def place(self) -> Place:
        """Both rooms as one place; its queries are those of the first."""
        return Place("twins", self.mapped, SourceConfig(), self.queries[0], SourceConfig(), CONFIG.rate_hz)


def twin_rooms(work: Path, config: SimulationConfig = CONFIG) -> Twins:
    """The recordings, rendered below ``work`` where they are not there yet; true poses are in the common map."""
    first = make_living_room()
    rooms = {"first": first, "second": slightly_changed(first)}
    for name, room in rooms.items():
        for pass_name in ("map", "localize"):
            folder = work / f"twin_{name}_{pass_name}"
            if not folder.exists():
                write_folder(simulate(config, pass_name, room), folder)
    mapped = work / "twins_map"
    if not mapped.exists():
        join(work / "twin_first_map", work / "twin_second_map", mapped)
    return Twins(mapped, (work / "twin_first_localize", work / "twin_second_localize"))


def slightly_changed(room: Room) -> Room:
    """The room with some pictures and other things exchanged."""
    rng = np.random.default_rng(0)
    fronts = [f"{picture} front" for picture in PICTURES]
    others = [quad.name for quad in room.quads if quad.name not in (*fronts, *SHELL)]
    changed = {
        str(name) for names in (fronts, others) for name in rng.choice(names, round(CHANGED * len(names)), False)
    }
    elsewhere = make_living_room(OTHER_SEED)
    return Room(
        tuple(
            quad.with_texture(elsewhere.quad(quad.name).texture) if quad.name in changed else quad
            for quad in room.quads
        )
    )


def join(first: Path, second: Path, folder: Path) -> None:
    """One recording of two, the second at its place in the map."""
    whole = folder.with_name(f".{folder.name}")
    shutil.rmtree(whole, ignore_errors=True)
    shutil.copytree(first, whole)
    for image in (second / "rgb").iterdir():
        shutil.copy(image, whole / "rgb" / f"{int(image.stem) + LATER_NS}{image.suffix}")
    one, other = (known_truth(open_source(path)) for path in (first, second))
    stamps = [*one.stamps_ns, *(other.stamps_ns + LATER_NS)]
    write_tum(whole / "groundtruth_tum.txt", np.array(stamps), [*one.poses, *moved(other, SECOND_FROM_FIRST).poses])
    whole.rename(folder)


def moved(truth: Trajectory, offset: Array) -> Trajectory:
    """True poses somewhere else in the map."""
    return Trajectory(truth.stamps_ns, tuple(SE3(pose.rotation, pose.translation + offset) for pose in truth.poses))


def queries(twins: Twins) -> Iterator[tuple[str, Frame, SE3]]:
    """Room, frame and true pose in the common map of all queries."""
    for name, folder, offset in zip(("first", "second"), twins.queries, (np.zeros(3), SECOND_FROM_FIRST), strict=True):
        source = open_source(folder)
        truth = moved(known_truth(source), offset)
        for frame in source:
            yield name, frame, true_pose(truth, frame.stamp_ns)


def search_twins(twins: Twins, engine: AnchorEngine, cache: FeatureCache) -> list[Figures]:
    """Outcomes without a hint and with hints: a row for each, both rooms together."""
    sampled = [(frame, cache(f"{name}/{frame.name}", frame), truth) for name, frame, truth in queries(twins)]
    rows = []
    for name, sigma_m, offset in HINTS:
        rng, answers = np.random.default_rng(0), []
        for frame, features, truth in sampled:
            hint = None if sigma_m is None else hint_at(truth, sigma_m, offset, rng)
            answers.append((engine.localize(frame, features=features, hint=hint), truth))
        rows.append({"hint": name, **count_answers(answers)})
    return rows


def hint_at(truth: SE3, sigma_m: float, offset: Array, rng: np.random.Generator) -> PositionHint:
    """A position that is off by ``offset``, and by what its standard deviation says."""
    return PositionHint(truth.translation + offset + rng.normal(0.0, sigma_m, 3), sigma_m)
