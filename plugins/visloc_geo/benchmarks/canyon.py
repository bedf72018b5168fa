"""How far photos in a simulated street are located from where they were taken, by how much the views' tags err.

Run: python -m plugins.visloc_geo.benchmarks.canyon --markdown plugins/visloc_geo/results/geolocation.md
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import table, write_outputs
from plugins.visloc_geo.benchmarks.policy_of_geonavpy import locate_as_geonavpy
from plugins.visloc_geo.testing.street_canyon import CanyonConfig, CanyonTrial, TagErrors, simulate_canyon
from visloc_geo.solving import GeoKind, PhotoPose, locate
from visloc_ros.core.tangent import pose_difference
from visloc_ros.evaluation.machine import provenance

LEVELS = (
    TagErrors(0.0, 0.0, 0.0),
    TagErrors(0.5, 0.5, 0.3),
    TagErrors(1.5, 1.0, 0.5),
    TagErrors(3.0, 2.0, 1.0),
    TagErrors(5.0, 5.0, 2.0),
)
STATED = (0.5, 1.0, 2.0)
HEADER = ("tags err by", "geonavpy's policy", "`locate`", "best view's tag", "heading", "NEES (6)", "kinds")
EXPLANATION = """\
A street 20 m wide with panoramas every 15 m, cut into eight views of 90 degrees and 640 pixels; keypoints err by 1 px,
a fifth of the matches is wrong. The tags of a panorama err together: position along each horizontal axis (half of it in
height), heading, tilt. Horizontal errors in metres: median / 90th percentile (photos without a pose, which count as
infinitely far); the heading's error in degrees: median. NEES: mean normalised squared error of the six numbers of the
pose, which is 6 where the covariance is right; 95 % of such means lie between {low:.1f} and {high:.1f}."""


@dataclass(frozen=True)
class Answer:
    """Errors of one photo, infinite without a pose."""

    own_m: float
    geonavpy_m: float
    best_tag_m: float
    heading_deg: float
    nees: float
    kind: str


def answer_of(trial: CanyonTrial, with_geonavpy: bool) -> Answer:
    """Locate a photo in all ways."""
    truth = trial.enu_from_camera
    pose = locate(trial.camera, trial.keypoints, trial.references)
    other = locate_as_geonavpy(trial) if with_geonavpy else None
    geonavpy = np.inf if other is None else float(np.linalg.norm((other.translation - truth.translation)[:2]))
    best = np.inf if pose.best_tag is None else _horizontal(pose.best_tag.position, truth.translation)
    if not isinstance(pose, PhotoPose) or pose.enu_from_camera is None:
        return Answer(np.inf, geonavpy, best, np.inf, np.nan, "none")
    error = pose_difference(truth, pose.enu_from_camera)
    nees = float(error @ np.linalg.solve(pose.covariance, error)) if pose.kind is GeoKind.SOLVED else np.nan
    heading = abs(float(np.degrees(error[5])))
    return Answer(float(np.hypot(*error[:2])), geonavpy, best, heading, nees, pose.kind.value)


def _horizontal(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm((one - other)[:2]))


def answers_at(config: CanyonConfig, seeds: Iterable[int], with_geonavpy: bool) -> list[Answer]:
    """All photos of one kind."""
    return [answer_of(simulate_canyon(seed, config), with_geonavpy) for seed in seeds]


def row(name: str, answers: Sequence[Answer]) -> list[str]:
    """A line of the table."""
    nees = [one.nees for one in answers if np.isfinite(one.nees)]
    kinds = [one.kind for one in answers]
    return [
        name,
        spread(one.geonavpy_m for one in answers),
        spread(one.own_m for one in answers),
        spread(one.best_tag_m for one in answers),
        f"{np.median([one.heading_deg for one in answers]):.2f}",
        f"{np.mean(nees):.1f}" if nees else "-",
        ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds))),
    ]


def spread(errors: Iterable[float]) -> str:
    """Median / 90th percentile (number of failures)."""
    values = np.array(list(errors))
    if not np.isfinite(values).any():
        return "-"
    ranked = np.sort(values)
    at = [ranked[round(share * (len(ranked) - 1))] for share in (0.5, 0.9)]
    numbers = " / ".join(f"{one:.2f}" if np.isfinite(one) else "none" for one in at)
    return f"{numbers} ({np.isinf(values).sum()})"


def name_of(errors: TagErrors) -> str:
    """As in the table's first column."""
    return f"{errors.position_m:g} m, {errors.heading_deg:g}, {errors.tilt_deg:g} deg"


def main() -> None:
    """Measure, print, and write the section."""
    parser = new_parser(__doc__)
    parser.add_argument("--trials", type=int, default=40, help="photos at each level")
    parser.add_argument("--seed", type=int, default=1000, help="seed of the first photo")
    add_outputs(parser)
    arguments = parser.parse_args()
    groups: dict[str, list[list[str]]] = {"panoramas": [], "stated": [], "photos": []}
    for level, errors in enumerate(LEVELS):
        seeds = range(first := arguments.seed + level * arguments.trials, first + arguments.trials)
        panoramas = CanyonConfig(errors=errors)
        groups["panoramas"].append(row(name_of(errors), answers_at(panoramas, seeds, True)))
        photos = replace(panoramas, photos=True)
        groups["photos"].append(row(name_of(errors), answers_at(photos, seeds, False)))
        print(*groups["panoramas"][-1:], *groups["photos"][-1:], sep="\n", flush=True)
    seeds = range(arguments.seed, arguments.seed + arguments.trials)
    for factor in STATED:
        stated = CanyonConfig(errors=LEVELS[3], stated=LEVELS[3].times(factor))
        groups["stated"].append(row(f"stated {factor:g} times as large", answers_at(stated, seeds, False)))
    report = provenance() | {"groups": groups, "trials": arguments.trials}
    write_outputs(arguments, "Simulated street", report, body_of(groups, arguments.trials))


def body_of(groups: dict[str, list[list[str]]], trials: int) -> str:
    """The section."""
    margin = 1.96 * np.sqrt(2.0 * 6.0 / trials)
    without_policy = (HEADER[0], *HEADER[2:])
    return "\n\n".join(
        [
            EXPLANATION.format(low=6.0 - margin, high=6.0 + margin),
            table(HEADER, groups["panoramas"]),
            f"Tags that err by {name_of(LEVELS[3])}, and state other standard deviations:",
            table(without_policy, [[one[0], *one[2:]] for one in groups["stated"]]),
            "Photos every 6 m with positions alone, held aslant by the last figure, instead of panoramas:",
            table(without_policy, [[one[0], *one[2:]] for one in groups["photos"]]),
        ]
    )


if __name__ == "__main__":
    main()
