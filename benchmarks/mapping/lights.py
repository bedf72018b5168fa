"""A place mapped in several lights, a session each: is it worth to choose the session that looks like the query?

Run: OMP_NUM_THREADS=1 python -m benchmarks.mapping.lights --data ../shared/data --markdown results/lights.md

Two simulated rooms in five lights are mapped in each, and a kitchen in the style of three of them; the maps are merged.
Images in all five, from other ways, are searched in the first session alone, in all sessions, and with references of
one session first: of the one that looks like the query, or of the right one, which bounds what any choice can gain. The
control are fewer references of all sessions. The choice was fixed by room 621. Maps, images and the figures of a place
are kept in the work folder, so that a run continues.
"""

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.mapping.lit_places import LIGHTINGS, lit_walk, styled_frames
from benchmarks.mapping.sessions import ALL, FIRST, WAYS, SessionSearch
from benchmarks.places import known_truth, true_pose
from benchmarks.program import add_folders, add_outputs, median, new_parser
from benchmarks.results_file import Figures, read_json, table, write_json, write_outputs
from testing.corruptions import perturbed
from visloc_ros.core.geometry import SE3, rotation_angle_deg
from visloc_ros.core.map import Map, open_map
from visloc_ros.core.types import AnchorPose, Rejection
from visloc_ros.evaluation.machine import provenance
from visloc_ros.features import make_extractor, make_matcher
from visloc_ros.localization import AnchorConfig
from visloc_ros.mapping import build_map, merge_maps
from visloc_ros.sources import SourceConfig, open_source
from visloc_ros.sources.pose_files import read_poses

SECTION = "One place in several lights"
MAP_HZ, SEARCH_HZ = 0.7, 0.5
STYLES, MAP_STEP, SEARCH_STEP = ("day", "night", "flash"), 24, 25
WITHIN_ROOM, WITHIN_KITCHEN = (0.01, 0.5), (0.05, 5.0)  # metres, degrees; the kitchen's truth is good to 3 cm
PRIOR_M, PRIOR_DEG = 0.05, 2.0
ANYWHERE, PREDICTED = "anywhere", "predicted"


@dataclass(frozen=True)
class LitPlace:
    """A place: recordings that map it, and that are searched, by light, and how near a pose has to be."""

    name: str
    sessions: Mapping[str, Path]
    queries: Mapping[str, Path]
    within: tuple[float, float]


def main() -> None:
    """Measure all places, and write the tables."""
    arguments = parse_arguments()
    torch.set_num_threads(1)
    places = {place.name: measure(place, arguments.work) for place in lit_places(arguments)}
    report = {**provenance(), "places": places}
    write_outputs(arguments, SECTION, report, as_markdown(report))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/lights", "maps and images")
    parser.add_argument("--seeds", type=int, nargs="+", default=[621, 622], help="rooms")
    add_outputs(parser)
    return parser.parse_args()


def lit_places(arguments: argparse.Namespace) -> Iterator[LitPlace]:
    """Rooms in all lights, and the kitchen in their style; made if missing."""
    for seed in arguments.seeds:
        walks = arguments.work / f"room_{seed}"
        mapped = {light: lit_walk(walks / "map" / light, seed, light, "map", MAP_HZ) for light in LIGHTINGS}
        searched = {
            light: lit_walk(walks / "search" / light, seed, light, "localize", SEARCH_HZ) for light in LIGHTINGS
        }
        yield LitPlace(f"room_{seed}", mapped, searched, WITHIN_ROOM)
    source, frames = arguments.data / "7scenes_redkitchen", arguments.work / "kitchen"
    kept = {light: SourceConfig(first=8 * row, last=499, every=MAP_STEP) for row, light in enumerate(STYLES)}
    asked = {light: SourceConfig(first=500 + row, every=SEARCH_STEP) for row, light in enumerate(LIGHTINGS)}
    mapped = {light: styled_frames(frames / "map" / light, source, config, light) for light, config in kept.items()}
    searched = {
        light: styled_frames(frames / "search" / light, source, config, light) for light, config in asked.items()
    }
    yield LitPlace("kitchen", mapped, searched, WITHIN_KITCHEN)


def measure(place: LitPlace, work: Path) -> Figures:
    """Figures of all ways by light, without and with a prediction; those of an earlier run, if there are any."""
    known = work / place.name / "figures.json"
    if not known.exists():
        searches = searches_of(place, work / place.name / "maps")
        lights = place.queries.items()
        write_json(known, {light: searched(searches, light, folder, place.within) for light, folder in lights})
    return read_json(known)


def searches_of(place: LitPlace, maps: Path) -> dict[str, SessionSearch]:
    """All ways of searching the place; its maps are built at true poses, and merged, if missing."""
    for light, folder in place.sessions.items():
        if not (maps / light).exists():
            build_map(open_source(folder), maps / light, reference_poses=read_poses(folder / "groundtruth_tum.txt"))
    if not (maps / ALL).exists():
        merge_maps([maps / light for light in place.sessions], maps / ALL)
    first, merged = open_map(maps / next(iter(place.sessions))), open_map(maps / ALL)
    sessions = sessions_of(merged, place)
    config = AnchorConfig()
    extractor = make_extractor(config.features)
    matcher = make_matcher(config.matcher, extractor.info.name)
    return {way: SessionSearch(way, first if way == FIRST else merged, sessions, extractor, matcher) for way in WAYS}


def sessions_of(map_: Map, place: LitPlace) -> list[str]:
    """The light in which each image of a merged map was taken."""
    lights = {frame.name: light for light, folder in place.sessions.items() for frame in open_source(folder)}
    return [lights[image.name] for image in map_.images]


def searched(searches: Mapping[str, SessionSearch], light: str, folder: Path, within: tuple[float, float]) -> Figures:
    """Figures of the images of one light, by kind of search and way; all ways search an image in turn."""
    source, rng = open_source(folder), np.random.default_rng(0)
    truth = known_truth(source)
    found: dict[str, dict[str, list[Figures]]] = {kind: {way: [] for way in searches} for kind in (ANYWHERE, PREDICTED)}
    for frame in source:
        query, true = searches[ALL].engine.extract(frame), true_pose(truth, frame.stamp_ns)
        priors = {ANYWHERE: None, PREDICTED: perturbed(true, rng, PRIOR_M, PRIOR_DEG)}
        for kind, prior in priors.items():
            for way, search in searches.items():
                begun = time.process_time()
                answer = search.solve(query, light, prior)
                found[kind][way].append({**judged(answer, true, within), "ms": 1e3 * (time.process_time() - begun)})
    print(folder, {kind: {way: summary(one) for way, one in ways.items()} for kind, ways in found.items()}, flush=True)
    return {kind: {way: summary(one) for way, one in ways.items()} for kind, ways in found.items()}


def judged(answer: AnchorPose | Rejection, true: SE3, within: tuple[float, float]) -> Figures:
    """Whether an answer is near enough, and its error in metres, None without a pose."""
    if isinstance(answer, Rejection):
        return {"near": False, "error_m": None, "inliers": 0}
    error_m = float(np.linalg.norm(answer.map_from_camera.translation - true.translation))
    error_deg = rotation_angle_deg(answer.map_from_camera.rotation, true.rotation)
    return {"near": error_m <= within[0] and error_deg <= within[1], "error_m": error_m, "inliers": answer.num_inliers}


def summary(found: list[Figures]) -> Figures:
    """Figures of all images."""
    errors = [one["error_m"] for one in found if one["error_m"] is not None]
    return {
        "images": len(found),
        "found": len(errors),
        "near": sum(one["near"] for one in found),
        "median_m": median(errors) if errors else None,
        "inliers": median(one["inliers"] for one in found),
        "ms": float(np.mean([one["ms"] for one in found])),
    }


def as_markdown(report: Figures) -> str:
    """How many images are near enough, by place and light; errors, inliers and times by place."""
    places = report["places"]
    near = [
        [*_labels(place, light, one), *_near([one])]
        for place, lights in places.items()
        for light, one in lights.items()
    ]
    every = [figures for lights in places.values() for figures in lights.values()]
    images = sum(figures[ANYWHERE][ALL]["images"] for figures in every)
    near.append(["all", "all", "", str(images), *_near(every)])
    means = [
        [place, kind, *(_means(lights, kind, way) for way in WAYS)]
        for place, lights in places.items()
        for kind in (ANYWHERE, PREDICTED)
    ]
    return "\n\n".join([
        f"Images within {_words(WITHIN_ROOM)} (rooms) or {_words(WITHIN_KITCHEN)} (kitchen), searched {ANYWHERE} / "
        f"with a {PREDICTED} pose that is off by {100 * PRIOR_M:g} cm and {PRIOR_DEG:g}°:",
        table(("place", "light", "mapped", "images", *WAYS), near),
        f"Median error; inliers; processor time of a search without its features, as a ratio to that in {ALL}:",
        table(("place", "searched", *WAYS), means),
    ])  # fmt: skip


def _words(within: tuple[float, float]) -> str:
    return f"{100 * within[0]:g} cm, {within[1]:g}°"


def _labels(place: str, light: str, figures: Figures) -> list[str]:
    is_mapped = not place.startswith("kitchen") or light in STYLES
    return [place, light, "yes" if is_mapped else "no", str(figures[ANYWHERE][ALL]["images"])]


def _near(every: Sequence[Figures]) -> list[str]:
    """How many images of some lights are near enough, by way: searched anywhere and with a prediction."""
    sums = {(kind, way): sum(one[kind][way]["near"] for one in every) for kind in (ANYWHERE, PREDICTED) for way in WAYS}
    return [f"{sums[ANYWHERE, way]} / {sums[PREDICTED, way]}" for way in WAYS]


def _means(lights: Figures, kind: str, way: str) -> str:
    """The mean over all lights of a way's median errors, of its inliers and of its times against those of ``ALL``."""
    own, others = ([figures[kind][name] for figures in lights.values()] for name in (way, ALL))
    errors = [100 * one["median_m"] for one in own if one["median_m"] is not None]
    error = f"{np.mean(errors):.2f} cm" if errors else "–"
    ratio = sum(one["ms"] for one in own) / sum(one["ms"] for one in others)
    return f"{error}; {np.mean([one['inliers'] for one in own]):.0f}; {ratio:.2f}"


if __name__ == "__main__":
    main()
