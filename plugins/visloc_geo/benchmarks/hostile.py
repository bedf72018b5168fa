"""Wrong photos and wrong databases: is an answer ever further off than its covariance allows?

Run: OMP_NUM_THREADS=1 python -m plugins.visloc_geo.benchmarks.hostile --data ../shared/data \\
         --markdown plugins/visloc_geo/results/geolocation.md

The views of ``drive``, whose tags err by 3 m, with one thing wrong about them or about the photos. What
a tag states of itself is 5 m unless said otherwise. Views are as tagged, or registered.
"""

import argparse
import multiprocessing
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from benchmarks.program import add_folders, add_outputs, median, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from plugins.visloc_geo.benchmarks.drive import FRAME, TURNED_DEG, Case, Drive, figures_of, name_of, tag
from plugins.visloc_geo.benchmarks.streets import LUND, cached_localizer, photos
from visloc_geo.database import GeoDatabase
from visloc_geo.registration import place_views, tags_to_place, write_poses
from visloc_geo.view import View
from visloc_ros.core.camera import with_focal_length
from visloc_ros.core.errors import GeoError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import Frame, Image
from visloc_ros.evaluation.machine import provenance
from visloc_ros.sources.measurements import GeoPosition

SECTION = "Wrong photos and wrong databases"
HEADER = ("wrong", "views", "located", "refused for", "error, median m", "largest [sigma]", "beyond 5 sigma")

Rng = np.random.Generator
Views = list[View]


@dataclass(frozen=True)
class Wrong:
    """What is wrong: of the views (in the order of the drive), of a photo, and of what it states of itself."""

    words: str
    views: Callable[[Views, Rng], Views] = lambda views, rng: views
    photo: Callable[[Frame], Frame] = lambda frame: frame
    states: Callable[[SE3, Rng], View] | None = None


def moved(view: View, east_m: float = 0.0, north_m: float = 0.0, up_m: float = 0.0) -> View:
    """A view with its tag elsewhere."""
    assert view.position is not None
    at = FRAME.from_geodetic([[view.position.latitude, view.position.longitude, view.position.altitude or 0.0]])
    latitude, longitude, altitude = FRAME.to_geodetic(at + np.array([east_m, north_m, up_m]))[0].tolist()
    return replace(view, position=GeoPosition(latitude, longitude, altitude, view.position.sigma))


def stating(view: View, sigma_m: float) -> View:
    """A view whose tag states another standard deviation."""
    assert view.position is not None
    return replace(view, position=replace(view.position, sigma=sigma_m))


def rounded(view: View, digits: int) -> View:
    """A view whose degrees have few digits."""
    assert view.position is not None
    at = view.position
    latitude, longitude = round(at.latitude, digits), round(at.longitude, digits)
    return replace(view, position=replace(at, latitude=latitude, longitude=longitude))


def turned(view: View, by_deg: float) -> View:
    """A view whose compass shows another heading."""
    assert view.orientation is not None
    heading = (view.orientation.heading_deg + by_deg) % 360.0
    return replace(view, orientation=replace(view.orientation, heading_deg=heading))


def second_half(change: Callable[[View], View]) -> Callable[[Views, Rng], Views]:
    """A change of the views in the second half of the drive."""
    return lambda views, _: [change(one) if row >= len(views) // 2 else one for row, one in enumerate(views)]


def each(change: Callable[[View], View]) -> Callable[[Views, Rng], Views]:
    """A change of all views."""
    return lambda views, _: [change(one) for one in views]


def tags_of_others(views: Views, others: Sequence[View]) -> Views:
    """The views with the tags of others."""
    pairs = zip(views, others, strict=True)
    return [replace(view, position=other.position, orientation=other.orientation) for view, other in pairs]


def shuffled(views: Views, rng: Rng) -> Views:
    """The views with each other's tags."""
    return tags_of_others(views, [views[row] for row in rng.permutation(len(views))])


def late(views: Views, _: Rng) -> Views:
    """The views with the tags of those three before them, as by a clock that is slow."""
    return tags_of_others(views, [views[max(0, row - 3)] for row in range(len(views))])


def backwards(views: Views, _: Rng) -> Views:
    """The views with the tags of the drive from its end."""
    return tags_of_others(views, views[::-1])


def some_elsewhere(views: Views, rng: Rng) -> Views:
    """A third of the tags anywhere within 150 m."""
    chosen = set(rng.permutation(len(views))[: len(views) // 3].tolist())
    return [moved(one, *rng.uniform(-150, 150, 2)) if row in chosen else one for row, one in enumerate(views)]


def at_null_island(views: Views, _: Rng) -> Views:
    """Each third tag at 0, 0."""
    zero = GeoPosition(0.0, 0.0, 0.0, 5.0)
    return [replace(one, position=zero) if row % 3 == 0 else one for row, one in enumerate(views)]


def with_image(change: Callable[[Image], Image]) -> Callable[[Frame], Frame]:
    """A change of the photo that its camera does not tell."""
    return lambda frame: replace(frame, image=np.ascontiguousarray(change(frame.image)))


def screenshot(image: Image) -> Image:
    """The photo at two thirds of its size on a screen with bars and a text."""
    height, width = image.shape[:2]
    shown = np.full_like(image, 24)
    small = cv2.resize(image, (width * 2 // 3, height * 2 // 3), interpolation=cv2.INTER_AREA)
    top, left = height // 4, width // 6
    shown[top : top + small.shape[0], left : left + small.shape[1]] = small
    cv2.putText(shown, "09:41  Photos", (20, 40), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (230,) * 3, 2)
    return shown


def zoomed(image: Image, factor: float) -> Image:
    """The middle of the photo, enlarged to its size."""
    height, width = image.shape[:2]
    map_ = np.array([[factor, 0, (1 - factor) * width / 2], [0, factor, (1 - factor) * height / 2]])
    return np.asarray(cv2.warpAffine(image, map_, (width, height)), np.uint8)


def cropped(image: Image) -> Image:
    """The left half of the photo, beside black."""
    black = np.zeros_like(image)
    black[:, : image.shape[1] // 2] = image[:, image.shape[1] // 2 :]
    return black


def recalibrated(frame: Frame, factor: float) -> Frame:
    """The photo with another focal length stated, as exactly as before."""
    camera = with_focal_length(frame.camera, factor * frame.camera.mean_focal_length())
    calibration = frame.calibration and replace(frame.calibration, camera=camera)
    return replace(frame, camera=camera, calibration=calibration)


def stated_at(off_m: float, sigma_m: float) -> Callable[[SE3, Rng], View]:
    """What a photo states of itself: a position off by so much to one side, with a standard deviation."""

    def state(pose: SE3, rng: Rng) -> View:
        angle = rng.uniform(0, 2 * np.pi)
        at = pose.translation + off_m * np.array([np.cos(angle), np.sin(angle), 0.0])
        latitude, longitude, altitude = FRAME.to_geodetic(at[None])[0].tolist()
        return View("photo", GeoPosition(latitude, longitude, altitude, sigma_m))

    return state


WRONG = (
    Wrong("nothing"),
    Wrong("the second half of the views is of another zone, 1 km north", second_half(lambda one: moved(one, 0, 1000))),
    Wrong("the second half is of another datum, 110 m away", second_half(lambda one: moved(one, -90, 60))),
    Wrong("tags rounded to 100 m", each(lambda one: rounded(one, 3))),
    Wrong("tags rounded to 1 km", each(lambda one: rounded(one, 2))),
    Wrong("the second half is of another day, with a bias of 15 m", second_half(lambda one: moved(one, 12, 9))),
    Wrong("a bias of 15 m to the side in each second view", lambda views, _: [
        moved(one, 15 * (row % 2)) for row, one in enumerate(views)
    ]),
    Wrong("iron at the compass: 40 degrees", each(lambda one: turned(one, 40.0))),
    Wrong("headings the other way round", each(lambda one: turned(one, 180.0))),
    Wrong("each second view's heading turned", lambda views, _: [
        turned(one, TURNED_DEG * (row % 2)) for row, one in enumerate(views)
    ]),
    Wrong("tags of the photos three before", late),
    Wrong("tags in another order", shuffled),
    Wrong("tags of the way back", backwards),
    Wrong("a third of the tags anywhere within 150 m", some_elsewhere),
    Wrong("each third tag at 0, 0", at_null_island),
    Wrong("altitudes off by 80 m in the second half", second_half(lambda one: moved(one, 0, 0, 80))),
    Wrong("tags state 5 cm", each(lambda one: stating(one, 0.05))),
    Wrong("tags state 500 m", each(lambda one: stating(one, 500.0))),
    Wrong("views without tags but for two", lambda views, _: [
        one if row in (0, len(views) - 1) else replace(one, position=None) for row, one in enumerate(views)
    ]),
    Wrong("mirrored photos", photo=with_image(lambda image: image[:, ::-1])),
    Wrong("photos upside down", photo=with_image(lambda image: image[::-1, ::-1])),
    Wrong("screenshots of the photos", photo=with_image(screenshot)),
    Wrong("photos zoomed 1.5 times", photo=with_image(lambda image: zoomed(image, 1.5))),
    Wrong("halves of the photos, moved", photo=with_image(cropped)),
    Wrong("a focal length 10 % too long", photo=lambda frame: recalibrated(frame, 1.1)),
    Wrong("a focal length 1.5 times too long", photo=lambda frame: recalibrated(frame, 1.5)),
    Wrong("photos state a place 200 m off to 5 m", states=stated_at(200, 5.0)),
    Wrong("photos state a place 20 m off to 1 m", states=stated_at(20, 1.0)),
    Wrong("photos state a place 3 m off to 5 cm", states=stated_at(3, 0.05)),
    Wrong("photos state their place to 1 m, rightly", states=stated_at(1, 1.0)),
)  # fmt: skip


def measure(drive: Drive, wrong: Wrong, seed: int, *, is_registered: bool) -> Iterator[Figures]:
    """What is found of each photo."""
    database, rows, taken = drive.database(is_beyond=False)
    tag(database, drive, rows, Case(False, 0.0, "right", is_registered), seed)
    rng = np.random.default_rng([seed, 1])
    for view in wrong.views([database.view(name_of(row)) for row in rows], rng):
        database.update(view)
    if is_registered:
        try:
            register(database, drive)
        except GeoError as error:
            yield {"located": False, "reason": f"register: {error}"}
            return
    else:
        database.write_settings(common_error=None)
    localizer = cached_localizer(database, drive.store)
    for row in taken:
        frame, truth = drive.frames[row], drive.poses[row]
        states = None if wrong.states is None else wrong.states(truth, rng)
        yield figures_of(localizer.locate(wrong.photo(frame), states), truth)


def register(database: GeoDatabase, drive: Drive) -> None:
    """Register the views by their tags."""
    write_poses(database, place_views(drive.reconstruction(database), tags_to_place(database)))


def row_of(words: str, found: Sequence[Figures], *, is_registered: bool) -> list[str]:
    """A row of the table."""
    located = [one for one in found if one["located"]]
    sigmas = np.sqrt([one.get(key, 0.0) for one in located for key in ("of_position", "of_rotation")] or [0.0])
    reasons = Counter(one["reason"].removeprefix("GeoReason.") for one in found if not one["located"])
    return [
        words,
        "registered" if is_registered else "as tagged",
        f"{len(located)} of {len(found)}",
        ", ".join(f"{count} {reason}" for reason, count in reasons.most_common(2)),
        f"{median(one['error_m'] for one in located):.1f}" if located else "",
        f"{sigmas.max():.1f}",
        f"{int((sigmas > 5.0).sum())}",
    ]


def main() -> None:
    """Measure everything that may be wrong, and write the table."""
    arguments = parse_arguments()
    cases = [*product(range(len(WRONG)), (False, True)), None]
    report: Figures = {**provenance(), "cases": []}
    rows: list[list[str]] = []
    make_once(arguments)
    with ProcessPoolExecutor(arguments.processes, multiprocessing.get_context("spawn")) as pool:
        for case, found in zip(cases, pool.map(partial(measure_case, arguments), cases), strict=True):
            number, is_registered = case or (0, False)
            words = WRONG[number].words if case else "photos of another town"
            rows.append(row_of(words, found, is_registered=is_registered))
            report["cases"].append({"wrong": words, "registered": is_registered, "photos": found})
            print(*rows[-1], sep=" | ", flush=True)
    write_outputs(arguments, SECTION, report, table(HEADER, rows))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/geo_drive", "databases, features and matches")
    parser.add_argument("--processes", type=int, default=2, help="cases measured at once")
    add_outputs(parser)
    return parser.parse_args()


def make_once(arguments: argparse.Namespace) -> None:
    """Compute the database and the reconstruction that all cases use."""
    drive = Drive(arguments.data, arguments.work)
    database, rows, _ = drive.database(is_beyond=False)
    tag(database, drive, rows, Case(False, 0.0, "right", True), 0)
    drive.reconstruction(database)


def measure_case(arguments: argparse.Namespace, case: tuple[int, bool] | None) -> list[Figures]:
    """What is found of each photo with one thing wrong, or, without one, of photos of another town."""
    with TemporaryDirectory() as folder:
        shutil.copytree(arguments.work / "among", Path(folder) / "among")
        drive = Drive(arguments.data, arguments.work, Path(folder))
        if case is None:
            return list(from_elsewhere(drive, photos(arguments.data / LUND)))
        number, is_registered = case
        return list(measure(drive, WRONG[number], 0, is_registered=is_registered))


def from_elsewhere(drive: Drive, taken: Sequence[Frame]) -> Iterator[Figures]:
    """What is found of photos that no view shows: any answer is infinitely far off."""
    database, rows, _ = drive.database(is_beyond=False)
    tag(database, drive, rows, Case(False, 0.0, "right", False), 0)
    database.write_settings(common_error=None)
    localizer = cached_localizer(database, drive.store)
    for frame in taken:
        answer = localizer.locate(frame)
        reason = str(getattr(answer.result, "reason", ""))
        wrong = {"located": True, "error_m": np.inf, "of_position": np.inf}
        yield {"located": False, "reason": reason} if answer.pose is None else wrong


if __name__ == "__main__":
    main()
