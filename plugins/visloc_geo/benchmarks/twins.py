"""Photos of a street whose second half is the first one again: which half each is of, alone and with a hint.

Run: OMP_NUM_THREADS=1 python -m plugins.visloc_geo.benchmarks.twins \\
         --markdown plugins/visloc_geo/results/geolocation.md

The anchor engine searches a map of the street by the image alone, then with what a phone measures beside it, and with
what the geolocation of the same image by panoramas gives. Map, panoramas, features and matches are kept in the work
folder.
"""

import argparse
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from plugins.visloc_geo.benchmarks.cached import Store
from plugins.visloc_geo.benchmarks.streets import cached_localizer
from plugins.visloc_geo.benchmarks.twin_street import APART_M, open_street_map, random_views, twin_street
from plugins.visloc_geo.testing.street import LENGTH_M
from plugins.visloc_geo.testing.street_views import ORIGIN, Survey, TagErrors, photos, write_database
from visloc_geo.answer import GeoAnswer
from visloc_geo.database import GeoDatabase
from visloc_geo.features import describe_globally
from visloc_geo.localizer import GeoLocalizer
from visloc_geo.orientation import angles_of
from visloc_geo.solving.types import GeoRejection
from visloc_geo.view import Orientation, View
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.types import AnchorPose, Frame, Rejection
from visloc_ros.evaluation.machine import provenance
from visloc_ros.localization import AnchorEngine
from visloc_ros.localization.evidence import Query
from visloc_ros.localization.rough_pose import RoughPose
from visloc_ros.simulation.room import Room
from visloc_ros.sources.measurements import GeoPosition

SECTION = "Twin buildings"
SEED = 73
PHONE_SIGMA_M, COMPASS_SIGMA_DEG = 5.0, 20.0
_RIGHT_M = 1.0  # of the pose by the map, whose errors are centimetres
_WHAT = f"""\
A street of {LENGTH_M:g} m, whose second half has the same houses as the first. Photos of its western side, from 6 to
14 m, are searched in a map of that side, and among panoramas every 15 m whose tags err by 0.5 m. The phone's GPS errs
by {PHONE_SIGMA_M:g} m along each axis, its compass by {COMPASS_SIGMA_DEG:g} degrees. Where the panoramas give an
answer, it is a hint for the map as well. Right: within {_RIGHT_M:g} m in the map, within four standard deviations among
the panoramas."""
_HEADER = ("searched", "images", "right", "the twin", "elsewhere", "rejected as ambiguous", "rejected otherwise")


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo, its true pose ``enu_from_camera``, and what a phone has measured beside it."""

    frame: Frame
    truth: SE3
    measured: View

    @property
    def rough_pose(self) -> RoughPose:
        """What the phone has measured, as a hint."""
        at, angles = self.measured.position, self.measured.orientation
        assert at is not None
        assert angles is not None
        return RoughPose(None, (at.latitude, at.longitude), PHONE_SIGMA_M, angles.heading_deg, COMPASS_SIGMA_DEG)


def main() -> None:
    """Search all photos, and write the tables."""
    arguments = parse_arguments()
    torch.set_num_threads(1)
    street = twin_street(SEED)
    taken = list(photos_of(street, arguments.photos))
    engine = AnchorEngine(open_street_map(arguments.work, SEED))
    localizer = street_localizer(arguments.work, street)
    rows: dict[str, list[str]] = {}
    for number, photo in enumerate(taken):
        query = engine.extract(photo.frame)
        hints: dict[str, RoughPose | None] = {
            "map, image alone": None,
            "map, phone's GPS and compass": photo.rough_pose,
        }
        if number < arguments.located:
            for name, prior in (("panoramas, image alone", None), ("panoramas, phone's GPS", photo.measured)):
                answer = localizer.locate(photo.frame, prior)
                rows.setdefault(name, []).append(verdict_of_answer(answer, photo.truth))
                if (hint := hint_of(answer)) is not None:
                    hints[f"map, answer of: {name}"] = hint
        for name, one in hints.items():
            rows.setdefault(name, []).append(searched(engine, query, one, photo.truth))
    report = {**provenance(), "verdicts": rows}
    write_outputs(arguments, SECTION, report, as_markdown(report))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/geo_twins"), help="folder for map and database")
    parser.add_argument("--photos", type=int, default=120, help="photos searched in the map")
    parser.add_argument("--located", type=int, default=20, help="photos of these that are geolocated, too")
    add_outputs(parser)
    return parser.parse_args()


def photos_of(street: Room, count: int) -> Iterable[Photo]:
    """Photos of the western side, in turn of both halves."""
    rng, poses = np.random.default_rng([SEED, 50]), random_views(count, SEED)
    for frame, pose in zip(photos(street, poses, SEED), poses, strict=True):
        moved = pose.translation + rng.normal(0.0, PHONE_SIGMA_M, 3) * [1.0, 1.0, 0.0]
        latitude, longitude, _ = (float(value) for value in ORIGIN.to_geodetic(moved)[0])
        heading = angles_of(pose.rotation)[0] + float(rng.normal(0.0, COMPASS_SIGMA_DEG))
        position = GeoPosition(latitude, longitude, None, PHONE_SIGMA_M)
        yield Photo(frame, pose, View("phone", position, Orientation(heading % 360.0, 0.0, 0.0, COMPASS_SIGMA_DEG)))


def street_localizer(work: Path, street: Room) -> GeoLocalizer:
    """Locates photos by panoramas of the street every 15 m, whose tags err by half a metre."""
    folder = work / "views"
    survey = Survey(errors=TagErrors(0.5, 0.5, 0.3))
    database = GeoDatabase(folder) if folder.exists() else write_database(street, folder, survey, SEED)
    describe_globally(database)
    return cached_localizer(database, Store(work / "matches.sqlite"))


def hint_of(answer: GeoAnswer) -> RoughPose | None:
    """The hint of a geolocated photo, as the nodes make it; none of one that is not located."""
    if answer.pose is None or answer.geodetic is None:
        return None
    angles, position = answer.pose.angles_deg, (answer.geodetic[:2], answer.pose.horizontal_sigma_m)
    if angles is None:
        return RoughPose(None, *position)
    return RoughPose(None, *position, angles[0], answer.pose.heading_sigma_deg)


def searched(engine: AnchorEngine, query: Query, hint: RoughPose | None, truth: SE3) -> str:
    """What becomes of a photo in the map."""
    known = None if hint is None else hint.in_map(engine.map_identity)
    found = engine.solve(replace(query, hint=known).for_another_search())
    if isinstance(found, Rejection):
        return found.reason.value
    assert isinstance(found, AnchorPose)
    return place_of(found.map_from_camera.translation, truth, _RIGHT_M)


def verdict_of_answer(answer: GeoAnswer, truth: SE3) -> str:
    """What becomes of a photo among the panoramas, whose tags err."""
    if isinstance(answer.result, GeoRejection):
        return answer.result.reason.value
    return place_of(answer.result.position, truth, max(_RIGHT_M, 4.0 * answer.result.horizontal_sigma_m))


def place_of(found: Array, truth: SE3, tolerance_m: float) -> str:
    """Whether a position is the true one, within a tolerance, that at the twin, or another one."""
    moved = (found - truth.translation)[:2]
    away = {"right": np.linalg.norm(moved), "twin": np.linalg.norm(np.abs(moved) - [0.0, APART_M])}
    nearest = min(away, key=away.__getitem__)
    return nearest if away[nearest] <= tolerance_m else "elsewhere"


def as_markdown(report: Figures) -> str:
    """A row for each search."""
    rows = []
    for name, verdicts in report["verdicts"].items():
        counts = Counter(verdicts)
        known = [counts.pop(one, 0) for one in ("right", "twin", "elsewhere", "AMBIGUOUS_PLACE")]
        rows.append([name, f"{len(verdicts)}", *map(str, known), str(counts.total())])
    return f"{_WHAT}\n\n{table(_HEADER, sorted(rows))}"


if __name__ == "__main__":
    main()
