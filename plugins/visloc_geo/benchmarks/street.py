"""Photos and walks in a rendered street, located by panoramas every 15 m: how exactly, alone and together.

Run: OMP_NUM_THREADS=1 python -m plugins.visloc_geo.benchmarks.street \\
         --markdown plugins/visloc_geo/results/geolocation.md

Panoramas at noon with exact tags and with wrong ones, photos in the evening by another camera, from anywhere between
the fronts and at any heading; walks of ten photos a metre apart. No setting was chosen by these streets. Streets and
features are kept in the work folder.
"""

import argparse
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from plugins.visloc_geo.testing.street import make_street
from plugins.visloc_geo.testing.street_views import Survey, TagErrors, photos, random_poses, walk, write_database
from visloc_geo.answer import GeoAnswer
from visloc_geo.database import GeoDatabase
from visloc_geo.features import describe_globally
from visloc_geo.localizer import GeoLocalizer
from visloc_geo.orientation import angles_of, heading_difference_deg
from visloc_geo.walk import Walk
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.types import Rejection
from visloc_ros.evaluation.machine import provenance
from visloc_ros.simulation.room import Room

SECTION = "Rendered street"
SEEDS = (71, 72)
ERRORS = (TagErrors(), TagErrors(0.5, 0.5, 0.3), TagErrors(3.0, 2.0, 1.0))
_STEPS, _STEP_M = 10, 1.0
_WHAT = "Squared: median squared horizontal error by the covariance, and how many photos are beyond its 99.9 %."
_NEAR_M = (1.0, 5.0)
_HEADER = (
    *("tags err by", "located", "error, median m", "90 % m", *(f"within {one:g} m" for one in _NEAR_M)),
    *("heading, median °", "squared (1.4)", "beyond 99.9 %"),
)
_ALL_BUT_A_THOUSANDTH = chi_square_quantile(0.999, 2)


def main() -> None:
    """Locate all photos and walks, and write the tables."""
    arguments = parse_arguments()
    jobs = [(seed, errors) for seed in SEEDS[: arguments.streets] for errors in ERRORS]
    with ProcessPoolExecutor(arguments.processes, multiprocessing.get_context("spawn")) as pool:
        measured = list(pool.map(partial(measure, arguments=arguments), *zip(*jobs, strict=True)))
    report: Figures = {**provenance(), "single": [], "walks": []}
    for (_, errors), found in zip(jobs, measured, strict=True):
        name = f"{errors.position_m:g} m, {errors.heading_deg:g}°, {errors.pitch_deg:g}°"
        for kind, ones in zip(("single", "walks"), found, strict=True):
            report[kind] += [{"tags": name, **one} for one in ones]
    write_outputs(arguments, SECTION, report, as_markdown(report))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/geo_street"), help="folder for databases")
    parser.add_argument("--streets", type=int, default=len(SEEDS), help="number of streets")
    parser.add_argument("--photos", type=int, default=30, help="photos in each street")
    parser.add_argument("--walks", type=int, default=3, help="walks in each street")
    parser.add_argument("--processes", type=int, default=1, help="databases searched at once")
    add_outputs(parser)
    return parser.parse_args()


def make_database(folder: Path, street: Room, errors: TagErrors, seed: int) -> GeoDatabase:
    """The panoramas of a street with their features, made if missing."""
    database = GeoDatabase(folder) if folder.exists() else write_database(street, folder, Survey(errors=errors), seed)
    describe_globally(database)
    return database


def measure(seed: int, errors: TagErrors, arguments: argparse.Namespace) -> tuple[list[Figures], list[Figures]]:
    """What is found of each photo, and of each photo of the walks, alone and together, in a process of its own."""
    torch.set_num_threads(1)
    street = make_street(seed)
    database = make_database(arguments.work / f"{seed}_{errors.position_m:g}", street, errors, seed)
    localizer = GeoLocalizer(database)
    poses = random_poses(arguments.photos, seed=seed)
    single = [
        figures_of(localizer.locate(frame), pose)
        for frame, pose in zip(photos(street, poses, seed), poses, strict=True)
    ]
    walks = [one for number in range(arguments.walks) for one in measure_walk(localizer, street, 1000 * seed + number)]
    return single, walks


def measure_walk(localizer: GeoLocalizer, street: Room, seed: int) -> Iterator[Figures]:
    """What is found of each photo of a walk, alone and together with the others."""
    truth = walk(_STEPS, _STEP_M, seed=seed)
    steps = Walk(localizer)
    for frame in photos(street, truth, seed):
        steps.locate(frame)
    found = steps.track()
    together = {} if isinstance(found, Rejection) else {one.stamp_ns: one for _, one in found.photos}
    for row, pose in enumerate(truth):
        one = together.get(row)
        smoothed = None if one is None else errors_of(one.enu_from_camera, one.covariance, pose)
        yield {"alone": figures_of(steps.answers[row], pose), "together": smoothed}


def figures_of(answer: GeoAnswer, truth: SE3) -> Figures:
    """Errors of an answer, and its reason."""
    pose = answer.pose
    if pose is None or pose.enu_from_camera is None:
        return {"kind": str(getattr(answer.result, "reason", "TAG"))}
    milliseconds = sum(answer.stage_ms.values())
    return {
        "kind": pose.kind.value,
        "ms": milliseconds,
        **errors_of(pose.enu_from_camera, pose.covariance, truth),
    }


def errors_of(pose: SE3, covariance: Array, truth: SE3) -> Figures:
    """Horizontal error and that of the heading, and the first's square by the covariance."""
    error = (pose.translation - truth.translation)[:2]
    turned = heading_difference_deg(angles_of(pose.rotation)[0], angles_of(truth.rotation)[0])
    squared = float(error @ np.linalg.solve(covariance[:2, :2], error))
    return {"error_m": float(np.linalg.norm(error)), "heading_deg": abs(turned), "squared": squared}


def as_markdown(report: Figures) -> str:
    """A row for each kind of tags: single photos, then walks."""
    names = list(dict.fromkeys(one["tags"] for one in report["single"]))
    single = [row_of(name, [one for one in report["single"] if one["tags"] == name]) for name in names]
    walks = []
    for name in names:
        of_walks = [one for one in report["walks"] if one["tags"] == name]
        walks.append(row_of(f"{name}, alone", [one["alone"] for one in of_walks]))
        walks.append(row_of(f"{name}, together", [one["together"] or {"kind": "none"} for one in of_walks]))
    return "\n\n".join((_WHAT, table(_HEADER, single), "Walks of ten photos, a metre apart:", table(_HEADER, walks)))


def row_of(name: str, found: Sequence[Figures]) -> list[str]:
    """A row of figures; photos without a pose are not within any error."""
    known = [one for one in found if "error_m" in one]
    errors = np.array([one.get("error_m", np.inf) for one in found])
    median, most = np.percentile(errors, [50, 90], method="higher")
    heading, squared = (np.median([one[key] for one in known] or [np.nan]) for key in ("heading_deg", "squared"))
    beyond = sum(one["squared"] > _ALL_BUT_A_THOUSANDTH for one in known)
    near = (f"{100.0 * np.mean(errors <= one):.0f} %" for one in _NEAR_M)
    figures = f"{median:.2f}", f"{most:.2f}", *near, f"{heading:.2f}", f"{squared:.1f}", f"{beyond}"
    return [name, f"{len(known)} of {len(found)}", *figures]


if __name__ == "__main__":
    main()
