"""Two rooms that look the same, 50 m apart in one map: one place for a program that goes by what it sees."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.anchor.map_trials import count_answers
from benchmarks.places import FeatureCache, Place, true_pose
from benchmarks.results_file import Figures
from visloc_ros.core.geometry import SE3, Array, Sim3
from visloc_ros.core.map import NO_POINT, save_map
from visloc_ros.core.types import Frame
from visloc_ros.features import VladConfig
from visloc_ros.localization import AnchorEngine
from visloc_ros.localization.position_hint import PositionHint
from visloc_ros.mapping.extension import reconstruction_of
from visloc_ros.mapping.merging.index import index_of
from visloc_ros.mapping.merging.joining import join
from visloc_ros.simulation import PASSES, SimulationConfig, simulate, write_folder
from visloc_ros.simulation.living_room import make_living_room
from visloc_ros.simulation.look_alike import PICTURES
from visloc_ros.simulation.room import Room
from visloc_ros.sources import SourceConfig

SECOND_FROM_FIRST = np.array([50.0, 0.0, 0.0])
"""Where the second room lies in the map, of which the first is the origin."""
CHANGED = 0.1
"""Share of the pictures, and of all other surfaces but walls, that differ."""
OTHER_SEED = 77
CONFIG = SimulationConfig(rate_hz=1.0)
HINTS = (
    ("none", None, np.zeros(3)),
    ("sigma 10 m", 10.0, np.zeros(3)),
    ("sigma 3 m", 3.0, np.zeros(3)),
    ("sigma 3 m, 50 m off", 3.0, np.array([0.0, 50.0, 0.0])),
)
"""Name, standard deviation and error of what is known of the position; the last is far from both rooms."""
SHELL = ("floor", "ceiling", "north wall", "east wall", "south wall", "west wall")


def twin_places(work: Path, config: SimulationConfig = CONFIG) -> list[Place]:
    """The two rooms, each in a frame of its own; rendered below ``work`` where they are not there yet."""
    first = make_living_room()
    places = []
    for name, room in (("first", first), ("second", slightly_changed(first))):
        folders = [work / f"twin_{name}_{pass_name}" for pass_name in PASSES]
        for folder, pass_name in zip(folders, PASSES, strict=True):
            if not folder.exists():
                write_folder(simulate(config, pass_name, room), folder)
        places.append(Place(f"twin_{name}", folders[0], SourceConfig(), folders[1], SourceConfig(), config.rate_hz))
    return places


def twins_map(work: Path, config: SimulationConfig = CONFIG) -> Path:
    """The map of both rooms, the second one SECOND_FROM_FIRST."""
    path = work / "maps" / "twins"
    if not path.exists():
        first, second = (place.open_map(work / "maps") for place in twin_places(work, config))
        apart = np.full(len(second.points), NO_POINT, np.intp)
        joined = join(first, second, Sim3(1.0, np.eye(3), SECOND_FROM_FIRST), apart)
        index = index_of(joined, VladConfig())
        features = {image.name: image.features for image in joined.images}
        manifest = replace(first.manifest, name="twins", models={**first.manifest.models, "global": index.model})
        save_map(path, reconstruction_of(joined), features, index.descriptors, index.centroids, manifest)
    return path


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


def queries(places: Sequence[Place]) -> Iterator[tuple[str, Frame, SE3]]:
    """Room, frame and true pose in the map of both, of all queries."""
    for place, offset in zip(places, (np.zeros(3), SECOND_FROM_FIRST), strict=True):
        truth = place.truth()
        for frame in place.frames():
            pose = true_pose(truth, frame.stamp_ns)
            yield place.name, frame, SE3(pose.rotation, pose.translation + offset)


def search_twins(places: Sequence[Place], engine: AnchorEngine, cache: FeatureCache) -> list[Figures]:
    """Outcomes without a hint and with hints: a row for each, both rooms together."""
    sampled = [(frame, cache(f"{name}/{frame.name}", frame), truth) for name, frame, truth in queries(places)]
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
