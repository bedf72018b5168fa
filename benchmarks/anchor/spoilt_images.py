"""Are blurred, smeared, noisy and dark images found? As they are, and with a second look at half their size.

Run: OMP_NUM_THREADS=1 python -m benchmarks.anchor.spoilt_images --data ../shared/data --markdown results/anchor.md

Images of five places are spoilt, and searched in the map of their place and in those of others, in all ways of
searching that the maps can be prepared for. Features are found in the spoilt images; given to the engine, they are
searched once. Times are processor times on one thread, with the features. Maps are kept in the work folder.
"""

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.anchor.out_of_map import LOOK_ALIKE_SEEDS
from benchmarks.anchor.spoiling import SPOILT
from benchmarks.places import Place, all_places, all_queries, true_pose
from benchmarks.program import add_folders, add_outputs, new_parser
from benchmarks.results_file import table, write_outputs
from testing.integrity import PoseAccuracy
from visloc_ros.core.geometry import SE3
from visloc_ros.core.manifest import read_manifest
from visloc_ros.core.map import Map
from visloc_ros.core.progress import SilentProgress
from visloc_ros.core.types import AnchorPose, Rejection
from visloc_ros.evaluation.machine import provenance
from visloc_ros.features import LocalExtractor, Matcher, make_extractor, make_matcher
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.config import search_names
from visloc_ros.localization.evidence import Query
from visloc_ros.localization.searchable_map import find_strategy

SECTION = "Blurred, noisy and dark images"
CHOSEN = ("redkitchen", "euroc", "room")
WHAT = (
    "Images found where they were taken, by one look and with a second one at half their size, of all that were "
    "searched for. By the chosen places (redkitchen, euroc, room) settings of the engine were chosen, by the others "
    "(drive, painted) none."
)
TIME_HEADER = ("images", "one look, median ms", "with the second", "one look, 95 % within ms", "with the second")
WHAT_IS_EXACT = (
    "How exact the poses are that one look finds, then those that only the second one does: their number, median error "
    "in cm, median squared error by the covariance (5.3 is expected), and how many are beyond 3 standard deviations."
)
EXACT_HEADER = ("images", "one look", "cm", "squared", "beyond 3 σ", "second look", "cm", "squared", "beyond 3 σ")
THREE_SIGMA = 20.06  # squared error, in 6 dimensions, that one of 370 poses exceeds


@dataclass(frozen=True)
class Search:
    """A search for a spoilt image in the map of a ``place``, once and with a second look, and milliseconds of both.

    Of an image of the place its pose has an accuracy; ``is_pose`` is whether there is one, of either search.
    """

    place: str
    is_own: bool
    spoilt: str
    way: str
    is_pose: tuple[bool, bool]
    accuracy: tuple[PoseAccuracy | None, PoseAccuracy | None]
    milliseconds: tuple[float, float]

    @property
    def is_right(self) -> tuple[bool, bool]:
        """Whether either search found the image where it was taken."""
        once, now = (one is not None and one.is_right for one in self.accuracy)
        return once, now


def main() -> None:
    """Search all spoilt images, and report which are found, how exactly, and how long it takes."""
    arguments = parse_arguments()
    torch.set_num_threads(1)
    places = all_places(arguments.data, arguments.work)
    ways, models = search_names(), (make_extractor(), make_matcher())
    engines = {place.name: make_engines(open_prepared(place, ways, arguments.work), ways, models) for place in places}
    searches = [one for place in places for one in search_images(place, engines, arguments.images)]
    write_outputs(
        arguments, SECTION, {**provenance(), "searches": [asdict(one) for one in searches]}, as_markdown(searches)
    )


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/spoilt_images", "maps and rooms")
    parser.add_argument("--images", type=int, default=20, help="images of each place; a third of them elsewhere, too")
    add_outputs(parser)
    return parser.parse_args()


def open_prepared(place: Place, ways: Sequence[str], work: Path) -> Map:
    """The map of a place, built and prepared for ways of searching if it is not."""
    path = work / "maps" / place.name
    place.open_map(path.parent)
    for strategy in map(find_strategy, ways):
        if strategy.preparation is not None and not strategy.can_search(read_manifest(path)):
            strategy.prepare([path], strategy.preparation(), SilentProgress())
    return place.open_map(path.parent)


def make_engines(map_: Map, ways: Sequence[str], models: tuple[LocalExtractor, Matcher]) -> dict[str, AnchorEngine]:
    """An engine for each way of searching; images are not turned."""
    return {way: AnchorEngine(map_, AnchorConfig(search=way), *models, most_turns=0) for way in ways}


def search_images(place: Place, engines: Mapping[str, Mapping[str, AnchorEngine]], count: int) -> Iterator[Search]:
    """Search spoilt images of a place in its map, and every third in those of other places."""
    rng, truth, frames = np.random.default_rng(0), place.truth(), all_queries(place).frames()
    extracting = next(iter(engines[place.name].values()))
    for index, frame in enumerate(frames[:: max(1, len(frames) // count)][:count]):
        elsewhere = others(place.name, engines) if index % 3 == 0 else []
        for name, spoil in SPOILT.items():
            start = time.thread_time()
            query = extracting.extract(
                replace(frame, image=spoil(frame.image, rng), calibration=None)
            )  # not remembered
            features_s = time.thread_time() - start
            for other in [place.name, *elsewhere]:
                pose = true_pose(truth, frame.stamp_ns) if other == place.name else None
                for way, engine in engines[other].items():
                    yield search(other, name, way, engine, query, features_s, pose)


def others(name: str, engines: Mapping[str, object]) -> list[str]:
    """The places that an image of one does not show: rooms of one plan show each other."""
    return [other for other in engines if other != name and not {name, other} <= set(LOOK_ALIKE_SEEDS)]


def search(
    place: str, spoilt: str, way: str, engine: AnchorEngine, query: Query, features_s: float, truth: SE3 | None
) -> Search:
    """Search for an image once, and, where that finds nothing, as the engine does."""
    start = time.thread_time()
    now = once = engine.localize(query.frame, features=query.features)
    once_s = now_s = time.thread_time() - start
    if isinstance(once, Rejection):
        start = time.thread_time()
        now = engine.solve(replace(query.for_another_search(), by_copy=dict(query.by_copy)))
        now_s = time.thread_time() - start
    poses = isinstance(once, AnchorPose), isinstance(now, AnchorPose)
    milliseconds = 1e3 * (features_s + once_s), 1e3 * (features_s + now_s)
    accuracies = accuracy(once, truth), accuracy(now, truth)
    return Search(place, truth is not None, spoilt, way, poses, accuracies, milliseconds)


def accuracy(answer: AnchorPose | Rejection, truth: SE3 | None) -> PoseAccuracy | None:
    """That of a pose; None without one, and where the truth is not known."""
    if truth is None or isinstance(answer, Rejection):
        return None
    return PoseAccuracy.of(answer.map_from_camera, answer.covariance, truth)


def as_markdown(searches: Sequence[Search]) -> str:
    """A row for each way in which images were spoilt: how many are found, and how exactly; wrong poses; times."""
    own = [one for one in searches if one.is_own]
    groups = [(way, is_chosen) for is_chosen in (True, False) for way in dict.fromkeys(one.way for one in own)]
    header = ["images", *(f"{way}, {'chosen' if is_chosen else 'other'} places" for way, is_chosen in groups)]
    found, exact, times = [], [], []
    for name in SPOILT:
        spoilt = [one for one in own if one.spoilt == name]
        found.append(
            [name, *(counts([one for one in spoilt if (one.way, one.place in CHOSEN) == key]) for key in groups)]
        )
        by_first = [one.accuracy[0] for one in spoilt if one.is_right[0]]
        by_second = [one.accuracy[1] for one in spoilt if one.is_right[1] and not one.is_pose[0]]
        exact.append([name, *exactness(by_first), *exactness(by_second)])
    for name, some in by_outcome(searches).items():
        looks = np.percentile([one.milliseconds for one in some], [50, 95], axis=0)
        times.append([name, *(f"{value:.0f}" for value in looks.ravel())])
    tables = (
        table(header, found),
        WHAT_IS_EXACT,
        table(EXACT_HEADER, exact),
        wrong_poses(searches),
        table(TIME_HEADER, times),
    )
    return "\n\n".join((WHAT, *tables))


def counts(searches: Sequence[Search]) -> str:
    """How many were found where they were taken by one look, with the second one, and searched for."""
    once, now = (sum(one.is_right[look] for one in searches) for look in (0, 1))
    return f"{once} → {now} of {len(searches)}"


def exactness(poses: Sequence[PoseAccuracy | None]) -> list[str]:
    """How many poses, their median error, median squared error by the covariance, and how many are beyond 3 sigma."""
    known = [one for one in poses if one is not None]
    if not known:
        return ["0", *3 * ["–"]]
    nees = np.array([one.nees for one in known])
    error_m = np.median([one.error_m for one in known])
    return [f"{len(known)}", f"{100 * error_m:.1f}", f"{np.median(nees):.1f}", f"{(nees > THREE_SIGMA).sum()}"]


def wrong_poses(searches: Sequence[Search]) -> str:
    """How many poses are wrong."""
    own, elsewhere = ([one for one in searches if one.is_own is is_own] for is_own in (True, False))
    wrong = [sum(one.is_pose[look] and not one.is_right[look] for one in own) for look in (0, 1)]
    poses = [sum(one.is_pose[look] for one in elsewhere) for look in (0, 1)]
    return (
        f"Of {len(own)} searches for images of the place {wrong[0]} poses are wrong by one look, {wrong[1]} with the "
        f"second; of {len(elsewhere)} in maps of other places {poses[0]} and {poses[1]}. Processor times:"
    )


def by_outcome(searches: Sequence[Search]) -> dict[str, list[Search]]:
    """Searches for images that one look finds, and for those that it does not, of the place or of another one."""
    return {
        "found by one look": [one for one in searches if one.is_pose[0]],
        "of the place, not found by one look": [one for one in searches if one.is_own and not one.is_pose[0]],
        "sharp, of another place": [one for one in searches if not one.is_own and one.spoilt == next(iter(SPOILT))],
    }


if __name__ == "__main__":
    main()
