"""Images searched in maps that show much or little of a place: each with its true pose, and whether it was found.

Maps are those of whole places, of stretches of their images, and of every fourth one. In simulated rooms images are
taken anywhere, at any heading.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from benchmarks.places import (
    PAINTED_SEED,
    FeatureCache,
    Place,
    known_truth,
    real_places,
    simulated_room,
    unseen_places,
)
from testing.integrity import PoseAccuracy
from visloc_ros.core.camera import rays
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import NO_POINT, Map
from visloc_ros.core.types import AnchorPose
from visloc_ros.localization import AnchorEngine
from visloc_ros.simulation import SimulationConfig, simulate, write_folder
from visloc_ros.simulation.living_room import LENGTH, WIDTH, make_living_room
from visloc_ros.simulation.room import Room
from visloc_ros.sources import SourceConfig, open_source

FITTED, HELD_OUT = ("room", "redkitchen"), ("painted", "euroc", "drive")
PARTS = {
    "whole": slice(None),
    "first sixth": slice(0, 1 / 6),
    "a middle sixth": slice(3 / 6, 4 / 6),
    "every fourth": slice(None, None, 4),
}
"""Images of a map that remain: from one share of their number to another, and every n-th."""

_SEEDS = {"room": 0, "painted": PAINTED_SEED}
_NUM_ANYWHERE = 120
_ANYWHERE_CONFIG = SimulationConfig(rate_hz=1.0, duration_s=_NUM_ANYWHERE, exposure_ms=0.0)
_FROM_WALLS_M, _FROM_THINGS_M = 0.4, 0.6
_EYES_M, _TILT_DEG = (1.1, 1.8), (8.0, 2.0)
_QUERIES = {
    "redkitchen": SourceConfig(every=6),
    "euroc": SourceConfig(every=4),
    "drive": SourceConfig(last=230, every=3),
}


@dataclass(frozen=True)
class Trial:
    """An image searched in a part of a place's map: its pose (4, 4), row by row, and whether it was found there."""

    place: str
    part: str
    image: str
    map_from_camera: Sequence[float]
    is_found: bool

    @property
    def pose(self) -> SE3:
        """True ``map_from_camera``."""
        return SE3.from_matrix(np.array(self.map_from_camera).reshape(4, 4))


@dataclass(frozen=True)
class Anywhere:
    """A camera that stands anywhere in a room, another place each second, and looks at things that are not too near."""

    room: Room
    seed: int
    config: SimulationConfig = _ANYWHERE_CONFIG

    def pose(self, seconds: float) -> SE3:
        """Give ``map_from_camera``."""
        rng = np.random.default_rng([self.seed, round(seconds)])
        while True:
            pose = _random_pose(rng)
            if self.room.cast(pose.translation, self._rays @ pose.rotation.T).distances.min() > _FROM_THINGS_M:
                return pose

    @cached_property
    def _rays(self) -> Array:
        camera = self.config.make_camera()
        columns, rows = np.meshgrid(np.linspace(0, camera.width, 7), np.linspace(0, camera.height, 7))
        directions = rays(camera, np.column_stack([columns.ravel(), rows.ravel()]))
        return np.column_stack([directions, np.ones(len(directions))])


def _random_pose(rng: np.random.Generator) -> SE3:
    low, high = (_FROM_WALLS_M, _FROM_WALLS_M, _EYES_M[0]), (LENGTH - _FROM_WALLS_M, WIDTH - _FROM_WALLS_M, _EYES_M[1])
    yaw, pitch, roll = rng.uniform(-np.pi, np.pi), *np.radians(rng.normal(0.0, _TILT_DEG))
    level = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    return SE3(Rotation.from_euler("ZYX", [yaw, pitch, roll]).as_matrix() @ level, rng.uniform(low, high))


def searched_places(data: Path, work: Path) -> list[Place]:
    """All places with the images that are searched; rendered if missing."""
    places = [*real_places(data), simulated_room(work), *unseen_places(data, work)]
    return [_with_more_queries(place, work) for place in places]


def _with_more_queries(place: Place, work: Path) -> Place:
    """Real places are searched along their whole recording, rooms anywhere."""
    if place.name not in _SEEDS:
        return replace(place, query_folder=place.map_folder, queries=_QUERIES[place.name])
    folder, seed = work / f"{place.name}_anywhere", _SEEDS[place.name]
    if not folder.exists():
        room = make_living_room(seed)
        write_folder(simulate(_ANYWHERE_CONFIG, "localize", room, Anywhere(room, seed)), folder)
    return replace(place, query_folder=folder, queries=SourceConfig())


def part_of(map_: Map, part: str) -> Map:
    """The map that remains of a whole one, without points that fewer than two of its images see."""
    chosen, count = PARTS[part], len(map_.images)
    first, last = (None if share is None else round(share * count) for share in (chosen.start, chosen.stop))
    rows = range(count)[first : last : chosen.step]
    images = [map_.images[row] for row in rows]
    seen = np.bincount(
        np.concatenate([image.point_rows[image.point_rows != NO_POINT] for image in images]), minlength=len(map_.points)
    )
    kept = [
        replace(image, point_rows=np.where(seen[image.point_rows] >= 2, image.point_rows, NO_POINT).astype(np.int32))
        for image in images
    ]
    return replace(map_, images=tuple(kept), global_descriptors=map_.global_descriptors[list(rows)])


def trials(place: Place, work: Path) -> list[Trial]:
    """All trials in one place; those of an earlier run where there are any."""
    path = work / "trials" / f"{place.name}.jsonl"
    if not path.exists():
        found = list(_search(place, work))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(json.dumps(vars(one)) for one in found), encoding="utf-8")
    return [Trial(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def _search(place: Place, work: Path) -> Iterator[Trial]:
    whole = place.open_map(work / "maps")
    extractor = None
    source = open_source(place.query_folder, place.queries)
    truth, frames, mapped = known_truth(source), list(source), {image.name for image in whole.images}
    for part in PARTS:
        engine = AnchorEngine(part_of(whole, part), extractor=extractor)
        extractor, cache = engine.extractor, FeatureCache(work / "features", engine)
        known = {image.name for image in engine.map.images}
        for frame in frames:
            pose = truth.nearest(frame.stamp_ns, 0)
            if pose is None or frame.name in known or (part == "whole" and frame.name in mapped):
                continue
            answer = engine.localize(frame, features=cache(f"{place.query_folder.name}/{frame.name}", frame))
            is_found = (
                isinstance(answer, AnchorPose)
                and PoseAccuracy.of(answer.map_from_camera, answer.covariance, pose).is_right
            )
            yield Trial(place.name, part, frame.name, pose.matrix.ravel().tolist(), bool(is_found))
