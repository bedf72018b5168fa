"""A drive as phone photos: do the covariances of their places hold, whatever receiver and compass do?

Run: OMP_NUM_THREADS=1 python -m plugins.visloc_geo.benchmarks.drive --data ../shared/data \\
         --markdown plugins/visloc_geo/results/geolocation.md

Each second frame of a drive becomes a view, the others are located. The errors of the tags are drawn again and again:
white, or as a receiver's, whose errors neighbours share (a Gauss-Markov process along the way). The compass is right
within some degrees, missing, stuck, or turned by 90 degrees in each second view. Views are as tagged, or registered.
Photos are taken among the views, or beyond the last one. Features, matches and the reconstruction are computed once.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.program import add_folders, add_outputs, median, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from plugins.visloc_geo.benchmarks.cached import CachedMatcher, Store
from plugins.visloc_geo.benchmarks.streets import cached_localizer
from visloc_geo.alike_views import match_alike_views
from visloc_geo.answer import GeoAnswer
from visloc_geo.database import GeoDatabase
from visloc_geo.features import describe_globally
from visloc_geo.orientation import angles_of
from visloc_geo.registration import ReconstructedView, place_views, reconstruct_views, write_poses
from visloc_geo.view import Orientation, View
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.types import Frame
from visloc_ros.core.wgs84 import EnuFrame
from visloc_ros.evaluation.machine import provenance
from visloc_ros.features.registry import make_matcher
from visloc_ros.sources import open_source
from visloc_ros.sources.measurements import COMPASS_SIGMA_DEG, GeoPosition
from visloc_ros.sources.ros_images import encode_jpeg

SECTION = "A drive as photos"
DRIVE = "kitti_06"
FRAME = EnuFrame(49.0, 8.4, 115.0)
ENU_FROM_START = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])  # a camera that looks north
SIGMA_M, STATED_M, HEIGHT_FACTOR, COMPASS_NOISE_DEG = 3.0, 5.0, 1.5, 5.0
STUCK_DEG, TURNED_DEG = 89.0, 90.0
LENGTHS_M = (0.0, 20.0)
COMPASSES = ("none", "right", "stuck", "turned")
FIRST_BEYOND = 0.6  # of the drive, from which on there are no views, where photos are taken beyond them
HEADER = (
    *("photos", "errors shared over", "compass", "views", "located", "error, median m", "heading °"),
    *("NEES of position (3)", "of rotation (3)", "largest [sigma]", "beyond 5 sigma"),
)


@dataclass(frozen=True)
class Case:
    """What the views of one database are like, and where the photos are taken."""

    is_beyond: bool
    length_m: float
    compass: str
    is_registered: bool

    @property
    def cells(self) -> list[str]:
        """The first columns of its row."""
        place = "beyond the views" if self.is_beyond else "among the views"
        length = f"{self.length_m:g} m" if self.length_m else "none"
        return [place, length, self.compass, "registered" if self.is_registered else "as tagged"]


class Drive:
    """The frames with their true poses ``enu_from_camera``, and what is computed of them once."""

    def __init__(self, data: Path, work: Path, databases: Path | None = None) -> None:
        """Databases are kept in a folder of their own, or in ``work`` beside features and matches."""
        source = open_source(data / DRIVE)
        truth = source.ground_truth
        assert truth is not None
        self.frames: list[Frame] = list(source)
        poses = [truth.poses[int(np.searchsorted(truth.stamps_ns, one.stamp_ns))] for one in self.frames]
        self.poses = [SE3(ENU_FROM_START @ pose.rotation, ENU_FROM_START @ pose.translation) for pose in poses]
        self.databases, self.store = databases or work, Store(work / "kept.sqlite")

    def database(self, is_beyond: bool) -> tuple[GeoDatabase, list[int], list[int]]:
        """The database of each second frame, and the rows of its views and of the photos."""
        rows = range(len(self.frames))
        end = round(FIRST_BEYOND * len(rows))
        views = [row for row in rows if row % 2 == 0 and (row < end or not is_beyond)]
        photos = [row for row in rows if (row >= end if is_beyond else row % 2 == 1)]
        folder = self.databases / ("beyond" if is_beyond else "among")
        database = GeoDatabase.create(folder, FRAME)
        if len(database.names) < len(views):
            for row in views:
                frame = self.frames[row]
                database.add(View(name_of(row), camera=frame.camera), encode_jpeg(frame.image))
        describe_globally(database)
        match_alike_views(database, CachedMatcher(make_matcher(), self.store))
        return database, views, photos

    def reconstruction(self, database: GeoDatabase) -> dict[str, ReconstructedView]:
        """The views by their matches alone; tags of true places choose the pairs."""
        views: dict[str, ReconstructedView] = self.store(
            f"views {database.folder.name}",
            lambda: reconstruct_views(database, CachedMatcher(make_matcher(), self.store)),
        )
        return views


def name_of(row: int) -> str:
    """The name of the view of a frame."""
    return f"view_{row:04d}"


def tag(database: GeoDatabase, drive: Drive, rows: Sequence[int], case: Case, seed: int) -> None:
    """Give the views tags with errors of their own."""
    rng = np.random.default_rng(seed)
    centres = np.array([drive.poses[row].translation for row in rows])
    distances = np.linalg.norm(centres[:, None] - centres, axis=2)
    correlation = np.exp(-distances / case.length_m) if case.length_m else np.eye(len(rows))
    errors = SIGMA_M * np.linalg.cholesky(correlation) @ rng.normal(size=(len(rows), 3)) * [1.0, 1.0, HEIGHT_FACTOR]
    noise = rng.normal(0.0, COMPASS_NOISE_DEG, len(rows))
    for number, row in enumerate(rows):
        heading = angles_of(drive.poses[row].rotation)[0] + noise[number]
        shown = {"right": heading, "stuck": STUCK_DEG, "turned": heading + TURNED_DEG * (number % 2)}.get(case.compass)
        orientation = None if shown is None else Orientation(shown % 360.0, sigma_deg=COMPASS_SIGMA_DEG)
        lat, lng, alt = FRAME.to_geodetic(centres[number] + errors[number])[0].tolist()
        old = database.view(name_of(row))
        database.update(View(old.name, GeoPosition(lat, lng, alt, STATED_M), orientation, old.camera))


def measure(drive: Drive, case: Case, draws: int) -> Iterator[Figures]:
    """What is found of each photo, with each draw of the tags' errors."""
    database, views, photos = drive.database(case.is_beyond)
    for seed in range(draws):
        tag(database, drive, views, case, seed)
        if case.is_registered:
            tags = {view.name: view.position for view in database if view.position is not None}
            write_poses(database, place_views(drive.reconstruction(database), tags))
        else:
            database.write_settings(common_error=None)
        localizer = cached_localizer(database, drive.store)
        for row in photos:
            yield figures_of(localizer.locate(drive.frames[row]), drive.poses[row])


def figures_of(answer: GeoAnswer, truth: SE3) -> Figures:
    """Errors of an answer in metres, degrees, and squared by its covariance; its reason without one."""
    pose = answer.pose
    if pose is None:
        return {"located": False, "reason": str(getattr(answer.result, "reason", ""))}
    found = SE3(truth.rotation if pose.rotation is None else pose.rotation, pose.position)
    error = pose_difference(truth, found)
    figures: Figures = {"located": True, "kind": pose.kind.value, "error_m": float(np.linalg.norm(error[:2]))}
    figures["of_position"] = squared(error[:3], pose.covariance[:3, :3])
    if pose.rotation is not None:
        figures["of_rotation"] = squared(error[3:], pose.covariance[3:, 3:])
        figures["heading_deg"] = abs(float(np.degrees(error[5])))
    return figures


def squared(error: Array, covariance: Array) -> float:
    """The error's square by its covariance."""
    return float(error @ np.linalg.solve(covariance, error))


def row_of(case: Case, found: Sequence[Figures]) -> list[str]:
    """A row of the table."""
    located = [one for one in found if one["located"]]
    squares = {key: np.array([one[key] for one in located if key in one]) for key in ("of_position", "of_rotation")}
    sigmas = np.sqrt(np.concatenate([*squares.values(), [0.0]]))
    return [
        *case.cells,
        f"{len(located)} of {len(found)}",
        f"{median(one['error_m'] for one in located):.2f}",
        f"{median(one['heading_deg'] for one in located if 'heading_deg' in one):.2f}",
        *(f"{np.mean(values):.1f}" for values in squares.values()),
        f"{sigmas.max():.1f}",
        f"{int((sigmas > 5.0).sum())}",
    ]


def main() -> None:
    """Measure all cases, and write the table."""
    arguments = parse_arguments()
    drive = Drive(arguments.data, arguments.work)
    rows: list[list[str]] = []
    report: Figures = {**provenance(), "cases": []}
    for case in (Case(*one) for one in product((False, True), LENGTHS_M, COMPASSES, (False, True))):
        found = list(measure(drive, case, arguments.draws))
        rows.append(row_of(case, found))
        report["cases"].append({"case": case.cells, "photos": found})
        print(*rows[-1], sep=" | ", flush=True)
    write_outputs(arguments, SECTION, report, table(HEADER, rows))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/geo_drive", "databases, features and matches")
    parser.add_argument("--draws", type=int, default=4, help="draws of the tags' errors")
    add_outputs(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
