"""Photos of a street in Lund, each located by the others: against its own GPS tag, and against a reconstruction of all.

Run: python -m plugins.visloc_geo.benchmarks.lund --data ../shared/data \\
         --markdown plugins/visloc_geo/results/geolocation.md
The tag of the photo that is located is used nowhere: the database holds the other photos alone, and has another origin.
The reconstruction of all photos is placed by the tags of the others, too. Each photo is located twice: by the tags as
they are, and after the other photos were registered ('visloc geo register').
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.program import add_folders, add_outputs, new_parser
from benchmarks.results_file import table, write_outputs
from plugins.visloc_geo.benchmarks.cached import CachedMatcher, Store
from plugins.visloc_geo.benchmarks.lund_picture import draw_street
from plugins.visloc_geo.benchmarks.streets import LUND, cached_localizer, lund_database, photos, without
from visloc_geo.answer import GeoAnswer
from visloc_geo.database import GeoDatabase
from visloc_geo.orientation import angles_of, heading_difference_deg
from visloc_geo.registration import ReconstructedView, Registration, place_views, reconstruct_views, write_poses
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.types import Frame
from visloc_ros.core.wgs84 import EnuFrame
from visloc_ros.evaluation.machine import provenance
from visloc_ros.features.registry import make_matcher
from visloc_ros.sources.measurements import GeoPosition

SPREADS = ("gps_error_m", "best_tag_error_m", "reconstruction_error_m", "heading_error_deg")
TAGGED, REGISTERED = "tags as they are", "registered"


@dataclass(frozen=True, eq=False)
class Located:
    """The answer for a photo, its own tag and its pose in the reconstruction of all."""

    answer: GeoAnswer
    tag: GeoPosition
    truth: SE3 | None
    frame: EnuFrame

    @property
    def position(self) -> Array | None:
        """The answer (3,) in the frame of the reconstruction."""
        geodetic = self.answer.geodetic
        return None if geodetic is None else self.frame.from_geodetic(geodetic)[0]

    @property
    def gps_error_m(self) -> float:
        """Horizontal distance from the tag; infinite where there is no answer."""
        return self._distance(self.position)

    @property
    def best_tag_error_m(self) -> float:
        """Horizontal distance of the best other tag from the tag."""
        best = self.answer.result.best_tag
        if best is None:
            return np.inf
        return self._distance(self.frame.from_geodetic(self.answer.frame.to_geodetic(best.position))[0])

    @property
    def summary(self) -> str:
        """The answer in few words."""
        pose = self.answer.pose
        if pose is None or self.offset is None:
            return str(self.answer.result)
        east, north, up = self.offset
        rests = f"{pose.kind.value}, {len(pose.inliers)} inliers in {len(pose.references)} views"
        return f"offset {east:.2f} {north:.2f} {up:.2f} m, sigma {pose.horizontal_sigma_m:.2f} m, {rests}"

    @property
    def offset(self) -> Array | None:
        """The answer less the reconstruction (3,)."""
        return None if self.position is None or self.truth is None else self.position - self.truth.translation

    @property
    def heading_error_deg(self) -> float | None:
        """The heading less that of the reconstruction."""
        angles = None if self.answer.pose is None else self.answer.pose.angles_deg
        if angles is None or self.truth is None:
            return None
        return heading_difference_deg(angles[0], angles_of(self.truth.rotation)[0])

    @property
    def squared_error(self) -> float | None:
        """The horizontal offset's square by the covariance: 2 on average where that is exact."""
        if self.answer.pose is None or self.offset is None:
            return None
        return float(self.offset[:2] @ np.linalg.solve(self.answer.pose.covariance[:2, :2], self.offset[:2]))

    def _distance(self, position: Array | None) -> float:
        if position is None:
            return np.inf
        at = self.frame.from_geodetic([self.tag.latitude, self.tag.longitude, self.frame.altitude])[0]
        return float(np.linalg.norm((position - at)[:2]))


class Street:
    """The street's photos and what is computed once."""

    def __init__(self, data: Path, work: Path) -> None:
        self.work, self.store = work, Store(work / "kept.sqlite")
        self.database = lund_database(data, work)
        self.frames = {frame.name.partition(".")[0]: frame for frame in photos(data / LUND)}
        self.tags = {view.name: view.position for view in self.database if view.position is not None}
        self.views = self._reconstructed("all", self.database)

    def locate_all(self) -> Iterator[tuple[str, str, Located]]:
        """Each photo by the others, in either way."""
        for name, frame in self.frames.items():
            rest = without(self.database, name, self.work / "without")
            others = {other: tag for other, tag in self.tags.items() if other != name}
            truth = place_views(self.views, others)
            yield name, TAGGED, self._located(frame, name, rest, truth)
            write_poses(rest, place_views(self._reconstructed(name, rest), others))
            yield name, REGISTERED, self._located(frame, name, rest, truth)

    def _located(self, frame: Frame, name: str, rest: GeoDatabase, truth: Registration) -> Located:
        answer = cached_localizer(rest, self.store).locate(frame)
        located = Located(answer, self.tags[name], truth.poses.get(name), truth.frame)
        print(name, f"{located.gps_error_m:.1f} m from its tag,", located.summary, flush=True)
        return located

    def _reconstructed(self, label: str, database: GeoDatabase) -> Mapping[str, ReconstructedView]:
        views: Mapping[str, ReconstructedView] = self.store(
            f"views without {label}" if label != "all" else "views",
            lambda: reconstruct_views(database, CachedMatcher(make_matcher(), self.store)),
        )
        return views


def main() -> None:
    """Locate every photo, and write the errors."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/geo", "the database, features and matches")
    add_outputs(parser)
    parser.add_argument("--plot", type=Path, help="PNG with the street from above")
    arguments = parser.parse_args()
    street = Street(arguments.data, arguments.work)
    located: dict[str, list[Located]] = {TAGGED: [], REGISTERED: []}
    for _, way, one in street.locate_all():
        located[way].append(one)
    report = {**provenance(), "photos": len(street.frames), "reconstructed": len(street.views)}
    report |= {way: figures(answers) for way, answers in located.items()}
    if arguments.plot:
        draw(arguments.plot, street, located[REGISTERED])
    write_outputs(arguments, "A street in Lund", report, describe(report))


def draw(path: Path, street: Street, answers: Sequence[Located]) -> None:
    """Draw the answers; the reconstruction is placed by all tags, and each answer where it is relative to it."""
    all_placed = place_views(street.views, street.tags)
    tags = [(tag.latitude, tag.longitude, all_placed.frame.altitude) for tag in street.tags.values()]
    names = [one.answer.name.partition(".")[0] for one in answers]
    known = [(all_placed.poses[name], one.offset) for name, one in zip(names, answers, strict=True)]
    shown = [pose.translation + offset for pose, offset in known if offset is not None]
    reconstructed = [pose.translation for pose in all_placed.poses.values()]
    draw_street(path, all_placed.frame.from_geodetic(tags), reconstructed, shown)


def figures(answers: Sequence[Located]) -> dict[str, Any]:
    """Errors of all answers, failures among them as infinite."""
    offsets = [one.offset for one in answers]
    apart = [np.inf if one is None else float(np.linalg.norm(one[:2])) for one in offsets]
    headings = [abs(one.heading_error_deg) for one in answers if one.heading_error_deg is not None]
    squares = [one.squared_error for one in answers if one.squared_error is not None]
    return {
        "located": sum(one.answer.pose is not None for one in answers),
        "gps_error_m": spread([one.gps_error_m for one in answers]),
        "best_tag_error_m": spread([one.best_tag_error_m for one in answers]),
        "reconstruction_error_m": spread(apart),
        "heading_error_deg": spread(headings),
        "mean_squared_error": float(np.mean(squares)) if squares else None,
        "ms": spread([sum(one.answer.stage_ms.values()) for one in answers]),
    }


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Median and 90th percentile: of the sorted values, without interpolation between finite and infinite ones."""
    if not len(values):
        return np.inf, np.inf
    median, high = np.percentile(values, [50, 90], method="higher")
    return float(median), float(high)


def describe(report: Mapping[str, Any]) -> str:
    """The tables."""
    rows = []
    for way in (TAGGED, REGISTERED):
        one = report[way]
        spreads = (one[key] for key in SPREADS)
        cells = [" / ".join(f"{value:.2f}" for value in values) for values in spreads]
        rows.append([way, str(one["located"]), *cells, f"{one['mean_squared_error']:.2f}"])
    header = ["database", "located", "from GPS [m]", "best tag from GPS [m]", "from all [m]", "heading [deg]", "NEES"]
    return (
        f"{report['photos']} photos, each located by the others; median / 90th percentile, horizontal. The "
        f"reconstruction of all photos has {report['reconstructed']} of them; the distance from it is the error of an "
        "answer beside the one that all tags share. NEES, by the whole covariance, is 2 where the covariance is exact, "
        "less where it is cautious.\n\n" + table(header, rows)
    )


if __name__ == "__main__":
    main()
