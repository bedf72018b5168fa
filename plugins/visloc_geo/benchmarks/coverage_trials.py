"""Photos searched in databases that have many or few views of a street: where each was taken, and whether it was found.

Databases are those of whole rendered streets and parts of them, and the street in Lund without the views that are
nearest to a photo.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plugins.visloc_geo.benchmarks.cached import CachedMatcher, Store
from plugins.visloc_geo.benchmarks.street import make_database
from plugins.visloc_geo.benchmarks.streets import LUND, cached_localizer, lund_database, photos
from plugins.visloc_geo.testing.street import make_street
from plugins.visloc_geo.testing.street_views import TagErrors, random_poses
from plugins.visloc_geo.testing.street_views import photos as street_photos
from visloc_geo.answer import GeoAnswer
from visloc_geo.database import GeoDatabase
from visloc_geo.orientation import angles_of, heading_difference_deg
from visloc_geo.registration import place_views, reconstruct_views, write_poses
from visloc_geo.view import View
from visloc_ros.core.geometry import SE3
from visloc_ros.features.registry import make_matcher

FITTED, HELD_OUT = ("street 71",), ("street 72", "Lund")
RIGHT_M, RIGHT_DEG = 5.0, 10.0
"""Largest error of a right answer, the coarsest that such methods are compared by."""

_LEFT_OUT_M = (0.0, 10.0, 20.0, 40.0)
_NUM_PHOTOS = 24
_PARTS: dict[str, Callable[[int, float], bool]] = {
    "every 15 m": lambda place, heading: True,
    "every 30 m": lambda place, heading: place % 2 == 0,
    "every 60 m": lambda place, heading: place % 4 == 1,
    "half of the street": lambda place, heading: place < 5,
    "ahead and back alone": lambda place, heading: heading % 180.0 == 0.0,
    "one front alone, every 30 m": lambda place, heading: place % 2 == 0 and heading == 90.0,
}
"""Which views remain, by the number of the panorama and the heading."""


@dataclass(frozen=True)
class Trial:
    """A photo searched among some views of a place: its position (metres), heading (degrees), whether it was found."""

    place: str
    part: str
    photo: str
    views: tuple[str, ...]
    east_north_up: tuple[float, float, float]
    heading_deg: float
    is_found: bool


class PartOfDatabase(GeoDatabase):
    """Some views of a database."""

    def __init__(self, whole: GeoDatabase, kept: list[str]) -> None:
        super().__init__(whole.folder)
        self._kept = sorted(kept)

    @property
    def names(self) -> list[str]:
        """Names of the views that remain."""
        return self._kept


def database_of(place: str, data: Path, work: Path) -> GeoDatabase:
    """All views of a place, with exact tags or registered ones; made if missing."""
    if place != LUND.removeprefix("street_").capitalize():
        seed = int(place.removeprefix("street "))
        return make_database(work / f"{seed}_0", make_street(seed), TagErrors(), seed)
    database = lund_database(data, work)
    if not all(view.orientation for view in database):
        store = Store(work / "kept.sqlite")
        views = store("views", lambda: reconstruct_views(database, CachedMatcher(make_matcher(), store)))
        tags = {view.name: view.position for view in database if view.position is not None}
        write_poses(database, place_views(views, tags))
    return database


def trials(place: str, data: Path, work: Path) -> list[Trial]:
    """All trials in one place; those of an earlier run where there are any."""
    path = work / "trials" / f"{place}.jsonl"
    if not path.exists():
        database = database_of(place, data, work)
        search = _search_lund if place == HELD_OUT[-1] else _search_street
        found = list(search(place, database, data, Store(work / "kept.sqlite")))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(json.dumps(vars(one)) for one in found), encoding="utf-8")
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [Trial(**{**one, "views": tuple(one["views"])}) for one in lines]


def _search_street(place: str, database: GeoDatabase, data: Path, store: Store) -> Iterator[Trial]:
    seed = int(place.removeprefix("street "))
    street, poses = make_street(seed), random_poses(_NUM_PHOTOS, seed=seed)
    frames = list(street_photos(street, poses, seed))
    for part, is_kept in _PARTS.items():
        kept = [view.name for view in database if is_kept(*_place_and_heading(view))]
        localizer = cached_localizer(PartOfDatabase(database, kept), store)
        for frame, pose in zip(frames, poses, strict=True):
            yield _trial(place, part, kept, localizer.locate(frame), pose)


def _search_lund(place: str, database: GeoDatabase, data: Path, store: Store) -> Iterator[Trial]:
    poses = {view.name: pose for view in database if (pose := view.enu_from_camera(database.origin)) is not None}
    for frame in photos(data / LUND):
        name = frame.name.partition(".")[0]
        pose = poses.get(name)
        if pose is None:
            continue
        for apart in _LEFT_OUT_M:
            others = {other: _distance(pose, one) for other, one in poses.items() if other != name}
            kept = [other for other, distance in others.items() if distance >= apart]
            answer = cached_localizer(PartOfDatabase(database, kept), store).locate(frame)
            yield _trial(place, f"none within {apart:g} m", kept, answer, pose)


def _trial(place: str, part: str, kept: list[str], answer: GeoAnswer, truth: SE3) -> Trial:
    heading, position = angles_of(truth.rotation)[0], (float(value) for value in truth.translation)
    east, north, up = position
    return Trial(place, part, answer.name, tuple(kept), (east, north, up), float(heading), _is_right(answer, truth))


def _is_right(answer: GeoAnswer, truth: SE3) -> bool:
    if answer.pose is None or answer.pose.angles_deg is None:
        return False
    apart = np.linalg.norm((answer.pose.position - truth.translation)[:2])
    turned = heading_difference_deg(answer.pose.angles_deg[0], angles_of(truth.rotation)[0])
    return bool(apart <= RIGHT_M and abs(turned) <= RIGHT_DEG)


def _place_and_heading(view: View) -> tuple[int, float]:
    """Number of the panorama of a rendered view, and its heading as rendered."""
    panorama, _, heading = view.name.partition("_")
    return int(panorama.removeprefix("street")), float(heading)


def _distance(one: SE3, other: SE3) -> float:
    return float(np.linalg.norm((one.translation - other.translation)[:2]))
