"""Does the anchor engine reject images of other places, look-alike rooms, corrupted images and false predictions?

Run: python -m benchmarks.anchor.out_of_map --data ../shared/data --json out/out_of_map.json
With --search it first prepares the maps for that.

Five places are mapped: two real ones and a simulated room, by which settings of the engine were chosen, and two others,
a drive and another room. Images that do not show a place are searched in its map without a prediction, and every second
one also with a false one; images that do show it must still be found. Maps, rendered rooms and features are kept in the
work folder for later runs.
"""

import argparse
import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path

import numpy as np

from benchmarks.places import (
    PAINTED_SEED,
    FeatureCache,
    Place,
    all_places,
    known_truth,
    photos,
    true_pose,
)
from benchmarks.program import add_folders, add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from testing.corruptions import (
    blurred,
    false_prior,
    mirrored,
    occluded,
    patterns,
    perturbed,
    turned_upside_down,
    upside_down,
)
from testing.integrity import Attempt, IntegrityQuery, Outcome, attempt, count_outcomes, nearest_misses
from testing.look_alike import PICTURES, close_up, make_look_alike
from visloc_ros.core.config import read_config
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import Map
from visloc_ros.core.progress import SilentProgress
from visloc_ros.core.types import Frame
from visloc_ros.evaluation.machine import provenance
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.config import RETRIEVAL, search_names
from visloc_ros.localization.searchable_map import find_strategy
from visloc_ros.simulation import SimulationConfig, simulate, write_folder
from visloc_ros.simulation.living_room import make_living_room
from visloc_ros.simulation.room import Room
from visloc_ros.sources import SourceConfig, open_source

SEQUENCES = ("euroc_v101_still", "tum_fr1_rpy_start")
PHOTO_FOLDERS = ("kitti_06", "street_lund", "street_berlin", "sacre_coeur", "vpr_toy", "virtual_gallery", "exif_gps")
LOOK_ALIKE_SEEDS = {"room": (101, 102, 103, 104, 105), "painted": (411, 412, 413, 414, 415)}
REDECORATED_SEED = 201
CLOSE_UP_SHARE = 0.2
LOOK_ALIKE_CONFIG = SimulationConfig(rate_hz=4 / 3)
UNSEEN = ("drive", "painted")
UNSEEN_IMAGES = ("drive frames", "painted frames", "tum_fr1_rpy_start")
NUM_PATTERNS = 36
GOOD_PRIOR = (0.1, 3.0)  # metres, degrees
SECTION, OWN_SECTION = "Out of the map", "Images of the place"
PATTERNS = ("wall", "gradient", "noise", "clouds", "checkerboard", "tiles")
OWN = "the place"
HEADER = ("images", "tried", "wrong pose accepted", "right pose accepted")


def main() -> None:
    """Run all attempts, and report the accepted ones."""
    arguments = parse_arguments()
    places = all_places(arguments.data, arguments.work)
    names = [place.name for place in places if not arguments.only or place.name in arguments.only]
    with ProcessPoolExecutor(arguments.processes, multiprocessing.get_context("spawn")) as pool:
        parts = pool.map(partial(try_place, arguments=arguments), names)
        report = summarize([one for part in parts for one in part])
    section = OWN_SECTION if arguments.own else SECTION
    title = section if arguments.search == RETRIEVAL else f"{section}, searched by {arguments.search}"
    write_outputs(arguments, title, report, as_markdown(report))


def try_place(name: str, arguments: argparse.Namespace) -> list[Attempt]:
    """All attempts with the map of one place, in a process of its own."""
    places = all_places(arguments.data, arguments.work)
    place = next(place for place in places if place.name == name)
    attempts = []
    for one in run_place(place, places, arguments):
        attempts.append(one)
        if arguments.attempts:
            append_line(arguments.attempts, as_values(one))
    return attempts


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/out_of_map", "maps, rooms and features")
    parser.add_argument("--config", type=Path, help="YAML file with options of the engine")
    parser.add_argument("--search", choices=search_names(), default=RETRIEVAL, help="way of searching")
    parser.add_argument("--only", nargs="*", help="maps to search: redkitchen, euroc, room, drive, painted")
    parser.add_argument("--processes", type=int, default=2, help="maps searched at once")
    parser.add_argument("--every", type=int, default=1, help="take every n-th image only")
    parser.add_argument("--own", action="store_true", help="search only for images that show the place")
    parser.add_argument("--attempts", type=Path, help="file that every attempt is appended to, a JSON line each")
    add_outputs(parser)
    return parser.parse_args()


@dataclass(frozen=True, eq=False)
class Sample:
    """An image to try: its group, the folder its features are kept in, and its pose if it shows the place."""

    group: str
    key: str
    frame: Frame
    truth: SE3 | None = None


def run_place(place: Place, places: list[Place], arguments: argparse.Namespace) -> Iterator[Attempt]:
    """All attempts with one map."""
    config = replace(read_config(AnchorConfig, arguments.config), search=arguments.search)
    engine = AnchorEngine(searched_map(place, arguments), config)
    cache = FeatureCache(arguments.work / "features", engine)
    rng = np.random.default_rng(0)
    redecorated = redecorated_samples(arguments.work) if place.name == "room" else ()
    elsewhere = () if arguments.own else false_samples(place, places, arguments)
    samples = chain(own_samples(place), redecorated, elsewhere)
    for index, sample in enumerate(islice(samples, 0, None, arguments.every)):
        features = cache(f"{sample.key}/{sample.frame.name}", sample.frame)
        query = IntegrityQuery(sample.group, sample.frame, features, sample.truth)
        yield attempt(engine, query)
        if sample.truth is not None:
            yield attempt(engine, query, "good", perturbed(sample.truth, rng, *GOOD_PRIOR))
        if sample.truth is not None or index % 2:
            yield attempt(engine, query, "false", false_prior(engine.map, rng, sample.truth))


def searched_map(place: Place, arguments: argparse.Namespace) -> Map:
    """The map of a place, prepared for the way of searching; built and prepared if missing."""
    maps = arguments.work / "maps"
    map_, strategy = place.open_map(maps), find_strategy(arguments.search)
    if strategy.preparation is None or strategy.can_search(map_.manifest):
        return map_
    strategy.prepare([maps / place.name], strategy.preparation(), SilentProgress())
    return place.open_map(maps)


def own_samples(place: Place) -> Iterator[Sample]:
    """Images that show the place, as they are and corrupted."""
    truth, rng = place.truth(), np.random.default_rng(0)
    corruptions: dict[str, Callable[[Frame], Frame]] = {
        "blurred 2 px": lambda frame: blurred(frame, 2.0),
        "blurred 5 px": lambda frame: blurred(frame, 5.0),
        "half occluded": lambda frame: occluded(frame, 0.5, rng),
        "mostly occluded": lambda frame: occluded(frame, 0.8, rng),
        "upside down": upside_down,
    }
    for index, frame in enumerate(place.frames()):
        pose = true_pose(truth, frame.stamp_ns)
        yield Sample("the place", place.name, frame, pose)
        kind = list(corruptions)[index % len(corruptions)]
        corrupted_pose = turned_upside_down(pose) if kind == "upside down" else pose
        yield Sample(f"the place, {kind}", f"{place.name}-{kind}", corruptions[kind](frame), corrupted_pose)


def false_samples(place: Place, places: list[Place], arguments: argparse.Namespace) -> Iterator[Sample]:
    """Images of other places, of no place, and of the place in a mirror."""
    for other in places:
        if other.name != place.name and not {place.name, other.name} <= set(LOOK_ALIKE_SEEDS):  # rooms of one plan
            yield from (Sample(f"{other.name} frames", other.name, frame) for frame in other_frames(other))
    for name in SEQUENCES:
        yield from (Sample(name, name, frame) for frame in open_source(arguments.data / name, SourceConfig(every=4)))
    for folder in PHOTO_FOLDERS:
        yield from (Sample(folder, folder, frame) for frame in photos(arguments.data / folder))
    yield from pattern_samples(place)
    if place.name in LOOK_ALIKE_SEEDS:
        yield from look_alike_samples(place.name, arguments.work)
    if place.name == "room":
        yield from close_up_samples()
    yield from (Sample("mirrored", f"{place.name}-mirrored", mirrored(frame)) for frame in place.frames())


def pattern_samples(place: Place) -> Iterator[Sample]:
    """Images of no place, taken with the camera of this one."""
    camera = place.frames()[0].camera
    for kind, frame in patterns(camera, NUM_PATTERNS, seed=0):
        yield Sample(kind, f"patterns-{camera.width}", frame)


def other_frames(place: Place) -> Iterator[Frame]:
    """Frames of another place: every fourth of a sequence, all of the room's."""
    every = 1 if place.name in LOOK_ALIKE_SEEDS else 4
    return iter(open_source(place.query_folder, SourceConfig(every=every)))


def look_alike_samples(name: str, work: Path) -> Iterator[Sample]:
    """Images of rooms that have a simulated one's pictures, on other walls."""
    room = make_living_room(PAINTED_SEED) if name == "painted" else make_living_room()
    for seed in LOOK_ALIKE_SEEDS[name]:
        folder = render(work / f"look_alike_{seed}", seed, make_look_alike(room, seed))
        yield from (Sample("look-alike rooms", folder.name, frame) for frame in open_source(folder))


def close_up_samples() -> Iterator[Sample]:
    """Single pictures of the simulated room where they hang in another one, a fifth of each image."""
    simulation = simulate(LOOK_ALIKE_CONFIG, room=make_look_alike(make_living_room(), LOOK_ALIKE_SEEDS["room"][0]))
    for index, picture in enumerate(PICTURES):
        pose = close_up(simulation.room.quad(f"{picture} front"), simulation.camera, CLOSE_UP_SHARE)
        image = simulation.renderer.render(pose).clip(0, 255).astype(np.uint8)
        yield Sample("pictures elsewhere", "close_ups", Frame(index, image, simulation.camera, picture))


def redecorated_samples(work: Path) -> Iterator[Sample]:
    """Images of the simulated room in other materials and with other pictures: it may be found, but then rightly."""
    source = open_source(render(work / "redecorated", REDECORATED_SEED, make_living_room(REDECORATED_SEED)))
    truth = known_truth(source)
    for frame in source:
        yield Sample("the place, redecorated", source.name, frame, true_pose(truth, frame.stamp_ns))


def render(folder: Path, seed: int, room: Room) -> Path:
    """A recording in a room, along either path; rendered if missing."""
    if not folder.exists():
        write_folder(simulate(LOOK_ALIKE_CONFIG, "localize" if seed % 2 else "map", room), folder)
    return folder


def summarize(attempts: list[Attempt]) -> Figures:
    """Counts by map, group and prediction, and the false attempts that came closest."""
    groups = [
        {
            "map": one.place,
            "group": one.group,
            "prediction": one.prior,
            "attempts": one.attempts,
            "accepted_wrong": one.outcomes[Outcome.WRONG],
            "accepted_weak": one.outcomes[Outcome.WEAK],
            "accepted_right": one.outcomes[Outcome.RIGHT],
            "rejected": dict(one.reasons.most_common()),
        }
        for one in count_outcomes(attempts)
    ]
    return {
        **provenance(),
        "attempts": len(attempts),
        "out_of_map_attempts": sum(not one.shows_place for one in attempts),
        "out_of_map_attempts_unseen": sum(is_unseen(one) and not one.shows_place for one in attempts),
        "accepted_wrong": sum(one.outcome is Outcome.WRONG for one in attempts),
        "groups": groups,
        "nearest_misses": [as_values(one) for one in nearest_misses(attempts, 1)],
    }


def is_unseen(one: Attempt) -> bool:
    """Whether no setting was chosen by the map, or none by the images."""
    return one.place in UNSEEN or one.group in UNSEEN_IMAGES


def as_values(one: Attempt) -> Figures:
    """An attempt for a file; what is not known is null."""
    values = asdict(one) | {"outcome": one.outcome.value, "inlier_ratio": one.inlier_ratio}
    return {key: None if value != value else value for key, value in values.items()}


def append_line(path: Path, values: Figures) -> None:
    """Add a line to a file of JSON lines."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(values) + "\n")


def as_markdown(report: Figures) -> str:
    """What was accepted, which false attempt came closest, and a row for each kind of images that show the place."""
    groups: dict[str, list[Figures]] = {}
    for one in report["groups"]:
        groups.setdefault(kind_of(one["group"]), []).append(one)
    own = {kind: some for kind, some in groups.items() if kind.startswith(OWN)}
    others = {kind: some for kind, some in groups.items() if kind not in own}
    counts = ("attempts", "accepted_wrong", "accepted_right")
    rows = [[kind, *(str(count(some, what)) for what in counts)] for kind, some in own.items()]
    if not others:
        return table(HEADER, rows)
    tried = ", ".join(f"{kind} {count(some, 'attempts')}" for kind, some in others.items())
    out, unseen = report["out_of_map_attempts"], report["out_of_map_attempts_unseen"]
    wrong = sum(count(some, "accepted_wrong") for some in others.values())
    miss = report["nearest_misses"][0]
    words = (
        f"{out} attempts out of the map ({tried}), {unseen} of them with a map or images by which no setting was "
        f"chosen: {wrong} poses accepted. The nearest miss: {miss['inliers']} inliers of {miss['correspondences']} "
        f"({miss['group']}), {miss['reason']}. Of images that show the place:"
    )
    return f"{words}\n\n{table(HEADER, rows)}"


def kind_of(group: str) -> str:
    """What a group of images is counted as."""
    if group in PATTERNS:
        return "patterns"
    return "other places" if group.endswith(" frames") or group in (*SEQUENCES, *PHOTO_FOLDERS) else group


def count(groups: Sequence[Figures], what: str) -> int:
    """Sum over groups."""
    return sum(one[what] for one in groups)


if __name__ == "__main__":
    main()
