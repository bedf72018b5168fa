"""Two rooms that look the same, 50 m apart in one map: one place for a program that goes by what it sees."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.anchor.map_trials import count_answers
from benchmarks.places import FeatureCache, Place, true_pose
from benchmarks.results_file import Figures
from visloc_ros.core.geometry import SE3, Array, Sim3
from visloc_ros.core.map import NO_POINT, Map, save_map
from visloc_ros.core.types import Frame
from visloc_ros.features import VladConfig
from visloc_ros.localization import AnchorEngine, PositionHint, SearchHint
from visloc_ros.localization.strategies.landmarks.config import LANDMARKS
from visloc_ros.mapping.extension import reconstruction_of
from visloc_ros.mapping.merging.joining import join
from visloc_ros.mapping.merging.merger import index_of
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
DRAWS = 5
"""Hints for each query, with other errors."""
MakeHint = Callable[[SE3, np.random.Generator], SearchHint]
TEXT_LENGTH, SIGNS = 384, 4
"""Of an embedding, as small models for sentences have it; and in each room."""
MISREADING = 0.4
"""Length of the error of an embedding, of its own: what was read has a cosine of 0.93 with what is written."""
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


def hints_for(search: str) -> dict[str, MakeHint | None]:
    """What is known beside an image, by its name, for a way of searching; texts are for landmarks alone."""
    hints: dict[str, MakeHint | None] = {
        "nothing": None,
        "position, sigma 10 m": at_position(10.0),
        "position, sigma 5 m": at_position(5.0),
        "position, sigma 3 m": at_position(3.0),
        "position, 50 m from both rooms": at_position(3.0, np.array([0.0, 50.0, 0.0])),
    }
    if search == LANDMARKS:
        hints["text of a sign"] = lambda truth, rng: SearchHint(text=sign_in_room_of(truth, rng))
        hints["text unlike all signs"] = lambda _, rng: SearchHint(text=rng.normal(size=TEXT_LENGTH))
    return hints


def search_twins(
    places: Sequence[Place], engine: AnchorEngine, cache: FeatureCache, hints: Mapping[str, MakeHint | None]
) -> list[Figures]:
    """Outcomes by what is known beside the image: a row for each, both rooms together."""
    sampled = [(frame, cache(f"{name}/{frame.name}", frame), truth) for name, frame, truth in queries(places)]
    rows = []
    for name, make_hint in hints.items():
        rng, answers = np.random.default_rng(0), []
        for frame, features, truth in sampled * (1 if make_hint is None else DRAWS):
            hint = None if make_hint is None else make_hint(truth, rng)
            answers.append((engine.localize(frame, features=features, hint=hint), truth))
        rows.append({"hint": name, **count_answers(answers)})
    return rows


def at_position(sigma_m: float, offset: Array | None = None) -> MakeHint:
    """What makes positions that are off by ``offset``, and by what their standard deviation says."""

    def make(truth: SE3, rng: np.random.Generator) -> SearchHint:
        known = truth.translation + (0.0 if offset is None else offset)
        return SearchHint(PositionHint(known + rng.normal(0.0, sigma_m, 3), sigma_m))

    return make


def texts_of(map_: Map) -> dict[str, Array]:
    """Embeddings of what every second image of the twins' map shows: one of the signs of its room."""
    rng = np.random.default_rng(1)
    return {image.name: sign_in_room_of(image.map_from_camera, rng) for image in map_.images[::2]}


def sign_in_room_of(map_from_camera: SE3, rng: np.random.Generator) -> Array:
    """The embedding (E,) of one of the signs of the room that a camera is in, read not quite right."""
    room = int(map_from_camera.translation[0] > SECOND_FROM_FIRST[0] / 2)
    signs = np.random.default_rng(OTHER_SEED).normal(size=(2, SIGNS, TEXT_LENGTH))
    misread = signs[room, rng.integers(SIGNS)] + MISREADING * rng.normal(size=TEXT_LENGTH)
    return np.asarray(misread / np.linalg.norm(misread))
